"""Threshold rules: a text such as `conformal:0.01` -> a threshold on scores; and `flag`, which alone compares the two.

`conformal:ALPHA`  the false positive rate is at most ALPHA on average, if validation and test normals are exchangeable
`quantile:Q`       the Q-quantile of the same scores (linear interpolation between order statistics)
`native`           the method's own rule
`fixed:VALUE`      the value itself
`oracle`           the best F1 on the test labels: an upper bound, never a result; the only rule that reads labels

In a transfer run conformal and quantile take a suffix: `@target-normals` is fitted on the normal validation sequences
of the target, `@target-unlabelled` on all its validation sequences, labels unseen. Where several systems are combined,
`@own-system` gives each a threshold of its own, fitted on its own normal validation sequences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

Kind = Literal["native", "conformal", "quantile", "fixed", "oracle"]
Population = Literal["target-normals", "target-unlabelled", "own-system"]

DEFAULT_RULE: Final = "conformal:0.01"

_EXAMPLES: Final = "native, conformal:0.01, quantile:0.99, fixed:2.5, oracle, conformal:0.01@target-normals"
_POPULATION_NAMES: Final[dict[Population | None, str]] = {
    None: "validation normals",
    "target-normals": "target validation normals",
    "target-unlabelled": "target validation sequences",
    "own-system": "validation normals of each system",
}


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """A parsed rule; `str(rule)` is its canonical text, and `parse_rule(str(rule)) == rule`."""

    kind: Kind
    value: float | None = None
    """Alpha of conformal, level of quantile, threshold of fixed; None for native and oracle."""
    population: Population | None = None
    """What conformal and quantile are fitted on; None: the normal validation sequences of the source."""

    def __str__(self) -> str:
        value = "" if self.value is None else f":{repr(self.value).removesuffix('.0')}"
        return f"{self.kind}{value}{f'@{self.population}' if self.population else ''}"

    @property
    def uses_target_normals(self) -> bool:
        """Whether the rule is told which target sequences are normal, which is supervision of its own."""
        return self.population == "target-normals"

    @property
    def is_per_system(self) -> bool:
        """Whether each of several combined systems has a threshold of its own."""
        return self.population == "own-system"


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a rule gave for one detector on one split."""

    value: float | None
    """Sequences with a higher score are flagged; may be -inf (flag everything); None: not estimable, see `reason`."""
    fitted_on: str
    """The scores it was estimated from, in words."""
    n: int
    """How many scores these were; 0 for native and fixed."""
    reason: str | None = None
    """Why there is no value, or None."""


class OperatingPoints(NamedTuple):
    """Every distinct way to cut a ranking, from no flags to all flagged."""

    thresholds: NDArray[np.float64]
    """(n_distinct + 1,) strictly falling: the distinct scores, then -inf."""
    tp: NDArray[Any]
    """(n_distinct + 1,) abnormal sequences whose score exceeds the threshold: int64, or float64 sums of weights."""
    fp: NDArray[Any]
    """(n_distinct + 1,) normal sequences whose score exceeds the threshold, likewise."""

    def f1(self) -> NDArray[np.float64]:
        """float64 (n_distinct + 1,): F1 = 2 TP / (flagged + abnormal); there must be an abnormal sequence."""
        n_abnormal = self.tp[-1]
        return np.asarray(2.0 * self.tp / (self.tp + self.fp + n_abnormal), np.float64)


def parse_rule(text: str) -> ThresholdRule:
    """Read a rule; raise BenchError for anything that is not one."""
    body, at, population = text.strip().partition("@")
    kind, colon, number = body.partition(":")
    if kind not in get_args(Kind):
        raise BenchError(f"threshold rule '{text}' is not known; write one like {_EXAMPLES}")
    if at and population not in get_args(Population):
        raise BenchError(f"threshold rule '{text}': '@{population}' is not one of @{', @'.join(get_args(Population))}")
    if at and kind not in ("conformal", "quantile"):
        raise BenchError(f"threshold rule '{text}': only conformal and quantile take a suffix; write '{body}'")
    if kind in ("native", "oracle"):
        if colon:
            raise BenchError(f"threshold rule '{text}': {kind} takes no value; write '{kind}'")
        return ThresholdRule(cast("Kind", kind))
    value = _number(text, kind, number)
    return ThresholdRule(cast("Kind", kind), value, cast("Population", population) if at else None)


def flag(scores: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Where score > threshold, bool (n_sequences,): what flagged means, in the one place where it is decided."""
    return scores > threshold


def estimate(
    rule: ThresholdRule,
    *,
    validation_normals: NDArray[np.float64],
    native: float | None = None,
    target_normals: NDArray[np.float64] | None = None,
    target_unlabelled: NDArray[np.float64] | None = None,
    test_scores: NDArray[np.float64] | None = None,
    test_labels: NDArray[Any] | None = None,
    test_weights: NDArray[np.float64] | None = None,
) -> Threshold:
    """The threshold a rule gives.

    rule: as parsed by `parse_rule`
    validation_normals: float64 (n,), scores of the normal validation sequences (of the source, in a transfer)
    native: `Detector.native_threshold_`
    target_normals, target_unlabelled: float64 (n,), scores of the target's validation sequences, in a transfer
    test_scores, test_labels: float64 and 0 or 1, (n_test,), read by `oracle` alone
    test_weights: float64 (n_test,), sampling weights of a subsample, read by `oracle` alone

    Where the data do not suffice, the result has value None and a reason. Raises ValueError for scores that are not
    finite.
    """
    if rule.kind == "native":
        return Threshold(native, "the method", 0, "method has no native threshold" if native is None else None)
    if rule.kind == "fixed":
        return Threshold(rule.value, "nothing", 0)
    if rule.kind == "oracle":
        return _oracle(test_scores, test_labels, test_weights)
    if rule.is_per_system:
        raise ValueError(f"'{rule}' gives no single threshold: estimate the rule without its suffix for each system")
    populations = {None: validation_normals, "target-normals": target_normals, "target-unlabelled": target_unlabelled}
    fitted_on, scores = _POPULATION_NAMES[rule.population], populations.get(rule.population)
    if scores is None:
        return Threshold(None, fitted_on, 0, f"this run has no {fitted_on}: it is not a transfer")
    _require_finite(scores)
    assert rule.value is not None
    return (_conformal if rule.kind == "conformal" else _quantile)(scores, rule.value, fitted_on)


def operating_points(
    scores: NDArray[np.float64], labels: NDArray[Any], weights: NDArray[np.float64] | None = None
) -> OperatingPoints:
    """Counts of flagged abnormal and normal sequences at every distinct threshold, or sums of their weights.

    scores: float64 (n_sequences,), finite;  labels: 0 normal, 1 abnormal (int or bool), (n_sequences,)
    weights: float64 (n_sequences,), sampling weights; a sequence of weight 0 takes no part

    Raises ValueError for other labels, other shapes and scores or weights that cannot be used. O(n log n).
    """
    abnormal = as_abnormal(scores, labels)
    if weights is not None:
        return _weighted_points(scores, abnormal, weights)
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    last_of_ties = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])
    tp = np.cumsum(abnormal[order], dtype=np.int64)[last_of_ties]
    zero = np.zeros(1, dtype=np.int64)
    return OperatingPoints(
        thresholds=np.append(ordered[last_of_ties], -np.inf),
        tp=np.concatenate([zero, tp]),
        fp=np.concatenate([zero, last_of_ties + 1 - tp]),
    )


def strata(abnormal: NDArray[np.bool_], weights: NDArray[np.float64] | None) -> list[tuple[float, NDArray[np.bool_]]]:
    """Sequences that are alike for a metric: of one label and weight, abnormal ones first; without weight 0.

    abnormal: bool (n_sequences,);  weights: float64 (n_sequences,), or None where each sequence stands for itself

    Returns (weight, mask) pairs; the weight is the int 1 without weights, so that sums of it stay whole numbers.
    Raises ValueError for weights of another shape, negative or not finite.
    """
    if weights is None:
        return [(1, abnormal), (1, ~abnormal)]
    if weights.shape != abnormal.shape or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"weights must be finite, not negative, and {abnormal.shape} like the labels")
    return [
        (float(value), mask)
        for label in (abnormal, ~abnormal)
        for value in np.unique(weights)
        if value > 0 and (mask := label & (weights == value)).any()
    ]


def _weighted_points(
    scores: NDArray[np.float64], abnormal: NDArray[np.bool_], weights: NDArray[np.float64]
) -> OperatingPoints:
    """Whole counts of each stratum times its weight, so that no rounding error adds up along the points."""
    groups = strata(abnormal, weights)
    kept = weights > 0
    distinct, place = np.unique(scores[kept], return_inverse=True)
    sums = {True: np.zeros(len(distinct) + 1), False: np.zeros(len(distinct) + 1)}
    for weight, mask in groups:
        counts = np.bincount(place[mask[kept]], minlength=len(distinct))[::-1]
        sums[bool(abnormal[mask][0])][1:] += weight * np.cumsum(counts)
    return OperatingPoints(np.append(distinct[::-1], -np.inf), sums[True], sums[False])


def as_abnormal(scores: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the label is 1, bool (n_sequences,). Raises ValueError where scores and labels cannot be evaluated."""
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores and labels must be one-dimensional and equally long: {scores.shape}, {labels.shape}")
    _require_finite(scores)
    abnormal = np.asarray(labels == 1, dtype=np.bool_)
    n_other = int(np.count_nonzero(~abnormal & (labels != 0)))
    if n_other:
        raise ValueError(f"labels must be 0 (normal) or 1 (abnormal): {n_other} of {len(labels)} are neither")
    return abnormal


def conformal_rank(n: int, alpha: float) -> int:
    """ceil((n + 1)(1 - alpha)), exactly: alpha counts as the decimal number it is written as, not as its double."""
    return math.ceil((n + 1) * (1 - Fraction(repr(float(alpha)))))


def _number(text: str, kind: str, number: str) -> float:
    example = {"conformal": "conformal:0.01", "quantile": "quantile:0.99", "fixed": "fixed:2.5"}[kind]
    try:
        value = float(number)
    except ValueError:
        raise BenchError(f"threshold rule '{text}': '{number}' is not a number; write one like {example}") from None
    if not math.isfinite(value):
        raise BenchError(f"threshold rule '{text}': {number} is not finite; write a number, as in {example}")
    if kind == "conformal" and not 0 < value < 1:
        raise BenchError(f"threshold rule '{text}': alpha must lie between 0 and 1, both excluded; as in {example}")
    if kind == "quantile" and not 0 < value <= 1:
        raise BenchError(f"threshold rule '{text}': the level must lie above 0 and be at most 1; as in {example}")
    return value


def _conformal(scores: NDArray[np.float64], alpha: float, fitted_on: str) -> Threshold:
    n = len(scores)
    rank = conformal_rank(n, alpha)
    if rank > n:
        exact = Fraction(repr(float(alpha)))
        return Threshold(None, fitted_on, n, f"needs at least {math.ceil((1 - exact) / exact)} {fitted_on}, has {n}")
    return Threshold(float(np.partition(scores, rank - 1)[rank - 1]), fitted_on, n)


def _quantile(scores: NDArray[np.float64], level: float, fitted_on: str) -> Threshold:
    if not len(scores):
        return Threshold(None, fitted_on, 0, f"needs at least 1 {fitted_on}, has 0")
    return Threshold(float(np.quantile(scores, level)), fitted_on, len(scores))


def _oracle(
    scores: NDArray[np.float64] | None, labels: NDArray[Any] | None, weights: NDArray[np.float64] | None
) -> Threshold:
    """The highest threshold of best F1, so that equal F1 costs the fewest flags."""
    if scores is None or labels is None:
        return Threshold(None, "test labels", 0, "needs scores and labels of the test set")
    points = operating_points(scores, labels, weights)
    if not points.tp[-1]:
        return Threshold(None, "test labels", len(scores), "the test set has no abnormal sequence")
    return Threshold(float(points.thresholds[np.argmax(points.f1())]), "test labels", len(scores))


def _require_finite(scores: NDArray[np.float64]) -> None:
    n_bad = int(np.count_nonzero(~np.isfinite(scores)))
    if n_bad:
        raise ValueError(f"scores must be finite: {n_bad} of {len(scores)} are not")
