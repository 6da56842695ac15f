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
    """Text from elsewhere without what a terminal would obey; a tab is a blank."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text.replace("\t", " "))


def shown(value: object, longest: int = 200) -> str:
    """A value from elsewhere for a message: one line of so many characters at most, nothing that a terminal obeys."""
    return harmless(" ".join(str(value).split()))[:longest]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean mlad? else `, where a known name is near, upper or lower case; else nothing."""
    spelled = {text.lower(): text for text in known}
    near = difflib.get_close_matches(name.lower(), spelled, 1)
    return f"did you mean {spelled[near[0]]}? else " if near else ""


def choose_one(name: str, known: Iterable[str], *, listing: str = "", more: str = "") -> str:
    """`did you mean mlad? else choose one of ...`, the end of a sentence about a name that nothing has.

    known: all there are;  listing: the command that lists those for which a message has no room
    more: what else may be given, behind them
    """
    names = list(known)
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    where = f" (`{listing}` lists all)" if rest and listing else ""
    return f"{did_you_mean(name, names)}choose one of {', '.join(names[:_LISTED])}{rest}{where}{more}"


def unknown_name(
    what: str, name: str, known: Sequence[str], *, where: str, spelled: Mapping[str, str] | None = None
) -> BenchError:
    """The error about a name that nothing has: the nearest one, and those there are.

    where: what the name was given to, as `--columns`;  spelled: other ways to write a known name
    """
    meant = "" if spelled is None else did_you_mean(name, spelled)
    listed = choose_one("" if meant else name, known)
    return BenchError(f"{where}: there is no {what} '{name}': {meant}{listed}")
