"""Scores of a cell -> the thresholds and metric blocks of its record; also for rules that are asked for later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.protocols import in_time
from bench.evaluation.blocks import ONE_BY_ONE, Resampling, time_blocks
from bench.evaluation.metrics import metrics_at, ranking_metrics, recall_of_incidents
from bench.evaluation.stats import spread
from bench.evaluation.thresholds import DEFAULT_RULE, Threshold, ThresholdRule, estimate, flag, parse_rule
from bench.records.record import Record, scores_digest
from bench.types import ABNORMAL, NORMAL

_SAME: Final = 1e-9
"""How far a metric measured again may be from the stored one, relative to a count."""

ALL: Final = "all"
"""Name of the metric block over all tested systems together."""

LINES: Final = "lines"
"""Name of the metric block over the lines of a method that scores these, at the thresholds of its sequences."""

BASE_RULES: Final = ("native", DEFAULT_RULE, "oracle")
TRANSFER_RULES: Final = (f"{DEFAULT_RULE}@target-normals", f"{DEFAULT_RULE}@target-unlabelled")


class _Test(NamedTuple):
    """What was tested."""

    scores: NDArray[np.float64]
    labels: NDArray[np.int8]
    weights: NDArray[np.float64] | None
    resampling: Resampling = ONE_BY_ONE
    incident: NDArray[np.int32] | None = None
    """The incident of each, -1 for none; None where nobody asked for incidents."""

    @classmethod
    def of(cls, scores: Mapping[str, NDArray[Any]], chosen: NDArray[np.bool_] | None = None, split: str = "") -> _Test:
        """Of stored scores all that was tested, or what is chosen.

        split: that of the run, to know of an order in time; without it there is none
        """
        which = slice(None) if chosen is None else chosen
        arrays = {name: values[which] for name, values in scores.items() if name in _BY_SEQUENCE}
        return cls(
            arrays["test"],
            arrays["test_labels"],
            arrays.get("test_weights"),
            resampling_of(arrays, split),
            arrays.get("test_incident") if in_time(split) else None,
        )

    @classmethod
    def of_lines(cls, scores: Mapping[str, NDArray[Any]], split: str = "") -> _Test:
        """Of the lines of a line method, which are stored in the order of their systems and in time."""
        values, labels = scores["test_lines"], scores["test_lines_labels"]
        return cls(values, labels, None, resampling_of({"test": values, "test_labels": labels}, split))

    def rule(self, threshold: float) -> dict[str, float | None]:
        """The metrics of a rule."""
        found = metrics_at(self.scores, self.labels, threshold, self.weights)
        if self.incident is None:
            return found
        flagged = flag(self.scores, threshold)
        return found | {"recall_incident": recall_of_incidents(flagged, self.incident, self.weights)}


_BY_SEQUENCE: Final = frozenset(
    {"test", "test_labels", "test_weights", "test_system", "test_last_line", "test_index", "test_incident"}
)


def resampling_of(scores: Mapping[str, NDArray[Any]], split: str) -> Resampling:
    """In blocks where test sequences are all that a stretch of time holds; those drawn for a sample are not.

    scores: as `measure` has them;  split: that of the run
    """
    if not in_time(split) or "test_index" in scores:
        return ONE_BY_ONE
    place = scores.get("test_last_line", np.arange(len(scores["test"])))
    system = scores.get("test_system", np.zeros(len(place), np.uint8))
    weights = scores.get("test_weights")
    kept = np.ones(len(place), np.bool_) if weights is None else weights > 0
    found = time_blocks(scores["test_labels"][kept], place[kept], system[kept])
    if found.blocks is None:
        return found
    blocks = np.zeros(len(place), np.int64)
    blocks[kept] = found.blocks
    return found._replace(blocks=blocks)


def default_rules(*, is_transfer: bool) -> list[ThresholdRule]:
    """The rules every record holds."""
    return [parse_rule(text) for text in (*BASE_RULES, *(TRANSFER_RULES if is_transfer else ()))]


def measure(
    scores: Mapping[str, NDArray[Any]], systems: Sequence[str], rules: Sequence[ThresholdRule], *, split: str
) -> Record:
    """Thresholds and metrics of one cell.

    scores: the stored arrays `validation`, `validation_labels`, `validation_system`, `test`, `test_labels`,
    `test_system`, `native` (0 or 1 entry), in a transfer `target_validation`, `target_validation_labels`, and of a
    subsample `test_weights`, by which the metrics are estimates of those of the whole test part; of a line method
    `test_lines` and `test_lines_labels`, which make the block `lines`; and where test sequences are all that a stretch
    of time holds, `test_last_line` (else they are taken to be in order) and `test_incident`.

    Returns {"thresholds": {rule: {...}}, "metrics": {"all": {...}, system: {...}}, "validation": {...}}; systems have
    blocks of their own where more than one is tested, at the shared threshold. A rule `@own-system` has a threshold for
    each system. What is chosen between configs is chosen by the ranking of the validation part.
    """
    shared = {str(rule): _threshold(rule, scores, split) for rule in rules if not rule.is_per_system}
    values = {name: threshold.value for name, threshold in shared.items() if threshold.value is not None}
    blocks = {ALL: _block(_Test.of(scores, split=split), values)}
    tested = np.unique(scores["test_system"])
    for index in tested if len(tested) > 1 else ():
        chosen = scores["test_system"] == index
        blocks[systems[index]] = _block(_Test.of(scores, chosen, split), values)
    thresholds = {name: _threshold_json(threshold) for name, threshold in shared.items()}
    if "test_lines" in scores:
        blocks[LINES] = _block(_Test.of_lines(scores, split), values)
    for rule in rules:
        if rule.is_per_system:
            thresholds[str(rule)] = _measure_own(rule, scores, systems, blocks, split)
    return {
        "thresholds": {str(rule): thresholds[str(rule)] for rule in rules},
        "metrics": blocks,
        "validation": _validation(scores["validation"], scores["validation_labels"]),
    }


def _validation(scores: NDArray[np.float64], labels: NDArray[Any]) -> dict[str, Any]:
    """How well the validation part is ranked; nothing where nothing validates."""
    facts = {"n": len(scores), "n_abnormal": int((labels == ABNORMAL).sum())}
    return facts | {"ranking": ranking_metrics(scores, labels) if len(scores) else {}}


def are_scores_of(record: Record, scores: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a record was made from these scores: by their digest where it is known, and by what they give.

    Measured again are the rankings of all blocks and the F1 of each rule at its stored threshold.
    """
    known = record.get("scores_sha256")
    if known is not None and scores_digest(scores) != known:
        return False
    tests = _tests(record, scores, record["spec"]["split"])
    if tests.keys() != record["metrics"].keys():
        return False
    systems = record["systems"]
    for name, test in tests.items():
        block = record["metrics"][name]
        if not _are_same(block["ranking"], ranking_metrics(test.scores, test.labels, test.weights)):
            return False
        for rule, values in block["rules"].items():
            cut = _stored_cut(record["thresholds"].get(rule, {}), name, systems, scores)
            if cut is None:
                return False
            moved = test._replace(scores=test.scores - cut[0])
            if not _are_same(values, moved.rule(cut[1])):
                return False
    return True


def _stored_cut(
    threshold: Mapping[str, Any], block: str, systems: Sequence[str], scores: Mapping[str, NDArray[Any]]
) -> tuple[Any, float] | None:
    """What to take from the scores of a block, and the threshold then; None where the record has none for it.

    Where each system has a threshold, that is taken from its scores in the block of all: see `_measure_own`.
    """
    own = threshold.get("systems")
    if own is not None and block == ALL:
        values = [own.get(system, {}).get("value") for system in systems]
        tested = np.unique(scores["test_system"])
        if any(values[index] is None for index in tested):
            return None
        offsets = np.array([0.0 if value is None else float(value) for value in values])
        return offsets[scores["test_system"]], 0.0
    value = threshold.get("value") if own is None else own.get(block, {}).get("value")
    return None if value is None else (0.0, float(value))


def _tests(record: Record, scores: Mapping[str, NDArray[Any]], split: str) -> dict[str, _Test]:
    """What each metric block of a record was measured on."""
    tests = {ALL: _Test.of(scores, split=split)}
    tested = np.unique(scores["test_system"])
    for index in tested if len(tested) > 1 else ():
        tests[record["systems"][index]] = _Test.of(scores, scores["test_system"] == index, split)
    if "test_lines" in scores:
        tests[LINES] = _Test.of_lines(scores)
    return tests


def _are_same(stored: Mapping[str, Any], measured: Mapping[str, Any]) -> bool:
    return all(_is_same(value, measured.get(name)) for name, value in stored.items())


def _is_same(value: float | None, other: float | None) -> bool:
    if value is None or other is None:
        return value is other
    return abs(value - other) <= _SAME * max(1.0, abs(value))


def can_measure(rule: ThresholdRule, scores: Mapping[str, NDArray[Any]]) -> bool:
    """Whether stored scores hold what the rule needs; those of early records do not say whose validation they are."""
    return not rule.is_per_system or "validation_system" in scores


def _measure_own(
    rule: ThresholdRule,
    scores: Mapping[str, NDArray[Any]],
    systems: Sequence[str],
    blocks: dict[str, Any],
    split: str,
) -> dict[str, Any]:
    """Add the metrics of a rule that gives each system its threshold to the blocks; returns its threshold entry."""
    own = _own_thresholds(rule, scores)
    if len(own) < 2:
        reason = "only one system is tested" if len(np.unique(scores["test_system"])) < 2 else "this run is a transfer"
        return _threshold_json(Threshold(None, "validation normals of each system", 0, reason))
    name = str(rule)
    for index, threshold in own.items():
        if threshold.value is not None:
            chosen = scores["test_system"] == index
            _add_rule(blocks[systems[index]], name, _Test.of(scores, chosen, split), threshold.value)
    values = {index: threshold.value for index, threshold in own.items() if threshold.value is not None}
    if len(values) == len(own):
        # Less its system's threshold, every score is flagged above 0.
        offsets = np.array([values.get(index, 0.0) for index in range(len(systems))])
        whole = _Test.of(scores, split=split)
        _add_rule(blocks[ALL], name, whole._replace(scores=whole.scores - offsets[scores["test_system"]]), 0.0)
    return {
        "value": None,
        "fitted_on": "validation normals of each system",
        "n": sum(threshold.n for threshold in own.values()),
        "reason": "; ".join(f"{systems[i]}: {t.reason}" for i, t in own.items() if t.reason) or None,
        "systems": {systems[index]: _threshold_json(threshold) for index, threshold in own.items()},
    }


def _own_thresholds(rule: ThresholdRule, scores: Mapping[str, NDArray[Any]]) -> dict[int, Threshold]:
    """The threshold of each tested system; empty in a transfer, where the tested systems validate nothing."""
    normal = scores["validation_labels"] == NORMAL
    plain = replace(rule, population=None)
    tested = np.unique(scores["test_system"])
    if not np.isin(tested, scores["validation_system"]).all():
        return {}
    return {
        int(index): estimate(
            plain, validation_normals=scores["validation"][normal & (scores["validation_system"] == index)]
        )
        for index in tested
    }


def _add_rule(block: dict[str, Any], name: str, test: _Test, threshold: float) -> None:
    block["rules"][name] = test.rule(threshold)
    block["bootstrap"]["rules"][name] = _spread(test, {name: threshold})["rules"][name]


def _spread(test: _Test, thresholds: Mapping[str, float]) -> dict[str, Any]:
    return spread(test.scores, test.labels, thresholds, weights=test.weights, resampling=test.resampling)


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
        test_weights=scores.get("test_weights"),
    )


def _threshold_json(threshold: Threshold) -> dict[str, Any]:
    return {
        "value": threshold.value,
        "fitted_on": threshold.fitted_on,
        "n": threshold.n,
        "reason": threshold.reason,
    }


def _block(test: _Test, thresholds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "n": len(test.labels),
        "n_abnormal": int((test.labels == ABNORMAL).sum()),
        "ranking": ranking_metrics(test.scores, test.labels, test.weights),
        "rules": {name: test.rule(at) for name, at in thresholds.items()},
        "bootstrap": _spread(test, thresholds),
    }
