"""Confidence limits of one record's metrics at many levels, from their variances.

A limit is the farthest value that the estimate does not contradict: |estimate - x| <= t sd(x). How sd changes with x
is known in shape (`_binormal` for AUROC), in size from the influences. Near 1, and with few abnormal sequences, the
influences say too little, as DeLong's interval shows, so a prior of 5 units stands beside them: what the shape alone
gives, and downwards what abnormal sequences would give that no score tells from normal ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.influence import Design, Floats, Variance, centred

_PRIOR: Final = 5
"""Units that the prior counts as."""
_STEPS: Final = 36
_WIDEST: Final = 8.5
"""Standard deviations of a normal score beyond which AUROC is 0 or 1; the logit of AP goes as far as 25."""
_GRID: Final = 100
"""Evenly spaced quantiles of each of two rates that a metric of both is made of."""

Sd2 = Callable[[Floats], Floats]
"""Variance of an estimate, by the true value."""


def auroc_limits(value: float, variance: Variance, design: Design, levels: Sequence[float]) -> Floats:
    """Quantiles of AUROC at these levels, rising; what lies below .5 is mirrored.

    The shape is that of two normal distributions of scores, whose variance goes to 0 faster than 1 - AUROC does.
    """
    from scipy.special import ndtr, ndtri

    if value < 0.5:
        return 1.0 - auroc_limits(1 - value, variance, design, [1 - level for level in levels])
    n_abnormal, n_normal = (max(size / variance.design, 1.0) for size in design.sizes)
    least = 0.5 / (n_abnormal * n_normal)
    point = min(max(value, least), 1 - least)
    of_shape = _spread_of(n_abnormal, n_normal)
    known = max(min(design.units) - 1, 1)
    ratio = variance.value / float(of_shape(_binormal(np.array(ndtri(point)))))

    def upwards(z: Floats) -> Floats:
        return (known * ratio + _PRIOR) / (known + _PRIOR) * of_shape(_binormal(z))

    def downwards(z: Floats) -> Floats:
        x = ndtr(z)
        hidden = x**2 * ndtr(-z) / (1 + x)
        return (known * ratio * of_shape(_binormal(z)) + _PRIOR * of_shape(hidden)) / (known + _PRIOR)

    scale = _Scale(ndtr, ndtri(point), _WIDEST)
    z = _farthest(scale, (downwards, upwards), _student(variance.df + _PRIOR, levels))
    return _around(value, np.asarray(ndtr(z), np.float64), levels)


def ap_limits(value: float, variance: Variance, design: Design, levels: Sequence[float]) -> Floats:
    """Quantiles of AP at these levels, rising: a scale between the logit and the arcsine."""
    from scipy.special import expit, logit

    point = min(max(value, 1e-9), 1 - 1e-9)
    known = max(min(design.units) - 1, 1)
    n_abnormal = max(design.sizes[0] / variance.design, 1.0)
    scale = variance.value / (point * (1 - point)) ** 1.5

    def upwards(z: Floats) -> Floats:
        return np.asarray(scale * (expit(z) * expit(-z)) ** 1.5)

    def downwards(z: Floats) -> Floats:
        of_hidden = expit(z) * expit(-z) / n_abnormal
        return np.asarray((known * upwards(z) + _PRIOR * of_hidden) / (known + _PRIOR))

    z = _farthest(_Scale(expit, logit(point), 25.0), (downwards, upwards), _student(variance.df + _PRIOR, levels))
    return _around(value, np.asarray(expit(z), np.float64), levels)


class Rate(NamedTuple):
    """A share of sequences and what it counts as: Jeffreys' interval of so many independent ones."""

    value: float
    n: float
    influence: Floats

    @classmethod
    def of(cls, flagged: NDArray[np.bool_], kind: int, design: Design) -> Rate:
        """The share flagged of the abnormal (kind 0) or of the normal sequences (1), which must be there.

        In blocks it counts as many independent ones as have its variance, less what so few blocks leave unknown
        (Korn and Graubard). Where none or all are flagged, blocks say nothing.
        """
        from scipy.special import stdtrit

        mask = design.abnormal if kind == 0 else ~design.abnormal
        total, size, units = design.totals[kind], design.sizes[kind], design.units[kind]
        value = float(design.weights[flagged & mask].sum()) / total
        influence = centred(np.where(mask, flagged / total, 0.0), design)
        spread = design.variance(influence).value
        n = min(size, value * (1 - value) / spread) if spread > 0 else size
        if design.blocks is not None and spread > 0:
            n *= float(1.959964 / stdtrit(max(units - 1, 1), 0.975)) ** 2
        return cls(value, n, influence)

    def at(self, levels: Floats) -> Floats:
        """Its quantiles at these levels."""
        from scipy.special import betaincinv

        hits = self.value * self.n
        return np.asarray(betaincinv(hits + 0.5, self.n - hits + 0.5, levels), np.float64)


def rate_limits(rate: Rate, levels: Sequence[float]) -> Floats:
    """Quantiles of a rate at these levels, rising; one of 0 starts there, one of 1 ends there."""
    return _around(rate.value, rate.at(np.asarray(levels)), levels)


class Pairs(NamedTuple):
    """All pairs of quantiles of recall and of the false positive rate, as their errors go together."""

    recall: Floats
    fpr: Floats

    @classmethod
    def of(cls, recall: Rate, fpr: Rate, design: Design) -> Pairs:
        """float64 (10000,) each."""
        from scipy.special import ndtri

        at = (np.arange(_GRID) + 0.5) / _GRID
        one, other = (column.ravel() for column in np.meshgrid(ndtri(at), ndtri(at), indexing="ij"))
        rho = design.correlation(recall.influence, fpr.influence)
        joined = rho * one + np.sqrt(max(1 - rho**2, 0.0)) * other
        fine = np.linspace(-4, 4, 161)
        return cls(*(np.interp(z, fine, rate.at(_normal(fine))) for rate, z in ((recall, one), (fpr, joined))))

    def limits(self, value: float, metric: Floats, levels: Sequence[float]) -> Floats:
        """Quantiles of a metric of both at these levels, rising; metric: its value for each pair."""
        return _around(value, np.quantile(metric, levels), levels)


class _Scale(NamedTuple):
    """On which a limit is looked for."""

    value_of: Callable[[Floats], Floats]
    start: float
    """Where the estimate stands on it."""
    widest: float
    """No limit stands farther from 0."""


def _student(df: float, levels: Sequence[float]) -> Floats:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, np.asarray(levels)), np.float64)


def _farthest(scale: _Scale, spreads: tuple[Sd2, Sd2], t: Floats) -> Floats:
    """By bisection, the limit for each of Student's quantiles, those below 0 by the first of the variances."""
    is_below, start = t < 0, float(scale.start)
    inner = np.full(len(t), start)
    outer = np.where(is_below, min(-scale.widest, start), max(scale.widest, start))
    point = scale.value_of(inner)
    for _ in range(_STEPS):
        middle = (inner + outer) / 2
        spread = np.where(is_below, spreads[0](middle), spreads[1](middle))
        is_inside = np.abs(scale.value_of(middle) - point) <= np.abs(t) * np.sqrt(np.maximum(spread, 0.0))
        inner, outer = np.where(is_inside, middle, inner), np.where(is_inside, outer, middle)
    return inner


def _spread_of(n_abnormal: float, n_normal: float) -> Callable[[Floats], Floats]:
    per_unit = 1 / n_abnormal + 1 / n_normal
    return lambda spread: spread * per_unit


def _binormal(z: Floats) -> Floats:
    """Variance of one placement under normal scores of equal spread, by the probit of AUROC."""
    from scipy.special import ndtr, owens_t

    return np.asarray(np.maximum(ndtr(z) * ndtr(-z) - 2 * owens_t(z, 3**-0.5), 1e-300), np.float64)


def _normal(z: Floats) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr(z), np.float64)


def _around(value: float, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """Quantiles with the estimate in their middle: none below .5 exceeds it, none above falls short."""
    at = np.asarray(levels)
    found = np.where(at < 0.5, np.minimum(quantiles, value), np.maximum(quantiles, value))
    return np.clip(np.where(at == 0.5, value, found), 0.0, 1.0)
