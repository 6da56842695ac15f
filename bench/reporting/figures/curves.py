"""Figures of kind `curves`: precision and recall, ROC and scores by class of single runs, from their stored scores.

A row of panels for each method, of its first finished seed. The point is the threshold of the rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.evaluation.metrics import ranking_metrics
from bench.evaluation.thresholds import operating_points
from bench.experiment.cuts import cut_of, flagged_at, judged_of
from bench.records.record import Record, Scores, split_in_file
from bench.records.store import Store
from bench.reporting.figures.figure import Figure, FigureRequest, Kind, Options, panel_facts
from bench.reporting.figures.picture import BLACK, BLUE, GREY, SKY, VERMILLION, legend_below, panels_of, title_panel
from bench.reporting.tables.choose import Asked, choose_record, scores_of_record, trusted_scores
from bench.types import ABNORMAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

MOST: Final = 6
"""Methods in one picture."""
_POINTS: Final = 400
"""Steps of an axis of which at most one point each is kept: more cannot be seen."""
_BINS: Final = 40
_TAIL: Final = 0.005
"""Share of each class that may lie beyond either end of a histogram; it is counted in the last bin there."""


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """A figure for each scenario and split, of at most `MOST` methods; of more there are several."""
    only = options.get("methods", [])
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    notes = [*request.plan.notes, *request.missing]
    for (scenario, split, label), row in request.rows().items():
        if (only and label not in only) or not row.finished:
            continue
        record = row.finished[0]
        scores = trusted_scores(record, request.store)
        if scores is None:
            notes.append(f"left out {label} on {scenario}, {split}: its scores are not in {request.store.root}")
            continue
        found.setdefault((scenario, split), []).append(curves_of(label, record, scores, request.rule))
    if not found:
        raise BenchError(f"no run of the suite '{request.suite.name}' has scores to draw: {'; '.join(notes) or only}")
    return [
        make_figure(f"{request.suite.name}-{scenario}-{split_in_file(split)}{number}", rows, request.rule, notes)
        for (scenario, split), whole in found.items()
        for number, rows in _chunks(whole)
    ]


def curves_of_rows(asked: Sequence[Asked], store: Store, rule: str) -> Figure:
    """The curves of rows of one table; BenchError for one that is not there, or more than fit into a picture."""
    if not 0 < len(asked) <= MOST:
        raise BenchError(f"curves of {len(asked)} methods do not fit into one picture: name 1 to {MOST}")
    chosen = [choose_record(store, each) for each in asked]
    rows = [curves_of(c.row.method, c.record, scores_of_record(c.record, store), rule) for c in chosen]
    record = chosen[0].record
    plain = "-".join(re.sub(r"[^A-Za-z0-9.+=_]+", "_", c.row.method).strip("_") for c in chosen)
    name = f"curves-{record['scenario']}-{split_in_file(record['spec']['split'])}-{plain}"
    return make_figure(name, rows, rule, list(dict.fromkeys(note for c in chosen for note in c.notes)))


def make_figure(name: str, rows: Sequence[Mapping[str, Any]], rule: str, notes: Sequence[str]) -> Figure:
    """A figure of the rows that `curves_of` made."""
    more = [f"{row['method']}: {row['no_point']}" for row in rows if row["no_point"]]
    run_ids = tuple(row["run_id"] for row in rows)
    return Figure(name, "curves", {"rule": rule, "rows": list(rows)}, run_ids, (*notes, *more))


def curves_of(label: str, record: Record, scores: Scores, rule: str) -> dict[str, Any]:
    """The curves of one run as plain data, thinned to what can be seen."""
    judged = judged_of(scores)
    values, labels = scores["test"][judged], scores["test_labels"][judged]
    weights = scores["test_weights"][judged] if "test_weights" in scores else None
    cut = cut_of(record, scores, rule)
    held = None if isinstance(cut, str) else cut[judged]
    points = operating_points(values, labels, weights)
    recall, fpr = points.tp / points.tp[-1], points.fp / points.fp[-1]
    precision = points.tp[1:] / (points.tp[1:] + points.fp[1:])
    rising = np.flatnonzero(np.diff(points.tp) > 0)
    steps = rising[_seen(recall[1:][rising])]
    corners = np.unique(np.concatenate([[0], _seen(recall), _seen(fpr)]))
    ranking = ranking_metrics(values, labels, weights)
    lines = [] if held is None else np.unique(held).tolist()
    return {
        **panel_facts(record),
        "method": label,
        "run_id": record["run_id"],
        "seed": record["spec"]["seed"],
        "prevalence": ranking["prevalence"],
        "ap": ranking["ap"],
        "auroc": ranking["auroc"],
        "no_point": f"{rule} has no threshold ({cut})" if isinstance(cut, str) else "",
        "point": None if held is None else _point(values, labels, weights, held),
        "pr": {"recall": _round(recall[1:][steps]), "precision": _round(precision[steps])},
        "roc": {"fpr": _round(fpr[corners]), "tpr": _round(recall[corners])},
        "histogram": _histogram(values, labels, [line for line in lines if np.isfinite(line)]),
    }


def _point(
    values: NDArray[np.float64], labels: NDArray[Any], weights: NDArray[np.float64] | None, cut: NDArray[np.float64]
) -> dict[str, float | None]:
    """Recall, precision and false positive rate at the threshold."""
    flagged, abnormal = flagged_at(values, cut), labels == ABNORMAL
    each = np.ones(len(values)) if weights is None else weights
    tp, fp = float(each[flagged & abnormal].sum()), float(each[flagged & ~abnormal].sum())
    return {
        "recall": round(tp / float(each[abnormal].sum()), 6),
        "precision": round(tp / (tp + fp), 6) if tp + fp else None,
        "fpr": round(fp / float(each[~abnormal].sum()), 6),
    }


def _histogram(values: NDArray[np.float64], labels: NDArray[Any], lines: Sequence[float]) -> dict[str, Any]:
    """Shares of each class in bins of equal width, and the thresholds among them."""
    classes = {"normal": values[labels != ABNORMAL], "abnormal": values[labels == ABNORMAL]}
    ends = [float(np.quantile(scores, q)) for scores in classes.values() for q in (_TAIL, 1 - _TAIL)]
    low, high = min([*ends, *lines]), max([*ends, *lines])
    margin = 0.02 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    shares = {
        name: _round(np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / len(scores))
        for name, scores in classes.items()
    }
    return {"edges": [float(f"{edge:.6g}") for edge in edges], **shares, "thresholds": list(lines)}


def _seen(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The last position in each step of an axis from 0 to 1; values rise."""
    cell = np.floor(values * _POINTS)
    return np.flatnonzero(np.append(cell[1:] != cell[:-1], True))


def _round(values: NDArray[np.float64]) -> list[float]:
    return [round(value, 5) for value in values.tolist()]


def _chunks(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Sequence[dict[str, Any]]]]:
    starts = range(0, len(rows), MOST)
    return [("" if start == 0 else f"-{start // MOST + 1}", rows[start : start + MOST]) for start in starts]


def _draw(content: Mapping[str, Any]) -> Picture:
    """Three panels for each method: precision and recall, ROC, scores by class."""
    rows = content["rows"]
    picture, grid = panels_of(3 * len(rows), columns=3, width=3.0, height=2.6)
    for row, (left, middle, right) in zip(rows, zip(grid[::3], grid[1::3], grid[2::3], strict=True), strict=True):
        title_panel(left, row, f"{row['method']}: {row['scenario']}", more=f"seed {row['seed']}")
        _precision_recall(left, row, content["rule"])
        _roc(middle, row)
        _scores(right, row["histogram"])
    legend_below(picture, grid)
    return picture


def _precision_recall(axes: Axes, row: Mapping[str, Any], rule: str) -> None:
    recall, precision = row["pr"]["recall"], row["pr"]["precision"]
    axes.plot([0, *recall], [*precision[:1], *precision], color=BLUE, lw=1.4, drawstyle="steps-pre")
    axes.axhline(row["prevalence"], color=GREY, lw=1, ls=(0, (1, 2)), label="by chance")
    point = row["point"]
    if point is not None and point["precision"] is not None:
        axes.plot([point["recall"]], [point["precision"]], "o", color=VERMILLION, ms=6, label=f"at {rule}")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=f"recall (AP {row['ap']:.3f})", ylabel="precision")


def _roc(axes: Axes, row: Mapping[str, Any]) -> None:
    axes.plot(row["roc"]["fpr"], row["roc"]["tpr"], color=BLUE, lw=1.4)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (1, 2)))
    if row["point"] is not None:
        axes.plot([row["point"]["fpr"]], [row["point"]["recall"]], "o", color=VERMILLION, ms=6)
    label = f"false positive rate (AUROC {row['auroc']:.3f})"
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=label, ylabel="recall")


def _scores(axes: Axes, histogram: Mapping[str, Any]) -> None:
    for name, colour in (("normal", SKY), ("abnormal", VERMILLION)):
        axes.stairs(histogram[name], histogram["edges"], fill=True, color=colour, alpha=0.45, label=f"{name} sequences")
        axes.stairs(histogram[name], histogram["edges"], color=colour, lw=1)
    for threshold in histogram["thresholds"]:
        axes.axvline(threshold, color=BLACK, lw=1, ls="--", label="threshold")
    axes.set(xlabel="score (outer bins hold the tails)", ylabel="share of its class", ylim=(0, None))


KIND: Final = Kind("curves", ("methods",), _gather, _draw)
