"""What a table must say of single rows below it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Final

from bench.data.sequences.protocols import RETROSPECTIVE
from bench.errors import harmless
from bench.evaluation.thresholds import parse_rule
from bench.experiment.grades import told_of
from bench.experiment.groups import is_control
from bench.experiment.measure import ALL
from bench.records.store import Record
from bench.reporting.tables.answers import call_notes
from bench.reporting.tables.columns import BESIDE, rule_beside
from bench.reporting.tables.rows import Row, Table, aggregate, flags_all, mean_of, shown_rule
from bench.reporting.tables.versions import older_records

FAR: Final = 3
"""Times the promised false positive rate."""

FEW_ABNORMAL: Final = 20
"""A test part with fewer says little of any method."""
_BY_PLACE: Final = "clock"
"""Of this control no threshold can hold: a test part lies behind its validation part."""


def table_notes(table: Table, rule: str) -> list[str]:
    """Failures, thresholds that could not be estimated, rows under another rule, promises that thresholds broke."""
    return [*_row_notes(table, rule), *_beside_notes(table, rule), *_broken_promises(table, rule)]


def brief_notes(table: Table, rule: str) -> list[str]:
    """Those of methods and of what failed, the same said of several once; what thresholds broke, the reading says."""
    same: dict[str, list[str]] = defaultdict(list)
    rows = tuple(row for row in table.rows if not is_control(row.group) or row.failure)
    for note in _row_notes(replace(table, rows=rows), rule):
        name, _, what = note.removeprefix("- ").partition(": ")
        same[what].append(name)
    return [f"- {', '.join(names)}: {what}" for what, names in same.items()]


def _row_notes(table: Table, rule: str) -> list[str]:
    notes = [f"- {row.label}: {harmless(row.failure)}" for row in table.rows if row.failure]
    notes += [f"- {row.label}: the version that ran last; {older_records(row)}" for row in table.rows if row.n_older]
    notes += [note for row in table.rows for note in call_notes(row)]
    notes += [f"- {row.label}: {text}" for row in table.rows for text in _too_few_target_normals(row)]
    notes += [f"- {row.label}: {text}" for row in table.rows for text in _lines_inside(row)]
    missing: dict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        if row.finished and shown_rule(row, rule) != rule:
            notes.append(f"- {row.label}: reported by its native rule, {_why_native(row)}")
            continue
        reasons = Counter(filter(None, (_why_no_threshold(record, rule) for record in row.finished)))
        for reason, times in reasons.items():
            part = (
                "" if times == len(row.finished) else f" (left out of the mean: {times} of {len(row.finished)} seeds)"
            )
            missing[reason].append(f"{row.label}{part}")
    notes += [f"- n/e: {reason}: {', '.join(methods)}" for reason, methods in sorted(missing.items())]
    return notes


def _beside_notes(table: Table, rule: str) -> list[str]:
    """Why the same rule has no threshold on the target's pool, and a rule that has one."""
    beside = rule_beside(table, table.rows, rule)
    if not beside:
        return []
    missing: dict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        if row.finished and rule_beside(table, [row], rule):
            for reason in dict.fromkeys(_why_no_threshold(record, beside) for record in row.finished):
                if reason:
                    missing[reason].append(row.label)
    way_out = "run with `--threshold quantile:0.99@target-unlabelled`, which needs one"
    return [f"- {BESIDE}, n/e: {reason} ({way_out}): {', '.join(names)}" for reason, names in sorted(missing.items())]


def promised_fpr(rule: str) -> float | None:
    """The false positive rate that a rule promises for exchangeable normals; None of one that promises none."""
    parsed = parse_rule(rule)
    if parsed.kind not in ("conformal", "quantile") or parsed.value is None:
        return None
    return parsed.value if parsed.kind == "conformal" else 1 - parsed.value


def _broken_promises(table: Table, rule: str) -> list[str]:
    """Whose realised false positive rate is far from what the rule promises for exchangeable normals."""
    promised = promised_fpr(rule)
    if promised is None:
        return []
    followers = [row for row in table.rows if shown_rule(row, rule) == rule and row.method != _BY_PLACE]
    texts = [_broken_promise(row, rule, promised) for row in followers]
    broken = ", ".join(text for text in texts if text)
    what = f"FPR more than {FAR} times what {rule} promises, so test normals are unlike validation normals"
    return [f"- {what}: {broken}"] if broken else []


def _broken_promise(row: Row, rule: str, promised: float) -> str:
    """Method and rate of a row that is far from what the rule promises, else nothing."""
    mean = mean_of(row, ALL, "fpr", rule)
    if mean is None or mean <= FAR * promised:
        return ""
    rate = aggregate(row, ALL, "fpr", rule)
    return f"{row.label} {mean:.3f}" if rate is not None and rate.low > promised else ""


def _why_native(row: Row) -> str:
    if any(flags_all(record) for record in row.finished):
        return "which flags everything"
    if all(record["spec"]["split"] == RETROSPECTIVE for record in row.finished):
        return "since nothing validates where all of the log trains and tests"
    return "since a sampled run asks it about no validation sequence"


def _why_no_threshold(record: Record, rule: str) -> str | None:
    threshold = record["thresholds"].get(rule)
    return f"rule {rule} was not asked for" if threshold is None else threshold["reason"]


def _lines_inside(row: Row) -> list[str]:
    """The share of the training lines inside known failures, where a method that is told these says it."""
    monitors = [record.get("monitor") for record in row.finished if told_of(record).incidents]
    shares = [facts["inside_share"] for facts in monitors if isinstance(facts, dict) and "inside_share" in facts]
    if not shares:
        return []
    low, high = (f"{100 * end:.1f}" for end in (min(shares), max(shares)))
    return [f"{low if low == high else f'{low} to {high}'} % of the training lines lie in known failures"]


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
