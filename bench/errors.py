"""The one exception a user is meant to read."""


class BenchError(Exception):
    """Bad input: the message names the thing, the value and the way out; the CLI prints it and exits with 2."""
