"""Comparisons with the best control that nobody kept, made for showing where that takes a moment."""

from __future__ import annotations

from bench.errors import BenchError
from bench.records.store import Store
from bench.reporting.comparisons.differences import ComparisonRequest, compare_rows
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.tables.certified import certified_pairs
from bench.reporting.tables.ranking import Reference, references_of
from bench.reporting.tables.rows import Row, Table

MOST = 60_000
"""Scores of test sequences, of all runs together, that are resampled without being asked: a second or two."""


def with_quick(table: Table, verdicts: Verdicts, store: Store) -> Verdicts:
    """The verdicts, and those of methods that were not compared with the best control of their table.

    Where scores are missing, or are many, nothing is added.
    """
    if table.key.sample:
        return verdicts
    held = [*references_of(table), *(Reference(pair.theirs, (pair.ours,)) for pair in certified_pairs(table))]
    asked = [request for found in held if (request := _missing(table, found, verdicts, store))]
    n_runs = sum(len(row.finished) for request in asked for row in (request.row, *request.others))
    if table.records[0]["counts"]["n_test"] * n_runs > MOST:
        return verdicts
    try:
        return verdicts | Verdicts.of([compare_rows(request, store) for request in asked])
    except BenchError:  # scores that are damaged are told by what asks for them
        return verdicts


def _missing(table: Table, found: Reference, verdicts: Verdicts, store: Store) -> ComparisonRequest | None:
    """The comparison of a control with the methods that were not compared with it; None where there is none."""
    control = found.control
    if control is None or not _is_here(control, store):
        return None
    methods = [row for row in found.methods if row.finished and _is_here(row, store)]
    missing = tuple(row for row in methods if not verdicts.paired(table, row, control))
    return ComparisonRequest(table, control, missing) if missing else None


def _is_here(row: Row, store: Store) -> bool:
    return all(store.has_scores(record["run_id"]) for record in row.finished)
