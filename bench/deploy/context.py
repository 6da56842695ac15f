"""What a reader needs beside an alert: when, where, and the line as it was written."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card, Format
from bench.data.reading.builder import Clock
from bench.data.reading.header import LEAP_YEAR, cut, in_year
from bench.data.reading.lines import cut_long, decode, text_lines
from bench.errors import BenchError

_WORD: Final = r"\S+ "
_DATE: Final = r"[0-9]{4}[./-][0-9]{2}[./-][0-9]{2} "
_DATE_OF_HEADERS: Final = r"[0-9]{4}\.[0-9]{2}\.[0-9]{2} "
_LEVELS: Final = "trace|debug|info|notice|warn(?:ing)?|err(?:or)?|severe|fatal|crit(?:ical)?"
_NO_HOST: Final = re.compile(rf"(?i)[^a-z]*|{_LEVELS}|[0-9-]+t[0-9:.-]+z?")
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]+)?")
_NAMED: Final = re.compile(r'"(?:host|hostname|_HOSTNAME|node)"\s*:\s*"([^"]+)"|\b(?:host|hostname|node)="?([^\s",]+)')
_A_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log, as a reader looks for it."""

    number: int
    """From 1."""
    time: str
    """ISO, as the log has it, in UTC where it names a zone; empty where none was read."""
    host: str
    """Empty where the line names none, or not where one is looked for."""
    raw: str
    """As it was written, its label cut off."""
    message: str
    """What its header leaves; all of it where it has no such header."""


def logline(form: Format, number: int, seconds: float, raw: str) -> LogLine:
    """A line with what its header says; raw: without its label;  seconds: Unix time or NaN."""
    raw = raw.rstrip("\r\n")
    return LogLine(number, iso(seconds), host_of(form, raw), raw, _message(form, raw))


def iso(seconds: float) -> str:
    """`2026-11-29 10:00:00`; empty for NaN and what is no time."""
    try:
        return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return ""


def host_of(form: Format, raw: str) -> str:
    """The host that wrote a line: the word behind the time where the header skips one there, or a field of that name.

    Levels and the names of loggers stand elsewhere, so that they are never taken for a host.
    """
    pattern = _host_pattern(form.header)
    match = pattern.match(raw) if pattern else _NAMED.search(raw)
    host = next(filter(None, match.groups()), "") if match else ""
    return "" if _NO_HOST.fullmatch(host) and not _ADDRESS.fullmatch(host) else host


def _message(form: Format, raw: str) -> str:
    match = re.match(form.header, raw)
    return match["message"] if match else raw


def bare(form: Format, line: str) -> str:
    """A line without its label, or what marks it: as the header sees it."""
    pattern = r"^\S*\s?" if form.label == "first-token" else form.mark
    return re.sub(pattern, "", line, count=1) if pattern else line


@lru_cache
def _host_pattern(header: str) -> re.Pattern[str] | None:
    """The header up to that word, as its first group; None where it has no such word."""
    plain = re.sub(r"\(\?P<(?!host>)[a-z_]+>", "(?:", header)
    if "(?P<host>" in plain:
        return re.compile(plain)
    start = header.find("(?P<time>")
    end = _closing(header, start) if start >= 0 else -1
    if end < 0:
        return None
    words = header[end:].lstrip(" ")
    if words == header[end:]:
        return None
    words = words.removeprefix(_DATE_OF_HEADERS)
    if not words.startswith(_WORD):
        return None
    before = re.sub(r"\(\?P<[a-z_]+>", "(?:", header[: len(header) - len(words)])
    date = f"(?:{_DATE})?" if words.startswith(2 * _WORD) else ""
    return re.compile(rf"{before}{date}(\S+)")


def _closing(pattern: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`; -1 where none does."""
    depth, in_class, position = 0, False, start
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            position += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
            if not depth:
                return position + 1
        position += 1
    return -1


def times_of(clock: Clock, form: Format, content: bytes) -> NDArray[np.float64]:
    """float64 (n_lines,): Unix seconds or NaN of each line, in the years that the clock goes through."""
    return clock.read(_cut(form, content)["time"].to_numpy())


def headerless_share(form: Format, content: bytes) -> float:
    """Share of these lines that do not have the header."""
    table = _cut(form, content)
    return float(table["headerless"].sum()) / max(1, len(table))


def in_present(card: Card, content: bytes, latest: float) -> Card:
    """The card for new lines: times without a year are of the last year in which the first is not after `latest`."""
    if not card.format.year:
        return card
    times = _cut(replace(card.format, year=LEAP_YEAR), content)["time"].drop_nans().to_numpy()
    year = datetime.datetime.fromtimestamp(latest, datetime.UTC).year
    if len(times) and in_year(times[:1], np.array([year]))[0] > latest + _A_DAY_S:
        year -= 1
    return replace(card, format=replace(card.format, year=year))


def _cut(form: Format, content: bytes) -> pl.DataFrame:
    utf8, _ = decode(cut_long(content)[0])
    try:
        return cut(text_lines(utf8), form)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"the header is a pattern that cannot be used ({reason}): fit it again") from None
