"""Log lines -> Sequences."""
