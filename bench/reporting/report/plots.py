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
_LETTER, _RISE, _DEPTH = 6.0, 8.0, 2.0
"""Of a label: width of a letter, how far letters reach above and below the line they stand on."""
_RADIUS: Final = 5.0
"""Of a point, and of the halo of a label."""
_MARGIN: Final = 24
"""How far a label may reach beyond the right edge."""
_BESIDE: Final = (-4.0, 3.5, 12.0)
"""Where a label may stand beside its point: above, level, below."""
_START: Final = -0.7
"""Of the axis of optimiser steps, whose 0 stands at -0.5."""
_APART: Final = 2.4
"""Between the intervals of two lines at one place."""
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
    label_x: float = 0.0
    label_y: float = 0.0
    is_turned: bool = False
    """Whether its label stands left of it."""


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
    key: tuple[tuple[str, str], ...] = ()
    """Style and name of each line, where these are read below the picture."""


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


@dataclass(frozen=True)
class _Box:
    """What a label or a point covers."""

    left: float
    right: float
    top: float
    bottom: float

    def hits(self, other: _Box) -> bool:
        return self.left < other.right and other.left < self.right and self._is_level_with(other)

    def _is_level_with(self, other: _Box) -> bool:
        return self.top < other.bottom and other.top < self.bottom

    @property
    def is_inside(self) -> bool:
        """Whether the picture holds it."""
        return self.left >= LEFT and self.right <= LEFT + WIDTH + _MARGIN and self.bottom <= TOP + HEIGHT


def placed(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """The marks, each label where it covers no point and no label before it, or left out."""
    points = [_Box(m.x - _RADIUS, m.x + _RADIUS, m.y - _RADIUS, m.y + _RADIUS) for m in marks]
    taken: list[_Box] = []
    found = []
    for mark in marks:
        place = next((p for p in _places(mark) if _is_free(_box_of(p), [*points, *taken])), None)
        if mark.label and place is not None:
            taken.append(_box_of(place))
        found.append(replace(mark, label="") if place is None else place)
    return tuple(found)


def _places(mark: Mark) -> Iterable[Mark]:
    """The mark with its label at each place that comes into question, the usual one first."""
    first = mark.x > LEFT + _TURN * WIDTH
    for is_turned in (first, not first):
        x = round(mark.x + (-6 if is_turned else 6), 1)
        for down in _BESIDE:
            yield replace(mark, label_x=x, label_y=round(mark.y + down, 1), is_turned=is_turned)


def _box_of(mark: Mark) -> _Box:
    long = _LETTER * len(mark.label)
    left = mark.label_x - long if mark.is_turned else mark.label_x
    return _Box(left, left + long, mark.label_y - _RISE, mark.label_y + _DEPTH)


def _is_free(box: _Box, others: Sequence[_Box]) -> bool:
    return box.is_inside and not any(box.hits(other) for other in others)


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
    return Plot(words, "score (line: normal, dashes: abnormal)", "share", ticks, shares, tuple(lines))


def _stairs(edges: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    found = [(edges[0], 0.0)]
    for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
        found += [(low, height), (high, height)]
    return [*found, (edges[-1], 0.0)]


# ------------------------------------------------------------------------------------------------------------ steps


def step_plot(panel: Mapping[str, Any], budget: int) -> Plot:
    """AP against optimiser steps, of what `figures.steps.panel_of` gathered; 0 steps stand left of 1."""
    every = sorted({point["x"] for curve in panel["curves"] for point in curve["points"]})
    x, y = across(_START, _log(every[-1]) + 0.1), upward(0, 1)
    lines, marks = [], []
    if budget:
        lines.append(("by-chance", path([(_log(budget), 0), (_log(budget), 1)], x, y)))
    control = panel["control"]
    if control is not None:
        lines.append(("threshold", path([(_START, control["ap"]), (_log(every[-1]), control["ap"])], x, y)))
    styles = [_style(number) for number in range(len(panel["curves"]))]
    for number, (style, curve) in enumerate(zip(styles, panel["curves"], strict=True)):
        points, aside = curve["points"], _APART * (number - (len(styles) - 1) / 2)
        lines.append((style, path([(_log(p["x"]), p["mean"]) for p in points], x, y)))
        for p in points:
            lines.append((f"{style} reach", f"M{x(_log(p['x'])) + aside:g} {y(p['low']):g}V{y(p['high']):g}"))
        last = points[-1]
        words = f"{curve['method']}: AP {last['mean']:.3f} after {last['x']:,} steps"
        marks.append(Mark(x(_log(last["x"])), y(last["mean"]), f"end {style}", words))
    ticks = tuple((x(_log(n)), f"{n:,}") for n in _apart(every))
    words = f"AP against optimiser steps: {panel['scenario']}, {panel['split']}"
    key = tuple(zip(styles, (curve["method"] for curve in panel["curves"]), strict=True))
    return Plot(words, "optimiser steps", "AP", ticks, quarters(y), tuple(lines), tuple(marks), key=key)


def _style(number: int) -> str:
    """Of a line; there are more lines than the eye tells colours apart, so the second round is broad and pale."""
    return f"s{number % SERIES}" + (" broad" if number >= SERIES else "")


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
