"""Records -> tables. Metrics come from the records; here they are only averaged over seeds and laid out.

A table is one scenario with its editions under one split, one grouping and one threshold rule. Methods that are told
different things stand in groups of their own and are never ranked against each other; controls stand in every table.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bench.errors import BenchError, choose_one
from bench.evaluation.measures import all_measures
from bench.evaluation.thresholds import parse_rule
from bench.experiment.grades import group_rank
from bench.experiment.measure import ALL
from bench.records.record import Record
from bench.reporting.tables.answers import answered_by, calls_of
from bench.reporting.tables.formats import view_markdown
from bench.reporting.tables.layout import view_of
from bench.reporting.tables.rows import Row, Table, TableKey, aggregate, division_of, shown_rule, steps_of
from bench.reporting.tables.versions import newest_versions


def make_tables(records: Iterable[Record]) -> list[Table]:
    """Sort records into tables; controls stand last, everything else by what it is told and name.

    A row is what shares everything but the seed; how its settings were typed (`1.3`, `1.30`, or left out) is not that.
    Of a local file only the version that ran last is a row.
    """
    tables: dict[TableKey, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        spec = record["spec"]
        identity = {name: spec[name] for name in spec.keys() - {"seed"}}
        tables[table_key(record)][json.dumps(identity, sort_keys=True)].append(record)
    return [Table(key, tuple(_rows(*newest_versions(groups)))) for key, groups in sorted(tables.items())]


def table_key(record: Record) -> TableKey:
    """The table a record belongs to."""
    spec = record["spec"]
    data = tuple(dict.fromkeys(f"{part['edition']} {_digest(part)}" for part in (*spec["train"], *spec["test"])))
    return TableKey(
        record["scenario"], spec["split"], _window(spec), spec["protocol_version"], data, spec.get("sample", 0)
    )


def _window(spec: Mapping[str, Any]) -> str:
    """`20/20`, or `sessions`: what an auxiliary system alone is cut by is no matter of the table."""
    grouping = spec.get("grouping")
    tested = (*spec["train"], *spec["test"])
    if not grouping or (spec.get("auxiliary") and all(part["format"].get("session") for part in tested)):
        return "sessions"
    return f"{grouping['window_size']}/{grouping['window_step']}"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def render(table: Table, rule: str, reading: Sequence[str] = ()) -> str:
    """One table as Markdown, with all its columns and what a reader must know of it."""
    return view_markdown(view_of(table, rule, reading=reading))


def summary(table: Table, rule: str, wanted: Collection[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a table for programs.

    wanted: names of metrics; None: all
    """
    rule = str(parse_rule(rule))
    return [
        {
            "scenario": table.key.scenario,
            "split": table.key.split,
            "window": table.key.window,
            "sample": table.key.sample or None,
            "protocol_version": table.key.protocol_version,
            "method": row.method,
            "told": row.group,
            "rule": shown_rule(row, rule),
            "seeds": sorted(record["spec"]["seed"] for record in row.finished),
            "run_ids": [record["run_id"] for record in row.records],
            "failure": row.failure or None,
            "calls": calls_of(row),
            "steps_run": steps_of(row) or None,
            "metrics": _metrics(row, shown_rule(row, rule), wanted),
        }
        for row in table.rows
    ]


def _metrics(row: Row, rule: str, wanted: Collection[str] | None) -> dict[str, dict[str, Any] | None]:
    """The metrics of a row, with their intervals."""
    keys = [measure.key for measure in all_measures() if wanted is None or measure.key in wanted]
    found = {key: aggregate(row, ALL, key, rule) for key in keys}
    return {key: interval and interval._asdict() for key, interval in found.items()}


def _rows(groups: Mapping[str, list[Record]], n_older: Mapping[str, int]) -> list[Row]:
    # The longest name, and of two the last, so that the row is called the same whatever the order of the records.
    names = {
        key: answered_by(max((len(r["method"]), r["method"]) for r in records)[1], records) + _told_besides(records[0])
        for key, records in groups.items()
    }
    repeated = {name for name, times in Counter(names.values()).items() if times > 1}
    rows = [
        Row(
            f"{names[key]} #{_digest(key)[:4]}" if names[key] in repeated else names[key],
            division_of(records[0]),
            tuple(sorted(records, key=lambda r: r["spec"]["seed"])),
            n_older.get(key, 0),
        )
        for key, records in groups.items()
    ]
    return sorted(rows, key=lambda row: (group_rank(row.group), row.method))


def _told_besides(record: Record) -> str:
    """What stands behind the name of a row: `+spirit@lines-a` of an auxiliary system, `±35s` around abnormal lines."""
    spec = record["spec"]
    helpers = "".join(f"+{part['edition']}" for part in spec.get("auxiliary", []))
    given = spec.get("incidents", ())
    return f"{helpers}±{given}" if isinstance(given, str) and given else helpers


def require_rule(tables: Sequence[Table], rule: str) -> None:
    """Raise BenchError where records hold threshold rules, and none holds this one."""
    canonical = str(parse_rule(rule))
    known = sorted({name for table in tables for r in table.records for name in r.get("thresholds", {})})
    if known and canonical not in known:
        raise BenchError(
            f"no record holds the threshold rule '{canonical}': "
            f"{choose_one(canonical, known, more=', or run again with --threshold to add it')}"
        )
