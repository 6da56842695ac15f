"""A block on drift: several cuts in time, and block by block after refits."""

from __future__ import annotations

from typing import Final

from bench.data.sequences.protocols import block_of
from bench.reporting import markdown
from bench.reporting.pages.gather import Results
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.tables.matrix import column
from bench.reporting.tables.ranking import short, value_of
from bench.reporting.tables.rows import Table
from bench.reporting.tables.series import Series, make_series

_DRIFT_METRIC: Final = "auroc"


def drift(results: Results) -> str:
    """AUROC over several cuts, and block by block after refits: the mean and the worst of each method.

    A row that ran under one cut alone says nothing of drift and is left out, counted below.
    """
    parts = []
    for series in make_series(_with_chronological(results)):
        names = sorted({row.method for table in series.tables for row in table.rows})
        values = {name: found for name in names if (found := _drift_values(series, name))}
        alone = [name for name in values if len(values[name]) == 1 and not series.is_blocks]
        lines = [_drift_line(name, values[name]) for name in values if name not in alone]
        where = f"{column(series.tables[0])}, {series.key.split} ({len(series.tables)} {series.unit})"
        headers = ["AUROC", "first", "last", "mean", "worst", series.unit]
        parts += [f"**{where}**", markdown.table(lines, headers)]
        if alone:
            parts.append(f"Left out, as they ran under one cut alone: {len(alone)}.")
    return "\n\n".join(parts) or f"({NOTHING})"


def _with_chronological(results: Results) -> list[Table]:
    """The tables of the drift, and the default cut where there are others of the scenario."""
    found = results.of("drift", simulated=True)
    scenarios = {table.key.scenario for table in found if block_of(table.key.split) is None}
    usual = results.of("within", "combined", simulated=True)
    return found + [t for t in usual if t.key.split == "chronological" and t.key.scenario in scenarios]


def _drift_values(series: Series, name: str) -> list[float]:
    """Those of a row in each table that has one, in the order of time."""
    rows = [row for table in series.tables for row in table.rows if row.method == name]
    return [value for row in rows if (value := value_of(row, _DRIFT_METRIC)) is not None]


def _drift_line(name: str, values: list[float]) -> list[str]:
    shown = (values[0], values[-1], sum(values) / len(values), min(values))
    return [markdown.plain(name), *map(short, shown), str(len(values))]
