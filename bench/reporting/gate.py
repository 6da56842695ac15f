"""The regression gate: recorded F1, AUROC and AP against a baseline file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench._files import replace_text
from bench.errors import BenchError
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.measure import ALL
from bench.records.store import FINISHED, Record
from bench.reporting.tables.rows import Row, TableKey, aggregate, shown_rule
from bench.reporting.tables.table import make_tables

DEFAULT_TOLERANCE: Final = 0.02
"""How far a metric may fall: float32 sums differ between processors, and small test sets move in steps."""

_ROUNDING: Final = 1e-9
"""So that a drop of just the tolerance passes: 0.9 - 0.02 is not 0.88 in binary."""

_METRICS: Final = (("f1", "rules"), ("auroc", "ranking"), ("ap", "ranking"))


@dataclass(frozen=True)
class Finding:
    """One metric of one row against its baseline."""

    row: str
    metric: str
    expected: float
    found: float | None
    tolerance: float

    @property
    def failed(self) -> bool:
        """Whether it is missing, or fell by more than its tolerance."""
        return self.found is None or self.found < self.expected - self.tolerance - _ROUNDING

    def __str__(self) -> str:
        found = "no record" if self.found is None else f"{self.found:.4f}"
        return f"{self.row}: {self.metric} {found}, baseline {self.expected:.4f}, tolerance {self.tolerance:g}"


def rows_by_name(records: Iterable[Record]) -> dict[str, Row]:
    """Every row, by `scenario | split | window | protocol 1 | method`; where data changed, that of the last run."""
    return {
        " | ".join((*_place(table.key), row.method)): row
        for table in sorted(make_tables(records), key=lambda table: max(r["started_at"] for r in table.records))
        for row in table.rows
    }


def _place(key: TableKey) -> tuple[str, ...]:
    sample = (f"sample {key.sample}",) if key.sample else ()
    return (*key[:3], *sample, f"protocol {key.protocol_version}")


def compare(records: Iterable[Record], baseline: dict[str, Any], scenarios: set[str] | None = None) -> list[Finding]:
    """All findings, failures included; `scenarios` restricts the baseline to these."""
    rows = rows_by_name(records)
    findings = []
    for name, entry in baseline["rows"].items():
        if not _is_chosen(name, scenarios):
            continue
        tolerance = entry.get("tolerance", baseline.get("tolerance", DEFAULT_TOLERANCE))
        found = _values(rows[name], entry["seeds"]) if name in rows else {}
        findings += [
            Finding(name, metric, entry[metric], found.get(metric), tolerance)
            for metric, _ in _METRICS
            if metric in entry
        ]
    if not findings:
        raise BenchError("the baseline holds no row to compare with: write one with `bench gate --update`")
    return findings


def load_baseline(path: Path) -> dict[str, Any]:
    """The baseline file; anything wrong with it is a BenchError."""
    try:
        baseline: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"the baseline '{path}' does not exist: write it with `bench gate --update`") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"the baseline '{path}' is damaged ({error}): write it again with --update") from None
    rows = baseline.get("rows") if isinstance(baseline, dict) else None
    if not isinstance(rows, dict) or not all(isinstance(row, dict) and "seeds" in row for row in rows.values()):
        raise BenchError(f"the baseline '{path}' has no table 'rows' with seeds: write it again with --update")
    return baseline


def write_baseline(path: Path, records: Iterable[Record], scenarios: set[str] | None = None) -> int:
    """Write the means of all rows as the new baseline, keeping tolerances set by hand; returns how many rows.

    scenarios: only rows of these are replaced, the others are kept. A failed run is a BenchError: its row would leave
    the baseline, and the gate would never miss it.
    """
    old = load_baseline(path) if path.is_file() else {"rows": {}}
    kept = {name: entry for name, entry in old["rows"].items() if not _is_chosen(name, scenarios)}
    rows: dict[str, dict[str, Any]] = {}
    for name, row in rows_by_name(r for r in records if scenarios is None or r["scenario"] in scenarios).items():
        if failed := [record for record in row.records if record["status"] not in FINISHED]:
            raise BenchError(
                f"'{name}' failed ({failed[0]['status']}: {failed[0]['reason']}): "
                "run it again before it can be a baseline"
            )
        seeds = [record["spec"]["seed"] for record in row.finished]
        if values := _values(row, seeds):
            rows[name] = {"seeds": seeds, **{metric: round(value, 4) for metric, value in values.items()}}
            if "tolerance" in old["rows"].get(name, {}):
                rows[name]["tolerance"] = old["rows"][name]["tolerance"]
    if not rows:
        raise BenchError("there is no finished record to make a baseline from: run something first")
    content = {"tolerance": old.get("tolerance", DEFAULT_TOLERANCE), "rule": DEFAULT_RULE, "rows": kept | rows}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    replace_text(path, text)
    return len(rows)


def _is_chosen(name: str, scenarios: set[str] | None) -> bool:
    return scenarios is None or name.partition(" | ")[0] in scenarios


def _values(row: Row, seeds: list[int]) -> dict[str, float]:
    """Means over exactly these seeds; empty where one of them did not finish."""
    chosen = tuple(record for record in row.finished if record["spec"]["seed"] in seeds)
    if len(chosen) != len(seeds):
        return {}
    part = replace(row, records=chosen)
    found = {}
    for metric, section in _METRICS:
        rule = shown_rule(part, DEFAULT_RULE) if section == "rules" else ""
        interval = aggregate(part, ALL, section, metric, rule)
        if interval is not None:
            found[metric] = interval.mean
    return found
