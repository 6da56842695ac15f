"""The regression gate: recorded F1, AUROC and AP against a baseline file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench._files import replace_text
from bench.errors import BenchError
from bench.evaluation.measures import gated, measure_of
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.code import InstalledCode
from bench.experiment.measure import ALL
from bench.records.store import FINISHED, Record
from bench.reporting.tables.rows import Row, TableKey, mean_of, shown_rule
from bench.reporting.tables.table import make_tables
from bench.reporting.tables.versions import standing

DEFAULT_TOLERANCE: Final = 0.02
"""How far a metric may fall: float32 sums differ between processors, and small test sets move in steps."""

_ROUNDING: Final = 1e-9
"""So that a drop of just the tolerance passes: 0.9 - 0.02 is not 0.88 in binary."""


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
        """Whether it is missing, or got worse by more than its tolerance."""
        if self.found is None:
            return True
        fall = self.expected - self.found if measure_of(self.metric).higher_is_better else self.found - self.expected
        # Not `>`: that is false of NaN too, which would pass.
        return not (fall <= self.tolerance + _ROUNDING)

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


def compare_with_baseline(
    records: Iterable[Record], baseline: dict[str, Any], scenarios: set[str] | None = None
) -> list[Finding]:
    """All findings, failures included; `scenarios` restricts the baseline to these."""
    rows = rows_by_name(records)
    findings = []
    for name, entry in baseline["rows"].items():
        if not _is_chosen(name, scenarios):
            continue
        tolerance = entry.get("tolerance", baseline.get("tolerance", DEFAULT_TOLERANCE))
        found = _values(rows[name], entry["seeds"]) if name in rows else {}
        findings += [
            Finding(name, measure.key, entry[measure.key], found.get(measure.key), tolerance)
            for measure in gated()
            if measure.key in entry
        ]
    if not findings:
        raise BenchError("the baseline holds no row to compare with: write one with `bench gate --update`")
    return findings


def unlisted(records: Iterable[Record], baseline: dict[str, Any], scenarios: set[str] | None = None) -> list[str]:
    """Rows that the baseline lacks, and `row: metric` of what its own rows lack, so that nothing holds them.

    What was skipped has nothing to hold.
    """
    rows = {name: row for name, row in rows_by_name(records).items() if _is_chosen(name, scenarios)}
    held = baseline["rows"]
    ran = [name for name, row in rows.items() if any(record["status"] != "skipped" for record in row.records)]
    values = {name: _values(row, held[name]["seeds"]) for name, row in rows.items() if name in held}
    lacking = [f"{name}: {key}" for name, found in values.items() for key in found if key not in held[name]]
    return sorted([*(name for name in ran if name not in held), *lacking])


def require_trusted(records: Iterable[Record], code: InstalledCode, scenarios: set[str] | None = None) -> None:
    """Raise BenchError where a row that would enter the baseline is stale."""
    records = list(records)
    stale, _ = untrusted(records, {"rows": rows_by_name(records)}, code, scenarios)
    for name, why in stale.items():
        raise BenchError(f"'{name}' is stale ({why}): run it again before it can be a baseline, or give --accept-stale")


def untrusted(
    records: Iterable[Record], baseline: dict[str, Any], code: InstalledCode, scenarios: set[str] | None = None
) -> tuple[dict[str, str], int]:
    """Rows of the baseline that the installed code did not make, with what differs; and how many of unknown code."""
    rows = rows_by_name(records)
    names = [name for name in baseline["rows"] if name in rows and _is_chosen(name, scenarios)]
    found = {name: standing(rows[name], code) for name in names}
    n_unknown = sum(of.state == "unknown" for of in found.values())
    return {name: of.why for name, of in found.items() if not of.holds}, n_unknown


def load_baseline(path: Path) -> dict[str, Any]:
    """The baseline file; anything wrong with it is a BenchError."""
    try:
        baseline: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"the baseline '{path}' does not exist: write it with `bench gate --update`") from None
    except OSError as error:
        raise BenchError(f"the baseline '{path}' cannot be read ({error.strerror}): give a file") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"the baseline '{path}' is damaged ({error}): delete it and write it with --update") from None
    rows = baseline.get("rows") if isinstance(baseline, dict) else None
    if not isinstance(rows, dict) or not all(isinstance(row, dict) and "seeds" in row for row in rows.values()):
        raise BenchError(f"the baseline '{path}' has no table 'rows' with seeds: delete it and write it with --update")
    if fault := _fault(baseline):
        raise BenchError(f"the baseline '{path}' has {fault}: correct it, or delete it and write it with --update")
    return baseline


def _fault(baseline: dict[str, Any]) -> str:
    """What in a baseline nothing can be compared with, or nothing."""
    if not _is_share(baseline.get("tolerance", DEFAULT_TOLERANCE)):
        return f"the tolerance {baseline['tolerance']!r}, which is no number from 0 to 1"
    for name, row in baseline["rows"].items():
        given = [measure.key for measure in gated() if measure.key in row]
        if not given:
            return f"no f1, auroc or ap in its row '{name}'"
        for key in (*given, "tolerance"):
            if key in row and not _is_share(row[key]):
                return f"the {key} {row[key]!r} in its row '{name}', which is no number from 0 to 1"
        if not _is_seeds(row["seeds"]):
            return f"the seeds {row['seeds']!r} in its row '{name}', which are no list of whole numbers"
    return ""


def _is_share(value: object) -> bool:
    """Whether it is a number from 0 to 1; NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_seeds(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(seed) is int for seed in value)


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
    rule = shown_rule(part, DEFAULT_RULE)
    means = {measure.key: mean_of(part, ALL, measure.key, rule) for measure in gated()}
    return {key: mean for key, mean in means.items() if mean is not None}
