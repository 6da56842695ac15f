"""Two scorings of the same sequences compared: intervals of a difference, metrics of a sample drawn with weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.thresholds import as_abnormal, flag

Z95: Final = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""

_CHUNK_CELLS: Final = 1_000_000
"""Cells (replicates x sequences) held at once."""


class RateChange(NamedTuple):
    """A share before and after, over the same sequences, with a 95 % interval of the change."""

    before: float
    after: float
    change: float
    low: float
    high: float
    lost: int
    """Flagged before, not after."""
    gained: int
    """Flagged after, not before."""


class Spread(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def rate_change(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> RateChange:
    """Change of a share over the same sequences; before, after: bool (n_sequences,), at least one.

    The interval is Newcombe's hybrid of score intervals for paired shares (Statistics in Medicine 17, 1998, method 10),
    which has a width where nothing changed, as a bootstrap has not. Raises ValueError without a sequence.
    """
    n = len(before)
    if not n or before.shape != after.shape:
        raise ValueError(f"need as many sequences before as after, and at least one: {len(before)}, {len(after)}")
    both, lost = int((before & after).sum()), int((before & ~after).sum())
    gained = int((~before & after).sum())
    neither = n - both - lost - gained
    p, q = (both + lost) / n, (both + gained) / n
    (p_low, p_high), (q_low, q_high) = _wilson(p, n), _wilson(q, n)
    phi = _phi(both, lost, gained, neither)
    change = q - p
    down = _hypotenuse(q - q_low, p_high - p, phi)
    up = _hypotenuse(q_high - q, p - p_low, phi)
    return RateChange(p, q, change, max(-1.0, change - down), min(1.0, change + up), lost, gained)


def sampling_weights(population: NDArray[Any], drawn: NDArray[Any]) -> NDArray[np.float64]:
    """float64 (n_drawn,): how many sequences of its stratum each drawn one stands for.

    population: int (n,), the stratum of each sequence that could be drawn;  drawn: int (n_drawn,), of each that was
    """
    total = np.bincount(population)
    taken = np.bincount(drawn, minlength=len(total))
    return np.asarray(total[drawn] / taken[drawn], np.float64)


def weighted_metrics(
    scores: NDArray[np.float64], labels: NDArray[Any], weights: NDArray[np.float64], threshold: float | None
) -> dict[str, NDArray[np.float64]]:
    """F1 at a threshold, AUROC and AP of sequences that stand for several.

    scores: float64 (n,), finite;  labels: 0 normal, 1 abnormal (n,);  weights: float64 (n,) or (n_replicates, n), >= 0
    threshold: None leaves F1 out

    Returns {"f1", "auroc", "ap"}: float64 (n_replicates,), or of shape () for one row of weights. They are defined as
    in `metrics`. Raises ValueError for other labels and shapes.
    """
    abnormal = as_abnormal(scores, labels)
    positive, negative = weights * abnormal, weights * ~abnormal
    n_abnormal, n_normal = positive.sum(-1), negative.sum(-1)
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    last_of_ties = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])
    tp = np.cumsum(positive[..., order], axis=-1)[..., last_of_ties]
    fp = np.cumsum(negative[..., order], axis=-1)[..., last_of_ties]
    gained, passed = np.diff(tp, axis=-1, prepend=0.0), np.diff(fp, axis=-1, prepend=0.0)
    found: dict[str, NDArray[np.float64]] = {}
    if threshold is not None:
        flagged = flag(scores, threshold)
        hit, alarms = positive[..., flagged].sum(-1), negative[..., flagged].sum(-1)
        found["f1"] = 2 * hit / (hit + alarms + n_abnormal)
    found["auroc"] = (passed * (tp - 0.5 * gained)).sum(-1) / (n_abnormal * n_normal)
    found["ap"] = (gained * (tp / np.maximum(tp + fp, 1e-300))).sum(-1) / n_abnormal
    return found


def compare_scorings(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    labels: NDArray[Any],
    strata: NDArray[Any],
    *,
    weights: NDArray[np.float64],
    threshold: float | None,
    n: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Spread]]:
    """F1, AUROC and AP of two scorings of the same sequences, their difference, and how far scores moved.

    first, second: float64 (n_sequences,);  strata: int (n_sequences,) within which a replicate draws again
    weights: float64 (n_sequences,), how many sequences each stands for;  n: replicates

    Returns {metric: {"first", "second", "difference"}} with difference = first - second, and {"score_change":
    {"absolute", "signed"}}, the weighted means of |second - first| and second - first. Intervals are percentiles of a
    stratified bootstrap that draws the same sequences for both scorings; both labels must be there.
    """
    moved = second - first
    metrics = {"first": weighted_metrics(first, labels, weights, threshold)}
    metrics["second"] = weighted_metrics(second, labels, weights, threshold)
    draws: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    for counts in _resampled(strata, n, np.random.default_rng(seed)):
        drawn = counts * weights
        one, two = (weighted_metrics(scores, labels, drawn, threshold) for scores in (first, second))
        for name in one:
            for key, values in (("first", one[name]), ("second", two[name]), ("difference", one[name] - two[name])):
                draws.setdefault(name, {}).setdefault(key, []).append(values)
        for key, change in (("absolute", np.abs(moved)), ("signed", moved)):
            draws.setdefault("score_change", {}).setdefault(key, []).append((drawn @ change) / drawn.sum(-1))
    points = {
        name: {
            "first": float(metrics["first"][name]),
            "second": float(metrics["second"][name]),
            "difference": float(metrics["first"][name] - metrics["second"][name]),
        }
        for name in metrics["first"]
    }
    points["score_change"] = {
        "absolute": float(np.average(np.abs(moved), weights=weights)),
        "signed": float(np.average(moved, weights=weights)),
    }
    return {
        name: {key: _spread(value, np.concatenate(draws[name][key])) for key, value in values.items()}
        for name, values in points.items()
    }


def _resampled(strata: NDArray[Any], n: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """How often each sequence is drawn, float64 (replicates, n_sequences) in chunks; each stratum keeps its size."""
    chunk = max(1, _CHUNK_CELLS // max(1, len(strata)))
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for start in range(0, n, chunk):
        counts = np.zeros((min(chunk, n - start), len(strata)))
        for which in members:
            counts[:, which] = rng.multinomial(len(which), np.full(len(which), 1 / len(which)), size=len(counts))
        yield counts


def _spread(value: float, draws: NDArray[np.float64]) -> Spread:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Spread(value, min(value, float(low)), max(value, float(high)))


def _wilson(p: float, n: int) -> tuple[float, float]:
    centre, scale = p + Z95**2 / (2 * n), 1 + Z95**2 / n
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    return (centre - half) / scale, (centre + half) / scale


def _phi(both: int, lost: int, gained: int, neither: int) -> float:
    """Correlation of the two shares, corrected for continuity as Newcombe does."""
    product = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if not product:
        return 0.0
    cross = float(both * neither - lost * gained)
    if cross > 0:
        cross = max(cross - (both + lost + gained + neither) / 2, 0.0)
    return cross / math.sqrt(product)


def _hypotenuse(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
