"""Stored scores held against the threshold of a rule, sequence by sequence."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.thresholds import flag, parse_rule
from bench.experiment.measure import can_measure, measure
from bench.records.record import Record, Scores


def cut_of(record: Record, scores: Scores, rule: str) -> NDArray[np.float64] | str:
    """The threshold that each test sequence is held against, (n_test,), or why the rule has none here."""
    parsed = parse_rule(rule)
    entry = record["thresholds"].get(str(parsed))
    if entry is None and can_measure(parsed, scores):
        made = measure(scores, record["systems"], [parsed], split=record["spec"]["split"])
        entry = made["thresholds"][str(parsed)]
    if entry is None:
        return "its scores do not say of which system they are"
    reason = str(entry["reason"] or "it has none for each tested system")
    if "systems" not in entry:
        return reason if entry["value"] is None else np.full(len(scores["test"]), float(entry["value"]))
    own = {name: found["value"] for name, found in entry["systems"].items()}
    tested = {record["systems"][index] for index in np.unique(scores["test_system"])}
    if any(own.get(name) is None for name in tested):
        return reason
    values = np.array([float(own[name]) if name in tested else math.nan for name in record["systems"]])
    return np.asarray(values[scores["test_system"]])


def flagged_at(scores: NDArray[np.float64], cut: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of them are flagged, each held against its own threshold; both (n_test,)."""
    flagged = np.zeros(len(scores), np.bool_)
    for value in np.unique(cut).tolist():
        here = cut == value
        flagged[here] = flag(scores[here], value)
    return flagged


def judged_of(scores: Scores) -> NDArray[np.bool_]:
    """Test sequences that count: a method may decline to judge some."""
    weights = scores.get("test_weights")
    return np.ones(len(scores["test"]), np.bool_) if weights is None else np.asarray(weights > 0, np.bool_)
