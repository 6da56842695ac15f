"""A simulated log from a declarative grammar: for tests and development without any real data.

One run of a process or an anomaly is an episode. Episodes begin at random gaps and overlap, so their lines interleave.
The kinds of anomaly take turns over the whole log, so that neither the position in the log nor one kind alone gives the
labels away.

The bytes depend on the grammar, the seed and the number of lines only. All draws are whole numbers made from
`Random.getrandbits`: no floating point function, locale or library version can change a line.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, TypeVar

from bench.data.grammar import KINDS, MILLION, Grammar, Labels, Parameter, Process, Value, read_grammar, time_fields

_T = TypeVar("_T")


class SimulatedLine(NamedTuple):
    """One line and what the generator knows about it."""

    text: str
    """The raw line, without its newline."""
    kind: str
    """The kind of anomaly it is part of; empty for a normal line."""
    session: str
    """The id of its session where sessions are labelled; else empty."""


@dataclass(frozen=True, slots=True)
class SimulatedLog:
    """A whole simulated log in memory; `iter_lines` is for one that does not fit."""

    lines: bytes
    """The raw log in the system's own layout; every line ends with a newline."""
    label_file: bytes | None
    """CSV with one row per session where sessions are labelled; else None."""
    kinds: tuple[str, ...]
    """The kind of anomaly each line is part of; empty for a normal line."""
    sessions: Mapping[str, str]
    """Session id -> kind, in order of the first line; empty where lines are labelled."""

    @property
    def n_lines(self) -> int:
        """The number of lines: those asked for, and the few that the last episodes need to end."""
        return len(self.kinds)

    def abnormal_lines(self) -> dict[str, int]:
        """Count the lines of each kind of anomaly."""
        return dict(Counter(kind for kind in self.kinds if kind))

    def abnormal_sessions(self) -> dict[str, int]:
        """Count the sessions of each kind of anomaly."""
        return dict(Counter(kind for kind in self.sessions.values() if kind))


def simulate(grammar: Mapping[str, Any], *, seed: int, n_lines: int | None = None) -> SimulatedLog:
    """Generate a log from the `[simulate]` table of a card; n_lines replaces its own number of lines.

    Raises:
        BenchError: the grammar is not well formed.
    """
    rules = read_grammar(grammar)
    lines = list(_stream(rules, _Dice(seed), rules.lines if n_lines is None else n_lines))
    # A dict keeps the first position of a key, and all lines of a session have its kind.
    sessions = {line.session: line.kind for line in lines if line.session}
    return SimulatedLog(
        lines="".join(f"{line.text}\n" for line in lines).encode(),
        label_file=_label_file(rules.labels, sessions) if rules.labels.session else None,
        kinds=tuple(line.kind for line in lines),
        sessions=sessions,
    )


def iter_lines(grammar: Mapping[str, Any], *, seed: int, n_lines: int | None = None) -> Iterator[SimulatedLine]:
    """Generate the same lines one by one, in memory that does not grow with their number."""
    rules = read_grammar(grammar)
    return _stream(rules, _Dice(seed), rules.lines if n_lines is None else n_lines)


class _Dice:
    """Whole numbers from one seed, the same on every Python and platform."""

    def __init__(self, seed: int) -> None:
        self._bits = Random(seed).getrandbits

    def between(self, low: int, high: int) -> int:
        """Return low <= value <= high."""
        return low + (self._bits(64) * (high - low + 1) >> 64)

    def happens(self, chance_ppm: int) -> bool:
        """Return True with a chance given in parts per million."""
        return self.between(1, MILLION) <= chance_ppm

    def pick(self, items: Sequence[_T]) -> _T:
        """Return one of the items."""
        return items[self.between(0, len(items) - 1)]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """Return the items in random order."""
        left = list(items)
        return [left.pop(self.between(0, len(left) - 1)) for _ in items]


class _Values(dict[str, Value]):
    """The values of placeholders, drawn when first asked for; those of an episode come from its own values."""

    def __init__(self, parameters: Mapping[str, Parameter], dice: _Dice, episode: _Values | None = None) -> None:
        super().__init__()
        self._parameters, self._dice, self._episode = parameters, dice, episode

    def __missing__(self, name: str) -> Value:
        if self._episode is not None and self._parameters[name].per_episode:
            return self._episode[name]
        self[name] = value = self.draw(name)
        return value

    def draw(self, name: str) -> Value:
        """Draw a parameter anew."""
        text, values, span, _ = self._parameters[name]
        if text:
            return text.format_map(_Values(self._parameters, self._dice))
        return self._dice.pick(values) if values else self._dice.between(*span)


def _stream(grammar: Grammar, dice: _Dice, n_lines: int) -> Iterator[SimulatedLine]:
    """Start episodes until n_lines are planned; every episode is finished, so that none is cut by the end."""
    pending: list[tuple[int, int, SimulatedLine]] = []
    now_us, planned = grammar.start_us, 0
    kinds, due = _rounds(grammar.anomalies, dice), dice.between(*grammar.anomaly_gap_lines)
    while planned < n_lines:
        kind = ""
        if planned >= due and grammar.anomalies:
            kind, due = next(kinds), due + dice.between(*grammar.anomaly_gap_lines)
        process = _pick_process(grammar.of_kind(kind), planned * MILLION // n_lines, dice)
        for time_us, line in _episode(grammar, process, now_us, dice):
            # The running number keeps lines of the same time in order.
            heapq.heappush(pending, (time_us, planned, line))
            planned += 1
        now_us += dice.between(*grammar.episode_gap_us)
        while pending and pending[0][0] < now_us:
            yield heapq.heappop(pending)[2]
    while pending:
        yield heapq.heappop(pending)[2]


def _rounds(anomalies: Sequence[Process], dice: _Dice) -> Iterator[str]:
    """Yield each kind of anomaly once a round, in random order, without end."""
    kinds = [kind for kind in KINDS if any(anomaly.kind == kind for anomaly in anomalies)]
    while kinds:
        yield from dice.shuffled(kinds)


def _pick_process(processes: Sequence[Process], position_ppm: int, dice: _Dice) -> Process:
    """Draw by weight one that can start at this position in the log."""
    able = [process for process in processes if process.during_ppm[0] <= position_ppm < process.during_ppm[1]]
    ends = list(itertools.accumulate(process.weight for process in able))
    return able[bisect.bisect_left(ends, dice.between(1, ends[-1]))]


def _episode(grammar: Grammar, process: Process, start_us: int, dice: _Dice) -> Iterator[tuple[int, SimulatedLine]]:
    """Yield the time, in microseconds since 1970, and the line of each message of one run of a process."""
    shared = _Values(grammar.parameters, dice)
    by_session, time_us = grammar.labels.session, start_us
    session = str(shared[by_session]) if by_session else ""
    for step in process.steps:
        if not dice.happens(step.chance_ppm):
            continue
        # A session is labelled as a whole; of other episodes only the lines that deviate.
        kind = "" if step.normal and not by_session else process.kind
        label = process.alert if kind else grammar.labels.normal
        for _ in range(dice.between(*step.times)):
            message = grammar.messages[dice.pick(step.messages)]
            values = _Values(grammar.parameters, dice, shared)
            values.update(time_fields(time_us // MILLION))
            values.update(message.fields, label=label, ffffff=f"{time_us % MILLION:06d}")
            values.update((name, values.draw(other)) for name, other in step.values.items())
            yield time_us, SimulatedLine(message.layout.format_map(values), kind, session)
            time_us += dice.between(*process.step_gap_us)


def _label_file(labels: Labels, sessions: Mapping[str, str]) -> bytes:
    rows = (f"{session},{labels.abnormal if kind else labels.normal}\n" for session, kind in sessions.items())
    return f"{labels.header}\n{''.join(rows)}".encode()
