"""Known failures: of a card, of a file, or so many seconds around the abnormal lines of training; and those tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.vocabulary import System
from bench.detector import Incident
from bench.types import ABNORMAL, Sequences

MOST_INSIDE: Final = 0.9
"""Share of training lines in known failures beyond which these say nothing."""


def incidents_of(system: System, given: str | tuple[tuple[float, float], ...]) -> tuple[Incident, ...]:
    """The incidents of one system that meet its training sequences, cut to their time.

    given: `35s` around the abnormal lines of training, or ranges in Unix seconds; empty: those of the card
    """
    lines = _training_lines(system)
    times = system.log.times[lines]
    known = ~np.isnan(times)
    times = times[known]
    if not len(times):
        return ()
    if isinstance(given, str) and given:
        ranges = _around(times[system.log.labels[lines][known] == ABNORMAL], float(given.removesuffix("s")))
    else:
        ranges = list(given or system.card.incidents)
    times = np.sort(times)
    found = [(max(start, times[0]), min(end, times[-1])) for start, end in ranges if _meets(times, start, end)]
    return tuple(Incident(float(start), float(end), system.index) for start, end in found)


def share_inside(train: Sequences, incidents: Sequence[Incident]) -> float:
    """Share of the training events that lie in known failures of their system, whose ends belong to them."""
    times = np.repeat(train.start_time, train.lengths) + train.elapsed_s
    systems = np.repeat(train.system, train.lengths)
    n_inside = 0
    for system in {incident.system for incident in incidents}:
        known = np.sort(times[(systems == system) & ~np.isnan(times)])
        ranges = [(incident.start, incident.end) for incident in incidents if incident.system == system]
        starts, ends = np.array(ranges).T
        edges = np.zeros(len(known) + 1, np.int64)
        np.add.at(edges, np.searchsorted(known, starts), 1)
        np.add.at(edges, np.searchsorted(known, ends, side="right"), -1)
        n_inside += int((np.cumsum(edges) > 0).sum())
    return n_inside / max(train.n_events, 1)


def tested_incidents(test: Sequences, labels: NDArray[np.int8], systems: Sequence[System]) -> NDArray[np.int32]:
    """int32 (n_sequences,): the incident of each abnormal test sequence, -1 of normal ones.

    labels: 0 normal, 1 abnormal, (n_sequences,);  systems: those that are tested

    An incident is one that the card declares, where it starts no later than the sequence and has not ended; of other
    abnormal sequences, those that follow each other in the order in which sequences end, with no normal one between.
    """
    found = np.full(len(labels), -1, np.int32)
    ends = np.append(test.lines, -1)[test.offsets[1:] - 1]
    made = 0
    for system in systems:
        here = np.flatnonzero(test.system == system.index)
        here = here[np.argsort(ends[here], kind="stable")]
        is_abnormal = labels[here] == ABNORMAL
        declared = _declared(test.start_time[here], system.card.incidents)
        begins = is_abnormal & ~np.concatenate([[False], is_abnormal[:-1]])
        runs = len(system.card.incidents) + np.cumsum(begins) - 1
        found[here] = np.where(is_abnormal, made + np.where(declared >= 0, declared, runs), -1)
        made += len(system.card.incidents) + len(here)
    return found


def _declared(times: NDArray[np.float64], incidents: Sequence[tuple[float, float]]) -> NDArray[np.int64]:
    """The declared incident that holds each time, -1 where none does; of several the last."""
    found = np.full(len(times), -1, np.int64)
    for number, (start, end) in enumerate(incidents):
        found[(times >= start) & (times <= end)] = number
    return found


def _training_lines(system: System) -> NDArray[np.int64]:
    """Line numbers of its training sequences, ascending."""
    groups = system.groups
    chosen = np.zeros(len(groups), bool)
    chosen[system.split.train] = True
    return np.unique(groups.lines[np.repeat(chosen, np.diff(groups.offsets))])


def _around(times: NDArray[np.float64], seconds: float) -> list[tuple[float, float]]:
    """Ranges of so many seconds before and after each time; those that meet are one."""
    if not len(times):
        return []
    times = np.sort(times)
    cuts = np.flatnonzero(np.diff(times) > 2 * seconds) + 1
    return [(float(part[0]) - seconds, float(part[-1]) + seconds) for part in np.split(times, cuts)]


def _meets(times: NDArray[np.float64], start: float, end: float) -> bool:
    """Whether one of these times, ascending, lies in the range."""
    return bool(np.searchsorted(times, start) < np.searchsorted(times, end, side="right"))
