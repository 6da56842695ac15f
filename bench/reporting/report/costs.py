"""Quality against what it takes: AP of the rows of a table by CPU seconds, memory and tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.experiment.groups import is_control
from bench.records.record import own_seconds
from bench.reporting.report.boards import table_anchor
from bench.reporting.report.plots import Mark, Plot, across, placed, quarters, upward
from bench.reporting.tables.answers import calls_of
from bench.reporting.tables.ranking import RANKED_BY, value_of
from bench.reporting.tables.rows import Row, Table

_LEAST: Final = 0.01
"""Of a logarithmic axis: less than this counts as this."""
_FEWEST: Final = 2


@dataclass(frozen=True)
class Costs:
    """The plots of a table."""

    anchor: str
    title: str
    plots: tuple[Plot, ...]


def costs_of(number: int, table: Table) -> Costs | None:
    """The plots of a table; None where nothing is known of any cost."""
    found = [_plot(title, cost, table.rows) for title, cost in _COSTS]
    plots = tuple(plot for plot in found if plot is not None)
    title = f"{table.key.scenario}, {table.key.split}"
    return Costs(table_anchor(number), title, plots) if plots else None


def _seconds(row: Row) -> float | None:
    taken = [own_seconds(record) for record in row.finished]
    return _mean([t["fit"] + t.get("score", 0.0) for t in taken if "fit" in t])


def _memory(row: Row) -> float | None:
    return _mean([record["memory_mib"]["added"] for record in row.finished if "added" in record["memory_mib"]])


def _tokens(row: Row) -> float | None:
    calls = calls_of(row)
    return None if calls is None else calls["tokens"]


_COSTS: Final[tuple[tuple[str, Callable[[Row], float | None]], ...]] = (
    ("CPU seconds of fit and score", _seconds),
    ("MiB that the run added", _memory),
    ("tokens of a run", _tokens),
)


def _plot(title: str, cost: Callable[[Row], float | None], rows: Sequence[Row]) -> Plot | None:
    found = [(row, cost(row), value_of(row, RANKED_BY)) for row in rows if row.finished]
    known = [(row, max(x, _LEAST), y) for row, x, y in found if x is not None and y is not None]
    if len(known) < _FEWEST:
        return None
    low = math.floor(math.log10(min(x for _, x, _ in known)))
    high = max(math.ceil(math.log10(max(x for _, x, _ in known))), low + 1)
    x, y = across(low, high), upward(0, 1)
    marks = []
    for row, spent, value in sorted(known, key=lambda point: (-point[2], point[1])):
        is_beaten = any((a <= spent and b > value) or (a < spent and b >= value) for _, a, b in known)
        words = f"{row.method}: AP {value:.3f}, {spent:.3g} {title}"
        style = "control" if is_control(row.group) else "method"
        marks.append(Mark(x(math.log10(spent)), y(value), style, words, "" if is_beaten else row.method))
    ticks = tuple((x(n), f"{10.0**n:,g}") for n in range(low, high + 1))
    return Plot(f"AP against {title}", title, "AP", ticks, quarters(y), (), placed(marks))


def _mean(values: Sequence[float]) -> float | None:
    return float(sum(values) / len(values)) if values else None
