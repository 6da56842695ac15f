"""The picture of an edition: how many lines or sessions there are over time, and which are abnormal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.facts import Timeline

_BINS: Final = 240
_DAY_S: Final = 86_400
_NORMAL, _ABNORMAL, _CUT = "#9db4c8", "#d55e00", "#333333"
"""Told apart by colour-blind readers and in print."""


def draw_timeline(line: Timeline, title: str, target: Path) -> None:
    """Write the picture as PNG; a place that cannot be written is a BenchError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    scale = 1 / _DAY_S if line.is_time else 1.0
    position = line.position * scale
    edges = np.histogram_bin_edges(position, _BINS)
    _bars(above, edges, position, _NORMAL)
    above.set_ylabel(f"{line.unit} per bin")
    above.set_title(f"{title}: {len(line.position):,} {line.unit}, {line.is_abnormal.sum():,} abnormal", loc="left")
    above.set_title("dotted: where training and validation end", loc="right", fontsize=8, color=_CUT)
    _bars(below, edges, position[line.is_abnormal], _ABNORMAL)
    below.set_ylabel("abnormal")
    below.set_xlabel("time (UTC)" if line.is_time else "line")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0)
        for cut in line.cuts:
            axes.axvline(cut * scale, color=_CUT, linewidth=0.8, linestyle=":")
    _time_axis(below, line)
    try:
        figure.savefig(target)
    except OSError as error:
        raise BenchError(f"the picture {target} cannot be written ({error.strerror}): use another folder") from None


def _bars(axes: Any, edges: Any, position: Any, colour: str) -> None:
    counts, _ = np.histogram(position, edges)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colour)


def _time_axis(axes: Any, line: Timeline) -> None:
    if not line.is_time:
        return
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    # matplotlib counts dates in days since 1970.
    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
