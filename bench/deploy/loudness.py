"""How often detectors would have called: thresholds from held-out sequences, alerts in the later ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.detector import Detector
from bench.evaluation.thresholds import ThresholdRule, estimate, flag
from bench.experiment.spec import Method
from bench.types import Sequences

STRICT: Final = 0.001
LOOSE: Final = 0.01
"""Shares of the held-out sequences that may be flagged."""
LEAST_DAYS: Final = 1 / 24
"""Of a shorter later part nothing is reckoned for a day."""


@dataclass(frozen=True)
class Scored:
    """One fitted detector with its scores of the held-out and the later sequences, float64."""

    method: Method
    detector: Detector
    held_out: NDArray[np.float64]
    later: NDArray[np.float64]
    sequences: Sequences
    """The later ones, with what the detector uses."""


@dataclass(frozen=True)
class Loudness:
    """How often one detector would have called, at one share of held-out sequences."""

    alpha: float
    threshold: float | None
    """None where too few are held out for it."""
    n_alerts: int
    per_day: float | None
    """None without times."""
    n_kinds: int
    """Distinct sequences among the alerts."""


@dataclass(frozen=True)
class Loud:
    """One detector at both shares."""

    method: str
    at: tuple[Loudness, ...]


@dataclass(frozen=True)
class Agreement:
    """How far cheap detectors flag the same sequences at the looser share."""

    methods: tuple[str, ...]
    counts: tuple[int, ...]
    """How many sequences 1, 2, ... of them flag."""


def levels(n_held_out: int) -> tuple[float, float]:
    """The strict and the loose share; of few sequences the loose one is the least that they allow."""
    return STRICT, max(LOOSE, 1.0 / (n_held_out + 1))


def cut_at(one: Scored, alpha: float) -> float | None:
    """The threshold at one of the `levels`; None where too few sequences are held out for it."""
    if alpha > LOOSE:
        return float(one.held_out.max())
    return estimate(ThresholdRule("conformal", alpha), validation_normals=one.held_out).value


def loose_cut(one: Scored) -> float:
    """The threshold at the loose share, which there always is."""
    value = cut_at(one, levels(len(one.held_out))[1])
    assert value is not None
    return value


def loudness(one: Scored, test: Sequences, days: float | None) -> Loud:
    """The alerts of one detector at both shares.

    test: the later sequences;  days: what they take, None where nothing is reckoned for a day
    """
    contents = test.fingerprints()
    found = []
    for alpha in levels(len(one.held_out)):
        threshold = cut_at(one, alpha)
        if threshold is None:
            found.append(Loudness(alpha, None, 0, None, 0))
            continue
        flagged = flag(one.later, threshold)
        n_alerts = int(flagged.sum())
        per_day = n_alerts / days if days else None
        found.append(Loudness(alpha, threshold, n_alerts, per_day, len(np.unique(contents[flagged]))))
    return Loud(one.method.label, tuple(found))


def agreement(cheap: Sequence[Scored]) -> Agreement:
    """How many sequences one, two, ... of these detectors flag at the loose share."""
    votes = np.sum([flag(one.later, loose_cut(one)) for one in cheap], axis=0)
    counts = np.bincount(votes, minlength=len(cheap) + 1)[1:]
    return Agreement(tuple(one.method.label for one in cheap), tuple(counts.tolist()))


def known_day(days: float | None) -> float | None:
    """The days to reckon with; None where they are too few to speak of days."""
    return days if days and days >= LEAST_DAYS else None
