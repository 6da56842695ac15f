"""Matrices of pages: methods by editions, a table for each group of what methods are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.grades import group_rank
from bench.reporting import markdown
from bench.reporting.pages.gather import (
    RANKED_BY,
    best_of,
    controls_of,
    methods_of,
    standing_of,
    value_of,
)
from bench.reporting.tables.headroom import headroom_of
from bench.reporting.tables.rows import Row, Table

METRICS: Final = ("f1", "auroc", "ap")
NOTHING: Final = "no record"
"""What a block says that has nothing to show."""

_NO_THRESHOLD: Final = "n/e"


def short(value: float | None) -> str:
    """`.598`, `1.00`; a threshold that could not be estimated gives no F1."""
    if value is None:
        return _NO_THRESHOLD
    text = f"{value:.3f}"
    return "1.00" if text == "1.000" else text.replace("0.", ".", 1)


def matrices(tables: Sequence[Table], wanted: Callable[[Row], bool]) -> str:
    """F1, AUROC and AP of the rows that are wanted: a part for each split, in it a table for each group."""
    parts = []
    for split in sorted({table.key.split for table in tables}):
        same = [table for table in tables if table.key.split == split]
        grids = list(_grids(same, wanted))
        if grids:
            parts += [f"**{split}**", *grids]
    return "\n\n".join([*parts, *_legend(tables)]) if parts else f"({NOTHING})"


def _grids(tables: Sequence[Table], wanted: Callable[[Row], bool]) -> Iterable[str]:
    rows = [row for table in tables for row in table.rows if wanted(row)]
    for group in sorted({row.group for row in rows}, key=group_rank):
        names = list(dict.fromkeys(sorted(row.method for row in rows if row.group == group)))
        shown = [table for table in tables if any(row.group == group and wanted(row) for row in table.rows)]
        lines = [[markdown.plain(name), *(_cell(table, group, name) for table in shown)] for name in names]
        yield markdown.table(lines, [group, *(column(table) for table in shown)])


def _cell(table: Table, group: str, name: str) -> str:
    """`.598 / .951 / .948 (1)`: fewer seeds than the table's usual number stand in brackets."""
    row = next((row for row in table.rows if (row.group, row.method) == (group, name)), None)
    if row is None:
        return ""
    if not row.finished:
        return row.records[0]["status"].replace("_", " ")
    seeds = len(row.finished)
    text = " / ".join(short(value_of(row, metric)) for metric in METRICS)
    return text if seeds == usual_seeds(table) else f"{text} ({seeds})"


def usual_seeds(table: Table) -> int:
    """The number of seeds that most rows of a table have; of equals the larger."""
    counts = Counter(len(row.finished) for row in table.rows if row.finished)
    return max(counts, key=lambda seeds: (counts[seeds], seeds)) if counts else 0


def column(table: Table) -> str:
    """How a table is called in the head of a column: its scenario, and what its numbers are not good for."""
    key = table.key
    words = [] if standing_of(table) == "evaluation" else [standing_of(table)]
    words += [] if key.window in ("sessions", "20/20") else [f"windows {key.window}"]
    words += [f"sample {key.sample}"] if key.sample else []
    return f"{key.scenario} ({', '.join(words)})" if words else key.scenario


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
        control, method = best_of(controls_of(table)), best_of(methods_of(table))
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
                _named(method),
            ]
        )
    headers = ["edition", "split", "train", "test", "abnormal", "best control, AP", "room above it", "ceiling of F1"]
    words = "Ceiling of F1: what no function of the event sequence exceeds; empty where records are older than it."
    return f"{markdown.table(lines, [*headers, 'best method, AP'])}\n\n{words}" if lines else f"({NOTHING})"


def _named(row: Row | None) -> str:
    return "" if row is None else f"{markdown.plain(row.method)} {short(value_of(row, RANKED_BY))}"
