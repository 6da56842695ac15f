"""Figures of kind `steps`: AP of each network against its optimiser steps, a panel for each scenario and split.

One figure shows the validation part, by which the budget is fixed on development systems, one the test part. Beside
each stands a page: the rule of the budget, which networks end below their untrained self, whether their order holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bench.errors import BenchError, choose_one
from bench.experiment.grades import CONTROL
from bench.experiment.measure import ALL
from bench.records import record as records
from bench.records.record import Record
from bench.reporting import markdown
from bench.reporting.figures.budget import (
    MARGIN,
    Curve,
    Rule,
    agreement,
    below_untrained,
    mean_curve,
    rule_of,
    spread,
)
from bench.reporting.figures.figure import (
    Figure,
    FigureRequest,
    Kind,
    Options,
    failures,
    listed,
    panel_facts,
    run_ids,
)
from bench.reporting.figures.picture import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    legend_below,
    panels_of,
    seeds_text,
    title_panel,
)
from bench.reporting.tables.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

_PARTS: Final = ("validation", "test")
_FIELD: Final = "steps"
_FEW_TICKS: Final = 4
"""So many numbers of steps all stand at the axis."""
_COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
_MARKERS: Final = ("o", "s", "^", "D", "v")
_DASHES: Final = ("-", "--", "-.", ":")
_TUNED_ON: Final = ("simulated", "development")
"""Standings of the systems that a budget may be fixed on."""
_Rows = Mapping[str, Row]


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """A figure of each part, in it a panel of each scenario and split."""
    parts = options.get("parts", list(_PARTS))
    if unknown := [part for part in parts if part not in _PARTS]:
        raise BenchError(f"a figure of kind 'steps' has no part '{unknown[0]}': {choose_one(unknown[0], _PARTS)}")
    steps = {cell.method.label: cell.method.config.get(_FIELD) for cell in request.plan.cells}
    rows = request.rows()
    trained = {key: row for key, row in rows.items() if steps[key[2]] is not None}
    notes = (*request.plan.notes, *request.missing, *failures(trained.values()))
    budget = _budget(request, options)
    figures = []
    for part in parts:
        panels = [
            panel for key in dict.fromkeys(key[:2] for key in trained) if (panel := panel_of(key, rows, steps, part))
        ]
        if panels:
            content = {"part": part, "budget": budget, "panels": panels, **_findings(panels, budget, part)}
            name = f"{request.suite.name}-{part}"
            page = _page(name, content, notes)
            figures.append(Figure(name, "steps", content, run_ids(trained.values()), notes, page))
    if not figures:
        raise BenchError(
            f"no network of the suite '{request.suite.name}' has finished runs with two numbers of steps and an AP: "
            "give some by set, as mlad.steps=0,600"
        )
    return figures


def _budget(request: FigureRequest, options: Options) -> int:
    """The number of steps that is marked: that of the suite, else the default of its networks."""
    given = options.get("budget")
    if given is None:
        fields = [cell.method.description.fields.get(_FIELD) for cell in request.plan.cells]
        given = next((field.default for field in fields if field is not None and field.default), None)
    if not isinstance(given, int) or given < 1:
        raise BenchError(f"a figure of kind 'steps' needs its budget, a whole number of steps, not {given!r}")
    return given


def panel_of(
    place: tuple[str, str], rows: Mapping[tuple[str, str, str], Row], steps: Mapping[str, int | None], part: str
) -> dict[str, Any] | None:
    """The curves of a scenario and split; None where no network has two points.

    The points of a curve are means over the seeds that all of them have: more seeds at one would be another sample.
    """
    here = {label: row for (scenario, split, label), row in rows.items() if (scenario, split) == place}
    curves: dict[str, dict[int, dict[int, float]]] = defaultdict(dict)
    told: dict[str, str] = {}
    for label, row in here.items():
        number, values = steps[label], _by_seed(row, part)
        if number is not None and values:
            told[curve_name(label)] = row.group
            curves[curve_name(label)][number] = values
    points = {name: _points(curve) for name, curve in sorted(curves.items())}
    found: list[dict[str, Any]] = [
        {"method": name, "told": told[name], "points": several} for name, several in points.items() if len(several) > 1
    ]
    if not found:
        return None
    record = next(iter(here.values())).records[0]
    facts = {**panel_facts(record), "is_tuned_on": records.standing(record) in _TUNED_ON}
    return {**facts, **_size(record, part), "control": _best_control(here, part), "curves": found}


def curve_name(label: str) -> str:
    """The row without its steps: `mlad[k=2,steps=30]` is a point of `mlad[k=2]`."""
    name, _, inside = label.partition("[")
    rest = [setting for setting in inside.removesuffix("]").split(",") if setting and not setting.startswith("steps=")]
    return f"{name}[{','.join(rest)}]" if rest else name


def _points(curve: Mapping[int, Mapping[int, float]]) -> list[dict[str, Any]]:
    common = set.intersection(*(set(values) for values in curve.values()))
    return [
        {"x": number, **spread([curve[number][seed] for seed in sorted(common)])} for number in sorted(curve) if common
    ]


def _by_seed(row: Row, part: str) -> dict[int, float]:
    found = {record["spec"]["seed"]: _ranking(record, part).get("ap") for record in row.finished}
    return {seed: value for seed, value in found.items() if value is not None}


def _values(row: Row, part: str) -> list[float]:
    return list(_by_seed(row, part).values())


def _ranking(record: Record, part: str) -> Mapping[str, Any]:
    block = record.get("validation", {}) if part == "validation" else record["metrics"][ALL]
    ranking: Mapping[str, Any] = block.get("ranking", {})
    return ranking


def _size(record: Record, part: str) -> dict[str, int]:
    """What the panel says of its data; of validation its own numbers."""
    if part == "test":
        return {}
    found = record.get("validation", {})
    return {"n_test": found.get("n", 0), "n_test_abnormal": found.get("n_abnormal", 0)}


def _best_control(rows: _Rows, part: str) -> dict[str, Any] | None:
    controls = {row.method: _values(row, part) for row in rows.values() if row.group == CONTROL}
    found: list[dict[str, Any]] = [
        {"method": name, "ap": spread(values)["mean"]} for name, values in controls.items() if values
    ]
    return max(found, key=lambda control: control["ap"], default=None)


def _findings(panels: Sequence[Mapping[str, Any]], budget: int, part: str) -> dict[str, Any]:
    """The rule of the budget, of validation parts alone; what falls below untrained, and whether the order holds."""
    found: dict[str, Any] = {"below_untrained": [], "agreement": []}
    for panel in panels:
        curves, place = _curves(panel), {"scenario": panel["scenario"], "split": panel["split"]}
        told = {curve["method"]: curve["told"] for curve in panel["curves"]}
        found["below_untrained"] += [place | fall for fall in below_untrained(curves, budget)]
        found["agreement"] += [place | tau for tau in agreement(curves, told, budget)]
    if part == "validation":
        found["rule"] = _rule(panels)._asdict()
    return found


def _rule(panels: Sequence[Mapping[str, Any]]) -> Rule:
    """Over the systems that anything may be tuned on: each network by the mean of its curves there."""
    each: dict[str, list[Curve]] = defaultdict(list)
    for panel in panels:
        for name, curve in _curves(panel).items() if panel["is_tuned_on"] else ():
            each[name].append(curve)
    return rule_of({name: mean_curve(curves) for name, curves in each.items()})


def _curves(panel: Mapping[str, Any]) -> dict[str, Curve]:
    return {curve["method"]: {p["x"]: p["mean"] for p in curve["points"]} for curve in panel["curves"]}


def _page(name: str, content: Mapping[str, Any], notes: Sequence[str]) -> str:
    part, budget = content["part"], content["budget"]
    parts = [f"### {name}: AP of the {part} part against optimiser steps, budget {budget}", listed(notes)]
    if "rule" in content:
        parts += _rule_lines(content["rule"])
    parts.append(_fallen(content["below_untrained"], budget))
    parts.append(_order(content["agreement"]))
    for panel in content["panels"]:
        steps = sorted({point["x"] for curve in panel["curves"] for point in curve["points"]})
        means = _curves(panel)
        lines = [[name, *(_number(curve.get(n)) for n in steps)] for name, curve in means.items()]
        sizes = f"{panel['n_test']:,} sequences, {panel['n_test_abnormal']:,} abnormal"
        parts.append(f"**{panel['scenario']}, {panel['split']}** ({sizes})")
        parts.append(markdown.table(lines, ["mean AP after", *map(str, steps)]))
    return "\n\n".join(filter(None, parts)) + "\n"


def _rule_lines(rule: Mapping[str, Any]) -> list[str]:
    if not rule["n_networks"]:
        return ["No development system is among these, and the budget is fixed by no other."]
    where = (
        f"{rule['n_needed']} of {rule['n_networks']} networks within {MARGIN:g} of the best mean AP of their own curve"
    )
    chosen = rule["steps"]
    said = (
        f"The smallest number of steps with {where}: **{chosen}**."
        if chosen is not None
        else f"At no number of steps are {where}."
    )
    lines = [[str(steps), str(n)] for steps, n in rule["n_done"].items()]
    first = ", ".join(f"{name} {steps}" for name, steps in sorted(rule["first_done"].items()))
    return [said, markdown.table(lines, ["steps", "networks within"]), f"First within: {first}."]


def _fallen(falls: Sequence[Mapping[str, Any]], budget: int) -> str:
    if not falls:
        return f"No network is below its untrained self after the budget of {budget}."
    lines = [
        [
            fall["scenario"],
            fall["split"],
            fall["method"],
            _number(fall["untrained"]),
            _number(fall["trained"]),
            str(fall["steps"]),
        ]
        for fall in falls
    ]
    headers = ["below its untrained self", "split", "network", "untrained", "trained", "steps"]
    return markdown.table(lines, headers)


def _order(taus: Sequence[Mapping[str, Any]]) -> str:
    if not taus:
        return "No ranking of three networks that are told the same stands at two budgets."
    lines = [
        [
            t["scenario"],
            t["split"],
            t["told"],
            str(t["n"]),
            " and ".join(map(str, t["steps"])),
            "-" if t["tau"] is None else f"{t['tau']:.2f}",
        ]
        for t in taus
    ]
    return markdown.table(lines, ["order of networks", "split", "told", "n", "after steps", "Kendall's tau"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _draw(content: Mapping[str, Any]) -> Picture:
    """A panel for each scenario and split: a line for each network, its interval as a thin bar, the budget marked."""
    panels = content["panels"]
    columns = min(len(panels), 3)
    picture, grid = panels_of(len(panels), columns=columns, width=3.8, height=2.9)
    names = sorted({curve["method"] for panel in panels for curve in panel["curves"]})
    for position, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        for curve in panel["curves"]:
            _line(axes, curve, names.index(curve["method"]))
        axes.axvline(content["budget"], color=GREY, lw=1, label=f"budget of {content['budget']} steps", zorder=1)
        if panel["control"] is not None:
            axes.axhline(panel["control"]["ap"], color=GREY, lw=1.2, ls=(0, (1, 2)), label="best control", zorder=1)
        _log_axis(axes, content)
        sizes = f"{panel['n_test']:,} {content['part']} sequences, {panel['n_test_abnormal']:,} abnormal"
        n_seeds = max(point["n_seeds"] for curve in panel["curves"] for point in curve["points"])
        best = "" if panel["control"] is None else f"best control {panel['control']['method']}"
        title_panel(axes, panel, below=sizes, more="; ".join(filter(None, [seeds_text(n_seeds), best])))
        if position >= len(panels) - columns:
            axes.set_xlabel("optimiser steps")
        if position % columns == 0:
            axes.set_ylabel(f"AP of the {content['part']} part")
    legend_below(picture, grid)
    return picture


def _line(axes: Axes, curve: Mapping[str, Any], number: int) -> None:
    points = curve["points"]
    x, y = [point["x"] for point in points], [point["mean"] for point in points]
    reach = [[p["mean"] - p["low"] for p in points], [p["high"] - p["mean"] for p in points]]
    axes.errorbar(
        x,
        y,
        yerr=reach,
        color=_COLOURS[number % len(_COLOURS)],
        marker=_MARKERS[number % len(_MARKERS)],
        ls=_DASHES[number % len(_DASHES)],
        ms=3.5,
        lw=1.3,
        elinewidth=0.6,
        label=curve["method"],
    )


def _log_axis(axes: Axes, content: Mapping[str, Any]) -> None:
    """Logarithmic, but for 0, which stands a decade's half before 1; from the least steps on."""
    steps = sorted({p["x"] for panel in content["panels"] for curve in panel["curves"] for p in curve["points"]})
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    round_ones = [n for n in steps if n in (0, 1, 10, 100, 1000, content["budget"])]
    ticks = steps if len(steps) <= _FEW_TICKS else round_ones or steps
    shown = list(dict.fromkeys([*ticks, steps[-1]]))
    axes.set_xticks(shown, [str(n) for n in shown])
    axes.minorticks_off()
    axes.set(xlim=(steps[0] / 1.3 if steps[0] else -0.25, steps[-1] * 1.3), ylim=(-0.03, 1.03))


KIND: Final = Kind("steps", ("budget", "parts"), _gather, _draw)
