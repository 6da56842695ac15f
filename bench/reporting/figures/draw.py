"""Drawings with matplotlib: the plain data of a figure -> PNG and SVG. What is drawn is decided in `contents.py`.

Colours are those of Okabe and Ito, which people with colour-blindness tell apart; kinds of points also differ in shape.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench._files import replace_file
from bench.experiment.grades import CONTROL
from bench.experiment.measure import ALL
from bench.reporting.figures.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000",
)  # fmt: skip
GREY: Final = "#6b6b6b"

_STYLE: Final[Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "bench",
}
_NAMES: Final = {
    "f1": "F1",
    "ap": "AP",
    "auroc": "AUROC",
    "oracle_f1": "oracle F1",
    "precision": "precision",
    "recall": "recall",
    "fpr": "false positive rate",
}
_LINES: Final = ((BLUE, "o", "-"), (VERMILLION, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":"))
_BOUNDS: Final = (
    ("shared", "one bound for all", BLUE, "o"),
    ("own", "a bound of its own", ORANGE, "s"),
    ("single", "a model of its own", GREEN, "^"),
)


def version() -> str:
    """Version of the drawing library."""
    import matplotlib

    return str(matplotlib.__version__)


def save(figure: Figure, folder: Path) -> list[Path]:
    """Draw a figure and write it as PNG and SVG, the run ids in the metadata of both."""
    import matplotlib

    runs = f"runs: {', '.join(figure.run_ids)}" if figure.run_ids else "made from no record"
    with matplotlib.rc_context(_STYLE):
        picture = DRAWINGS[figure.kind](figure.content)
        paths = []
        for suffix in ("png", "svg"):
            path = folder / f"{figure.name}.{suffix}"
            metadata: dict[str, Any] = {"Title": figure.name, "Description": runs}
            metadata |= {"Date": None, "Creator": "mlad-bench"} if suffix == "svg" else {"Software": "mlad-bench"}
            write = functools.partial(picture.savefig, format=suffix, dpi=200, metadata=metadata)
            replace_file(path, write)
            paths.append(path)
    return paths


def _sweep(content: Mapping[str, Any]) -> Picture:
    """A panel for each scenario and split: lines with their interval as a band."""
    panels = content["panels"]
    columns = _columns(panels)
    picture, grid = _panels(len(panels), columns=columns, width=3.0, height=2.5)
    for position, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        if content["band"]:
            axes.axvspan(*content["band"], color="#f3efd8", zorder=0, label=content["band_label"])
        for (name, points), (colour, marker, line) in zip(panel["series"].items(), _LINES, strict=False):
            x = [point["x"] for point in points]
            low, high = ([p[end] for p in points] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            label = _NAMES[name] + (f" at {content['rule']}" if name in ("f1", "precision", "recall", "fpr") else "")
            axes.plot(x, [p["mean"] for p in points], line, color=colour, marker=marker, ms=4, lw=1.4, label=label)
        if panel["all_positive_f1"] is not None:
            axes.axhline(panel["all_positive_f1"], color=GREY, lw=1, ls=(0, (1, 2)), label="F1 of flagging everything")
        axes.set(ylim=(-0.03, 1.03))
        n_seeds = max((p["n_seeds"] for points in panel["series"].values() for p in points), default=0)
        _title(axes, panel, more=_seeds(n_seeds))
        if position >= len(panels) - columns:
            axes.set_xlabel(content["label"])
    _legend(picture, grid)
    return picture


def _bounds(content: Mapping[str, Any]) -> Picture:
    """A panel for each system: a row for each method, a point with interval for each kind of bound."""
    panels = content["panels"]
    columns = len(dict.fromkeys(panel["system"] for panel in panels))
    n_rows = max(len(panel["rows"]) for panel in panels)
    picture, grid = _panels(len(panels), columns=columns, width=3.0, height=0.9 + 0.34 * n_rows, share_y=True)
    for position, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        for kind, label, colour, marker in _BOUNDS:
            shift = {"shared": -0.24, "own": 0.0, "single": 0.24}[kind]
            found = [(y + shift, row[kind]) for y, row in enumerate(panel["rows"]) if row[kind]]
            _points(axes, found, colour, marker, label)
        axes.set(ylim=(len(panel["rows"]) - 0.5, -0.5), xlim=(-0.03, 1.03))
        axes.set_yticks(range(len(panel["rows"])), [_row_name(row) for row in panel["rows"]])
        for y, (row, above) in enumerate(zip(panel["rows"][1:], panel["rows"], strict=False)):
            if row["told"] != above["told"]:
                axes.axhline(y + 0.5, color=GREY, lw=0.8)
        if panel["all_positive_f1"] is not None:
            axes.axvline(panel["all_positive_f1"], color=GREY, lw=1, ls=(0, (1, 2)), label="flagging everything")
        name = "both together" if panel["system"] == ALL else panel["system"]
        _title(axes, panel, name, more=_seeds(panel["n_seeds"]))
        if position >= len(panels) - columns:
            axes.set_xlabel(f"F1 at {content['rule']}")
    _legend(picture, grid)
    return picture


def _map(content: Mapping[str, Any]) -> Picture:
    """A map for each method: normal and abnormal sequences, and those flagged wrongly, marked as in the paper."""
    maps = content["maps"]
    picture, grid = _panels(len(maps), columns=min(len(maps), 3), width=3.9, height=3.9)
    for axes, one in zip(grid, maps, strict=True):
        n = len(one["label"])
        flagged = one["flagged"] or one["label"]
        for label, hit, name, colour, marker, size in (
            (0, 0, "normal", VERMILLION, "o", 13),
            (1, 1, "abnormal", BLUE, "^", 17),
            (0, 1, "false positive", ORANGE, "x", 26),
            (1, 0, "false negative", PURPLE, "x", 26),
        ):
            chosen = [i for i in range(n) if one["label"][i] == label and flagged[i] == hit]
            edge = {"linewidths": 1.3} if marker == "x" else {"edgecolors": "white", "linewidths": 0.3}
            x, y = ([one[axis][i] for i in chosen] for axis in ("x", "y"))
            axes.scatter(x, y, s=size, c=colour, marker=marker, alpha=0.85, label=f"{name}", **edge)
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.spines[["top", "right"]].set_visible(True)
        facts = {**content, "standing": one["standing"]}
        wrong = [sum(a == label != b for a, b in zip(one["label"], flagged, strict=True)) for label in (0, 1)]
        errors = f"{wrong[0]} FP, {wrong[1]} FN" if one["flagged"] else "no threshold"
        _title(
            axes,
            facts,
            f"{one['method']} on {content['scenario']}",
            f"{n} test sequences, half of them abnormal; {errors}",
            f"{one['n_distinct']} distinct vectors, seed {one['seed']}",
        )
    _legend(picture, grid)
    return picture


def _entmax(content: Mapping[str, Any]) -> Picture:
    """The curves of alpha-entmax."""
    picture, (axes,) = _panels(1, columns=1, width=4.6, height=3.2)
    for curve, (colour, _, line) in zip(content["curves"], (*_LINES, (BLACK, "", "-")), strict=False):
        name = {1: " (softmax)", 2: " (sparsemax)"}.get(curve["alpha"], "")
        axes.plot(content["t"], curve["p"], line, color=colour, lw=1.6, label=rf"$\alpha$ = {curve['alpha']:g}{name}")
    axes.set(xlabel="t", ylabel="first weight of entmax(t, 0)", xlim=(content["t"][0], content["t"][-1]))
    axes.legend(loc="upper left")
    return picture


DRAWINGS: Final = {"sweep": _sweep, "bounds": _bounds, "map": _map, "entmax": _entmax}
"""What draws each kind of figure; the other kinds are pages alone."""


def _panels(n: int, *, columns: int, width: float, height: float, share_y: bool = False) -> tuple[Picture, list[Axes]]:
    from matplotlib.figure import Figure as Picture

    rows = -(-n // columns)
    picture = Picture(figsize=(width * columns + (1.2 if share_y else 0.3), height * rows + 0.5), layout="constrained")
    grid = picture.subplots(rows, columns, squeeze=False, sharey="row" if share_y else False).ravel().tolist()
    for unused in grid[n:]:
        unused.set_axis_off()
    return picture, grid[:n]


def _columns(panels: Sequence[Mapping[str, Any]]) -> int:
    """Scenarios beside each other, splits below each other, where every scenario has every split."""
    splits = len(dict.fromkeys(panel["split"] for panel in panels))
    return len(panels) // splits if len(panels) % splits == 0 and len(panels) // splits <= 5 else min(len(panels), 3)


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
    return f"{row['method']} (control)" if row["told"] == CONTROL else str(row["method"])


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _title(axes: Axes, panel: Mapping[str, Any], name: str = "", below: str = "", more: str = "") -> None:
    """The name of a panel, and in two small lines below it what its data are."""
    below = below or f"{panel['n_test']:,} test sequences, {panel['n_test_abnormal']:,} abnormal"
    text = f"{below}\n{'; '.join(filter(None, [more, panel['standing']]))}"
    axes.set_title(f"{name or panel['scenario']}, {panel['split']}", loc="left", fontweight="bold", pad=27)
    axes.text(0, 1.02, text, transform=axes.transAxes, fontsize=7.5, color=GREY, va="bottom")


def _legend(picture: Picture, grid: Sequence[Axes]) -> None:
    """One legend below all panels."""
    found = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = min(len(found), 4 if picture.get_figwidth() > 6 else 2)
    picture.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, fontsize=8)
