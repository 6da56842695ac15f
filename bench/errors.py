"""The exception a user reads, the one that no method may stop, and texts from elsewhere made fit to be shown."""


class BenchError(Exception):
    """Bad input: the message names the thing, the value and the way out; the CLI prints it and exits with 2."""


class CellTimeoutError(BaseException):
    """A cell took longer than it was given; no Exception, so that a detector's own `except Exception` lets it pass."""


def harmless(text: str) -> str:
    """Text from elsewhere without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def shown(value: object, longest: int = 200) -> str:
    """A value from elsewhere for a message: one line of so many characters at most, nothing that a terminal obeys."""
    return harmless(" ".join(str(value).split()))[:longest]
