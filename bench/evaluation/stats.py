"""Intervals: a stratified bootstrap over the test sequences of one record, and its combination over seeds."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.thresholds import as_abnormal, flag, operating_points, strata

LEVELS: Final = (0.005, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.995)
"""Levels at which a record keeps the quantiles of its bootstrap distributions."""

_AT: Final = np.asarray(LEVELS)
_STEPS: Final = np.diff(_AT)
_DECIMALS: Final = 4
_CHUNK_CELLS: Final = 1_000_000
"""Cells (replicates x groups of scores) held at once; some six arrays of 8 bytes each live at a time, so 50 MB."""


_Part = tuple[float, bool, NDArray[np.bool_]]
"""Weight, whether abnormal, and where: the sequences of one stratum."""


class Interval(NamedTuple):
    """A mean over seeds and its interval; low <= mean <= high."""

    mean: float
    low: float
    high: float
    n_seeds: int


def bootstrap(
    scores: NDArray[np.float64],
    labels: NDArray[Any],
    thresholds: Mapping[str, float],
    *,
    n: int = 400,
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Bootstrap quantiles of one record's metrics, as JSON.

    scores: float64 (n_sequences,), finite;  labels: 0 normal, 1 abnormal (int or bool), (n_sequences,)
    thresholds: threshold of each rule that has one, by name;  n: replicates
    weights: float64 (n_sequences,), sampling weights of a stratified subsample; one of weight 0 takes no part

    Returns {"n": n, "levels": [...], "auroc": q, "ap": q, "rules": {name: {"f1": q, "precision": q, "recall": q,
    "fpr": q}}}; q holds one value per level, rounded to 4 decimals, or is None where the metric is (see `metrics`).

    Abnormal and normal sequences are resampled apart, each as many as there are, so the prevalence is kept; thresholds
    stay as estimated. Resampling n1 abnormal sequences of which a share r is flagged gives Bin(n1, r) true positives
    exactly, so no sequence is drawn. A rate that is exactly 0 or 1 never varies in a bootstrap: its quantiles are the
    point. Sequences of one label that differ in weight come from different strata, which are resampled apart. Every
    rule starts the same random stream, so its quantiles do not depend on which others are asked for.

    Raises ValueError for other labels, other shapes and scores or weights that cannot be used.
    """
    abnormal = as_abnormal(scores, labels)
    parts = [(weight, bool(abnormal[mask].any()), mask) for weight, mask in strata(abnormal, weights)]
    rules = {
        name: _resample_rule(flag(scores, threshold), parts, n, np.random.default_rng(seed))
        for name, threshold in thresholds.items()
    }
    return {
        "n": n,
        "levels": list(LEVELS),
        **_resample_ranking(scores, parts, n, np.random.default_rng(seed)),
        "rules": rules,
    }


def combine(
    points: Sequence[float],
    quantiles: Sequence[Sequence[float]],
    *,
    level: float = 0.95,
    n: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over seeds with an interval from seeds and test sequences.

    points: the metric of each seed;  quantiles: its bootstrap quantiles at LEVELS, for each seed
    level: coverage asked for;  n: replicates;  seed: of these draws

    A replicate draws as many seeds as there are, with replacement, and one uniform number u, takes each drawn seed's
    u-quantile, and averages. Sharing u makes the test-sequence errors of all seeds move together. That is right when
    the seeds share a test set, since a lucky test set is lucky for all, and too wide, never too narrow, when they do
    not; independent draws would shrink an error that averaging over seeds cannot shrink. Quantiles beyond the outer
    LEVELS are taken as the outermost. With few seeds the spread between them is underestimated, as in any bootstrap of
    few items; one seed gives its bootstrap interval alone. The interval is widened to hold the mean where a skewed
    bootstrap does not. Deterministic.

    Raises ValueError without points, or when points and quantiles do not match.
    """
    if not points or len(points) != len(quantiles) or any(len(row) != len(LEVELS) for row in quantiles):
        raise ValueError(f"need {len(LEVELS)} quantiles for each of at least one point; got {len(points)} points")
    draws = _seed_draws(len(points), n, seed)
    means = draws.quantiles_of(np.asarray(quantiles, np.float64))[draws.places].mean(axis=1)
    low, high = _between(means, (1 - level) / 2), _between(means, (1 + level) / 2)
    mean = float(np.mean(points))
    return Interval(mean, min(low, mean), max(high, mean), len(points))


class _SeedDraws(NamedTuple):
    """The draws of `combine`, the same for all metrics of a table, and what of the interpolation they decide."""

    places: NDArray[np.int64]
    """(n, n_points) where in the flat array of `quantiles_of` each drawn seed's quantile stands"""
    segments: NDArray[np.int64]
    """(n,) the last level that does not exceed u, the first one for a u below all"""
    beyond: NDArray[np.float64]
    """(n,) how far u is beyond it, 0 for a u outside of the levels"""

    def quantiles_of(self, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 (n_points * n,): each point's u-quantiles, to the bit what numpy.interp makes of them."""
        slopes = np.zeros(quantiles.shape)
        slopes[:, :-1] = np.diff(quantiles, axis=1) / _STEPS
        return np.asarray(slopes[:, self.segments] * self.beyond + quantiles[:, self.segments]).ravel()


@functools.lru_cache(maxsize=32)
def _seed_draws(n_points: int, n: int, seed: int) -> _SeedDraws:
    rng = np.random.default_rng(seed)
    u, drawn = rng.random(n), rng.integers(0, n_points, size=(n, n_points))
    segments = np.maximum(np.searchsorted(_AT, u, side="right") - 1, 0)
    beyond = np.clip(u, LEVELS[0], LEVELS[-1]) - _AT[segments]
    draws = _SeedDraws(drawn * n + np.arange(n)[:, None], segments, beyond)
    for array in draws:
        array.flags.writeable = False
    return draws


def _between(values: NDArray[np.float64], level: float) -> float:
    """The quantile at this level as numpy.quantile gives it, without the time that it takes to start."""
    place = (len(values) - 1) * level
    low = int(place)
    high = min(low + 1, len(values) - 1)
    below, above = np.partition(values, (low, high))[[low, high]].tolist()
    share = place - low
    step: float = above - below
    return float(above - step * (1 - share) if share >= 0.5 else below + step * share)


def _resample_rule(
    flagged: NDArray[np.bool_], parts: Sequence[_Part], n: int, rng: np.random.Generator
) -> dict[str, list[float] | None]:
    hits: dict[bool, Any] = {True: np.zeros(n, np.int64), False: np.zeros(n, np.int64)}
    sizes = _sizes(parts)
    for weight, is_abnormal, mask in parts:
        size = int(np.count_nonzero(mask))
        drawn = rng.binomial(size, np.count_nonzero(flagged & mask) / max(size, 1), size=n)
        hits[is_abnormal] = hits[is_abnormal] + weight * drawn
    tp, fp, n_abnormal, n_normal = hits[True], hits[False], sizes[True], sizes[False]
    return {
        "f1": _quantiles(2 * tp / (tp + fp + n_abnormal)) if n_abnormal else None,
        "precision": _quantiles(_share(tp, tp + fp)) if n_abnormal else None,
        "recall": _quantiles(tp / n_abnormal) if n_abnormal else None,
        "fpr": _quantiles(fp / n_normal) if n_normal else None,
    }


def _sizes(parts: Sequence[_Part]) -> dict[bool, float]:
    sizes: dict[bool, float] = {True: 0, False: 0}
    for weight, is_abnormal, mask in parts:
        sizes[is_abnormal] += weight * int(np.count_nonzero(mask))
    return sizes


def _resample_ranking(
    scores: NDArray[np.float64], parts: Sequence[_Part], n: int, rng: np.random.Generator
) -> dict[str, list[float] | None]:
    sizes = _sizes(parts)
    n_abnormal, n_normal = sizes[True], sizes[False]
    if not n_abnormal:
        return {"auroc": None, "ap": None}
    if not n_normal:
        return {"auroc": None, "ap": _quantiles(np.ones(n))}
    auroc, ap = [], []
    for abnormal, normal in _draws(_groups(scores, parts), n, rng):
        tp, fp = abnormal.cumsum(axis=1), normal.cumsum(axis=1)
        auroc.append((normal * (tp - 0.5 * abnormal)).sum(axis=1) / (n_abnormal * n_normal))
        ap.append((abnormal * _share(tp, tp + fp)).sum(axis=1) / n_abnormal)
    return {"auroc": _quantiles(np.concatenate(auroc)), "ap": _quantiles(np.concatenate(ap))}


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Their quotient, 0 where there is nothing."""
    return np.asarray(part / np.where(whole > 0, whole, 1), np.float64)


def _groups(scores: NDArray[np.float64], parts: Sequence[_Part]) -> list[tuple[float, bool, NDArray[np.int64]]]:
    """For each stratum its weight, its label and its sequences per group of scores, highest first.

    A group is a distinct score, except that neighbouring scores which only normal sequences have are one group: how
    these rank among themselves changes neither AUROC nor AP, and abnormal sequences being few, few groups remain.
    """
    kept = np.any([mask for *_, mask in parts], axis=0)
    abnormal = np.any([mask for _, is_abnormal, mask in parts if is_abnormal], axis=0)
    points = operating_points(scores[kept], abnormal[kept])
    has_abnormal = np.diff(points.tp) > 0
    starts = np.flatnonzero(np.concatenate([[True], has_abnormal[1:] | has_abnormal[:-1]]))
    place = np.searchsorted(-points.thresholds[:-1], -scores)
    group = np.searchsorted(starts, place, side="right") - 1
    return [
        (weight, is_abnormal, np.bincount(group[mask], minlength=len(starts)).astype(np.int64))
        for weight, is_abnormal, mask in parts
    ]


def _draws(
    groups: Sequence[tuple[float, bool, NDArray[np.int64]]], n: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Resampled weights per group, abnormal and normal, in chunks of (replicates, n_groups)."""
    chunk = max(1, _CHUNK_CELLS // len(groups[0][2]))
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        sums: dict[bool, Any] = {True: 0, False: 0}
        for weight, is_abnormal, counts in groups:
            sums[is_abnormal] = sums[is_abnormal] + weight * _multinomial(counts, size, rng)
        yield sums[True], sums[False]


def _multinomial(counts: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    total = int(counts.sum())
    filled = np.flatnonzero(counts)
    drawn = np.zeros((size, len(counts)), dtype=np.int64)
    drawn[:, filled] = rng.multinomial(total, counts[filled] / total, size=size)
    return drawn


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), _DECIMALS) for value in np.quantile(values, LEVELS)]
