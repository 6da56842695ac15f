"""The metrics by name: one row for each says where records hold it and who shows it. Who lists metrics reads here.

A metric that a record holds is computed in `metrics`, its quantiles in `stats`. One with a `formula` stands in no
record: it is derived on reading, from recall and false positive rate of a rule and the share of abnormal sequences, so
no run need be made again for it. Of a stratified subsample all three are estimates for the whole part, and so is what
is derived from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.stats import LEVELS

Floats = NDArray[np.float64]
Formula = Callable[[Floats, Floats, float], Floats]
"""Recall, false positive rate (of one shape) and the share of abnormal sequences, between 0 and 1 -> the metric."""

_GRID: Final = 64
"""Evenly spaced quantiles of recall, and of the false positive rate, that a derived metric is resampled by."""


@dataclass(frozen=True)
class Measure:
    """One metric."""

    key: str
    """Its name in records and in JSON."""
    section: Literal["ranking", "rules"]
    """Whether it needs no threshold, or has a value for each threshold rule."""
    title: str
    """What figures and comparisons call it."""
    column: str = ""
    """The heading of its column in tables; without one, only JSON shows it."""
    has_interval: bool = False
    """Whether its column prints an interval."""
    in_gate: bool = False
    in_compare: bool = False
    """Whether methods are compared by it; `paired.resample` must then compute it, and higher be better."""
    higher_is_better: bool = True
    formula: Formula | None = None
    """How it is derived, where no record holds it."""

    @property
    def heading(self) -> str:
        """The heading of its column, with the level of its interval."""
        return f"{self.column} [95 %]" if self.has_interval else self.column

    @property
    def is_by_rule(self) -> bool:
        """Whether it has a value for each threshold rule."""
        return self.section == "rules"

    def value(self, block: Mapping[str, Any], rule: str) -> float | None:
        """Its value in a metric block of a record; None where it is not defined, or the rule has no threshold.

        rule: the threshold rule; not read where the metric needs none
        """
        values = self._values(block, rule)
        if self.formula is None:
            found: float | None = values.get(self.key)
            return found
        share = _abnormal_share(values)
        if share is None:
            return None
        return float(self.formula(_array(values["recall"]), _array(values["fpr"]), share))

    def quantiles(self, block: Mapping[str, Any], rule: str) -> list[float]:
        """Its quantiles at `stats.LEVELS` over test sets; its value at each where a record has none.

        Abnormal and normal sequences keep their numbers, so recall and false positive rate are taken to vary
        independently: a derived metric has the quantiles of all pairs of theirs. Only for a block in which it has a
        value.
        """
        spread = block["bootstrap"]["rules"].get(rule, {}) if self.is_by_rule else block["bootstrap"]
        if self.formula is None:
            return list(spread.get(self.key) or [self.value(block, rule)] * len(LEVELS))
        values = self._values(block, rule)
        at = (np.arange(_GRID) + 0.5) / _GRID
        recall, fpr = (np.interp(at, LEVELS, spread.get(k) or [values[k]] * len(LEVELS)) for k in ("recall", "fpr"))
        share = _abnormal_share(values)
        assert share is not None
        pairs = self.formula(np.repeat(recall, _GRID), np.tile(fpr, _GRID), share)
        return [float(value) for value in np.quantile(pairs, LEVELS)]

    def _values(self, block: Mapping[str, Any], rule: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = block["rules"].get(rule) or {} if self.is_by_rule else block["ranking"]
        return found


def _matthews(recall: Floats, fpr: Floats, share: float) -> Floats:
    """Matthews' correlation coefficient; 0 where all or nothing is flagged, as in scikit-learn."""
    flagged = share * recall + (1 - share) * fpr
    scale = np.sqrt(flagged * (1 - flagged))
    return np.asarray((recall - fpr) * np.sqrt(share * (1 - share)) / np.where(scale > 0, scale, np.inf))


def _balanced_accuracy(recall: Floats, fpr: Floats, share: float) -> Floats:
    """Mean of the two rates of being right; it does not depend on the share."""
    return np.asarray((recall + 1 - fpr) / 2)


MEASURES: tuple[Measure, ...] = (
    Measure("precision", "rules", "precision", "P"),
    Measure("recall", "rules", "recall", "R"),
    Measure("f1", "rules", "F1", "F1", has_interval=True, in_gate=True, in_compare=True),
    Measure("fpr", "rules", "false positive rate", "FPR", higher_is_better=False),
    Measure("ap", "ranking", "AP", "AP", has_interval=True, in_gate=True, in_compare=True),
    Measure("auroc", "ranking", "AUROC", "AUROC", has_interval=True, in_gate=True, in_compare=True),
    Measure("recall_at_fpr_0.01", "ranking", "recall at 1 % FPR", "R@1%"),
    Measure("recall_at_fpr_0.001", "ranking", "recall at 0.1 % FPR", "R@.1%"),
    Measure("oracle_f1", "ranking", "oracle F1", "oracle"),
    Measure("recall_incident", "rules", "recall by incident"),
    Measure("mcc", "rules", "MCC", formula=_matthews),
    Measure("balanced_accuracy", "rules", "balanced accuracy", formula=_balanced_accuracy),
)
"""All metrics, in the order of the tables' columns. Read it by the functions below, so that a row more is seen."""


def all_measures() -> tuple[Measure, ...]:
    """Every metric."""
    return MEASURES


def measure_of(key: str) -> Measure:
    """The metric of that name; KeyError where there is none."""
    return {measure.key: measure for measure in MEASURES}[key]


def columns() -> list[Measure]:
    """The metrics that tables have a column for."""
    return [measure for measure in MEASURES if measure.column]


def gated() -> list[Measure]:
    """The metrics that the gate keeps from falling."""
    return [measure for measure in MEASURES if measure.in_gate]


def compared() -> list[Measure]:
    """The metrics that methods are compared by, those that need no threshold first."""
    return sorted((measure for measure in MEASURES if measure.in_compare), key=lambda measure: measure.is_by_rule)


def _abnormal_share(values: Mapping[str, Any]) -> float | None:
    """The share of abnormal sequences by the counts of a rule; None where one kind, or a count, is missing."""
    try:
        n_abnormal, n_normal = values["tp"] + values["fn"], values["fp"] + values["tn"]
    except KeyError:
        return None
    return float(n_abnormal / (n_abnormal + n_normal)) if n_abnormal and n_normal else None


def _array(value: float) -> Floats:
    return np.asarray(value, np.float64)
