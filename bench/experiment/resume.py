"""What need not run again: a finished record that holds, or can be given, all that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.evaluation.thresholds import ThresholdRule, parse_rule
from bench.experiment.grades import asks_a_model
from bench.experiment.measure import are_scores_of, can_measure, measure
from bench.records.record import FINISHED, Record, Scores
from bench.records.store import Store


def resumable(run_id: str, store: Store, rules: Sequence[ThresholdRule], stale: Mapping[str, str]) -> Record | None:
    """The finished record with all these rules, adding rules from its stored scores; None if it must run.

    stale: when the records that other code made were begun, by run_id; one made since is not stale
    """
    found = _found(run_id, store, rules, stale)
    if found is None:
        return None
    if not found.missing:
        return found.record
    all_rules = [*_rules_of(found.record), *found.missing]
    split = found.record["spec"]["split"]
    found.record |= measure(found.scores, found.record["systems"], all_rules, split=split)
    return store.write(found.record)


def is_resumable(run_id: str, store: Store, rules: Sequence[ThresholdRule], stale: Mapping[str, str]) -> bool:
    """Whether `resumable` would find a record; adds nothing to it."""
    return _found(run_id, store, rules, stale) is not None


@dataclass
class _Found:
    """A record that need not be made again."""

    record: Record
    missing: Sequence[ThresholdRule] = ()
    """Rules that can be added from its scores."""
    scores: Scores = field(default_factory=dict)


def _found(run_id: str, store: Store, rules: Sequence[ThresholdRule], stale: Mapping[str, str]) -> _Found | None:
    record = store.read(run_id)
    if record is None or record["status"] not in FINISHED:
        return None
    store.require_unchanged([record])
    if stale.get(run_id) == record["started_at"]:
        return None
    if record["status"] == "skipped" and (asks_a_model(record) or record["spec"]["detector"].get("files")):
        return None  # what it lacked is not in the data (an endpoint, answers, a file), and may be there now
    missing = [rule for rule in rules if _lacks(record, rule)]
    if record["status"] == "skipped" or not missing:
        return _Found(record)
    scores = store.read_scores(run_id)
    if scores is None or not all(can_measure(rule, scores) for rule in missing):
        return None
    if not are_scores_of(record, scores):
        return None  # metrics of another run's scores would stand under this run's name
    return _Found(record, missing, scores)


def _lacks(record: Record, rule: ThresholdRule) -> bool:
    """Whether a record should hold a rule and does not; only combined systems can have thresholds of their own."""
    combined = len(record["spec"]["test"]) > 1 and record["spec"]["test"] == record["spec"]["train"]
    return str(rule) not in record.get("thresholds", {}) and (combined or not rule.is_per_system)


def _rules_of(record: Record) -> list[ThresholdRule]:
    return [parse_rule(text) for text in record["thresholds"]]
