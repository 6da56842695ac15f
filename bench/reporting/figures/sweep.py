"""Figures of kind `sweep`: metrics over the values of one setting, a panel for each scenario and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bench.errors import BenchError, choose_one
from bench.evaluation.measures import all_measures, measure_of
from bench.experiment.measure import ALL
from bench.reporting.figures.figure import (
    Figure,
    FigureRequest,
    Kind,
    Options,
    failures,
    interval_of,
    panel_facts,
    run_ids,
)
from bench.reporting.figures.picture import GREY, LINES, legend_below, panels_of, seeds_text, title_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """Metrics over the values of one setting, a panel for each scenario and split."""
    method, dot, key = str(options.get("setting", "")).rpartition(".")
    metrics = options.get("metrics", ["f1"])
    if not dot:
        raise BenchError("a figure of kind 'sweep' needs its setting: write it as method.key, e.g. mlad.alpha")
    known = [measure.key for measure in all_measures()]
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise BenchError(f"unknown metric '{unknown[0]}' in a figure: {choose_one(unknown[0], known)}")
    notes = request.missing
    values = {cell.method.label: cell.method.config.get(key) for cell in request.plan.cells}
    swept = request.rows(lambda cell: cell.method.ref.name == method and key in cell.method.passed)
    panels = []
    splits = list(dict.fromkeys(split for _, split, _ in swept))
    places = dict.fromkeys((scenario, split) for scenario, split, _ in swept)
    for scenario, split in sorted(places, key=lambda place: splits.index(place[1])):
        rows = {values[label]: row for (s, p, label), row in swept.items() if (s, p) == (scenario, split)}
        series = {
            name: [
                {"x": x, **interval_of(row, ALL, name, request.rule), "run_ids": [r["run_id"] for r in row.finished]}
                for x, row in sorted(rows.items())
                if interval_of(row, ALL, name, request.rule)
            ]
            for name in metrics
        }
        panels.append({**panel_facts(next(iter(rows.values())).records[0]), "series": series})
    notes += failures(swept.values())
    if not any(points for panel in panels for points in panel["series"].values()):
        raise BenchError(f"no finished run of the suite '{request.suite.name}' has the setting {method}.{key} to plot")
    content = {
        "setting": f"{method}.{key}",
        "label": options.get("label", key),
        "band": options.get("band"),
        "band_label": options.get("band_label", ""),
        "rule": request.rule,
        "panels": panels,
    }
    return [Figure(request.suite.name, "sweep", content, run_ids(swept.values()), (*request.plan.notes, *notes))]


def _draw(content: Mapping[str, Any]) -> Picture:
    """A panel for each scenario and split: lines with their interval as a band."""
    panels = content["panels"]
    columns = _columns(panels)
    picture, grid = panels_of(len(panels), columns=columns, width=3.0, height=2.5)
    for position, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        if content["band"]:
            axes.axvspan(*content["band"], color="#f3efd8", zorder=0, label=content["band_label"])
        for (name, points), (colour, marker, line) in zip(panel["series"].items(), LINES, strict=False):
            x = [point["x"] for point in points]
            low, high = ([p[end] for p in points] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            measure = measure_of(name)
            label = f"{measure.title} at {content['rule']}" if measure.is_by_rule else measure.title
            axes.plot(x, [p["mean"] for p in points], line, color=colour, marker=marker, ms=4, lw=1.4, label=label)
        if panel["all_positive_f1"] is not None:
            axes.axhline(panel["all_positive_f1"], color=GREY, lw=1, ls=(0, (1, 2)), label="F1 of flagging everything")
        axes.set(ylim=(-0.03, 1.03))
        n_seeds = max((p["n_seeds"] for points in panel["series"].values() for p in points), default=0)
        title_panel(axes, panel, more=seeds_text(n_seeds))
        if position >= len(panels) - columns:
            axes.set_xlabel(content["label"])
    legend_below(picture, grid)
    return picture


def _columns(panels: Sequence[Mapping[str, Any]]) -> int:
    """Scenarios beside each other, splits below each other, where every scenario has every split."""
    splits = len(dict.fromkeys(panel["split"] for panel in panels))
    return len(panels) // splits if len(panels) % splits == 0 and len(panels) // splits <= 5 else min(len(panels), 3)


KIND: Final = Kind("sweep", ("setting", "label", "metrics", "band", "band_label"), _gather, _draw)
