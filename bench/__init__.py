"""bench: honest comparison of log anomaly detectors."""

__version__ = "0.2.0"
