"""What the page draws: places of axes, lines and points in units of a picture; a template makes the markup.

A drawing library takes half a second for a picture, and its pictures have the colours and letters of paper; a page has
its own, which may be dark or large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

LEFT: Final = 40
TOP: Final = 22
WIDTH: Final = 250
HEIGHT: Final = 150
"""Of the part of a plot that holds lines and points; what is read stands left of it and below."""
SERIES: Final = 7
"""Kinds of lines that the style sheet tells apart."""
_TURN: Final = 0.55
"""Share of the width from which on a label stands left of its point."""
_LETTER, _LINE = 6.0, 11.0
"""Width of a letter of a label, and how far two labels must be apart below each other."""
_QUARTERS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Mark:
    """A point with a name."""

    x: float
    y: float
    style: str
    words: str
    """What pointing at it shows."""
    label: str = ""

    @property
    def is_turned(self) -> bool:
        """Whether its label stands left of it."""
        return self.x > LEFT + _TURN * WIDTH


@dataclass(frozen=True)
class Plot:
    """One picture with two axes."""

    words: str
    """What a screen reader says of it."""
    x_title: str
    y_title: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[tuple[str, str], ...] = ()
    """Style and path of each."""
    marks: tuple[Mark, ...] = ()
    title: str = ""
    """Whose it is, where several stand beside each other."""


def across(low: float, high: float) -> Scale:
    """From values to places of the horizontal axis."""
    return lambda value: round(LEFT + WIDTH * (value - low) / (high - low), 1)


def upward(low: float, high: float) -> Scale:
    """From values to places of the vertical axis."""
    return lambda value: round(TOP + HEIGHT * (high - value) / (high - low), 1)


def quarters(scale: Scale) -> tuple[tuple[float, str], ...]:
    """The ticks of an axis from 0 to 1."""
    return tuple((scale(tick), f"{tick:g}") for tick in _QUARTERS)


def path(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    """A line through points."""
    return "M" + " ".join(f"{x(a):g} {y(b):g}" for a, b in points)


def without_collisions(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """The marks, of which only those keep their labels that stand on no label before them."""
    taken: list[tuple[float, float, float]] = []
    found = []
    for mark in marks:
        long = _LETTER * len(mark.label)
        start = mark.x - long if mark.is_turned else mark.x
        is_free = all(abs(mark.y - y) > _LINE or start > high or start + long < low for low, high, y in taken)
        if mark.label and is_free:
            taken.append((start, start + long, mark.y))
        found.append(mark if is_free else replace(mark, label=""))
    return tuple(found)


# ----------------------------------------------------------------------------------------------------------- curves


def curve_plots(row: Mapping[str, Any], rule: str) -> list[Plot]:
    """Precision and recall, ROC and scores by class, of what `figures.curves.curves_of` gathered."""
    found = (_precision_recall(row, rule), _roc(row, rule), _histogram(row))
    return [replace(plot, title=row["method"]) for plot in found]


def _precision_recall(row: Mapping[str, Any], rule: str) -> Plot:
    x, y, curve, point = across(0, 1), upward(0, 1), row["pr"], row["point"]
    corners = _corners(curve["recall"], curve["precision"])
    chance = [(0.0, row["prevalence"]), (1.0, row["prevalence"])]
    lines = (("by-chance", path(chance, x, y)), ("s0", path(corners, x, y)))
    known = point is not None and point["precision"] is not None
    marks = (_at_rule(x(point["recall"]), y(point["precision"]), rule),) if known else ()
    words = f"{row['method']}: precision against recall, AP {row['ap']:.3f}"
    return Plot(words, f"recall (AP {row['ap']:.3f})", "precision", quarters(x), quarters(y), lines, marks)


def _corners(recall: Sequence[float], precision: Sequence[float]) -> list[tuple[float, float]]:
    """Steps, as precision between two recalls is that of the later one."""
    found, before = [], 0.0
    for at, value in zip(recall, precision, strict=True):
        found += [(before, value), (at, value)]
        before = at
    return found


def _roc(row: Mapping[str, Any], rule: str) -> Plot:
    x, y, curve, point = across(0, 1), upward(0, 1), row["roc"], row["point"]
    corners = zip(curve["fpr"], curve["tpr"], strict=True)
    lines = (("by-chance", path([(0, 0), (1, 1)], x, y)), ("s0", path(corners, x, y)))
    marks = () if point is None else (_at_rule(x(point["fpr"]), y(point["recall"]), rule),)
    words = f"{row['method']}: recall against false positive rate, AUROC {row['auroc']:.3f}"
    title = f"false positive rate (AUROC {row['auroc']:.3f})"
    return Plot(words, title, "recall", quarters(x), quarters(y), lines, marks)


def _at_rule(x: float, y: float, rule: str) -> Mark:
    return Mark(x, y, "control", f"at {rule}")


def _histogram(row: Mapping[str, Any]) -> Plot:
    found = row["histogram"]
    edges, most = found["edges"], max([*found["normal"], *found["abnormal"], 0.01])
    x, y = across(edges[0], edges[-1]), upward(0, most)
    lines = [(name, path(_stairs(edges, found[name]), x, y)) for name in ("normal", "abnormal")]
    lines += [("threshold", path([(line, 0), (line, most)], x, y)) for line in found["thresholds"]]
    ticks = tuple((x(edge), f"{edge:.3g}") for edge in (edges[0], edges[len(edges) // 2], edges[-1]))
    shares = tuple((y(share), f"{share:.2g}") for share in (0.0, most / 2, most))
    words = f"{row['method']}: shares of normal and abnormal sequences by score"
    return Plot(words, "score (blue normal, red abnormal)", "share", ticks, shares, tuple(lines))


def _stairs(edges: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    found = [(edges[0], 0.0)]
    for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
        found += [(low, height), (high, height)]
    return [*found, (edges[-1], 0.0)]


# ------------------------------------------------------------------------------------------------------------ steps


def step_plot(panel: Mapping[str, Any], budget: int) -> Plot:
    """AP against optimiser steps, of what `figures.steps.panel_of` gathered; 0 steps stand left of 1."""
    every = sorted({point["x"] for curve in panel["curves"] for point in curve["points"]})
    x, y = across(-0.5, _log(every[-1]) + 0.05), upward(0, 1)
    lines, marks = [], []
    if budget:
        lines.append(("by-chance", path([(_log(budget), 0), (_log(budget), 1)], x, y)))
    control = panel["control"]
    if control is not None:
        lines.append(("threshold", path([(-0.5, control["ap"]), (_log(every[-1]), control["ap"])], x, y)))
    for number, curve in enumerate(panel["curves"]):
        points, style = curve["points"], f"s{number % SERIES}"
        lines.append((style, path([(_log(p["x"]), p["mean"]) for p in points], x, y)))
        for p in points:
            reach = [(_log(p["x"]), p["low"]), (_log(p["x"]), p["high"])]
            lines.append((f"{style} reach", path(reach, x, y)))
        last = points[-1]
        words = f"{curve['method']}: AP {last['mean']:.3f} after {last['x']:,} steps"
        marks.append(Mark(x(_log(last["x"])), y(last["mean"]), f"end {style}", words, curve["method"]))
    ticks = tuple((x(_log(n)), f"{n:,}") for n in _apart(every))
    words = f"AP against optimiser steps: {panel['scenario']}, {panel['split']}"
    return Plot(words, "optimiser steps", "AP", ticks, quarters(y), tuple(lines), tuple(marks))


def _log(steps: float) -> float:
    return math.log10(steps) if steps >= 1 else -0.5


def _apart(every: Sequence[int]) -> list[int]:
    """Those of the steps whose numbers do not stand on each other."""
    found = list(every[:1])
    for n in every[1:]:
        if _log(n) - _log(found[-1]) > 0.35:
            found.append(n)
    return found


# ------------------------------------------------------------------------------------------------------------ ranks

_ROW: Final = 18
_SPAN: Final = 420
_LETTER_OF_RANKS: Final = 7.0


@dataclass(frozen=True)
class RankLabel:
    """A method of a diagram of ranks."""

    text: str
    x: float
    end: float
    y: float
    is_left: bool


@dataclass(frozen=True)
class Diagram:
    """A critical-difference diagram: mean ranks on a line, bars over those that cannot be told apart."""

    words: str
    width: int
    height: float
    line: float
    """Of the axis, from above."""
    ticks: tuple[tuple[float, str], ...]
    labels: tuple[RankLabel, ...]
    bars: tuple[tuple[float, float, float], ...]
    """From, to, height."""
    difference: tuple[float, float, str]
    """From, to and text of the critical difference itself."""


def rank_diagram(panel: Mapping[str, Any], words: str) -> Diagram:
    """The diagram of what `figures.ranks.ranking_of` gathered."""
    n, apart = len(panel["methods"]), panel["critical_difference"]
    ranked = sorted(zip(panel["ranks"], panel["methods"], strict=True))
    side = round(_LETTER_OF_RANKS * (max(len(name) for name in panel["methods"]) + 7)) + 16

    def place(rank: float) -> float:
        return round(side + _SPAN * (rank - 1) / (n - 1), 1)

    bars = [(place(low) - 4, place(high) + 4) for low, high in _joined([rank for rank, _ in ranked], apart)]
    line = 48.0
    first = line + 14 + 7 * len(bars)
    half = -(-n // 2)
    labels = []
    for i, (rank, name) in enumerate(ranked):
        is_left = i < half
        row = i if is_left else n - 1 - i
        end = side - 12.0 if is_left else side + _SPAN + 12.0
        labels.append(RankLabel(f"{name} ({rank:.2f})", place(rank), end, first + _ROW * (row + 0.5), is_left))
    return Diagram(
        words=words,
        width=2 * side + _SPAN,
        height=first + _ROW * (half + 0.5),
        line=line,
        ticks=tuple((place(rank), str(rank)) for rank in range(1, n + 1)),
        labels=tuple(labels),
        bars=tuple((low, high, line + 10 + 7 * i) for i, (low, high) in enumerate(bars)),
        difference=(place(1), min(place(1 + apart), place(n)), f"critical difference {apart:.2f}"),
    )


def _joined(ranks: Sequence[float], apart: float) -> list[tuple[float, float]]:
    """The longest runs of ranks, best first, that differ by less than the critical difference."""
    found: list[tuple[float, float]] = []
    for i, low in enumerate(ranks):
        high = max(rank for rank in ranks[i:] if rank - low < apart)
        if high > low and (not found or high > found[-1][1]):
            found.append((low, high))
    return found
