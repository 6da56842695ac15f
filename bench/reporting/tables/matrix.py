"""Methods by data sets: a grid for each group of what methods are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from bench.evaluation.measures import measure_of
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.grades import group_rank
from bench.records.record import standing
from bench.reporting.tables.ranking import short, value_of
from bench.reporting.tables.rows import Row, Table
from bench.reporting.tables.view import Block, Grid, View

METRICS: Final = ("f1", "auroc", "ap")


def matrix_grids(
    tables: Sequence[Table],
    wanted: Callable[[Row], bool] = lambda row: True,
    metrics: Sequence[str] = METRICS,
    rule: str = DEFAULT_RULE,
    *,
    same_columns: bool = False,
) -> Iterable[Grid]:
    """Metrics of the rows that are wanted, with a column for each table; methods stand by name.

    same_columns: also for tables that have no row of a group
    """
    rows = [row for table in tables for row in table.rows if wanted(row)]
    for group in sorted({row.group for row in rows}, key=group_rank):
        names = list(dict.fromkeys(sorted(row.method for row in rows if row.group == group)))
        of_group = [table for table in tables if any(row.group == group and wanted(row) for row in table.rows)]
        shown = tables if same_columns else of_group
        lines = tuple((name, *(_cell(table, group, name, metrics, rule) for table in shown)) for name in names)
        yield Grid((group, *(column(table) for table in shown)), lines)


def matrix_views(tables: Sequence[Table], metrics: Sequence[str], rule: str) -> list[View]:
    """A matrix for each split, data sets from left to right by name."""
    titles = " / ".join(measure_of(key).title for key in metrics)
    by_rule = f"; F1 and the like by the rule {rule}" if any(measure_of(key).is_by_rule for key in metrics) else ""
    found = []
    for split in sorted({table.key.split for table in tables}):
        same = [table for table in tables if table.key.split == split]
        seeds = sorted({usual_seeds(table) for table in same})
        fact = f"- {titles}, means over {' or '.join(map(str, seeds))} seeds (another number in brackets){by_rule}"
        grids = tuple(matrix_grids(same, metrics=metrics, rule=rule, same_columns=True))
        found.append(View(f"{split}, protocol {same[0].key.protocol_version}", (fact,), (Block(grids),), brief=(fact,)))
    return found


def matrix_rows(tables: Sequence[Table], metrics: Sequence[str], rule: str) -> list[dict[str, Any]]:
    """The matrix for programs: one line for each split and method, with a value for each data set and metric."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    columns = [f"{key} {metric}" for key in dict.fromkeys(map(column, tables)) for metric in metrics]
    for table in tables:
        for row in table.rows:
            line = found.setdefault(
                (table.key.split, row.group, row.method),
                {"split": table.key.split, "told": row.group, "method": row.method} | dict.fromkeys(columns),
            )
            line |= {f"{column(table)} {metric}": value_of(row, metric, rule) for metric in metrics}
    return list(found.values())


def _cell(table: Table, group: str, name: str, metrics: Sequence[str], rule: str) -> str:
    """`.598 / .951 / .948 (1)`: fewer seeds than the table's usual number stand in brackets."""
    row = next((row for row in table.rows if (row.group, row.method) == (group, name)), None)
    if row is None:
        return ""
    if not row.finished:
        return row.records[0]["status"].replace("_", " ")
    seeds = len(row.finished)
    text = " / ".join(short(value_of(row, metric, rule)) for metric in metrics)
    return text if seeds == usual_seeds(table) else f"{text} ({seeds})"


def usual_seeds(table: Table) -> int:
    """The number of seeds that most rows of a table have; of equals the larger."""
    counts = Counter(len(row.finished) for row in table.rows if row.finished)
    return max(counts, key=lambda seeds: (counts[seeds], seeds)) if counts else 0


def column(table: Table) -> str:
    """How a table is called in the head of a column: its scenario, and what its numbers are not good for."""
    key, worth = table.key, standing(table.records[0])
    words: list[str] = [] if worth == "evaluation" else [worth]
    words += [] if key.window in ("sessions", "20/20") else [f"windows {key.window}"]
    words += [f"sample {key.sample}"] if key.sample else []
    return f"{key.scenario} ({', '.join(words)})" if words else key.scenario
