"""The regression gate: recorded F1, AUROC and AP against a baseline file.

A drop counts when its paired interval on the same test sequences excludes zero. Where the baseline or the results
folder has no scores of a row, it counts when it exceeds the tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._files import replace_file, sync
from bench.errors import BenchError
from bench.evaluation.measures import gated, measure_of
from bench.evaluation.paired import Difference
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.code import InstalledCode
from bench.experiment.measure import ALL
from bench.records.record import scores_digest
from bench.records.store import FINISHED, Record, Store
from bench.reporting.gate_part import WHOLE, Part
from bench.reporting.gate_scores import (
    DIGEST,
    KeptRow,
    KeptRows,
    changes,
    load_scores,
    packed,
    save_scores,
    scores_of,
    scores_path,
)
from bench.reporting.tables.protocols import newest_protocol
from bench.reporting.tables.rows import Row, TableKey, mean_of, shown_rule
from bench.reporting.tables.table import make_tables
from bench.reporting.tables.versions import standing

DEFAULT_TOLERANCE: Final = 0.02
"""How far a metric may fall: float32 sums differ between processors, and small test sets move in steps."""

OWN_TOLERANCE: Final = "it has a tolerance of its own"
"""Why the tolerance decides where somebody set it by hand, which is the way out where numbers depend on the machine."""

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
    change: Difference | None = None
    """Found less baseline, on the same test sequences; None where the tolerance decides."""
    why: str = ""
    """Why nothing was found, or why the tolerance decides."""

    @property
    def fall(self) -> float:
        """How far it got worse; NaN where nothing was found."""
        if self.found is None:
            return float("nan")
        if self.change is not None:
            return 0.0 - self.change.mean
        higher = measure_of(self.metric).higher_is_better
        return self.expected - self.found if higher else self.found - self.expected

    @property
    def failed(self) -> bool:
        """Whether it is missing, or got worse: by its interval, or by more than its tolerance."""
        if self.found is None:
            return True
        # Not `<` and `>`: those are false of NaN too, which would pass.
        if self.change is not None:
            return not (self.change.high >= 0)
        return not (self.fall <= self.tolerance + _ROUNDING)

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.metric} has no value, baseline {self.expected:.4f}"
        by = f"tolerance {self.tolerance:g}"
        if self.change is not None:
            by = f"95 % interval {0.0 - self.change.high:.4f} to {0.0 - self.change.low:.4f}"
        return f"{self.metric} {self.found:.4f}, baseline {self.expected:.4f}: worse by {self.fall:.4f}, {by}"


class Written(NamedTuple):
    """What an update of a baseline did."""

    n_rows: int
    n_scores: int
    """Rows of the baseline whose scores it keeps now, those of other suites too."""
    by_tolerance: dict[str, str]
    """Rows of this update without scores, and why."""


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
    records: Iterable[Record],
    baseline: dict[str, Any],
    part: Part = WHOLE,
    *,
    kept: KeptRows | None = None,
    store: Store | None = None,
) -> list[Finding]:
    """All findings, failures included; part: the rows of the baseline that are meant.

    kept: the scores of the baseline;  store: with those of the records; without both, the tolerance decides
    """
    rows = rows_by_name(records)
    findings = []
    for name, entry in baseline["rows"].items():
        if not part.holds(name):
            continue
        tolerance = entry.get("tolerance", baseline.get("tolerance", DEFAULT_TOLERANCE))
        row = _with_seeds(rows[name], entry["seeds"]) if name in rows else None
        found = _values(row) if row else {}
        moved: dict[str, Difference] | str = _absence(rows.get(name), entry["seeds"])
        if row and found:
            moved = _changes(row, entry, (kept or {}).get(name), store)
        for measure in gated():
            if measure.key in entry:
                value, why = found.get(measure.key), moved if isinstance(moved, str) else ""
                change = None if isinstance(moved, str) else moved.get(measure.key)
                findings.append(Finding(name, measure.key, entry[measure.key], value, tolerance, change, why))
    if not findings:
        raise BenchError("the baseline holds no row to compare with: write one with `bench gate --update`")
    return findings


def _changes(
    row: Row, entry: dict[str, Any], before: KeptRow | None, store: Store | None
) -> dict[str, Difference] | str:
    """How the metrics of a row moved, or why the tolerance decides."""
    if "tolerance" in entry:
        return OWN_TOLERANCE
    if before is None or store is None:
        return "the baseline keeps no scores of it"
    if before.values != _metrics_in(entry):
        return "its values were changed since the baseline kept its scores"
    return changes(row, before, store)


def _absence(row: Row | None, seeds: list[int]) -> str:
    """Why there is no value of a row of the baseline."""
    if row is None:
        return "no record"
    lacking = set(seeds) - {record["spec"]["seed"] for record in row.records}
    if lacking:
        return f"no record of seed {', '.join(map(str, sorted(lacking)))}"
    return row.failure or "none of its metrics is defined"


def unlisted(records: Iterable[Record], baseline: dict[str, Any], part: Part = WHOLE) -> list[str]:
    """Rows that the baseline lacks, and `row: metric` of what its own rows lack, so that nothing holds them.

    What was skipped has nothing to hold, nor has an older protocol.
    """
    records = list(records)
    rows = {name: row for name, row in rows_by_name(records).items() if part.holds(name)}
    held = baseline["rows"]
    newest = rows_by_name(newest_protocol(records)).keys()
    ran = [n for n in rows if n in newest and any(record["status"] != "skipped" for record in rows[n].records)]
    parts = {name: _with_seeds(row, held[name]["seeds"]) for name, row in rows.items() if name in held}
    values = {name: _values(part) for name, part in parts.items() if part}
    lacking = [f"{name}: {key}" for name, found in values.items() for key in found if key not in held[name]]
    return sorted([*(name for name in ran if name not in held), *lacking])


def require_trusted(records: Iterable[Record], code: InstalledCode, part: Part = WHOLE) -> None:
    """Raise BenchError where a row that would enter the baseline is stale."""
    records = newest_protocol(records)
    stale, _ = untrusted(records, {"rows": rows_by_name(records)}, code, part)
    for name, why in stale.items():
        raise BenchError(f"'{name}' is stale ({why}): run it again before it can be a baseline, or give --accept-stale")


def untrusted(
    records: Iterable[Record], baseline: dict[str, Any], code: InstalledCode, part: Part = WHOLE
) -> tuple[dict[str, str], int]:
    """Rows of the baseline that the installed code did not make, with what differs; and how many of unknown code."""
    rows = rows_by_name(records)
    names = [name for name in baseline["rows"] if name in rows and part.holds(name)]
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
            return f"the seeds {row['seeds']!r} in its row '{name}', which are no list of whole numbers, each once"
    return ""


def _is_share(value: object) -> bool:
    """Whether it is a number from 0 to 1; NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_seeds(value: object) -> bool:
    if not isinstance(value, list) or not all(type(seed) is int for seed in value):
        return False
    return 0 < len(value) == len(set(value))


def write_baseline(
    path: Path,
    records: Iterable[Record],
    store: Store,
    part: Part = WHOLE,
    *,
    keep_values: bool = False,
) -> Written:
    """Write the means of all rows as the new baseline, and the scores they are of, keeping tolerances set by hand.

    Only records of the newest protocol become rows; rows of an older one go with their values.

    part: only these rows are replaced, the others are kept;  keep_values: rows that are there keep their values
    too, and get scores where these still give them. A failed run is a BenchError: its row would leave the
    baseline, and the gate would never miss it.
    """
    old = load_baseline(path) if path.is_file() else {"rows": {}}
    old_scores = load_scores(scores_path(path), old)
    newest = newest_protocol(r for r in records if part.scenarios is None or r["scenario"] in part.scenarios)
    found = {name: row for name, row in rows_by_name(newest).items() if part.holds(name)}
    rows = {n: entry for n, entry in old["rows"].items() if keep_values or not part.holds(n)}
    made: dict[str, KeptRow | str] = {}
    for name, row in found.items():
        if name in rows:
            made[name] = _added(row, rows[name], old_scores.get(name), store)
            continue
        _require_finished(name, row)
        entry = _entry(row, old["rows"].get(name, {}))
        if entry:
            rows[name], made[name] = entry, _scores(row, entry, store)
    if not made:
        raise BenchError("there is no finished record to make a baseline from: run something first")
    kept = {n: row for n, row in old_scores.items() if n in rows and n not in made}
    kept |= {name: row for name, row in made.items() if isinstance(row, KeptRow)}
    arrays = packed(kept)
    bound = {DIGEST: scores_digest(arrays)} if arrays else {}
    content = {"tolerance": old.get("tolerance", DEFAULT_TOLERANCE), "rule": DEFAULT_RULE, "rows": rows} | bound

    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        sync(temporary)
        save_scores(scores_path(path), arrays)  # last, so that what the disk refuses leaves both as they were

    replace_file(path, write)
    return Written(len(made), len(kept), {name: why for name, why in made.items() if isinstance(why, str)})


def _require_finished(name: str, row: Row) -> None:
    if failed := [record for record in row.records if record["status"] not in FINISHED]:
        raise BenchError(
            f"'{name}' failed ({failed[0]['status']}: {failed[0]['reason']}): run it again before it can be a baseline"
        )


def _entry(row: Row, before: dict[str, Any]) -> dict[str, Any]:
    """What a baseline says of a row, which keeps the tolerance that it had; nothing where it has nothing to hold."""
    seeds = [record["spec"]["seed"] for record in row.finished]
    part = _with_seeds(row, seeds)
    values = _rounded(part) if part else {}
    own = {"tolerance": before["tolerance"]} if "tolerance" in before else {}
    return {"seeds": seeds, **values, **own} if values else {}


def _added(row: Row, entry: dict[str, Any], before: KeptRow | None, store: Store) -> KeptRow | str:
    """The scores of a row whose entry stays, or why there are none; those that it has stay too."""
    if before is not None and before.values == _metrics_in(entry):
        return before
    return _scores(row, entry, store)


def _scores(row: Row, entry: dict[str, Any], store: Store) -> KeptRow | str:
    """The scores that the values of an entry are of, or why none are kept."""
    if "tolerance" in entry:
        return OWN_TOLERANCE
    part = _with_seeds(row, entry["seeds"])
    if part is None:
        return "its seeds are not all finished"
    values = _rounded(part)
    if values != _metrics_in(entry):
        return "its values differ from those of the baseline"
    return scores_of(part, values, store)


def _with_seeds(row: Row, seeds: list[int]) -> Row | None:
    """The row with the finished records of exactly these seeds; None where one of them did not finish."""
    chosen = tuple(record for record in row.finished if record["spec"]["seed"] in seeds)
    return replace(row, records=chosen) if chosen and len(chosen) == len(seeds) else None


def _values(row: Row) -> dict[str, float]:
    """Means over its seeds."""
    rule = shown_rule(row, DEFAULT_RULE)
    means = {measure.key: mean_of(row, ALL, measure.key, rule) for measure in gated()}
    return {key: mean for key, mean in means.items() if mean is not None}


def _rounded(row: Row) -> dict[str, float]:
    return {metric: round(value, 4) for metric, value in _values(row).items()}


def _metrics_in(entry: dict[str, Any]) -> dict[str, float]:
    return {measure.key: entry[measure.key] for measure in gated() if measure.key in entry}
