"""Blocks of lines -> one log: messages and sessions are numbered in order of first occurrence, defects counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.card import Card
from bench.data.reading.columns import Columns
from bench.data.reading.header import ALMOST_YEAR_S, HALF_YEAR_S, in_year
from bench.data.reading.incidents import Met
from bench.data.reading.labels import SessionLabels, label_incidents, label_sessions
from bench.data.reading.log import DEFECTS, Defect, Log
from bench.data.reading.zones import to_utc
from bench.errors import BenchError
from bench.types import UNLABELLED


class BlockSessions(NamedTuple):
    """Which lines of a block name which session; indices are the block's own."""

    lines: NDArray[np.int64]
    codes: NDArray[np.int32]
    ids: list[str]


class EventPlaces(NamedTuple):
    """Which lines of a block are events, where not all are; indices are the block's own."""

    rows: NDArray[np.int64]
    n_lines: int
    n_skipped: int


@dataclass(frozen=True, slots=True)
class Block:
    """What was read from one block of lines; indices are the block's own."""

    message_ids: NDArray[np.int32]
    messages: list[str]
    labels: NDArray[np.int8]
    times: NDArray[np.float64]
    defects: list[Defect]
    alerts: list[tuple[str, int]]
    sessions: BlockSessions | None
    starts_file: bool = False
    places: EventPlaces | None = None
    """None where each line is an event."""

    @property
    def n_lines(self) -> int:
        """Lines that were read."""
        return len(self.message_ids) if self.places is None else self.places.n_lines

    @classmethod
    def start_of_file(cls) -> Block:
        """A block without lines, where a file begins."""
        empty = np.empty(0)
        return cls(empty.astype(np.int32), [], empty.astype(np.int8), empty, [], [], None, starts_file=True)


class Gathering:
    """Takes blocks in their order and makes the log of them."""

    def __init__(self, card: Card, columns: Columns) -> None:
        self.n_lines = 0
        """Events so far, which are lines unless the card says otherwise."""
        self._n_read = self._n_skipped = 0
        self._card, self._columns = card, columns
        self._messages: dict[str, int] = {}
        self._sessions: dict[str, int] = {}
        self._n_sessions_before = 0
        self._continued: set[int] = set()
        self._defects: dict[str, Defect] = {}
        self._alerts: Counter[str] = Counter()
        self._clock = Clock(card.format.year, card.format.zone)
        self._incidents = Met(card.incidents if card.lines is None else ())

    def add(self, block: Block) -> None:
        """Take over the next block; a full disk is an OSError."""
        if block.starts_file:
            self._columns.add("file_starts", np.array([self.n_lines]))
            self._n_sessions_before = len(self._sessions)
            return
        add = self._columns.add
        times = self._clock.read(block.times)
        self._incidents.look(times)
        is_incident = self._card.format.label == "incidents"
        add("message_ids", _numbered(self._messages, block.messages)[block.message_ids])
        add("times", times)
        add("labels", label_incidents(times, self._card.incidents) if is_incident else block.labels)
        if block.sessions is not None:
            numbers = _numbered(self._sessions, block.sessions.ids)
            add("session_lines", block.sessions.lines + self.n_lines)
            add("session_codes", numbers[block.sessions.codes])
            self._continued.update(numbers[numbers < self._n_sessions_before].tolist())
        for defect in (*block.defects, *_in_file(_lost(block.times, times), block.places)):
            first = self._n_read + defect.first_line + 1
            known = self._defects.get(defect.kind, Defect(defect.kind, 0, first))
            self._defects[defect.kind] = Defect(defect.kind, known.count + defect.count, known.first_line)
        self._alerts.update(dict(block.alerts))
        if block.places is not None:
            add("first_lines", block.places.rows + self._n_read + 1)
            self._n_skipped += block.places.n_skipped
        self._n_read += block.n_lines
        self.n_lines += len(block.message_ids)

    def finish(self, table: SessionLabels | None) -> Log:
        """The log of all blocks; table: the labels of its sessions, where they stand in a file."""
        self._require_lines()
        texts = {"messages": list(self._messages)}
        notes = (*self._clock.notes(), *self._incidents.notes())
        alerts = tuple(sorted(self._alerts.items(), key=lambda alert: (-alert[1], alert[0])))
        if self._card.format.session:
            texts["session_ids"] = list(self._sessions)
            found, more = self._session_labels(texts["session_ids"], table)
            self._columns.add("session_labels", found)
            notes += more
            alerts = table.alerts if table else alerts
        defects = tuple(self._defects[kind] for kind in DEFECTS if kind in self._defects)
        facts: dict[str, Any] = {"defects": defects, "notes": notes, "alerts": alerts}
        other = self._n_read - self.n_lines
        if other:
            facts |= {"notes": (*notes, *_no_events(other - self._n_skipped, self._n_skipped)), "other_lines": other}
        return self._columns.finish(texts, facts)

    def _session_labels(
        self, ids: Sequence[str], table: SessionLabels | None
    ) -> tuple[NDArray[np.int8], tuple[str, ...]]:
        notes: tuple[str, ...] = ()
        found = np.full(len(ids), UNLABELLED, np.int8)
        if table is not None:
            found, notes = label_sessions(ids, table)
        if self._continued:
            split = f"{len(self._continued):,} sessions continue in a later file; their lines are taken together"
            notes = (*notes, split)
        return found, notes

    def _require_lines(self) -> None:
        card = self._card
        if not self.n_lines:
            raise BenchError(f"'{card.key}' holds no line: its files are empty; put the right ones in their place")
        if card.format.session and not self._sessions:
            raise BenchError(f"no line of '{card.key}' names a session: correct `session` in its card")
        headerless = self._defects.get("headerless", Defect("headerless", 0, 0)).count
        if has_time(card) and not self._clock.n_read and headerless < self.n_lines:
            raise BenchError(
                f"no time in '{card.key}' can be read as '{card.format.time}': correct `time` in its card, "
                "or give `year` where the times have none"
            )


def _in_file(defects: Iterable[Defect], places: EventPlaces | None) -> list[Defect]:
    """Defects of events by the block's lines."""
    if places is None:
        return list(defects)
    return [replace(defect, first_line=int(places.rows[defect.first_line])) for defect in defects]


def _no_events(n_continued: int, n_skipped: int) -> tuple[str, ...]:
    """What to say of lines that are no events of their own."""
    counts = {
        f"{n_continued:,} lines continue the event before them": n_continued,
        f"{n_skipped:,} lines are skipped, as the card says": n_skipped,
    }
    return tuple(said for said, count in counts.items() if count)


def has_time(card: Card) -> bool:
    """Whether the card says how times are read."""
    return bool(card.format.time) and "(?P<time>" in card.format.header


def _lost(before: NDArray[np.float64], after: NDArray[np.float64]) -> list[Defect]:
    """Times that are none in their year or zone, such as 29 February in 2023."""
    where = np.flatnonzero(np.isnan(after) & ~np.isnan(before))
    return [Defect("timeless", len(where), int(where[0]))] if len(where) else []


class Clock:
    """Times in the order of lines: counts jumps back, and finds the years where the log has none.

    zone: in which times without a zone of their own are; empty for UTC
    """

    def __init__(self, year: int, zone: str = "") -> None:
        self.n_read = 0
        self._zone = zone
        self._year, self._has_years = year, not year
        self._last = self._last_of_year = -np.inf
        self._n_backwards = 0

    def read(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The next times, Unix seconds, in their years."""
        known = np.flatnonzero(~np.isnan(times))
        if not len(known):
            return times
        if not self._has_years:
            times = times.copy()
            times[known] = self._in_years(times[known])
            known = np.flatnonzero(~np.isnan(times))
        if self._zone:
            times = times.copy()
            times[known] = to_utc(times[known], self._zone, self._last)
            known = np.flatnonzero(~np.isnan(times))
        if not len(known):
            return times
        self._n_backwards += int((np.diff(times[known], prepend=self._last) < 0).sum())
        self._last = float(times[known[-1]])
        self.n_read += len(known)
        return times

    def _in_years(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """A late line of December among those of January belongs to the year that has ended."""
        steps = np.diff(times, prepend=self._last_of_year if self.n_read else times[0])
        years = self._year + np.cumsum((steps < -HALF_YEAR_S).astype(np.int64) - (steps > ALMOST_YEAR_S))
        self._last_of_year, self._year = float(times[-1]), int(years[-1])
        return in_year(times, years)

    def notes(self) -> tuple[str, ...]:
        """What was odd about all times so far."""
        if not self._n_backwards:
            return ()
        return (f"time goes back at {self._n_backwards:,} lines; the order of the lines is kept",)


def _numbered(known: dict[str, int], names: list[str]) -> NDArray[np.int32]:
    """The number of each name in order of first occurrence, new ones being added."""
    return np.array([known.setdefault(name, len(known)) for name in names], np.int32)
