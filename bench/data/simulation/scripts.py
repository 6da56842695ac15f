"""A grammar compiled to arrays: scripts (the steps of a process or an anomaly), forms (a message in one wording)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.simulation.draws import MILLION, Whole
from bench.data.simulation.records import KINDS, Anomaly, Grammar, Message, Process, Span, Step

NORMAL_KIND: Final = 0
FOREVER: Final = 2**62
"""Later than any line, in microseconds."""


class Form(NamedTuple):
    """A message in one wording."""

    message: str
    text: str
    values: Mapping[str, str]
    """Placeholder -> the parameter it is drawn from instead."""


class Scripts(NamedTuple):
    """Steps of all scripts, int64 (n_scripts, n_steps) each; steps that a script has not are taken 0 times.

    Script p is process p; behind the processes, script n_processes + a is anomaly a.
    """

    slot: Whole
    first_choice: Whole
    n_choices: Whole
    least: Whole
    most: Whole
    chance_ppm: Whole
    storm_ppm: Whole
    gap_low: Whole
    gap_high: Whole
    first_low: Whole
    first_high: Whole
    deviates: Whole
    choices: Whole
    """Forms, those of a step in a row; (n_choices,)."""
    kind: NDArray[np.uint8]
    """Of each script: 0 normal, else 1 + its place in KINDS; (n_scripts,)."""
    later_form: Whole
    """Of each form: the one that replaces it, or itself; (n_forms,)."""
    later_from: Whole
    later_to: Whole
    """Microseconds since 1970 between which it is replaced; (n_forms,)."""
    forms: tuple[Form, ...]
    ends_us: Whole
    """Phases of the log: the last microsecond + 1 of each; (n_phases,)."""
    process_weights: Whole
    """Cumulative, (n_phases, n_processes)."""
    is_able: NDArray[np.bool_]
    """Whether a process can start, (n_phases, n_processes)."""
    anomaly_weights: Whole
    """Cumulative, one row for each kind of the grammar, (n_kinds, n_phases, n_anomalies)."""
    process_of: Whole
    """The process of each anomaly, (n_anomalies,)."""


def compile_scripts(grammar: Grammar, n_lines: int) -> Scripts:
    """Lay a grammar out for a log of so many lines."""
    entries: list[Process | Anomaly] = [*grammar.processes, *grammar.anomalies]
    everything = [entry.steps for entry in entries]
    shape = (len(everything), max(map(len, everything)))
    columns = {name: np.zeros(shape, np.int64) for name in Scripts._fields[:12]}
    forms, choices = _Forms(grammar.messages), list[int]()
    for script, steps in enumerate(everything):
        for place, step in enumerate(steps):
            for name, value in _numbers(step, len(choices)).items():
                columns[name][script, place] = value
            choices += [forms.number(message, step.values) for message in step.messages]
    kinds = [NORMAL_KIND] * len(grammar.processes) + [KINDS.index(a.kind) + 1 for a in grammar.anomalies]
    clock = _Clock(grammar, n_lines)
    starts, ends_us = clock.phases(entries)
    able = _able(grammar.processes, clock, starts)
    return Scripts(
        **columns,
        choices=np.array(choices, np.int64),
        kind=np.array(kinds, np.uint8),
        **forms.later(clock),
        forms=tuple(forms.forms),
        ends_us=ends_us,
        process_weights=np.cumsum(able * np.array([p.weight for p in grammar.processes]), axis=1),
        is_able=able,
        anomaly_weights=_anomaly_weights(grammar, _able(grammar.anomalies, clock, starts)),
        process_of=np.array([anomaly.process for anomaly in grammar.anomalies], np.int64),
    )


class _Clock:
    """Parts of the log as times; how long it takes follows from the mean lines and the mean gap."""

    def __init__(self, grammar: Grammar, n_lines: int) -> None:
        self._start_us = grammar.start_us
        self._length_us = int(n_lines / _lines_per_us(grammar))

    def time_us(self, position_ppm: int) -> int:
        """The time of a place in the log."""
        return min(FOREVER, self._start_us + self._length_us * position_ppm // MILLION)

    def phases(self, entries: Sequence[Process | Anomaly]) -> tuple[list[int], Whole]:
        """Starts and ends of the phases between which something begins or ceases to be able to start."""
        edges = {edge for entry in entries for edge in self.span(entry.during_ppm)} - {self._start_us} | {FOREVER}
        ends = sorted(edges)
        return [self._start_us, *ends[:-1]], np.array(ends, np.int64)

    def span(self, during_ppm: Span) -> Span:
        """Start and end of a part, as times; what ends with the log never ends, as the log may take longer."""
        end = FOREVER if during_ppm[1] == MILLION else self.time_us(during_ppm[1])
        return self.time_us(during_ppm[0]), end


class _Forms:
    """Numbers of the forms that steps use, each wording once."""

    def __init__(self, messages: Mapping[str, Message]) -> None:
        self._messages, self.forms = messages, list[Form]()
        self._later: list[tuple[int, Span]] = []
        self._number: dict[tuple[str, str, tuple[tuple[str, str], ...]], int] = {}

    def number(self, name: str, values: Mapping[str, str]) -> int:
        message = self._messages[name]
        found = self._add(name, message.text, values)
        if message.later:
            self._later[found] = (self._add(name, message.later, values), message.later_ppm)
        return found

    def later(self, clock: _Clock) -> dict[str, Whole]:
        """Which form replaces which, and when."""
        spans = np.array([[*map(clock.time_us, during)] for _, during in self._later], np.int64)
        forms = np.array([form for form, _ in self._later], np.int64)
        return {"later_form": forms, "later_from": spans[:, 0], "later_to": spans[:, 1]}

    def _add(self, name: str, text: str, values: Mapping[str, str]) -> int:
        key = (name, text, tuple(sorted(values.items())))
        if key not in self._number:
            self._number[key] = len(self.forms)
            self.forms.append(Form(name, text, values))
            self._later.append((self._number[key], (0, 0)))
        return self._number[key]


def _numbers(step: Step, first_choice: int) -> dict[str, int]:
    return {
        "slot": step.slot,
        "first_choice": first_choice,
        "n_choices": len(step.messages),
        "least": step.times[0],
        "most": step.times[1],
        "chance_ppm": step.chance_ppm,
        "storm_ppm": step.storm_ppm,
        "gap_low": step.gap_us[0],
        "gap_high": step.gap_us[1],
        "first_low": step.first_gap_us[0],
        "first_high": step.first_gap_us[1],
        "deviates": step.deviates,
    }


def _able(entries: Sequence[Process | Anomaly], clock: _Clock, starts: list[int]) -> NDArray[np.bool_]:
    spans = np.array([clock.span(entry.during_ppm) for entry in entries], np.int64).reshape(-1, 2)
    begins = np.array(starts, np.int64)[:, None]
    able: NDArray[np.bool_] = (spans[:, 0] <= begins) & (begins < spans[:, 1])
    return able


def _anomaly_weights(grammar: Grammar, able: NDArray[np.bool_]) -> Whole:
    weights = [[a.weight if a.kind == kind else 0 for a in grammar.anomalies] for kind in grammar.kinds]
    table = np.array(weights, np.int64).reshape(len(grammar.kinds), 1, len(grammar.anomalies))
    return np.cumsum(able[None] * table, axis=2)


def _lines_per_us(grammar: Grammar) -> Fraction:
    """The mean over the whole log; anomalies count as the normal episodes in whose place they are."""
    weights, lines, periodic = Fraction(0), Fraction(0), Fraction(0)
    for process in grammar.processes:
        share = Fraction(process.during_ppm[1] - process.during_ppm[0], MILLION)
        mean = sum((_mean_lines(step, grammar) for step in process.steps), Fraction(0))
        weights += share * process.weight
        lines += share * process.weight * mean
        periodic += share * mean / process.period_us if process.period_us else 0
    return lines / weights / _mean_gap_us(grammar) + periodic


def _mean_lines(step: Step, grammar: Grammar) -> Fraction:
    storm = Fraction(step.storm_ppm, MILLION)
    usual, many = Fraction(sum(step.times), 2), Fraction(sum(grammar.storms.times), 2)
    return Fraction(step.chance_ppm, MILLION) * ((1 - storm) * usual + storm * many)


def mean_episode_lines(grammar: Grammar) -> Fraction:
    """How many lines there are, in the mean, for each episode that starts at random; never 0."""
    return _lines_per_us(grammar) * _mean_gap_us(grammar)


def _mean_gap_us(grammar: Grammar) -> Fraction:
    bursts = grammar.bursts
    share = Fraction(sum(bursts.episodes), 2 * bursts.every)
    return Fraction(sum(grammar.episode_gap_us), 2) * (1 - share + share / bursts.speed)
