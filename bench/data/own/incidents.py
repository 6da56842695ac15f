"""Time ranges of failures from a file: columns found by their names, or the two that hold times."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.incidents import COMPACT_DAY, LATEST_S
from bench.data.own.texts import require_file, text_of
from bench.data.reading.tables import Misread, Row, cells_of, lines_of, rows, shown
from bench.errors import BenchError

Incidents = tuple[tuple[float, float], ...]

EXAMPLE: Final = "2024-01-31T10:00:00Z,2024-01-31T10:20:00Z"
_STARTS: Final = ("start", "begin", "beginning", "from", "since", "started")
_ENDS: Final = ("end", "stop", "until", "to", "till", "finish", "ended")
_SEPARATORS: Final = (",", ";", "\t", "|")
_NUMBER: Final = re.compile(r"[0-9]+([.,][0-9]+)?")
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK: Final = re.compile("[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}.*)?")
_DAY_S: Final = 86_400
_SHORTEST_S: Final = 1e-6


def read_incidents(path: Path, columns: tuple[str, str] | None = None) -> Incidents:
    """Rows of start and end; times as ISO text (UTC where they have no zone) or Unix seconds.

    columns: names of the two; without them those that are called so, or the first two
    """
    require_file(path, "file of incidents")
    text = _without_remarks(text_of(path))
    separator = _separator(text)
    try:
        table = list(rows(text, separator))
    except Misread as error:
        raise BenchError(f"'{path}' {error}: write a start,end on each line, such as {EXAMPLE}") from None
    head, places = _head(table, columns, path)
    found = tuple(_incident(path, row, places) for row in table[head:])
    if not found:
        raise BenchError(f"'{path}' names no incident: write one start,end a line, such as {EXAMPLE}")
    return found


def incidents_toml(incidents: Incidents) -> str:
    """`[[incidents]]` of a card."""
    return "".join(f"\n[[incidents]]\nstart = {_iso(start)}\nend = {_iso(end)}\n" for start, end in incidents)


def notes_of(incidents: Incidents, times: NDArray[np.float64], *, is_whole: bool) -> tuple[str, ...]:
    """What the times of the first lines say of incidents; is_whole: there are no others."""
    known = times[~np.isnan(times)]
    if not incidents or not len(known):
        return ()
    notes = ["Incidents are kept in the card: after a change of their file, give --force."]
    first, last = float(known.min()), float(known.max())
    if all(any(start <= time <= end for start, end in incidents) for time in known.tolist()):
        notes.append("Every line that was looked at lies in an incident, and none is normal.")
    missed = [
        (start, end)
        for start, end in incidents
        if not ((known >= start) & (known <= end)).any() and (is_whole or end < first)
    ]
    if missed:
        looked = "" if is_whole else "first "
        notes.append(
            f"{len(missed):,} of {len(incidents):,} incidents meet no line, such as {_iso(missed[0][0])} to "
            f"{_iso(missed[0][1])}: the {looked}lines are of {_iso(first)} to {_iso(last)} (UTC)."
        )
    return tuple(notes)


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def _without_remarks(text: str) -> str:
    """Also what stands behind a row."""
    return "\n".join(re.sub(r"(?:^|\s)#.*", "", line) for line in lines_of(text))


def _separator(text: str) -> str:
    """The one that leaves two times, or the names of both ends, alone in their cells; else a comma."""
    lines = [line for line in lines_of(text) if line.strip()][:2]
    for line in lines:
        for separator in (*_SEPARATORS, " "):
            cells = cells_of(line, separator)
            is_head = _named(cells, _STARTS) is not None and _named(cells, _ENDS) is not None
            # Blanks also stand between a date and its clock.
            times = _times(cells)
            if is_head or (len(times) > 1 and (separator != " " or times[:2] == [0, 1])):
                return separator
    counts = {separator: sum(separator in line for line in lines) for separator in _SEPARATORS}
    return max(counts, key=lambda separator: counts[separator])


def _head(table: list[Row], columns: tuple[str, str] | None, path: Path) -> tuple[int, tuple[int, int]]:
    """How many rows stand above the incidents, and the columns of start and end."""
    if columns is not None:
        for i, row in enumerate(table):
            if set(columns) <= set(row.cells):
                return i + 1, (row.cells.index(columns[0]), row.cells.index(columns[1]))
        first = shown(table[0].cells) if table else "nothing"
        raise BenchError(
            f"'{path}' has no row with the names {', '.join(columns)} of --columns: it begins with {first}"
        )
    for i, row in enumerate(table[:50]):
        start, end = _named(row.cells, _STARTS), _named(row.cells, _ENDS)
        if start is not None and end is not None:
            return i + 1, (start, end)
        if len(_times(row.cells)) > 1:
            return i, _two_times(row, path)
        if any(map(_looks_like_a_time, row.cells)):
            return i, (0, 1)  # what is wrong with it is said with its line
    is_head = bool(table) and not re.search("[0-9]", "".join(table[0].cells))
    return int(is_head), (0, 1)


def _named(cells: Sequence[str], names: tuple[str, ...]) -> int | None:
    """The column of one of these names, alone or in front of `time`, `_at`, `(UTC)` and the like."""
    for i, cell in enumerate(cells):
        word = re.match("[a-z]+?(?=(?:time|date)?(?:$|[^a-z]))", cell.strip().lower())
        if word and word[0] in names:
            return i
    return None


def _two_times(row: Row, path: Path) -> tuple[int, int]:
    """The columns of a row without names that hold times, where it is plain which two are meant."""
    found = _times(row.cells)
    are_numbers = [bool(_NUMBER.fullmatch(row.cells[i])) for i in found]
    dates = [i for i, is_number in zip(found, are_numbers, strict=True) if not is_number]
    if len(dates) > 1:
        return dates[0], dates[1]
    if len(found) > 2 or any(are_numbers) != all(are_numbers):
        raise BenchError(
            f"line {row.line} of '{path}' ('{shown(row.cells)}') stands below no names start and end, and may be read "
            "in several ways: give it a first row with these names, or --columns START,END"
        )
    return found[0], found[1]


def _times(cells: Sequence[str]) -> list[int]:
    return [i for i, cell in enumerate(cells) if _seconds(cell) is not None]


def _looks_like_a_time(cell: str) -> bool:
    return bool(re.match("[0-9]", cell))


def _incident(path: Path, row: Row, places: tuple[int, int]) -> tuple[float, float]:
    if len(row.cells) <= max(places) or not all(row.cells[place] for place in places):
        raise BenchError(f"line {row.line} of '{path}' has no start or no end: write start,end, such as {EXAMPLE}")
    texts = [row.cells[place] for place in places]
    if any(map(_DAY.fullmatch, texts)) and any(map(_CLOCK.fullmatch, row.cells)):
        raise BenchError(
            f"line {row.line} of '{path}' has a clock in a column of its own ('{shown(row.cells)}'): write date and "
            f"clock as one, such as {EXAMPLE}"
        )
    found = [_seconds(text) for text in texts]
    for text, seconds in zip(texts, found, strict=True):
        if seconds is None:
            raise BenchError(
                f"line {row.line} of '{path}' has the time '{text[:40]}': write ISO text or Unix seconds, such as "
                f"{EXAMPLE}"
            )
    start, end = (seconds for seconds in found if seconds is not None)
    if _DAY.fullmatch(texts[1]):
        end += _DAY_S - _SHORTEST_S  # both ends are included
    if bool(_NUMBER.fullmatch(texts[0])) != bool(_NUMBER.fullmatch(texts[1])):
        raise BenchError(
            f"line {row.line} of '{path}' has a number and a date ('{texts[0]}' and '{texts[1]}'): write start and "
            f"end alike, such as {EXAMPLE}"
        )
    if start > end:
        raise BenchError(f"line {row.line} of '{path}' has an incident that ends before it starts: exchange the two")
    return start, end


def _seconds(text: str) -> float | None:
    """Unix seconds of a time, None of what is none; a number that is rather a date is none."""
    text = text.strip()
    try:
        if _NUMBER.fullmatch(text):
            number = float(text.replace(",", "."))
            return None if number >= LATEST_S or COMPACT_DAY.fullmatch(text) else number
        moment = datetime.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
