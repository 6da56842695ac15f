"""The part of each run: its spec, the code and the environment that made it, and whether it is what its run left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.experiment.measure import ALL
from bench.records.record import Record, ran_elsewhere
from bench.records.store import Store
from bench.records.verify import record_problems
from bench.reporting.report.boards import row_anchor, table_anchor, told_words
from bench.reporting.tables.ranking import short
from bench.reporting.tables.rows import Row, Table, heading, shown_rule, times_of


@dataclass(frozen=True)
class RunLine:
    """One run."""

    run_id: str
    cells: tuple[str, ...]
    environment: int
    """Its number on the page, from 1."""
    record: str
    """Whether it is what the run left."""
    scores: str
    failure: str


@dataclass(frozen=True)
class RowRuns:
    """The runs of a row."""

    anchor: str
    method: str
    told: str
    detector: str
    """Its part of the spec, as JSON."""
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class TableRuns:
    """The runs of a table, and the data they share."""

    anchor: str
    heading: str
    data: str
    """The parts of the spec that all runs share, as JSON."""
    rows: tuple[RowRuns, ...]


class Environments:
    """The environments of the page, each once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, environment: Mapping[str, Any]) -> int:
        """The number of an environment, from 1."""
        return self._numbers.setdefault(json.dumps(environment, sort_keys=True), len(self._numbers) + 1)

    def texts(self) -> list[tuple[int, str]]:
        """Each with its number, as JSON."""
        return [(number, _json(json.loads(text))) for text, number in self._numbers.items()]


@dataclass(frozen=True)
class Ledger:
    """What the runs of all tables are looked up in."""

    store: Store
    rule: str
    problems: Mapping[str, Sequence[str]]
    """What is wrong with a record, by run id."""
    environments: Environments


def runs_of(number: int, table: Table, ledger: Ledger) -> TableRuns:
    """The runs of a table; what several share stands once."""
    spec = table.records[0]["spec"]
    shared = {name: value for name, value in spec.items() if name not in ("detector", "seed", "encoder")}
    rows = tuple(_row(row, ledger) for row in table.rows)
    title = heading(table.key, table.records)
    return TableRuns(f"{table_anchor(number)}-runs", title, _json(shared), rows)


def problems_of(tables: Sequence[Table]) -> dict[str, list[str]]:
    """Why records are not what their runs left, by run id; nothing of those that are."""
    records = (record for table in tables for record in table.records)
    found = {record["run_id"]: list(record_problems(record)) for record in records}
    return {run_id: wrong for run_id, wrong in found.items() if wrong}


def _row(row: Row, ledger: Ledger) -> RowRuns:
    spec = row.records[0]["spec"]
    own = {name: spec[name] for name in ("detector", "encoder") if name in spec}
    runs = tuple(_run(record, shown_rule(row, ledger.rule), ledger) for record in row.records)
    return RowRuns(row_anchor(row), row.method, told_words(row.group), _json(own), runs)


def _run(record: Record, rule: str, ledger: Ledger) -> RunLine:
    code, checked = record.get("code"), record.get("verified_with")
    unnamed = "not of this program" if ran_elsewhere(record) else "unknown"
    made_by = f"{code['method']}, {code['engine']}" if code else unnamed
    added = record["memory_mib"].get("added")
    cells = (
        str(record["spec"]["seed"]),
        *_metrics(record, rule),
        record["started_at"][:16].replace("T", " "),
        times_of(record),
        "-" if added is None else f"{added:.0f}",
        _ran_on(record),
        made_by,
    )
    run_id = record["run_id"]
    said = [*ledger.problems.get(run_id, ()), *([f"verified {checked['date']}"] if checked else [])]
    return RunLine(
        run_id,
        cells,
        ledger.environments.number(record.get("environment", {})),
        "; ".join(said) or "whole",
        "here" if ledger.store.has_scores(run_id) else "not here",
        "" if record["status"] == "ok" else f"{record['status']}: {record['reason']}",
    )


def _ran_on(record: Record) -> str:
    threads = record["threads"]
    return f"{record['device']}, {threads} {'thread' if threads == 1 else 'threads'}"


def _metrics(record: Record, rule: str) -> Iterator[str]:
    block = record["metrics"].get(ALL) if record["status"] == "ok" else None
    if block is None:
        yield from ("-", "-", "-")
        return
    yield short(block["rules"].get(rule, {}).get("f1"))
    yield short(block["ranking"].get("ap"))
    yield short(block["ranking"].get("auroc"))


def _json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))
