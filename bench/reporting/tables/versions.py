"""Which records of a method stand for the code it has now: versions of a local file, and rows that are stale."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from bench.experiment.code import InstalledCode, Standing, is_described, without_version
from bench.records.store import Record
from bench.reporting.tables.rows import Row, Table


class StaleRow(NamedTuple):
    """A row of a table whose records the installed code did not make."""

    scenario: str
    split: str
    method: str
    why: str
    is_gone: bool
    """Whether its code is not installed, so that nothing can be compared with it."""

    def __str__(self) -> str:
        return f"{self.scenario}, {self.split}: {self.method} ({self.why})"


def newest_versions(groups: Mapping[str, list[Record]]) -> tuple[dict[str, list[Record]], dict[str, int]]:
    """The groups without those of earlier versions of a local file, and how many records each stands before.

    groups: records by the JSON of what they share, which holds the file's digest
    """
    local = {key: found for key, found in groups.items() if found[0]["spec"]["detector"].get("source_sha256")}
    described = [key for key, found in local.items() if is_described(found[0])]
    last = {key: (max(record["started_at"] for record in found), key) for key, found in local.items()}
    newer: dict[str, str] = {}
    for of_config in _alike(described, with_config=True):
        newer |= dict.fromkeys(of_config, max(of_config, key=last.__getitem__))
    # A version that could not be imported stands for every config, and any later one stands for it.
    for of_file in _alike(local, with_config=False):
        newest = max(of_file, key=last.__getitem__)
        replaced = [key for key in of_file if newest not in described or key not in described]
        newer |= dict.fromkeys(replaced, newest)
    n_older: dict[str, int] = defaultdict(int)
    for key, newest in newer.items():
        n_older[newest] += len(groups[key]) if key != newest else 0
    kept = {key: records for key, records in groups.items() if newer.get(key, key) == key}
    return kept, dict(n_older)


def _alike(keys: Iterable[str], *, with_config: bool) -> list[list[str]]:
    """Keys that differ in the version of their file alone, beside each other."""
    found: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        found[without_version(json.loads(key), with_config=with_config)].append(key)
    return list(found.values())


def older_records(row: Row) -> str:
    """How many records of earlier versions a row leaves out, in words."""
    return f"{row.n_older} {'record' if row.n_older == 1 else 'records'} of earlier ones left out"


def standing(row: Row, code: InstalledCode) -> Standing:
    """The worst standing of a row's records: stale, then gone, then unknown."""
    found = [code.standing(record) for record in row.records]
    order = ("current", "elsewhere", "unknown", "gone", "stale")
    return max(found, key=lambda one: order.index(one.state))


def stale_rows(tables: Iterable[Table], code: InstalledCode) -> list[StaleRow]:
    """All rows with numbers that the installed code did not make, or whose code is not installed.

    A row that was skipped holds nothing that could be wrong; `bench run` makes it again.
    """
    rows = [
        (table.key, row.method, standing(replace(row, records=tuple(row.finished)), code))
        for table in tables
        for row in table.rows
        if row.finished
    ]
    found = [(key, method, of) for key, method, of in rows if not of.holds]
    return [StaleRow(key.scenario, key.split, method, of.why, of.state == "gone") for key, method, of in found]
