"""Bytes of an edition -> a `Log`."""
