"""The one exception a user is meant to read, and the one that no method may stop."""


class BenchError(Exception):
    """Bad input: the message names the thing, the value and the way out; the CLI prints it and exits with 2."""


class CellTimeoutError(BaseException):
    """A cell took longer than it was given; no Exception, so that a detector's own `except Exception` lets it pass."""
