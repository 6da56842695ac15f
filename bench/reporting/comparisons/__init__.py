"""Paired differences between methods, and the kept ones."""
