"""Scores of a cell -> the thresholds and metric blocks of its record; also for rules that are asked for later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.stats import bootstrap
from bench.evaluation.thresholds import DEFAULT_RULE, Threshold, ThresholdRule, estimate, parse_rule
from bench.types import ABNORMAL, NORMAL

ALL: Final = "all"
"""Name of the metric block over all tested systems together."""

BASE_RULES: Final = ("native", DEFAULT_RULE, "oracle")
TRANSFER_RULES: Final = (f"{DEFAULT_RULE}@target-normals", f"{DEFAULT_RULE}@target-unlabelled")


def default_rules(*, is_transfer: bool) -> list[ThresholdRule]:
    """The rules every record holds."""
    return [parse_rule(text) for text in (*BASE_RULES, *(TRANSFER_RULES if is_transfer else ()))]


def measure(
    scores: Mapping[str, NDArray[Any]], systems: Sequence[str], rules: Sequence[ThresholdRule], *, split: str
) -> dict[str, Any]:
    """Thresholds and metrics of one cell.

    scores: the stored arrays `validation`, `validation_labels`, `test`, `test_labels`, `test_system`, `native` (0 or 1
    entry), and in a transfer `target_validation`, `target_validation_labels`.

    Returns {"thresholds": {rule: {...}}, "metrics": {"all": {...}, system: {...}}, "validation": {...}}; systems have
    blocks of their own where more than one is tested, at the shared threshold. What is chosen between configs is chosen
    by the ranking of the validation part.
    """
    thresholds = {str(rule): _threshold(rule, scores, split) for rule in rules}
    values = {name: threshold.value for name, threshold in thresholds.items() if threshold.value is not None}
    blocks = {ALL: _block(scores["test"], scores["test_labels"], values)}
    tested = np.unique(scores["test_system"])
    for index in tested if len(tested) > 1 else ():
        chosen = scores["test_system"] == index
        blocks[systems[index]] = _block(scores["test"][chosen], scores["test_labels"][chosen], values)
    return {
        "thresholds": {name: _threshold_json(threshold) for name, threshold in thresholds.items()},
        "metrics": blocks,
        "validation": {
            "n": len(scores["validation"]),
            "n_abnormal": int((scores["validation_labels"] == ABNORMAL).sum()),
            "ranking": ranking_metrics(scores["validation"], scores["validation_labels"]),
        },
    }


def _threshold(rule: ThresholdRule, scores: Mapping[str, NDArray[Any]], split: str) -> Threshold:
    native = scores["native"]
    target, target_labels = scores.get("target_validation"), scores.get("target_validation_labels")
    if rule.population == "target-unlabelled" and split == "paper":
        # There, the validation part is drawn from normals only: using it unlabelled would use labels unseen.
        return Threshold(None, "target validation sequences", 0, "the split 'paper' leaves only normals to validate on")
    return estimate(
        rule,
        validation_normals=scores["validation"][scores["validation_labels"] == NORMAL],
        native=float(native[0]) if len(native) else None,
        target_normals=None if target is None or target_labels is None else target[target_labels == NORMAL],
        target_unlabelled=target,
        test_scores=scores["test"],
        test_labels=scores["test_labels"],
    )


def _threshold_json(threshold: Threshold) -> dict[str, Any]:
    return {
        "value": threshold.value,
        "fitted_on": threshold.fitted_on,
        "n": threshold.n,
        "reason": threshold.reason,
    }


def _block(scores: NDArray[np.float64], labels: NDArray[np.int8], thresholds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "n": len(labels),
        "n_abnormal": int((labels == ABNORMAL).sum()),
        "ranking": ranking_metrics(scores, labels),
        "rules": {name: metrics_at(scores, labels, value) for name, value in thresholds.items()},
        "bootstrap": bootstrap(scores, labels, thresholds, seed=_bootstrap_seed(labels)),
    }


def _bootstrap_seed(labels: NDArray[np.int8]) -> int:
    """One resampling per test set, so that methods compared on it share their draws."""
    return int.from_bytes(hashlib.sha256(labels.astype(np.int8).tobytes()).digest()[:8], "big")
