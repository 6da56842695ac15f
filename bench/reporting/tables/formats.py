"""Views as Markdown, LaTeX and HTML, and rows as CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bench.reporting import markdown
from bench.reporting.tables.view import Block, Grid, View

BEST: Final = " *"
"""Behind the name of the best control, where a format can mark it."""
BEST_WORDS: Final = "* the best control, by AP"
CERTIFIED: Final = " \u2020"
"""Behind the name of a method that third-party code certifies."""
CERTIFIED_WORDS: Final = "\u2020 certified by other code for it"

_ESCAPED: Final = re.compile(r"\\([|`])")
_TEX: Final = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)


def view_markdown(view: View) -> str:
    """A view as the files hold it."""
    parts = [f"### {view.heading}", "\n".join(view.facts)]
    for block in view.blocks:
        if block.title:
            parts.append(f"**{block.title} by itself, at the shared threshold** ({block.size})")
        parts += [grid_markdown(grid) for grid in block.grids]
    parts += ["\n".join(view.notes)] if view.notes else []
    parts += ["**Reading**", "\n".join(f"- {sentence}" for sentence in view.reading)] if view.reading else []
    return "\n\n".join(parts) + "\n"


def grid_markdown(grid: Grid) -> str:
    """A grid as a pipe table; names are escaped, the best control is not marked."""
    return markdown.table([(markdown.plain(row[0]), *row[1:]) for row in grid.rows], grid.headers)


def view_latex(view: View) -> str:
    """A view as one LaTeX table, in booktabs; facts, notes and reading stand above it as comments."""
    said = [line.removeprefix("- ") for line in (*view.facts, *view.notes, *view.reading)]
    legend = dict.fromkeys(words for block in view.blocks for grid in block.grids for words in legend_of(grid))
    caption = _tex(" ".join(f"{text}." for text in (view.heading, *legend)))
    body = [line for block in view.blocks for line in _block_latex(block)]
    lines = [
        *(f"% {plain_text(line)}" for line in (view.heading, *said)),
        r"\begin{table}",
        r"\centering",
        *body,
        rf"\caption{{{caption}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _block_latex(block: Block) -> list[str]:
    """One tabular: the heads once, as long as they are the same, and a line for what each group is told."""
    lines = [rf"\par {_tex(f'{block.title} by itself ({block.size})')}\par"] if block.title else []
    width = max((len(grid.headers) for grid in block.grids), default=0)
    if not width:
        return lines
    lines += [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule"]
    heads: tuple[str, ...] = ()
    for grid in block.grids:
        lines += [_tex_row(["", *map(_tex, grid.headers[1:])])] if grid.headers[1:] != heads else []
        heads = grid.headers[1:]
        told = rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_tex(grid.headers[0])}}}}}"
        lines += [r"\midrule", _tex_row([told]), *(_tex_row(map(_tex, row)) for row in _marked(grid))]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _tex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return plain_text(text).translate(_TEX)


def view_html(view: View) -> str:
    """A view as a piece of a page."""
    parts = [f"<h3>{_html(view.heading)}</h3>", _list_html(view.facts)]
    for block in view.blocks:
        parts += [f"<h4>{_html(f'{block.title} by itself ({block.size})')}</h4>"] if block.title else []
        parts += [_grid_html(grid) for grid in block.grids]
    parts.append(_list_html(view.notes))
    parts += ["<h4>Reading</h4>", _list_html(view.reading)] if view.reading else []
    return "\n".join(filter(None, parts)) + "\n"


def _grid_html(grid: Grid) -> str:
    head = "".join(f"<th>{_html(header)}</th>" for header in grid.headers)
    rows = ["".join(f"<td>{_html(cell)}</td>" for cell in row) for row in _marked(grid)]
    return "\n".join(["<table>", f"<tr>{head}</tr>", *(f"<tr>{row}</tr>" for row in rows), "</table>"])


def _list_html(lines: Sequence[str]) -> str:
    items = [f"<li>{_html(line.removeprefix('- '))}</li>" for line in lines]
    return "\n".join(["<ul>", *items, "</ul>"]) if items else ""


def _html(text: str) -> str:
    return html.escape(plain_text(text))


def _marked(grid: Grid) -> list[tuple[str, ...]]:
    """The rows, with the marks of the best control and of what is certified."""
    return [(row[0] + mark_of(grid, place), *row[1:]) for place, row in enumerate(grid.rows)]


def mark_of(grid: Grid, place: int) -> str:
    """What stands behind the name of a row."""
    return (BEST if place == grid.best else "") + (CERTIFIED if place in grid.certified else "")


def legend_of(grid: Grid) -> list[str]:
    """What its marks mean."""
    return [*([BEST_WORDS] if grid.best is not None else []), *([CERTIFIED_WORDS] if grid.certified else [])]


def plain_text(text: str) -> str:
    """A line of Markdown without the escapes that `markdown.plain` wrote, on one line."""
    return " ".join(_ESCAPED.sub(r"\1", text).split())


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lines for programs as CSV, a column for each name that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `table.summary` for CSV: each metric as its mean and the ends of its interval."""
    facts = {name: value for name, value in row.items() if name not in ("metrics", "calls", "seeds", "run_ids")}
    facts |= {"seeds": " ".join(map(str, row["seeds"])), "run_ids": " ".join(row["run_ids"])}
    for key, interval in row["metrics"].items():
        found = interval or {}
        facts |= {key: found.get("mean"), f"{key}_low": found.get("low"), f"{key}_high": found.get("high")}
    return facts | dict(row["calls"] or {})
