"""A spec -> a record."""
