"""Comparisons with the best control that nobody kept, made for showing where that takes a moment."""

from __future__ import annotations

from bench.errors import BenchError
from bench.experiment.groups import is_control
from bench.records.store import Store
from bench.reporting.comparisons.differences import ComparisonRequest, compare_rows
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.tables.ranking import best_of, controls_of
from bench.reporting.tables.rows import Row, Table

MOST = 60_000
"""Scores of test sequences, of all runs together, that are resampled without being asked: a second or two."""


def with_quick(table: Table, verdicts: Verdicts, store: Store) -> Verdicts:
    """The verdicts, and those of methods that were not compared with the best control of their table.

    Where scores are missing, or are many, nothing is added.
    """
    control = best_of(controls_of(table))
    if control is None or table.key.sample:
        return verdicts
    methods = [row for row in table.rows if not is_control(row.group) and row.finished and _is_here(row, store)]
    missing = [row for row in methods if not verdicts.paired(table, row, control)]
    n_runs = sum(len(row.finished) for row in (control, *missing))
    if not missing or not _is_here(control, store) or table.records[0]["counts"]["n_test"] * n_runs > MOST:
        return verdicts
    try:
        return verdicts | Verdicts.of([compare_rows(ComparisonRequest(table, control, tuple(missing)), store)])
    except BenchError:  # scores that are damaged are told by what asks for them
        return verdicts


def _is_here(row: Row, store: Store) -> bool:
    return all(store.has_scores(record["run_id"]) for record in row.finished)
