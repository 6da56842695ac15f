"""The exception a user reads, the one that no method may stop, and texts from elsewhere made fit to be shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_LISTED: Final = 30
"""Names that a message lists."""


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean mlad? else `, where a known name is near; else nothing."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]}? else " if near else ""


def unknown_name(
    what: str, name: str, known: Sequence[str], *, where: str, spelled: Mapping[str, str] | None = None
) -> BenchError:
    """The error about a name that nothing has: the nearest one, and those there are.

    where: what the name was given to, as `--columns`;  spelled: other ways to write a known name
    """
    others = dict.fromkeys(known) if spelled is None else spelled
    meant = did_you_mean(name.lower(), others)
    listed = ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    return BenchError(f"{where}: there is no {what} '{name}': {meant}choose one of {listed}")
