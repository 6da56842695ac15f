"""Intervals: those of one record's metrics, and their combination over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.blocks import ONE_BY_ONE, Resampling
from bench.evaluation.influence import Design, Floats, Ranked
from bench.evaluation.limits import Pairs, Rate, ap_limits, auroc_limits, rate_limits
from bench.evaluation.seeds import half_width
from bench.evaluation.thresholds import as_abnormal, flag

LEVELS: Final = (0.005, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.995)
"""Levels at which a record keeps the quantiles of its metrics."""

_DECIMALS: Final = 5

Quantiles = list[float] | None


class Interval(NamedTuple):
    """A mean over seeds and its interval; low <= mean <= high."""

    mean: float
    low: float
    high: float
    n_seeds: int


def spread(
    scores: NDArray[np.float64],
    labels: NDArray[Any],
    thresholds: Mapping[str, float],
    *,
    weights: NDArray[np.float64] | None = None,
    resampling: Resampling = ONE_BY_ONE,
) -> dict[str, Any]:
    """Quantiles of one record's metrics over test sets like this one, as JSON.

    scores: float64 (n_sequences,), finite;  labels: 0 normal, 1 abnormal (int or bool), (n_sequences,)
    thresholds: threshold of each rule that has one, by name
    weights: float64 (n_sequences,), sampling weights of a stratified subsample; one of weight 0 takes no part
    resampling: what is independent, of the sequences as they are given; in blocks no weight may differ from 0 and 1

    Returns {"resampled": "sequences" or "blocks of 236", "levels": [...], "auroc": q, "ap": q,
    "rules": {name: {"f1": q, "precision": q, "recall": q, "fpr": q}}}, and "reason" where blocks were too few.
    q holds one value per level, rounded to 5 decimals, that of .5 is the metric itself; or it is None where the metric
    is (see `metrics`).

    Nothing is drawn. Abnormal and normal sequences keep their numbers, so the prevalence is kept, and thresholds stay
    as estimated. AUROC and AP: by influence, see `limits`. Recall and false positive rate: Jeffreys' interval of as
    many independent sequences as have the variance. F1 and precision: by all pairs of quantiles of both. What no other
    sequence could change is its point: scores that are all equal, a threshold that flags all or nothing.

    Raises ValueError for other labels, other shapes and scores or weights that cannot be used.
    """
    abnormal = as_abnormal(scores, labels)
    blocks = resampling.blocks
    Design(abnormal, weights)  # checks the weights
    if weights is not None:
        kept = weights > 0
        scores, abnormal, weights = scores[kept], abnormal[kept], weights[kept]
        blocks = None if blocks is None else blocks[kept]
    design = Design(abnormal, weights, blocks)
    made: dict[str, Any] = {"resampled": resampling.unit}
    if resampling.reason:
        made["reason"] = resampling.reason
    never = not len(scores) or float(scores.min()) == float(scores.max())
    return {
        **made,
        "levels": list(LEVELS),
        **_of_ranking(scores, design, never),
        "rules": {name: _of_rule(flag(scores, at), design, never or math.isinf(at)) for name, at in thresholds.items()},
    }


def combine(points: Sequence[float], quantiles: Sequence[Sequence[float]], *, level: float = 0.95) -> Interval:
    """Mean over seeds with an interval from seeds and test sequences.

    points: the metric of each seed;  quantiles: its quantiles at LEVELS, for each seed;  level: coverage asked for

    The error of the test set is the mean of the seeds' own: seeds that share a test set are lucky together, so it does
    not shrink with their number. That is too wide, never too narrow, where seeds have test sets of their own. The
    error of the mean by the seeds shrinks, and is Student's (`seeds.half_width` adds both). One seed gives its own
    interval. Sides are added on the logit scale about the mean, so a seed at exactly 0 or 1 needs no care; where the
    mean is 0 or 1 all seeds are, and the interval is that of the test set. A metric that can be negative is added as it
    is. Quantiles beyond the outer LEVELS are taken as the outermost. Deterministic.

    Raises ValueError without points, or when points and quantiles do not match.
    """
    if not points or len(points) != len(quantiles) or any(len(row) != len(LEVELS) for row in quantiles):
        raise ValueError(f"need {len(LEVELS)} quantiles for each of at least one point; got {len(points)} points")
    n, mean, tail = len(points), math.fsum(points) / len(points), (1 - level) / 2
    mean = min(max(mean, min(points)), max(points))
    own = np.asarray(quantiles, np.float64).mean(axis=0)
    low, high = (float(end) for end in np.interp([tail, 1 - tail], LEVELS, own))
    low, high = min(low, mean), max(high, mean)
    error = math.sqrt(math.fsum((point - mean) ** 2 for point in points) / max(n - 1, 1) / n)
    if error == 0:
        return Interval(mean, low, high, n)
    p = min(max(1 - level, 1e-12), 1.0)
    if min(*points, low) < 0 or max(*points, high) > 1:
        down, up = (half_width(abs(end - mean), error, n, p) for end in (low, high))
        return Interval(mean, max(mean - down, -1.0), min(mean + up, 1.0), n)
    centre, slope = _logit(mean), mean * (1 - mean)
    down, up = (half_width(abs(_logit(end) - centre), error / slope, n, p) for end in (low, high))
    return Interval(mean, min(_expit(centre - down), mean), max(_expit(centre + up), mean), n)


def _logit(value: float) -> float:
    if value <= 0 or value >= 1:
        return math.copysign(math.inf, value - 0.5)
    return math.log(value) - math.log1p(-value)


def _expit(value: float) -> float:
    if value < 0:
        return math.exp(value) / (1 + math.exp(value)) if value > -700 else 0.0
    return 1 / (1 + math.exp(-value))


def _of_ranking(scores: NDArray[np.float64], design: Design, never: bool) -> dict[str, Quantiles]:
    n_abnormal, n_normal = design.totals
    if not n_abnormal:
        return {"auroc": None, "ap": None}
    if not n_normal:
        return {"auroc": None, "ap": [1.0] * len(LEVELS)}
    ranked = Ranked(scores, design)
    auroc, ap = ranked.auroc(), ranked.average_precision()
    if never:
        return {"auroc": _rounded(np.full(len(LEVELS), auroc[0])), "ap": _rounded(np.full(len(LEVELS), ap[0]))}
    return {
        "auroc": _rounded(auroc_limits(auroc[0], design.variance(auroc[1]), design, LEVELS)),
        "ap": _rounded(ap_limits(ap[0], design.variance(ap[1]), design, LEVELS)),
    }


def _of_rule(flagged: NDArray[np.bool_], design: Design, never: bool) -> dict[str, Quantiles]:
    n_abnormal, n_normal = design.totals
    recall = Rate.of(flagged, 0, design) if n_abnormal else None
    fpr = Rate.of(flagged, 1, design) if n_normal else None
    made: dict[str, Quantiles] = dict.fromkeys(("f1", "precision", "recall", "fpr"))
    for name, rate in (("recall", recall), ("fpr", fpr)):
        if rate is not None:
            made[name] = _rounded(np.full(len(LEVELS), rate.value) if never else rate_limits(rate, LEVELS))
    if recall is None:
        return made
    pairs = Pairs(np.array([recall.value]), np.zeros(1)) if never else _pairs(recall, fpr, design)
    for name, formula in (("f1", _f1), ("precision", _precision)):
        alarms = 0.0 if fpr is None else fpr.value * n_normal
        value = float(formula(np.array(recall.value * n_abnormal), np.array(alarms), n_abnormal))
        metric = formula(pairs.recall * n_abnormal, pairs.fpr * n_normal, n_abnormal)
        made[name] = _rounded(np.full(len(LEVELS), value) if never else pairs.limits(value, metric, LEVELS))
    return made


def _pairs(recall: Rate, fpr: Rate | None, design: Design) -> Pairs:
    if fpr is not None:
        return Pairs.of(recall, fpr, design)
    at = recall.at((np.arange(400) + 0.5) / 400)
    return Pairs(at, np.zeros(len(at)))


def _f1(hits: Floats, alarms: Floats, n_abnormal: float) -> Floats:
    return np.asarray(2 * hits / (hits + alarms + n_abnormal))


def _precision(hits: Floats, alarms: Floats, n_abnormal: float) -> Floats:
    return np.asarray(hits / np.where(hits + alarms > 0, hits + alarms, 1))


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), _DECIMALS) for value in values]
