"""How much each test sequence moves a metric: its variance without a single draw.

The influence of a sequence is the derivative of the metric by its weight, centred within its kind, since abnormal and
normal sequences are as many as they are. Squares of independent units sum to the variance; a block's influences are
added before they are squared. For AUROC this is DeLong's variance, and Obuchowski's where units are blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.thresholds import strata

Floats = NDArray[np.float64]


class Variance(NamedTuple):
    """The variance of an estimate, and how well it is known itself."""

    value: float
    df: float
    """Degrees of freedom by Welch and Satterthwaite: those of the few abnormal units where these decide."""
    design: float
    """How many times as large as that of independent sequences; 1 where nothing varied, and never below."""


class Design:
    """Which sequences stand for whom, and what is independent of what."""

    def __init__(
        self, abnormal: NDArray[np.bool_], weights: Floats | None, blocks: NDArray[np.int64] | None = None
    ) -> None:
        self.abnormal = abnormal
        self.weights = np.ones(len(abnormal)) if weights is None else weights
        self.blocks = blocks
        self._strata = [mask for _, mask in strata(abnormal, weights)]
        self.totals = tuple(float(self.weights[mask].sum()) for mask in (abnormal, ~abnormal))
        """Abnormal and normal sequences, or what they are estimated to be."""
        self.sizes = tuple(_kish(self.weights[mask]) for mask in (abnormal, ~abnormal))
        """As how many equally weighted ones they count."""
        self.units = tuple(self._units(mask) for mask in (abnormal, ~abnormal))
        """Independent units of each kind."""

    def _units(self, mask: NDArray[np.bool_]) -> int:
        return int(np.count_nonzero(mask)) if self.blocks is None else len(np.unique(self.blocks[mask]))

    def variance(self, influence: Floats) -> Variance:
        """Of a metric by the influence of each sequence, float64 (n_sequences,)."""
        plain = [self._apart(influence, is_abnormal) for is_abnormal in (True, False)]
        if self.blocks is None:
            return Variance(sum(plain), _satterthwaite(plain, self.units), 1.0)
        parts = [self._in_blocks(np.where(mask, influence, 0.0)) for mask in (self.abnormal, ~self.abnormal)]
        whole = self._in_blocks(influence)
        design = max(1.0, whole / sum(plain)) if sum(plain) > 0 else 1.0
        # Blocks that happen to cancel out are no evidence that neighbours make each other more certain.
        return Variance(max(whole, sum(plain)), _satterthwaite(parts, self.units), design)

    def correlation(self, one: Floats, other: Floats) -> float:
        """Between the errors of two estimates, by their influences; 0 where sequences are independent."""
        if self.blocks is None:
            return 0.0
        first, second = (np.bincount(self.blocks, weights=values) for values in (one, other))
        scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
        return float((first * second).sum()) / scale if scale > 0 else 0.0

    def _apart(self, influence: Floats, is_abnormal: bool) -> float:
        total = 0.0
        for mask in self._strata:
            if bool(self.abnormal[mask.argmax()]) == is_abnormal and mask.any():
                values = influence[mask]
                total += float(((values - values.mean()) ** 2).sum()) * len(values) / max(len(values) - 1, 1)
        return total

    def _in_blocks(self, influence: Floats) -> float:
        assert self.blocks is not None
        sums = np.bincount(self.blocks, weights=influence)
        n = int(np.count_nonzero(np.bincount(self.blocks)))
        return float((sums**2).sum()) * n / max(n - 1, 1)


class Ranked:
    """Scores in groups of equal ones, highest first, with the weights that stand there."""

    def __init__(self, scores: Floats, design: Design) -> None:
        self._design = design
        _, self._group = np.unique(-scores, return_inverse=True)
        kinds = (design.abnormal, ~design.abnormal)
        self._hits, self._alarms = (
            np.bincount(self._group, weights=design.weights * mask, minlength=int(self._group.max()) + 1)
            for mask in kinds
        )
        self._tp, self._fp = self._hits.cumsum(), self._alarms.cumsum()

    def auroc(self) -> tuple[float, Floats]:
        """AUROC, and the influence of each sequence."""
        n_abnormal, n_normal = self._design.totals
        below = (n_normal - self._fp + 0.5 * self._alarms) / n_normal
        above = (self._tp - 0.5 * self._hits) / n_abnormal
        value = float((self._hits * below).sum() / n_abnormal)
        return value, self._of_each(below / n_abnormal, above / n_normal)

    def average_precision(self) -> tuple[float, Floats]:
        """AP, and the influence of each sequence."""
        n_abnormal, _ = self._design.totals
        flagged = np.maximum(self._tp + self._fp, 1e-300)
        precision = self._tp / flagged
        value = float((self._hits * precision).sum() / n_abnormal)
        gain = _from_here(self._hits * self._fp / flagged**2)
        loss = _from_here(self._hits * self._tp / flagged**2)
        return value, self._of_each((precision + gain) / n_abnormal, -loss / n_abnormal)

    def _of_each(self, abnormal: Floats, normal: Floats) -> Floats:
        return centred(np.where(self._design.abnormal, abnormal[self._group], normal[self._group]), self._design)


def centred(values: Floats, design: Design) -> Floats:
    """Values times weights, whose sum is 0 over the abnormal and over the normal sequences."""
    found = np.zeros(len(values))
    for mask, total in zip((design.abnormal, ~design.abnormal), design.totals, strict=True):
        if total > 0:
            weights = design.weights[mask]
            found[mask] = weights * (values[mask] - float((weights * values[mask]).sum()) / total)
    return found


def _from_here(values: Floats) -> Floats:
    """Sums from each place to the end."""
    return np.asarray(values[::-1].cumsum()[::-1])


def _kish(weights: Floats) -> float:
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _satterthwaite(parts: list[float], units: tuple[int, ...]) -> float:
    known = [max(n - 1, 1) for n in units]
    below = sum(part**2 / n for part, n in zip(parts, known, strict=True))
    return sum(parts) ** 2 / below if below > 0 else float(min(known))
