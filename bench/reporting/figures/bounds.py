"""Figures of kind `bounds`: F1 of the systems of a combined scenario under three kinds of bound, and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bench.errors import BenchError
from bench.experiment.grades import group_rank
from bench.experiment.groups import is_control
from bench.experiment.measure import ALL
from bench.reporting import markdown
from bench.reporting.figures.figure import (
    Figure,
    FigureRequest,
    Kind,
    Options,
    failures,
    interval_of,
    listed,
    panel_facts,
    run_ids,
)
from bench.reporting.figures.picture import BLUE, GREEN, GREY, ORANGE, legend_below, panels_of, seeds_text, title_panel
from bench.reporting.tables.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

_BOUNDS: Final = (
    ("shared", "one bound for all", BLUE, "o"),
    ("own", "a bound of its own", ORANGE, "s"),
    ("single", "a model of its own", GREEN, "^"),
)


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """For each system of a combined scenario: F1 at the shared bound, at a bound of its own, of a model of its own."""
    notes = request.missing
    rows = request.rows()
    own_rule = f"{request.rule}@own-system"
    panels: list[dict[str, Any]] = []
    for scenario, split in dict.fromkeys((s, p) for s, p, _ in rows if "+" in s):
        combined = {label: row for (s, p, label), row in rows.items() if (s, p) == (scenario, split)}
        for system in [*scenario.split("+"), ALL]:
            lines = [
                {
                    "method": label,
                    "told": row.group,
                    **_three(row, rows.get((system, split, label)), system, request),
                }
                for label, row in _by_group(combined)
            ]
            record = next(iter(combined.values())).records[0]
            n_seeds = max(len(row.finished) for row in combined.values())
            panels.append({**panel_facts(record, system), "system": system, "n_seeds": n_seeds, "rows": lines})
        if not any(own_rule in record.get("thresholds", {}) for row in combined.values() for record in row.records):
            notes.append(f"no record of {scenario} holds the rule {own_rule}: the suite needs it in its thresholds")
    notes += failures(rows.values())
    if not panels:
        raise BenchError(f"no record of the suite '{request.suite.name}' combines systems, e.g. bgl+tbird")
    content = {"rule": request.rule, "panels": panels}
    all_notes = (*request.plan.notes, *notes)
    page = _page(content, request, all_notes)
    return [Figure(request.suite.name, "bounds", content, run_ids(rows.values()), all_notes, page)]


def _three(combined: Row, alone: Row | None, system: str, request: FigureRequest) -> dict[str, Any]:
    """F1 and realised FPR of one system at the shared bound, at its own, and of its own model."""
    rule = request.rule
    places = {
        "shared": (combined, system, rule),
        "own": (combined, system, f"{rule}@own-system"),
        "single": (alone, ALL, rule),
    }
    found = {name: interval_of(row, block, "f1", at) for name, (row, block, at) in places.items()}
    rates = {name: interval_of(row, block, "fpr", at).get("mean") for name, (row, block, at) in places.items()}
    return {**found, "fpr": rates}


def _page(content: Mapping[str, Any], request: FigureRequest, notes: Sequence[str]) -> str:
    headers = ["told", "method", "one bound for all", "a bound of its own", "a model of its own"]
    heading = f"### {request.suite.name}: F1 at {request.rule} and its realised FPR, one bound for several systems"
    parts = [heading, listed(notes)]
    for panel in content["panels"]:
        lines = [
            [row["told"], row["method"], *(_with_rate(row, bound) for bound in ("shared", "own", "single"))]
            for row in panel["rows"]
        ]
        name = "both together" if panel["system"] == ALL else panel["system"]
        facts = [f"{panel['n_test']} test sequences, {panel['n_test_abnormal']} abnormal"]
        if panel["all_positive_f1"] is not None:
            facts.append(f"flagging everything {panel['all_positive_f1']:.3f}")
        parts.append(f"**{name}, {panel['split']}** ({'; '.join([*facts, *filter(None, [panel['standing']])])})")
        parts.append(markdown.table(lines, headers))
    return "\n\n".join(filter(None, parts)) + "\n"


def _with_rate(row: Mapping[str, Any], bound: str) -> str:
    interval, rate = row[bound], row["fpr"][bound]
    if not interval:
        return "-"
    text = f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
    return text if rate is None else f"{text}, FPR {rate:.3f}"


def _by_group(rows: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """Controls last, methods that are told the same together, as in the tables."""
    return sorted(rows.items(), key=lambda item: (group_rank(item[1].group), item[0]))


def _draw(content: Mapping[str, Any]) -> Picture:
    """A panel for each system: a row for each method, a point with interval for each kind of bound."""
    panels = [_with_values(panel, content["panels"]) for panel in content["panels"]]
    columns = len(dict.fromkeys(panel["system"] for panel in panels))
    n_rows = max(1, *(len(panel["rows"]) for panel in panels))
    picture, grid = panels_of(len(panels), columns=columns, width=3.0, height=0.9 + 0.34 * n_rows, share_y=True)
    for position, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        for kind, label, colour, marker in _BOUNDS:
            shift = {"shared": -0.24, "own": 0.0, "single": 0.24}[kind]
            found = [(y + shift, row[kind]) for y, row in enumerate(panel["rows"]) if row[kind]]
            _points(axes, found, colour, marker, label)
        axes.set(ylim=(max(1, len(panel["rows"])) - 0.5, -0.5), xlim=(-0.03, 1.03))
        axes.set_yticks(range(len(panel["rows"])), [_row_name(row) for row in panel["rows"]])
        for y, (row, above) in enumerate(zip(panel["rows"][1:], panel["rows"], strict=False)):
            if row["told"] != above["told"]:
                axes.axhline(y + 0.5, color=GREY, lw=0.8)
        if panel["all_positive_f1"] is not None:
            axes.axvline(panel["all_positive_f1"], color=GREY, lw=1, ls=(0, (1, 2)), label="flagging everything")
        name = "both together" if panel["system"] == ALL else panel["system"]
        title_panel(axes, panel, name, more=seeds_text(panel["n_seeds"]))
        if position >= len(panels) - columns:
            axes.set_xlabel(f"F1 at {content['rule']}")
    legend_below(picture, grid)
    return picture


def _with_values(panel: Mapping[str, Any], panels: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A panel without the rows of methods that have no value in any panel of its split: the page names them."""
    beside = [row for other in panels if other["split"] == panel["split"] for row in other["rows"]]
    shown = {row["method"] for row in beside if any(row[kind] for kind, *_ in _BOUNDS)}
    return {**panel, "rows": [row for row in panel["rows"] if row["method"] in shown]}


def _points(
    axes: Axes, found: Sequence[tuple[float, Mapping[str, float]]], colour: str, marker: str, label: str
) -> None:
    if not found:
        return
    means = [interval["mean"] for _, interval in found]
    errors = [
        [interval["mean"] - interval["low"] for _, interval in found],
        [interval["high"] - interval["mean"] for _, interval in found],
    ]
    axes.errorbar(
        means, [y for y, _ in found], xerr=errors, fmt=marker, ms=4.5, lw=1.2, color=colour, label=label, zorder=3
    )


def _row_name(row: Mapping[str, Any]) -> str:
    return f"{row['method']} (control)" if is_control(row["told"]) else str(row["method"])


KIND: Final = Kind("bounds", (), _gather, _draw)
