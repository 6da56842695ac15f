"""What a table must say of single rows below it."""

from __future__ import annotations

from collections import Counter, defaultdict

from bench.experiment.measure import ALL
from bench.experiment.store import Record
from bench.reporting.calls import call_notes
from bench.reporting.rows import Row, Table, aggregate, flags_all, shown_rule


def table_notes(table: Table, rule: str) -> list[str]:
    """Failures, thresholds that could not be estimated, rows under another rule."""
    notes = [f"- {row.method}: {row.failure}" for row in table.rows if row.failure]
    notes += [note for row in table.rows for note in call_notes(row, aggregate(row, ALL, "ranking", "auroc"))]
    notes += [f"- {row.method}: {text}" for row in table.rows for text in _too_few_target_normals(row)]
    missing: dict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        if row.finished and shown_rule(row, rule) != rule:
            notes.append(f"- {row.method}: reported by its native rule, {_why_native(row)}")
            continue
        reasons = Counter(filter(None, (_why_no_threshold(record, rule) for record in row.finished)))
        for reason, times in reasons.items():
            part = (
                "" if times == len(row.finished) else f" (left out of the mean: {times} of {len(row.finished)} seeds)"
            )
            missing[reason].append(f"{row.method}{part}")
    return notes + [f"- n/e: {reason}: {', '.join(methods)}" for reason, methods in sorted(missing.items())]


def _why_native(row: Row) -> str:
    if any(flags_all(record) for record in row.finished):
        return "which flags everything"
    return "since a sampled run asks it about no validation sequence"


def _why_no_threshold(record: Record, rule: str) -> str | None:
    threshold = record["thresholds"].get(rule)
    return f"rule {rule} was not asked for" if threshold is None else threshold["reason"]


def _too_few_target_normals(row: Row) -> list[str]:
    """How many normal sequences of the target there were, where that is fewer than the method wanted."""
    told = [record for record in row.finished if "n_target_normals" in record["counts"]]
    found = {
        n
        for record in told
        if (n := record["counts"]["n_target_normals"])
        < record["detector"]["config"]["target_normals"] * len(record["spec"]["test"])
    }
    return [f"{n} normal sequences of the target in training, which has no more" for n in sorted(found)]
