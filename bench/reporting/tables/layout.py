"""A table laid out: facts, grids of the columns that are wanted, notes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bench.evaluation.thresholds import parse_rule
from bench.experiment.groups import is_control
from bench.experiment.measure import ALL, LINES
from bench.reporting.tables.columns import Column, all_columns, cells_of
from bench.reporting.tables.facts import brief_lines, fact_lines
from bench.reporting.tables.headroom import bound_lines, licence_lines, pool_lines
from bench.reporting.tables.notes import brief_notes, table_notes
from bench.reporting.tables.ranking import best_controls
from bench.reporting.tables.rows import Row, Table, heading
from bench.reporting.tables.view import Block, Grid, View


def view_of(
    table: Table,
    rule: str,
    columns: Sequence[Column] | None = None,
    reading: Sequence[str] = (),
    *,
    brief: bool = False,
    certified: Collection[str] = (),
) -> View:
    """A table with what a reader must know of it; combined runs show each system by itself too.

    columns: those wanted; None: all that a group of rows has to show
    certified: names of rows to be marked so
    brief: the first cell of a row that did not finish says why, as its facts are not read
    """
    rule = str(parse_rule(rule))
    blocks = []
    for name in (ALL, *_systems(table)):
        title, size = ("", "") if name == ALL else (name, _size(table, name))
        blocks.append(Block(tuple(_grids(table, rule, name, columns, brief=brief, certified=certified)), title, size))
    return View(
        heading(table.key, table.records),
        tuple(fact_lines(table, rule)),
        tuple(blocks),
        (*pool_lines(table), *bound_lines(table), *table_notes(table, rule), *licence_lines(table.records)),
        tuple(reading),
        tuple(brief_lines(table, rule)),
        tuple(brief_notes(table, rule)),
    )


def _systems(table: Table) -> list[str]:
    blocks = {block for row in table.rows for record in row.finished for block in record["metrics"]}
    return sorted(blocks - {ALL, LINES})


def _size(table: Table, block: str) -> str:
    metrics = next(r["metrics"][block] for r in table.records if r["status"] == "ok" and block in r["metrics"])
    return f"{metrics['n']} test sequences, {metrics['n_abnormal']} abnormal"


def _grids(
    table: Table,
    rule: str,
    block: str,
    columns: Sequence[Column] | None,
    *,
    brief: bool,
    certified: Collection[str],
) -> list[Grid]:
    extra = " + threshold from target normals" if parse_rule(rule).uses_target_normals else ""
    best = best_controls(table) if block == ALL else []
    found = []
    for group in dict.fromkeys(row.group for row in table.rows):
        rows = [row for row in table.rows if row.group == group]
        shown = all_columns(rows, table, rule) if columns is None else columns
        headers = (group if is_control(group) else group + extra, *(column.heading for column in shown))
        lines = tuple(_line(row, shown, block, rule, brief=brief) for row in rows)
        marked = frozenset(place for place, row in enumerate(rows) if row.method in certified)
        found.append(Grid(headers, lines, next((i for i, row in enumerate(rows) if row in best), None), marked))
    return found


def _line(row: Row, columns: Sequence[Column], block: str, rule: str, *, brief: bool) -> tuple[str, ...]:
    cells = cells_of(row, columns, block, rule)
    if brief and not row.finished and cells and cells[0] == "-":
        cells[0] = row.records[0]["status"].replace("_", " ")
    return (row.method, *cells)
