"""Views on a terminal: what fits its width, the best control marked, text folded at words."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from bench.errors import harmless
from bench.reporting.tables.columns import Column, broad_columns, narrow_columns
from bench.reporting.tables.formats import legend_of, mark_of, plain_text
from bench.reporting.tables.view import Block, Grid, View

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BROAD_FROM: Final = 110
"""Columns of a terminal from which intervals of AP and AUROC fit, beside a name of usual length."""
_PAD: Final = 2
_LEAST_NAME, _LONGEST_NAME = 12, 44
_PIECES: Final = re.compile(r"(?<=..)(?=@|\+|\.(?!\d)|2[a-z]+@| \()")
"""Where the name of a scenario may be broken in the head of a column."""
_SETTINGS: Final = re.compile(r"(?<=[\[,])")
"""Where the name of a row may be broken."""
_UNDER: Final = "    "
"""What stands before a further line of a name."""
_MOST_NOTES: Final = 8


def columns_for(width: int) -> list[Column]:
    """What a table shows on a terminal of that width."""
    return broad_columns() if width >= BROAD_FROM else narrow_columns()


def show(view: View, console: Console, *, wide: bool = False) -> None:
    """Print a view.

    wide: all facts and notes, and columns as wide as they are: the terminal folds or scrolls what does not fit
    """
    _text(console, view.heading, style="bold")
    _lines(console, view.facts if wide else view.brief)
    for block in view.blocks:
        console.print()
        if block.title:
            _text(console, f"{block.title} by itself, at the shared threshold ({block.size})", style="bold")
        width = console.width
        _show_block(block, console, wide=wide)
        console.width = width
    notes = view.notes if wide else view.brief_notes
    if notes:
        console.print()
        _lines(console, notes if wide else notes[:_MOST_NOTES], style="dim")
        if not wide and len(notes) > _MOST_NOTES:
            _text(console, f"{len(notes) - _MOST_NOTES} notes more: see them with --wide", style="dim")
    if view.reading:
        console.print()
        _text(console, "Reading", style="bold")
        _lines(console, view.reading, mark="- ")
    console.print()


def _show_block(block: Block, console: Console, *, wide: bool) -> None:
    """Its grids below one head; where the columns do not fit, the rest below again with the names."""
    most = max((len(grid.headers) for grid in block.grids), default=0)
    widths = {place: _width(block, place, wide=wide) for place in range(1, most)}
    names = [_name(grid, place) for grid in block.grids for place in range(len(grid.rows))]
    longest = max(map(len, names), default=0)
    for places in _pieces(widths, longest, console.width, wide=wide):
        taken = sum(widths[place] + _PAD for place in places)
        name_width = longest if wide else max(_LEAST_NAME, min(longest, console.width - taken - _PAD))
        console.width = max(console.width, name_width + _PAD + taken) if wide else console.width
        shown = (name_width, *(widths[place] for place in places))
        heads: tuple[str, ...] = ()
        for grid in block.grids:
            own = tuple(grid.headers[place] for place in places if place < len(grid.headers))
            if own != heads:
                console.print(_line(shown, ("", *map(_head, own)), style="bold", vertical="bottom"))
            heads = own
            _show_grid(grid, shown, places, console)
        if places[-1:] != [most - 1]:
            console.print()


def _show_grid(grid: Grid, widths: Sequence[int], places: Sequence[int], console: Console) -> None:
    """The rows of a grid below what its methods are told."""
    legend = "; ".join(legend_of(grid))
    told = f"{grid.headers[0]} ({legend})" if legend else grid.headers[0]
    _text(console, told, style="italic")
    for at, row in enumerate(grid.rows):
        cells = [row[place] if place < len(row) else "" for place in places]
        name = _folded(_name(grid, at), widths[0])
        console.print(_line(widths, (name, *cells), style="bold" if at == grid.best else ""))


def _name(grid: Grid, place: int) -> str:
    """The name of a row, below what its group is told."""
    return f"  {harmless(grid.rows[place][0])}{mark_of(grid, place)}"


def _folded(name: str, width: int) -> str:
    """A name on lines of this width, broken behind `[` and `,` where it has any; a piece of it may still be longer."""
    lines = [""]
    for piece in _SETTINGS.split(name):
        if len(lines[-1]) + len(piece) > width and lines[-1].strip():
            lines.append(_UNDER)
        lines[-1] += piece
    return "\n".join(lines)


def _line(widths: Sequence[int], cells: Sequence[str], style: str, vertical: Literal["top", "bottom"] = "top") -> Table:
    """Cells in columns of these widths; the first holds a name, the others stand to the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _PAD, 0, 0), show_header=False, style=style)
    for place, width in enumerate(widths):
        table.add_column(width=width, justify="right" if place else "left", overflow="fold", vertical=vertical)
    table.add_row(*map(Text, cells))
    return table


def _pieces(widths: Mapping[int, int], longest: int, width: int, *, wide: bool) -> list[list[int]]:
    """The columns beside each other that fit the terminal, behind the names."""
    if wide:
        return [list(widths)]
    room = width - max(_LEAST_NAME, min(longest, _LONGEST_NAME, width // 3))
    found: list[list[int]] = [[]]
    left = room
    for place, own in widths.items():
        if found[-1] and left < own + _PAD:
            found.append([])
            left = room
        found[-1].append(place)
        left -= own + _PAD
    return found


def _width(block: Block, place: int, *, wide: bool) -> int:
    """The longest cell of a column, and the longest piece of its head."""
    grids = [grid for grid in block.grids if place < len(grid.headers)]
    cells = [len(row[place]) for grid in grids for row in grid.rows if place < len(row)]
    heads = [len(piece) for grid in grids for piece in _head(grid.headers[place]).split("\n")]
    return max([1, *cells, *heads])


def _head(text: str) -> str:
    """The head of a column, the name of a scenario on several lines."""
    return _PIECES.sub("\n", text) if "@" in text else text


def _text(console: Console, text: str, style: str = "", indent: int = 0) -> None:
    """Print a text folded at words; indent: of all lines but the first."""
    from rich.text import Text

    lines = textwrap.wrap(harmless(text), console.width, subsequent_indent=" " * indent, break_on_hyphens=False)
    console.print(Text("\n".join(lines), style=style), soft_wrap=True)


def _lines(console: Console, lines: Sequence[str], style: str = "", mark: str = "") -> None:
    """Lines of a list, folded at words; mark: what stands before each."""
    for line in lines:
        text = mark + plain_text(line.removeprefix("- "))
        _text(console, text, style, indent=len(mark))
