"""Known failures: of a card, of a file, or so many seconds around the abnormal lines of training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.vocabulary import System
from bench.detector import Incident
from bench.types import ABNORMAL


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
