"""How often a gate is wrong: equally good scores seldom fail, a planted loss of AP nearly always does."""

import functools

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from sklearn.metrics import average_precision_score

from bench.evaluation.paired import Scored, difference, draw_seed, resample
from bench.reporting.gate import Finding
from bench.reporting.gate_scores import KeptRun, moved

N = 200
LABELS = np.repeat(np.array([0, 1], dtype=np.int8), [1200, 300])
STORED = np.round(np.random.default_rng(7).normal(size=1500) + 2.0 * LABELS, 1)
THRESHOLD = 2.3


def redraw(seed, alike, swapped=0.0):
    """Scores of an equally good run, of another seed say: within each class the same values, given to others.

    alike: correlation of the ranks with those of the stored scores;  swapped: share of abnormal sequences that then get
    the score of some normal one, which is the planted loss
    """
    rng = np.random.default_rng(seed)
    made = np.empty_like(STORED)
    for label in (0, 1):
        at = np.flatnonzero(label == LABELS)
        rank = np.empty(len(at))
        rank[np.lexsort((rng.random(len(at)), STORED[at]))] = np.arange(len(at))
        moved_to = alike * ndtri((rank + 0.5) / len(at)) + np.sqrt(1 - alike**2) * rng.normal(size=len(at))
        made[at] = np.quantile(STORED[at], ndtr(moved_to), method="nearest")
    abnormal = np.flatnonzero(LABELS == 1)
    hit = abnormal[rng.random(len(abnormal)) < swapped]
    made[hit] = rng.choice(STORED[LABELS == 0], len(hit))
    return made


@functools.cache
def mean_ap(alike, swapped):
    return np.mean([average_precision_score(LABELS, redraw(seed, alike, swapped)) for seed in range(20)])


def swapped_for(loss, alike):
    """The share of swapped sequences that costs this much AP in the mean, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(12 if loss else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_ap(alike, 0.0) - mean_ap(alike, middle) < loss else (low, middle)
    return low


def changes(loss, alike):
    """Each redraw less the stored scores, by metric, on resamples that all share; as the gate measures one."""
    swapped = swapped_for(loss, alike)
    runs = [Scored(scores, THRESHOLD) for scores in (STORED, *(redraw(1000 + i, alike, swapped) for i in range(N)))]
    before, *after = resample(runs, LABELS, seed=draw_seed(LABELS))
    return runs, [{name: difference([(side[name], before[name])]) for name in side} for side in after]


def failing(found):
    """The share of redraws of which any value fails."""
    values = [[Finding("row", name, 0, 0, 0, change) for name, change in each.items()] for each in found]
    return np.mean([any(value.failed for value in row) for row in values])


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.95, 0.8])
@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 0.0, 0.05), (0.05, 0.90, 1.0), (0.10, 0.99, 1.0)])
def test_of_200_redraws_few_fail_and_of_planted_losses_nearly_all(loss, least, most, alike):
    runs, found = changes(loss, alike)
    falls = [-each["ap"].mean for each in found]
    assert np.mean(falls) == pytest.approx(loss, abs=0.01)
    assert least <= failing(found) <= most
    stored, redrawn = (KeptRun(0, run, LABELS) for run in runs[:2])
    assert moved([(redrawn, stored)]) == found[0]
