"""What drawings share: colours and style, panels with title and legend, and how a drawing becomes files.

Colours are those of Okabe and Ito, which people with colour-blindness tell apart; kinds of points also differ in shape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench._files import replace_file
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
    "pdf.fonttype": 42,
}
_MAKER: Final[Mapping[str, Mapping[str, Any]]] = {
    "png": {"Software": "mlad-bench"},
    "svg": {"Creator": "mlad-bench", "Date": None},
    "pdf": {"Creator": "mlad-bench", "CreationDate": None},
}
"""Formats, and who made the file; without a time, so that the same numbers give the same bytes."""
LINES: Final = ((BLUE, "o", "-"), (VERMILLION, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":"))


def version() -> str:
    """Version of the drawing library."""
    import matplotlib

    return str(matplotlib.__version__)


def save(figure: Figure, draw: Callable[[Mapping[str, Any]], Picture], folder: Path) -> list[Path]:
    """Draw a figure and write it as PNG, SVG and PDF, the run ids in the metadata of each."""
    import matplotlib

    runs = f"runs: {', '.join(figure.run_ids)}" if figure.run_ids else "made from no record"
    with matplotlib.rc_context(_STYLE):
        picture = draw(figure.content)
        paths = []
        for suffix, maker in _MAKER.items():
            path = folder / f"{figure.name}.{suffix}"
            about = "Subject" if suffix == "pdf" else "Description"
            metadata: dict[str, Any] = {"Title": figure.name, about: runs, **maker}
            write = functools.partial(picture.savefig, format=suffix, dpi=200, metadata=metadata)
            replace_file(path, write)
            paths.append(path)
    return paths


def panels_of(
    n: int, *, columns: int, width: float, height: float, share_y: bool = False
) -> tuple[Picture, list[Axes]]:
    """A picture of n panels of this size in inches, and the axes of each."""
    from matplotlib.figure import Figure as Picture

    rows = -(-n // columns)
    picture = Picture(figsize=(width * columns + (1.2 if share_y else 0.3), height * rows + 0.5), layout="constrained")
    grid = picture.subplots(rows, columns, squeeze=False, sharey="row" if share_y else False).ravel().tolist()
    for unused in grid[n:]:
        unused.set_axis_off()
    return picture, grid[:n]


def seeds_text(n: int) -> str:
    """`1 seed`, `3 seeds`."""
    return "1 seed" if n == 1 else f"{n} seeds"


def title_panel(axes: Axes, panel: Mapping[str, Any], name: str = "", below: str = "", more: str = "") -> None:
    """The name of a panel, and in two small lines below it what its data are."""
    below = below or f"{panel['n_test']:,} test sequences, {panel['n_test_abnormal']:,} abnormal"
    text = f"{below}\n{'; '.join(filter(None, [more, panel['standing']]))}"
    axes.set_title(f"{name or panel['scenario']}, {panel['split']}", loc="left", fontweight="bold", pad=27)
    place: Any = {"xycoords": "axes fraction", "xytext": (0, 4), "textcoords": "offset points"}
    # In points, not in shares of the axes: in a high panel it would reach into the title.
    axes.annotate(text, (0, 1), fontsize=7.5, color=GREY, va="bottom", **place)


def legend_below(picture: Picture, grid: Sequence[Axes]) -> None:
    """One legend below all panels."""
    found = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = min(len(found), 4 if picture.get_figwidth() > 6 else 2)
    picture.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, fontsize=8)
