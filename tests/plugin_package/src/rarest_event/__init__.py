"""A third-party detector for bench."""
