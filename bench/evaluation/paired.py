"""Differences between detectors on the same test sequences: a paired stratified bootstrap, intervals and p-values.

Every detector is measured on the same resampled test sequences, so what makes a test set easy or hard for both drops
out of their difference. As in `stats`, abnormal and normal sequences are resampled apart, and thresholds stay as
estimated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.thresholds import as_abnormal, flag

N_DRAWS: Final = 1000

Verdict = Literal["better", "worse", "not separable"]

_CHUNK_CELLS: Final = 1_000_000
"""Weights (sequences x draws) held at once, 4 bytes each."""
_STUDENT: Final = 200
"""Evenly spaced quantiles by which Student's distribution is represented."""
_RESOLVED: Final = 0.02
"""p-values below this lie in tails of so few draws that they are extrapolated."""


class Scored(NamedTuple):
    """What one run says of the test sequences."""

    scores: NDArray[np.float64]
    """(n_sequences,), finite; higher is more anomalous."""
    threshold: float | None
    """Sequences with a higher score are flagged; -inf flags all; None: not estimable, so no F1."""


class Resampled(NamedTuple):
    """A metric on the test sequences and on resamples of them."""

    point: float
    draws: NDArray[np.float64]
    """(n,); entry i of two runs on one test set stems from the same resample."""


class Difference(NamedTuple):
    """A mean difference over seeds, its interval and its p-value; low <= mean <= high."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, for a true difference of 0."""
    n_seeds: int

    @property
    def verdict(self) -> Verdict:
        """On which side of 0 the interval lies."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not separable"


def resample(
    runs: Sequence[Scored], labels: NDArray[Any], *, n: int = N_DRAWS, seed: int
) -> list[dict[str, Resampled]]:
    """AP, AUROC and F1 of runs on the same resamples of one test set.

    labels: 0 normal, 1 abnormal (int or bool), (n_sequences,), both present;  n: resamples;  seed: of the resamples

    Returns for each run {"ap", "auroc", "f1"}, without "f1" where it has no threshold. Equal runs are measured once.
    Raises ValueError for other labels, other shapes, scores that are not finite, and labels of one kind only.
    """
    if not runs:
        return []
    abnormal = as_abnormal(runs[0].scores, labels)
    if abnormal.all() or not abnormal.any():
        raise ValueError("a paired comparison needs abnormal and normal test sequences")
    keys = [(run.scores.tobytes(), run.threshold) for run in runs]
    resamplers = {
        key: _Resampler(run, as_abnormal(run.scores, labels)) for key, run in dict(zip(keys, runs, strict=True)).items()
    }
    sizes = int(abnormal.sum()), int((~abnormal).sum())
    ones = tuple(np.ones((size, 1), dtype=np.float32) for size in sizes)
    points = {key: resampler.of(*ones) for key, resampler in resamplers.items()}
    chunks: dict[Any, list[dict[str, NDArray[np.float64]]]] = {key: [] for key in resamplers}
    for weights in _weights(sizes, n, np.random.default_rng(seed)):
        for key, resampler in resamplers.items():
            chunks[key].append(resampler.of(*weights))
    made = {
        key: {
            name: Resampled(float(point[0]), np.concatenate([chunk[name] for chunk in chunks[key]]))
            for name, point in points[key].items()
        }
        for key in resamplers
    }
    return [made[key] for key in keys]


def difference(
    pairs: Sequence[tuple[Resampled, Resampled]], *, same_test: bool = True, level: float = 0.95
) -> Difference:
    """The mean difference, first less second, over pairs of runs with one seed each.

    pairs: of one metric;  same_test: whether all pairs share their test set and resamples;  level: coverage asked for

    The error of the test set is the distribution of the mean difference over resamples. Pairs with test sets of their
    own are taken to err together (their draws are sorted), as in `stats.combine`: too wide, never too narrow. The error
    of the seeds, added to it, is Student's distribution of the mean of the pairs' differences: drawing pairs with
    replacement instead covers 75 % and not 95 % where 3 seeds dominate. Of one pair this error cannot be seen. p is
    that of the interval that ends at 0; below 0.02 it is extrapolated by Student's distribution with the degrees of
    freedom of Welch and Satterthwaite. Deterministic. Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("need at least one pair of runs")
    points = np.array([first.point - second.point for first, second in pairs])
    draws = np.stack([first.draws - second.draws for first, second in pairs], axis=1)
    centre = (draws if same_test else np.sort(draws, axis=0)).mean(axis=1)
    seed_error = float(points.std(ddof=1) / np.sqrt(len(points))) if len(points) > 1 else 0.0
    values = _with_seeds(centre, seed_error, len(points))
    mean = float(points.mean())
    low, high = np.clip(np.quantile(values, [(1 - level) / 2, (1 + level) / 2]), -1.0, 1.0)
    p = min(1.0, 2 * float(min(np.mean(values <= 0), np.mean(values >= 0))))
    if p < _RESOLVED:
        p = min(_RESOLVED, _extrapolated(mean, float(centre.std(ddof=1)), seed_error, len(points)))
    return Difference(mean, min(float(low), mean), max(float(high), mean), p, len(points))


def draw_seed(labels: NDArray[Any]) -> int:
    """One resampling per test set, so that a difference does not depend on what else is compared.

    labels: 0 normal, 1 abnormal, (n_sequences,)
    """
    return int.from_bytes(hashlib.sha256(labels.astype(np.int8).tobytes()).digest()[:8], "big")


def holm(p_values: Sequence[float], *, level: float = 0.05) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects, so that any false rejection has at most this probability."""
    ordered = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = [False] * len(p_values)
    for rank, i in enumerate(ordered):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


class _Resampler:
    """Metrics of one run under weights of the test sequences, from their sums over groups of scores."""

    def __init__(self, run: Scored, abnormal: NDArray[np.bool_]) -> None:
        from scipy.sparse import csr_array

        group = _groups(run.scores, abnormal)
        n_groups = int(group.max()) + 1
        self._members = []
        self._flagged = []
        for chosen in (abnormal, ~abnormal):
            n = int(chosen.sum())
            shape, where = (n_groups, n), (group[chosen], np.arange(n))
            self._members.append(csr_array((np.ones(n, dtype=np.float32), where), shape=shape))
            if run.threshold is not None:
                self._flagged.append(flag(run.scores[chosen], run.threshold).astype(np.float32))

    def of(self, abnormal: NDArray[np.float32], normal: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """weights: (n_abnormal, draws), (n_normal, draws), whole numbers that sum to as many as there are sequences."""
        n_abnormal, n_normal = len(abnormal), len(normal)
        hits, alarms = (
            np.asarray(m @ w, dtype=np.float64) for m, w in zip(self._members, (abnormal, normal), strict=True)
        )
        tp, fp = hits.cumsum(axis=0), alarms.cumsum(axis=0)
        found = {
            "ap": (hits * (tp / np.maximum(tp + fp, 1))).sum(axis=0) / n_abnormal,
            "auroc": (alarms * (tp - 0.5 * hits)).sum(axis=0) / (n_abnormal * n_normal),
        }
        if self._flagged:
            tp, fp = ((f @ w).astype(np.float64) for f, w in zip(self._flagged, (abnormal, normal), strict=True))
            found["f1"] = 2.0 * tp / (tp + fp + n_abnormal)
        return found


def _groups(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Group of each sequence, highest scores first, (n_sequences,): a distinct score, or neighbouring normal ones."""
    distinct, position = np.unique(-scores, return_inverse=True)
    has_abnormal = np.bincount(position, weights=abnormal, minlength=len(distinct)) > 0
    starts = np.concatenate([[False], has_abnormal[1:] | has_abnormal[:-1]])
    return np.cumsum(starts, dtype=np.int64)[position]


def _weights(
    sizes: tuple[int, int], n: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """How often each abnormal and each normal sequence is drawn, in chunks of draws; float32 holds them exactly."""
    chunk = max(1, _CHUNK_CELLS // sum(sizes))
    for start in range(0, n, chunk):
        rows = [_drawn(size, min(chunk, n - start), rng) for size in sizes]
        yield rows[0], rows[1]


def _drawn(size: int, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    counts = np.empty((n, size), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, size, size, dtype=np.uint32), minlength=size)
    return np.ascontiguousarray(counts.T)


def _with_seeds(centre: NDArray[np.float64], seed_error: float, n_seeds: int) -> NDArray[np.float64]:
    """All sums of a resample's mean difference and a quantile of the seeds' error."""
    if seed_error == 0:
        return centre
    from scipy.special import stdtrit

    levels = (np.arange(_STUDENT) + 0.5) / _STUDENT
    errors: NDArray[np.float64] = seed_error * stdtrit(n_seeds - 1, levels)
    return (centre[:, None] + errors).ravel()


def _extrapolated(mean: float, test_error: float, seed_error: float, n_seeds: int) -> float:
    from scipy.special import ndtr, stdtr

    variance = test_error**2 + seed_error**2
    if variance == 0:
        return float(mean == 0)
    size = abs(mean) / np.sqrt(variance)
    if seed_error == 0:
        return float(2 * ndtr(-size))
    return float(2 * stdtr((n_seeds - 1) * variance**2 / seed_error**4, -size))
