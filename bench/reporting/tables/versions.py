"""Which records of a method stand for the code it has now: versions of a local file, and rows that are stale."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bench.experiment.code import InstalledCode, Standing
from bench.records.store import Record
from bench.reporting.tables.rows import Row, Table


class StaleRow(NamedTuple):
    """A row of a table whose records the installed code did not make."""

    scenario: str
    split: str
    method: str
    why: str

    def __str__(self) -> str:
        return f"{self.scenario}, {self.split}: {self.method} ({self.why})"


def newest_versions(groups: Mapping[str, list[Record]]) -> tuple[dict[str, list[Record]], dict[str, int]]:
    """The groups without those of earlier versions of a local file, and how many records each stands before.

    groups: records by the JSON of what they share, which holds the file's digest
    """
    versions: dict[str, list[str]] = defaultdict(list)
    for key, records in groups.items():
        if records[0]["spec"]["detector"].get("source_sha256"):
            versions[_of_any_version(key)].append(key)
    dropped, n_older = set(), {}
    for keys in versions.values():
        *older, newest = sorted(keys, key=lambda key: (max(r["started_at"] for r in groups[key]), key))
        dropped |= set(older)
        n_older[newest] = sum(len(groups[key]) for key in older)
    return {key: records for key, records in groups.items() if key not in dropped}, n_older


def older_records(row: Row) -> str:
    """How many records of earlier versions a row leaves out, in words."""
    return f"{row.n_older} {'record' if row.n_older == 1 else 'records'} of earlier ones left out"


def standing(row: Row, code: InstalledCode) -> Standing:
    """The worst standing of a row's records: stale, then gone, then unknown."""
    found = [code.standing(record) for record in row.records]
    order = ("current", "unknown", "gone", "stale")
    return max(found, key=lambda one: order.index(one.state))


def stale_rows(tables: Iterable[Table], code: InstalledCode) -> list[StaleRow]:
    """All rows that the installed code did not make, or whose code is not installed."""
    rows = [(table.key, row.method, standing(row, code)) for table in tables for row in table.rows]
    return [StaleRow(key.scenario, key.split, method, of.why) for key, method, of in rows if not of.holds]


def _of_any_version(key: str) -> str:
    shared = json.loads(key)
    shared["detector"].pop("source_sha256")
    return json.dumps(shared, sort_keys=True)
