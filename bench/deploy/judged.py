"""What alerts would have been worth, where incidents or labels are known: caught, how early, at what price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.vocabulary import System
from bench.experiment.incidents import tested_incidents
from bench.types import ABNORMAL, NORMAL, UNLABELLED


@dataclass(frozen=True)
class Catch:
    """One detector at one share of held-out sequences."""

    method: str
    alpha: float
    n_caught: int
    """Incidents with an alert in them."""
    delay_s: float | None
    """Median over those, from the first abnormal sequence to the first alert; None without times."""
    n_false: int
    """Alerts outside of incidents."""
    false_per_day: float | None


@dataclass(frozen=True)
class Judged:
    """The later part against its labels, which nothing was fitted on."""

    n_incidents: int
    """Declared ones, and stretches of abnormal sequences; 0: nothing of the later part is abnormal."""
    n_abnormal: int
    """Sequences."""
    n_abnormal_fitted: int
    """Abnormal sequences of the fitted part, learned as normal."""
    n_unlabelled: int
    """Sequences of the later part that are not judged."""
    catches: tuple[Catch, ...]
    last_abnormal: float | None
    """Where in the log the last abnormal sequence ends, as a share of its lines; None where there is none."""


def judge(
    system: System,
    test: Any,
    labels: NDArray[np.int8],
    flags: Mapping[str, Sequence[tuple[float, NDArray[np.bool_]]]],
    days: float | None,
) -> Judged:
    """Hold what was flagged against the labels of all sequences.

    labels: int8 (n_sequences,) of the log;  flags: of each method the flagged later sequences by share
    """
    split = system.split
    here = labels[split.test]
    incidents = tested_incidents(test, here, [system])
    places = (system.groups.last_lines[labels == ABNORMAL] + 1) / len(system.log)
    later = _Later(incidents, here, test.start_time, days)
    catches = [_catch(method, alpha, flagged, later) for method, levels in flags.items() for alpha, flagged in levels]
    return Judged(
        n_incidents=len(np.unique(incidents[incidents >= 0])),
        n_abnormal=int((here == ABNORMAL).sum()),
        n_abnormal_fitted=int((labels[split.train] == ABNORMAL).sum()),
        n_unlabelled=int((here == UNLABELLED).sum()),
        catches=tuple(catches),
        last_abnormal=float(places.max()) if len(places) else None,
    )


class _Later(NamedTuple):
    """The later sequences: their incidents (-1: none), labels and start times, and the days that they take."""

    incidents: NDArray[np.int32]
    labels: NDArray[np.int8]
    starts: NDArray[np.float64]
    days: float | None


def _catch(method: str, alpha: float, flagged: NDArray[np.bool_], later: _Later) -> Catch:
    delays = []
    for incident in np.unique(later.incidents[later.incidents >= 0]).tolist():
        inside = later.incidents == incident
        if (inside & flagged).any():
            delays.append(_first(later.starts[inside & flagged]) - _first(later.starts[inside]))
    known = [delay for delay in delays if not math.isnan(delay)]
    n_false = int((flagged & (later.labels == NORMAL)).sum())
    return Catch(
        method,
        alpha,
        len(delays),
        float(np.median(known)) if known else None,
        n_false,
        n_false / later.days if later.days else None,
    )


def _first(times: NDArray[np.float64]) -> float:
    """NaN where none was read."""
    known = times[~np.isnan(times)]
    return float(known.min()) if len(known) else math.nan
