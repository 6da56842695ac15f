"""What `bench data new` knows of log formats: layouts as files of `formats/`, usual variables and session ids.

A layout is a file: its name, headers as in a card's `[format]`, and samples with what must be read from them. All
patterns are in the dialect of cards: no look-around, so that Python and polars read them alike.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bench.data.own.moments import FORMATS, TimeShape

UNKNOWN: Final = "unknown"
_TIMES_FILE: Final = "times.toml"
_WORDS: Final = {
    "<LEVEL>": r"\[? *(?i:trace|debug|info|notice|warn|warning|error|err|severe|fatal|critical|alert|emerg) *\]?",
    "<MONTH>": "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
    "<CLOCK>": "[0-9]{2}:[0-9]{2}:[0-9]{2}",
}
"""What stands in headers for what many of them share; `<TIME>` is the way the lines at hand write their times."""


class Layout(NamedTuple):
    """A way of writing log lines: a header and a time as in a card's `[format]`."""

    name: str
    header: str
    time: str = ""
    note: str = ""
    """What a user should know about this choice, one sentence."""
    evidence: str = ""
    """What most lines must look like besides, where the header alone would fit others too."""


@dataclass(frozen=True)
class LayoutFile:
    """A file of `formats/`."""

    name: str
    order: float
    """Of layouts that fit equally well the lowest wins."""
    headers: tuple[str, ...]
    time: str
    """How the group `time` of the headers is read, where they have one of their own."""
    evidence: str
    begins: str
    """What times must begin with, as a card's `time` writes it, so that only such are put for `<TIME>`."""
    note: str
    is_first: bool
    """Whether it is tried before fields of JSON and logfmt are."""
    samples: tuple[Mapping[str, Any], ...]

    def layouts(self, shapes: Sequence[TimeShape]) -> list[Layout]:
        """Its layouts for these ways of writing times; those that need one where there is none are left out."""
        return [
            Layout(
                self.name,
                header.replace("<TIME>", shape.pattern),
                self.time or shape.time,
                f"{self.note} {shape.note}".strip(),
                self.evidence.replace("<TIME>", shape.pattern),
            )
            for header in self.headers
            for shape in (shapes if "<TIME>" in header else [TimeShape("", "")])
            if shape.time.startswith(self.begins)
        ]


PLAIN: Final = Layout(UNKNOWN, "^(?P<message>.*)$")


@functools.cache
def layout_files() -> tuple[LayoutFile, ...]:
    """All layouts with headers, the most specific first."""
    found = [_layout_file(known) for known in _known_files().values() if "headers" in known]
    return tuple(sorted(found, key=lambda file: file.order))


def fields_of(kind: str) -> dict[str, tuple[str, ...]]:
    """Usual names of the fields `message` and `time`; `a->b` is b in the object a."""
    known = _known_files()[kind]
    return {"message": tuple(known["message"]), "time": tuple(known["time"])}


@functools.cache
def _known_files() -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in FORMATS.glob("*.toml") if path.name != _TIMES_FILE)
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in paths}


def _layout_file(known: Mapping[str, Any]) -> LayoutFile:
    words = re.compile("|".join(map(re.escape, _WORDS)))
    headers = (words.sub(lambda word: _WORDS[word[0]], header) for header in known["headers"])
    return LayoutFile(
        name=known["name"],
        order=known["order"],
        headers=tuple(headers),
        time=known.get("time", ""),
        evidence=known.get("evidence", ""),
        begins=known.get("begins", ""),
        note=known.get("note", ""),
        is_first=known.get("before_fields", False),
        samples=tuple(known.get("samples", ())),
    )


_ADDRESS = "[0-9]{1,3}(?:\\.[0-9]{1,3}){3}(?::[0-9]+)?"
_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

SESSIONS: Final = ("blk_-?[0-9]+", f"req-{_UUID}", _UUID)
"""Tokens that are session ids wherever most lines have one."""

SESSION_WORDS: Final = (
    (r"\b([A-Za-z_]*[iI][dD])=[A-Za-z0-9_.:-]+", r"\bNAME=[A-Za-z0-9_.:-]+"),
    (r"\b([A-Za-z]{2,}[_-])[0-9][0-9_]*\b", r"\bNAME[0-9][0-9_]*\b"),
)
"""How ids are found with the word before them, and the pattern for one such word."""

MASKS: Final = (
    (rf"\b{_UUID}\b", "UUIDs"),
    (_ADDRESS, "network addresses"),
    (r"\bR[0-9]{2}-[A-Z0-9]+(?:-[A-Z0-9]+)*(?::[A-Z0-9]+-[A-Z0-9]+)?", "rack, midplane, node card, chip"),
    (r"(?:/[A-Za-z0-9_.$#@:+~-]+){2,}/?", "paths"),
    (r"\b0[xX][0-9a-fA-F]+\b", "hex numbers"),
    (r"\b[0-9a-fA-F]*[0-9][0-9a-fA-F]{7,}\b", "bare hex words"),
)
"""Kept in a card where they match a line."""

NUMBERS: Final = (r"-?\b[0-9]+(?:\.[0-9]+)?\b", "numbers")
"""In every card."""
