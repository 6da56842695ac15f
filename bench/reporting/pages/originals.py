"""A block on published settings: each beside the common ones."""

from __future__ import annotations

from bench.reporting import markdown
from bench.reporting.pages.gather import Results, kind_of
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.pages.steps import of_common_seeds
from bench.reporting.tables.matrix import METRICS, column
from bench.reporting.tables.ranking import short, value_of
from bench.reporting.tables.rows import Row, base_of


def originals(results: Results) -> str:
    """Methods under their published settings beside their rows under the common ones, of the same seeds."""
    lines = []
    for table in results.of("within", "paper", "transfers", "combined", "chat"):
        usual = {base_of(row): row for row in table.rows if kind_of(row) == "plain"}
        for row in table.rows:
            if kind_of(row) == "original" and row.finished:
                common = usual.get(base_of(row))
                pair = {1: row} if common is None or not common.finished else of_common_seeds({0: common, 1: row})
                shown = (_cell(pair.get(0)), _cell(pair.get(1, row)))
                lines.append([column(table), table.key.split, base_of(row), *shown])
    headers = ["edition", "split", "method", "common settings", "original"]
    words = "F1 / AUROC / AP, means over the seeds that both have."
    return f"{markdown.table(lines, headers)}\n\n{words}" if lines else f"({NOTHING})"


def _cell(row: Row | None) -> str:
    return "" if row is None else " / ".join(short(value_of(row, metric)) for metric in METRICS)
