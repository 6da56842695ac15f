"""Labels of the source permuted: what keeps its ranking of the test part learned nothing from them.

The detector is fitted again on the same sequences, with the known labels of each source dealt out anew among that
source's sequences, so their number stays. The file of labels is left alone: see `permuted` for that.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.detector import Role
from bench.evaluation.thresholds import Threshold
from bench.experiment.cell import Settings
from bench.experiment.told import Handout
from bench.probes.probe import Measure, ProbeRequest, Subject, draw, fit_altered
from bench.types import ABNORMAL, UNLABELLED, Sequences

PERMUTATIONS: Final = 5
SAME: Final = 0.1
"""Difference of AUROC within which a score counts as kept."""
N_DRAWS: Final = 1000
"""Resamples of the test sequences, normal and abnormal ones by themselves."""

Floats = NDArray[np.float64]


def label_options() -> dict[str, Any]:
    """The part of a request's identity that says what is done."""
    return {"permutations": PERMUTATIONS, "draws": N_DRAWS}


def permute_sources(
    labels: NDArray[np.int8], train: Sequences, roles: tuple[Role, ...], rng: np.random.Generator
) -> NDArray[np.int8]:
    """int8 (n_train,): the known labels of each source dealt out anew among its labelled sequences; others stay."""
    found = labels.copy()
    for index, role in enumerate(roles):
        here = np.flatnonzero((train.system == index) & (labels != UNLABELLED))
        if role == "source":
            found[here] = rng.permutation(labels[here])
    found.setflags(write=False)
    return found


def measure_labels(settings: Settings) -> Measure:
    """The measure of a probe whose detectors are fitted with these settings."""

    def measure(request: ProbeRequest, fitted: Subject, threshold: Threshold) -> dict[str, Any]:
        every = np.ones(len(fitted.labels), np.bool_)
        drawn = draw(fitted.strata, request.sample, every, seed=request.cell.seed)
        sequences, labels = fitted.test.select(drawn), fitted.labels[drawn]
        permuted = []
        for number in range(PERMUTATIONS):
            rng = np.random.default_rng([request.cell.seed, number])

            def alter(given: Handout, rng: np.random.Generator = rng) -> Handout:
                assert given.labels is not None
                return replace(given, labels=permute_sources(given.labels, given.train, given.evidence.roles, rng))

            permuted.append(fit_altered(request.cell, fitted, settings, alter).score(sequences))
        facts = compared(fitted.score(sequences), permuted, labels, seed=request.cell.seed)
        return {"n": len(drawn), "n_abnormal": int((labels == ABNORMAL).sum()), **facts}

    return measure


def compared(scores: Floats, permuted: list[Floats], labels: NDArray[np.int8], *, seed: int) -> dict[str, Any]:
    """AUROC as fitted and with permuted labels, their difference with its 95 % interval, and what that says.

    scores: (n,), and so is each of `permuted`, of which there are two at least. The difference is to the mean over
    permutations on the same sequences; its interval holds what other sequences would do and, by Student's
    distribution, how far one further permutation may lie from that mean: few permutations say little.
    """
    wins = _wins(scores, labels)
    others = [_wins(other, labels) for other in permuted]
    reached = np.array([other.mean() for other in others])
    apart = wins - np.mean(others, axis=0)
    value = float(apart.mean())
    low, high = _interval(apart, np.random.default_rng(seed))
    further = _further(reached)
    low, high = value - math.hypot(value - low, further), value + math.hypot(high - value, further)
    spread = {"value": value, "low": low, "high": high}
    return {
        "auroc": round(float(wins.mean()), 6),
        "permuted_auroc": [round(float(auroc), 6) for auroc in reached],
        "difference": {name: round(number, 6) for name, number in spread.items()},
        "verdict": _verdict(low, high),
    }


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "learned from labels"
    if high < 0:
        return "worse than without"
    return "keeps its score" if low > -SAME and high < SAME else "unclear"


def _further(reached: Floats) -> float:
    """Half of the 95 % interval of one more permutation's AUROC around the mean of those there are (n,)."""
    from scipy.special import stdtrit

    n = len(reached)
    return float(stdtrit(n - 1, 0.975) * reached.std(ddof=1) * math.sqrt(1 + 1 / n))


def _wins(scores: Floats, labels: NDArray[np.int8]) -> Floats:
    """float64 (n_abnormal, n_normal): 1 where the abnormal one scores higher, .5 where equal; the mean is the AUROC."""
    abnormal, normal = scores[labels == ABNORMAL][:, None], scores[labels != ABNORMAL]
    return np.asarray((abnormal > normal) + 0.5 * (abnormal == normal), np.float64)


def _interval(apart: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """95 % of the mean of the matrix, its rows and its columns resampled."""
    n_rows, n_columns = apart.shape
    rows = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), N_DRAWS) / n_rows
    columns = rng.multinomial(n_columns, np.full(n_columns, 1 / n_columns), N_DRAWS) / n_columns
    means = np.einsum("dr,dr->d", rows, columns @ apart.T)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
