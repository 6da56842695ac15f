"""Fitted detectors that were saved, and new lines scored with them."""
