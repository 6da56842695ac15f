"""Matrices of pages: methods by editions, a table for each group of what methods are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bench.evaluation.thresholds import DEFAULT_RULE
from bench.reporting import markdown
from bench.reporting.pages.gather import methods_of
from bench.reporting.tables.formats import grid_markdown
from bench.reporting.tables.headroom import headroom_of
from bench.reporting.tables.matrix import column, matrix_grids, usual_seeds
from bench.reporting.tables.ranking import RANKED_BY, best_of, controls_of, short, value_of
from bench.reporting.tables.rows import Row, Table
from bench.reporting.tables.view import Grid

_WIDE: Final = 9
"""Columns of a table that a page still shows side by side."""
NOTHING: Final = "no record"
"""What a block says that has nothing to show."""


def matrices(tables: Sequence[Table], wanted: Callable[[Row], bool]) -> str:
    """F1, AUROC and AP of the rows that are wanted: a part for each split, in it a table for each group."""
    parts = []
    for split in sorted({table.key.split for table in tables}):
        same = [table for table in tables if table.key.split == split]
        grids = [grid_markdown(_narrow(grid)) for grid in matrix_grids(same, wanted)]
        if grids:
            parts += [f"**{split}**", *grids]
    return "\n\n".join([*parts, *_legend(tables)]) if parts else f"({NOTHING})"


def _narrow(grid: Grid) -> Grid:
    """The grid turned round where it has many editions and fewer methods: a page is read from the top to its foot."""
    if len(grid.headers) <= _WIDE or len(grid.rows) >= len(grid.headers):
        return grid
    group, *editions = grid.headers
    columns = zip(*grid.rows, strict=True)
    names = [markdown.plain(name) for name in next(columns)]
    return Grid((group, *names), tuple((edition, *cells) for edition, cells in zip(editions, columns, strict=True)))


def _legend(tables: Sequence[Table]) -> list[str]:
    seeds = sorted({usual_seeds(table) for table in tables})
    return [
        f"Each cell: F1 / AUROC / AP, means over {' or '.join(map(str, seeds))} seeds (another number stands in "
        f"brackets); F1 by the rule `{DEFAULT_RULE}`, of what flags everything by its own. Intervals, times and "
        "memory are in `results/tables`."
    ]


def headroom(tables: Sequence[Table]) -> str:
    """How much each table leaves to be shown: its size, its best control and its best method."""
    lines = []
    for table in tables:
        counts = table.records[0]["counts"]
        method = best_of(methods_of(table))
        control = best_of(controls_of(table, method))
        best = None if control is None else value_of(control, RANKED_BY)
        room = "" if best is None else short(1 - best)
        bound = headroom_of(table, DEFAULT_RULE)
        lines.append(
            [
                column(table),
                table.key.split,
                f"{counts['n_train']:,}",
                f"{counts['n_test']:,}",
                f"{counts['n_test_abnormal']:,}",
                _named(control),
                room,
                "" if bound is None else short(bound.ceiling),
                _told(method),
            ]
        )
    headers = ["edition", "split", "train", "test", "abnormal", "best control, AP", "room above it", "ceiling of F1"]
    words = "Ceiling of F1: what no function of the event sequence exceeds; empty where records are older than it."
    return f"{markdown.table(lines, [*headers, 'best method, AP'])}\n\n{words}" if lines else f"({NOTHING})"


def _told(row: Row | None) -> str:
    """A method and what it is told: the best of a table is often one that is told more than the others."""
    return "" if row is None else f"{_named(row)} ({row.group})"


def _named(row: Row | None) -> str:
    return "" if row is None else f"{markdown.plain(row.method)} {short(value_of(row, RANKED_BY))}"
