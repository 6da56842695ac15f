"""A grammar as frozen records; times are whole microseconds, shares parts per million."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from bench.data.simulation.draws import MILLION

KINDS: Final = (
    "new-message",
    "wrong-order",
    "missing-event",
    "wrong-count",
    "unusual-parameter",
    "slow",
    "semantic-twin",
)

Value = str | int
Span = tuple[int, int]
"""Both ends can be drawn."""


class Parameter(NamedTuple):
    """What a placeholder is drawn from: the first that is given of a text, a list of values and a range."""

    text: str
    values: tuple[str, ...]
    range: Span
    per_episode: bool
    """Drawn once for an episode; else anew for every line."""


class Message(NamedTuple):
    """One kind of line."""

    text: str
    later: str
    """The text that replaces it; empty: none."""
    later_ppm: Span
    """The part of the log in which one episode after the other comes to use the later text."""
    fields: Mapping[str, str]
    """Header fields that are the same in every line of this message."""


class Step(NamedTuple):
    """One step of a process: one of the messages, so many times."""

    slot: int
    """Its draws are made from this number, so they stay the same when other steps are moved or left out."""
    messages: tuple[str, ...]
    times: Span
    chance_ppm: int
    """How often the step is taken at all."""
    storm_ppm: int
    """How often it is a storm: repeated many times at short gaps."""
    gap_us: Span
    """Before each of its lines, save the first of an episode."""
    first_gap_us: Span
    """Before its first line."""
    values: Mapping[str, str]
    """Placeholder -> the parameter it is drawn from in this step."""
    deviates: bool
    """In an anomaly: its lines are the abnormal ones."""

    @property
    def is_certain(self) -> bool:
        """Whether it always logs something."""
        return self.times[0] > 0 and self.chance_ppm == MILLION


class Process(NamedTuple):
    """What an episode of normal operation logs."""

    name: str
    steps: tuple[Step, ...]
    weight: int
    """How often it is drawn; 0 for a periodic one."""
    during_ppm: Span
    """The part of the log in which it can start."""
    period_us: int
    """It starts once in so much time; 0: at random."""
    jitter_us: int
    """How much later than that it may start."""


class Anomaly(NamedTuple):
    """An episode of a process that deviates in one way."""

    name: str
    kind: str
    alert: str
    """The label of the lines that deviate, where lines are labelled."""
    process: int
    """Index of the process that it is an episode of."""
    steps: tuple[Step, ...]
    weight: int
    during_ppm: Span
    twin: str
    """Of a semantic twin: `system/name` of the anomaly that it tells in other words."""


class Bursts(NamedTuple):
    """Of every `every` episodes in a row, so many come `speed` times as fast."""

    every: int
    episodes: Span
    speed: int


class Storms(NamedTuple):
    """How often a storm repeats its line, and the time between two of them."""

    times: Span
    gap_us: Span


class Labels(NamedTuple):
    """How labels are printed."""

    normal: str
    abnormal: str
    header: str
    """First line of the label file."""
    session: str
    """The parameter that names the session; empty where lines are labelled."""


class Grammar(NamedTuple):
    """A whole grammar."""

    lines: int
    start_us: int
    episode_gap_us: Span
    anomaly_every: int
    """One of so many episodes that start at random deviates."""
    bursts: Bursts
    storms: Storms
    header: str
    labels: Labels
    parameters: Mapping[str, Parameter]
    messages: Mapping[str, Message]
    processes: tuple[Process, ...]
    anomalies: tuple[Anomaly, ...]
    turns: Mapping[str, int]
    """How often a kind of anomaly has its turn in a round; those that are not named once."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of anomaly that it has."""
        return tuple(kind for kind in KINDS if any(anomaly.kind == kind for anomaly in self.anomalies))
