"""Where a file comes from and how it is made of that: declared in a card, no part of any identity.

A recipe of steps is data: each step is a small table with one key that says what is done, see `STEPS`. What takes more
than such steps is told in words (`recipe`) and made by hand.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from bench.errors import BenchError

NO_LICENCE: Final = "none stated"
"""What a card says of files whose owner states no licence."""
STEPS: Final = {
    "unpack": "'gz', 'bz2' or 'xz'",
    "member": "the name of a file inside a zip or tar.gz",
    "columns": "a list of a CSV's columns, which `join` puts between",
    "rows": "how many rows from the start, or [start, stop]",
    "after": "the text behind whose first place each row goes on",
    "sort": "the number of the blank-separated field, from 1, whose whole number the rows are sorted by",
    "number": "the two names of the columns of a CSV that numbers the rows from 1",
    "line_ends": "'lf'",
    "final_newline": "true or false",
    "gzip": "the name inside the gzip file, perhaps ''",
}
"""What a step may do, and what stands behind its key."""
_PACKINGS: Final = ("gz", "bz2", "xz")
_COMMIT: Final = re.compile("[0-9a-f]{7,40}")
_WHOLE_COMMIT: Final = re.compile("[0-9a-f]{40}")
_SHA256: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Step:
    """One step of a recipe."""

    name: str
    value: str | int | tuple[str, ...] | tuple[int, ...]
    join: str = " "
    """What stands between the columns."""


@dataclass(frozen=True)
class Origin:
    """The file that another is made of, and how."""

    repository: str = ""
    """Address of a repository or record."""
    commit: str = ""
    path: str = ""
    """Where it stands in there; of a recipe in words perhaps several, with commas between them."""
    licence: str = ""
    """As its owner states it, or `none stated`."""
    recipe: str = ""
    """In words, where it takes more than steps, or what a reader should know."""
    sha256: str = ""
    """Of the file at `path`."""
    bytes: int = 0
    """Its exact size."""
    url: str = ""
    """Where it is loaded from, if that does not follow from repository, commit and path."""
    steps: tuple[Step, ...] = ()

    @property
    def address(self) -> str:
        """Where the file at `path` is loaded from; empty where that is not known."""
        if self.url:
            return self.url
        parts = urlsplit(self.repository)
        if parts.hostname != "github.com" or not self.commit:
            return ""
        return f"https://raw.githubusercontent.com{parts.path.rstrip('/')}/{self.commit}/{quote(self.path)}"

    @property
    def has_steps(self) -> bool:
        """Whether declared steps make the file of a published one."""
        return bool(self.steps)


def origin_of(values: Any, shared: Mapping[str, Any]) -> Origin | None:
    """The origin of one file: its own `[files.origin]` over the `[origin]` of all; None where there is neither."""
    if values is not None and not isinstance(values, Mapping):
        raise TypeError(f"origin = {values!r} is no table")
    merged = {**shared, **(values or {})}
    if not merged:
        return None
    return Origin(**{**merged, "steps": tuple(_step(entry) for entry in merged.get("steps", ()))})


def check_origin(path: Path, name: str, origin: Origin) -> None:
    """Refuse an origin that says too little, or whose recipe cannot be followed; `path` is the card."""
    where = f"the card {path} has an origin of '{name}'"
    for field in dataclasses.fields(origin):
        kind = {"bytes": int, "steps": tuple}.get(field.name, str)
        value = getattr(origin, field.name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BenchError(f"{where} with {field.name} = {value!r}: write {'a number' if kind is int else 'a text'}")
    for key in ("repository", "licence"):
        if not getattr(origin, key):
            raise BenchError(f'{where} without {key}: write it, of a licence perhaps "{NO_LICENCE}"')
    if not (origin.has_steps or origin.recipe):
        raise BenchError(f"{where} without steps: give them, or tell in words (`recipe`) how the file is made")
    if origin.commit and _COMMIT.fullmatch(origin.commit) is None:
        raise BenchError(f"{where} with commit = '{origin.commit}': write 7 to 40 hex digits in lower case")
    if origin.has_steps:
        _check_source(where, origin)


def _check_source(where: str, origin: Origin) -> None:
    """What is loaded must be known to the last byte."""
    parts = urlsplit(origin.address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BenchError(f"{where} with steps but no address: give commit and path, or url over http or https")
    if not origin.url and _WHOLE_COMMIT.fullmatch(origin.commit) is None:
        raise BenchError(f"{where} with commit = '{origin.commit}': give all 40 hex digits where steps follow")
    if _SHA256.fullmatch(origin.sha256) is None or origin.bytes <= 0:
        raise BenchError(f"{where} with steps: give sha256 (64 hex digits) and bytes of the file at its path")


def _step(entry: Any) -> Step:
    """A step of a recipe; a TypeError, which becomes the card's sentence, where it is none."""
    if not isinstance(entry, Mapping):
        raise TypeError(f"the step {entry!r} is no table")
    names = [key for key in entry if key in STEPS]
    others = set(entry) - set(names) - ({"join"} if names == ["columns"] else set())
    if len(names) != 1 or others:
        raise TypeError(f"the step {dict(entry)!r} is none of {', '.join(STEPS)}")
    name, value = names[0], entry[names[0]]
    if not _fits(name, value) or not isinstance(entry.get("join", ""), str):
        raise TypeError(f"the step {name} = {value!r}: write {STEPS[name]}")
    return Step(name, tuple(value) if isinstance(value, list) else value, entry.get("join", " "))


def _fits(name: str, value: Any) -> bool:
    if name == "unpack":
        return value in _PACKINGS
    if name in ("member", "after"):
        return isinstance(value, str) and bool(value)
    if name in ("columns", "number"):
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return is_list and (len(value) == 2 if name == "number" else bool(value))
    if name == "rows" and isinstance(value, list):
        return len(value) == 2 and all(type(end) is int for end in value) and 0 <= value[0] < value[1]
    if name in ("rows", "sort"):
        return type(value) is int and value > 0
    if name == "line_ends":
        return bool(value == "lf")
    return isinstance(value, bool if name == "final_newline" else str)
