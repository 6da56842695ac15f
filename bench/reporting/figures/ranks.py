"""Figures of kind `ranks`: mean ranks of methods over evaluation editions, as a critical-difference diagram.

Friedman's test asks whether the methods differ at all; by Nemenyi's, methods whose mean ranks differ by less than the
critical difference are joined by a bar. Methods that are told other things, and splits, have diagrams of their own.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, choose_one
from bench.evaluation.measures import Measure, all_measures, measure_of
from bench.evaluation.ranks import mean_ranks
from bench.experiment.groups import is_control
from bench.experiment.measure import ALL
from bench.records import record as records
from bench.records.record import Record
from bench.reporting import markdown
from bench.reporting.figures.figure import (
    Figure,
    FigureRequest,
    Kind,
    Options,
    failures,
    listed,
    rule_of,
    run_ids,
)
from bench.reporting.figures.picture import BLACK, GREY
from bench.reporting.tables.rows import Row, mean_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

LEVEL: Final = 0.05
_LEFT_OUT: Final = "left out "
_FEWEST: Final = 3
"""Methods, and editions, that a diagram needs."""
_Rows = Mapping[str, Mapping[str, Row]]
"""By edition, by method."""


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """One figure with a diagram for each split and each thing that methods are told."""
    metric = _metric(options.get("metric", "ap"))
    rows = {key: row for key, row in request.rows().items() if not is_control(row.group)}
    groups: dict[tuple[str, str], dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    others = set()
    for (scenario, split, label), row in rows.items():
        if is_evaluation_edition(row.records[0]):
            groups[split, row.group][scenario][label] = row
        else:
            others.add(scenario)
    notes = [*request.plan.notes, *request.missing, *failures(rows.values())]
    if others:
        notes.append(f"not ranked, since no single evaluation edition: {', '.join(sorted(others))}")
    panels = []
    for (split, told), editions in groups.items():
        panel = ranking_of(editions, metric, request.rule)
        if isinstance(panel, str):
            notes.append(f"no diagram of {split}, told {told}: {panel}")
        else:
            panels.append({"split": split, "told": told, **panel})
    if not panels:
        reasons = "; ".join(_shortened(notes, request.suite.name)) or "its suite names no method"
        raise BenchError(f"no ranking of '{request.suite.name}' has {_FEWEST} methods on {_FEWEST} editions: {reasons}")
    content = {"metric": metric.key, "title": metric.title, "rule": request.rule, "level": LEVEL, "panels": panels}
    page = _page(request.suite.name, content, notes)
    return [Figure(request.suite.name, "ranks", content, run_ids(rows.values()), tuple(notes), page)]


def _shortened(notes: Sequence[str], suite: str) -> list[str]:
    """The notes, those of what was left out as one: each of its reasons names files and where to have them."""
    out = [note.removeprefix(_LEFT_OUT).partition(":")[0] for note in notes if note.startswith(_LEFT_OUT)]
    said = [f"{_LEFT_OUT}{', '.join(out)} (`bench run --suite {suite} --plan` says why)"] if out else []
    return [*said, *(note for note in notes if not note.startswith(_LEFT_OUT))]


def _metric(name: str) -> Measure:
    known = [measure.key for measure in all_measures()]
    if name not in known:
        raise BenchError(f"unknown metric '{name}' in a figure: {choose_one(name, known)}")
    return measure_of(name)


def posthocs() -> ModuleType:
    """The library of the tests and the diagram; a BenchError where it is not installed."""
    try:
        import scikit_posthocs
    except ImportError:
        raise BenchError(
            "a figure of kind 'ranks' needs scikit-posthocs, which is not installed: pip install 'mlad-bench[figures]'"
        ) from None
    found: ModuleType = scikit_posthocs
    return found


def is_evaluation_edition(record: Record) -> bool:
    """Whether it is of one edition alone, on which nothing was tuned and which is not put together."""
    spec = record["spec"]
    return len(spec["test"]) == 1 and spec["train"] == spec["test"] and records.standing(record) == "evaluation"


def ranking_of(editions: _Rows, metric: Measure, rule: str, *, with_pairs: bool = True) -> dict[str, Any] | str:
    """Mean ranks and what separates them, or why there are none.

    with_pairs: also Nemenyi's p of each pair, which a diagram needs and for which its library must be there
    """
    values = {name: _values(rows, metric, rule) for name, rows in editions.items()}
    names = sorted({label for found in values.values() for label in found})
    absent = {label: [name for name, found in values.items() if label not in found] for label in names}
    ranked = [label for label in names if not absent[label]]
    if len(ranked) < _FEWEST or len(editions) < _FEWEST:
        return f"{len(ranked)} methods have a value on all of {len(editions)} editions"
    table = np.array([[found[label] for label in ranked] for found in values.values()])
    signed = table if metric.higher_is_better else -table
    pairs = {"p": _pairs(signed)} if with_pairs else {}
    return {
        "editions": list(values),
        "methods": ranked,
        "values": table.round(6).tolist(),
        "ranks": mean_ranks(signed).round(6).tolist(),
        "left_out": {label: where for label, where in absent.items() if where},
        "friedman_p": _friedman(signed),
        "critical_difference": round(critical_difference(len(ranked), len(table)), 6),
        **pairs,
    }


def _pairs(table: NDArray[np.float64]) -> list[list[float]]:
    found = np.asarray(posthocs().posthoc_nemenyi_friedman(-table), np.float64)
    pairs: list[list[float]] = found.round(6).tolist()
    return pairs


def _values(rows: Mapping[str, Row], metric: Measure, rule: str) -> dict[str, float]:
    found = {label: mean_of(row, ALL, metric.key, rule_of(row, rule)) for label, row in rows.items()}
    return {label: value for label, value in found.items() if value is not None}


def _friedman(table: NDArray[np.float64]) -> float | None:
    """Friedman's p; None where all methods are equal everywhere."""
    from scipy.stats import friedmanchisquare

    if (np.ptp(table, axis=1) == 0).all():
        return None
    return float(f"{friedmanchisquare(*table.T).pvalue:.3g}")


def critical_difference(n_methods: int, n_editions: int) -> float:
    """By how much mean ranks must differ at the 5 % level, all pairs compared (Nemenyi)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - LEVEL, n_methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_editions))


def _page(name: str, content: Mapping[str, Any], notes: Sequence[str]) -> str:
    parts = [f"### {name}: mean ranks by {_metric_words(content)} over editions, 1 the best", listed(notes)]
    for panel in content["panels"]:
        parts += [f"**{panel['split']}, told {panel['told']}** ({_facts(panel)})", _grid(panel)]
        if twice := _of_one_system(panel["editions"]):
            parts.append(f"Editions of one system are no evidence of their own: {', '.join(twice)}.")
        left_out = [f"{label} (not on {', '.join(where)})" for label, where in panel["left_out"].items()]
        if left_out:
            parts.append(f"Left out: {'; '.join(left_out)}.")
    return "\n\n".join(filter(None, parts)) + "\n"


def _of_one_system(editions: Sequence[str]) -> list[str]:
    """`2 of bgl` for each system with several editions."""
    counted = Counter(key.partition("@")[0] for key in editions)
    return [f"{n} of {name}" for name, n in counted.items() if n > 1]


def _metric_words(content: Mapping[str, Any]) -> str:
    by_rule = measure_of(content["metric"]).is_by_rule
    return f"{content['title']} at {content['rule']}" if by_rule else str(content["title"])


def _facts(panel: Mapping[str, Any]) -> str:
    p = panel["friedman_p"]
    friedman = "all methods are equal everywhere" if p is None else f"Friedman p = {p:.3g}"
    return f"{len(panel['editions'])} editions; {friedman}; critical difference {panel['critical_difference']:.2f}"


def _grid(panel: Mapping[str, Any]) -> str:
    """Methods by mean rank, with their values on each edition."""
    order = np.argsort(panel["ranks"], kind="stable").tolist()
    lines = [
        [panel["methods"][i], f"{panel['ranks'][i]:.2f}", *(f"{values[i]:.3f}" for values in panel["values"])]
        for i in order
    ]
    return markdown.table(lines, ["", "mean rank", *panel["editions"]])


def _draw(content: Mapping[str, Any]) -> Picture:
    """A critical-difference diagram for each split and each thing told, below each other."""
    from matplotlib.figure import Figure as Picture

    panels = content["panels"]
    heights = [1.2 + 0.16 * len(panel["methods"]) for panel in panels]
    picture = Picture(figsize=(7.5, sum(heights)), layout="constrained")
    grid = picture.subplots(len(panels), 1, squeeze=False, height_ratios=heights).ravel().tolist()
    for axes, panel in zip(grid, panels, strict=True):
        _diagram(axes, panel)
        axes.set_title(f"{panel['split']}, told {panel['told']}", loc="left", fontweight="bold", pad=34)
        facts = f"mean rank by {_metric_words(content)}, 1 the best; {_facts(panel)}"
        place = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(facts, (0, 1), xytext=(0, 22), fontsize=7.5, color=GREY, va="bottom", **place)
    return picture


def _diagram(axes: Axes, panel: Mapping[str, Any]) -> None:
    import pandas as pd

    methods = panel["methods"]
    posthocs().critical_difference_diagram(
        dict(zip(methods, panel["ranks"], strict=True)),
        pd.DataFrame(panel["p"], index=methods, columns=methods),
        alpha=LEVEL,
        ax=axes,
        label_fmt_left="{label} ({rank:.2f}) ",
        label_fmt_right=" ({rank:.2f}) {label}",
        label_props={"fontsize": 8},
        marker_props={"s": 12},
        elbow_props={"color": BLACK, "linewidth": 0.8},
        crossbar_props={"color": BLACK, "linewidth": 2.5},
    )
    axes.spines["top"].set_visible(True)
    axes.set(xlim=(0.9, len(methods) + 0.1), xticks=range(1, len(methods) + 1))
    axes.grid(visible=False)


KIND: Final = Kind("ranks", ("metric",), _gather, _draw, posthocs)
