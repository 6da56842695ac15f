"""The picture of a `Results`: a panel for each table, a point with its interval for each method."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from bench.errors import BenchError, choose_one
from bench.evaluation.measures import all_measures
from bench.experiment.grades import CONTROL
from bench.experiment.measure import ALL
from bench.reporting.figures.picture import BLUE, GREY, panels_of
from bench.reporting.tables.rows import Row, Table, aggregate, heading, shown_rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH: Final = 6.0
_ROW: Final = 0.26
"""Inches of height for each method."""


def draw(tables: Sequence[Table], metric: str, rule: str) -> Figure:
    """Each table's rows from the highest value to the lowest, controls grey; BenchError for an unknown metric."""
    titles = {measure.key: measure.title for measure in all_measures()}
    if metric not in titles:
        raise BenchError(f"there is no metric '{metric}': {choose_one(metric, titles)}")
    if not tables:
        raise BenchError("there is no record to draw: run something first")
    tallest = max(len(table.rows) for table in tables)
    picture, grid = panels_of(len(tables), columns=1, width=_WIDTH, height=0.8 + _ROW * tallest)
    for axes, table in zip(grid, tables, strict=True):
        _panel(axes, table, metric, rule)
        axes.set_xlabel(titles[metric])
    # A notebook shows it so, whether or not pyplot was imported there.
    vars(picture)["_repr_png_"] = functools.partial(_png, picture)
    return picture


def _png(picture: Figure) -> bytes:
    content = io.BytesIO()
    picture.savefig(content, format="png", dpi=100)
    return content.getvalue()


def _panel(axes: Axes, table: Table, metric: str, rule: str) -> None:
    found = [(row, interval) for row in table.rows if (interval := _interval(row, metric, rule)) is not None]
    found.sort(key=lambda pair: pair[1].mean)
    for place, (row, interval) in enumerate(found):
        colour = GREY if row.group == CONTROL else BLUE
        spread = [[max(interval.mean - interval.low, 0)], [max(interval.high - interval.mean, 0)]]
        axes.errorbar([interval.mean], [place], xerr=spread, fmt="o", color=colour, capsize=2)
    axes.set_yticks(range(len(found)), [row.method for row, _ in found], fontsize=8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_title(heading(table.key, table.records), loc="left", fontsize=9)


def _interval(row: Row, metric: str, rule: str) -> Any:
    return aggregate(row, ALL, metric, shown_rule(row, rule))
