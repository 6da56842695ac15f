"""Leaderboards and matrices of the page: tables as data, with the way to the runs behind each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.experiment.grades import CONTROL
from bench.records.store import Store
from bench.reporting.certificates import certificates, certified_names
from bench.reporting.published.page import HEADERS, NOT_PUBLISHED, Beside, beside_of
from bench.reporting.published.papers import Paper
from bench.reporting.reading import kept_verdicts, reading
from bench.reporting.series_reading import series_reading
from bench.reporting.tables.columns import every_column
from bench.reporting.tables.formats import legend_of, mark_of, plain_text
from bench.reporting.tables.layout import view_of
from bench.reporting.tables.matrix import matrix_views
from bench.reporting.tables.ranking import RANKED_BY
from bench.reporting.tables.rows import Row, Table
from bench.reporting.tables.series import Series, make_series, series_methods, series_view
from bench.reporting.tables.view import Block, Grid, View


@dataclass(frozen=True)
class Line:
    """A row of a grid."""

    name: str
    mark: str
    cells: tuple[str, ...]
    anchor: str = ""
    """Of its runs; nothing where they are not on the page."""


@dataclass(frozen=True)
class Sheet:
    """A grid that a reader can sort."""

    caption: str
    """What its methods are told."""
    headers: tuple[str, ...]
    """Of the cells behind the name."""
    falling: tuple[bool, ...]
    """Whether the largest value is the best, for each header."""
    lines: tuple[Line, ...]
    legend: tuple[str, ...] = ()
    style: str = ""
    """What the style sheet calls its kind."""


@dataclass(frozen=True)
class Board:
    """A table of one scenario and split."""

    anchor: str
    heading: str
    facts: tuple[str, ...]
    notes: tuple[str, ...]
    reading: tuple[str, ...]
    parts: tuple[tuple[str, tuple[Sheet, ...]], ...]
    """Title and grids: of all systems, then of each by itself."""


@dataclass(frozen=True)
class Published:
    """What a paper reports, beside one of our tables."""

    title: str
    points: tuple[tuple[str, ...], ...]
    """Of the protocol: what is compared, as published, as here."""
    sheet: Sheet
    notes: tuple[str, ...]


def told_words(group: str) -> str:
    """What a group is told, as a title says it."""
    return "controls" if group == CONTROL else f"told {group}"


def table_anchor(number: int) -> str:
    """The id of a table of the page."""
    return f"table-{number + 1}"


def row_anchor(row: Row) -> str:
    """The id of the runs of a row."""
    return f"run-{row.records[0]['run_id']}"


def board_of(number: int, table: Table, rule: str, store: Store) -> Board:
    """A table with what it says."""
    verdicts = kept_verdicts(store, table)
    said = reading(table, rule, verdicts)
    certified = certified_names(certificates(table, verdicts))
    view = view_of(table, rule, reading=said, certified=certified)
    parts = tuple((_title(block), tuple(_sheets(block.grids, table))) for block in view.blocks)
    return Board(
        table_anchor(number), view.heading, _plain(view.facts), _plain(view.notes), _plain(view.reading), parts
    )


def matrices_of(tables: Sequence[Table], rule: str) -> list[tuple[str, tuple[str, ...], list[Sheet]]]:
    """For each split: heading, facts, and a grid of AP for each thing that methods are told."""
    return [_matrix(view) for view in matrix_views(tables, [RANKED_BY], rule)]


def series_boards(tables: Sequence[Table], rule: str) -> list[Board]:
    """For each scenario with several cuts in time, or blocks: mean and worst of each method, and what that says."""
    return [_series(f"series-{n}", each, rule) for n, each in enumerate(make_series(tables), 1)]


def _series(anchor: str, series: Series, rule: str) -> Board:
    view = series_view(series, rule, series_reading(series, rule))
    anchors = {(method.group, method.first.method): row_anchor(method.first) for method in series_methods(series)}
    means: list[Sheet] = []
    single: list[Sheet] = []
    told = ""
    for grid in view.blocks[0].grids:
        # Behind the means of a group stand its values in each table, a grid for each metric.
        is_group = any(group == grid.headers[0] for group, _ in anchors)
        told = grid.headers[0] if is_group else told
        made = _sheet(grid, [anchors.get((told, row[0]), "") for row in grid.rows])
        caption = f"{grid.headers[0]}, {told_words(told)}"
        named = replace(made, caption=caption, falling=(True,) * len(made.headers))
        (means if is_group else single).append(made if is_group else named)
    parts = [("", tuple(means)), (f"In each of the {series.unit}", tuple(single))]
    facts, notes, said = _plain(view.facts), _plain(view.notes), _plain(view.reading)
    return Board(anchor, view.heading, facts, notes, said, tuple(part for part in parts if part[1]))


def published_of(tables: Sequence[Table], rule: str, cache: Path, papers: Sequence[Paper]) -> list[Published]:
    """What papers report, beside each of our tables in which a method of theirs ran on that scenario."""
    return [_published(found) for found in beside_of(tables, rule, cache, papers) if _has_ours(found)]


def _has_ours(found: Beside) -> bool:
    return any(line[_OUR_ROW] != "-" and line[_METHOD] not in (CONTROL, NOT_PUBLISHED) for line in found.lines)


_METHOD, _OUR_ROW = HEADERS.index("method"), HEADERS.index("our row")


def _published(found: Beside) -> Published:
    """The values that are printed, then our controls; what no paper has stands in the leaderboard alone."""
    shown = [line for line in found.lines if line[_METHOD] != NOT_PUBLISHED]
    others = len(found.lines) - len(shown)
    cells = [tuple(map(plain_text, line)) for line in shown]
    lines = tuple(Line(_published_name(line), "", line[:_METHOD] + line[_METHOD + 1 :]) for line in cells)
    headers = HEADERS[:_METHOD] + HEADERS[_METHOD + 1 :]
    sheet = Sheet("Published, then ours", headers, (True,) * len(headers), lines, style="beside")
    left = [_left_out(others)] if others else []
    points = tuple(tuple(map(plain_text, point)) for point in found.points)
    return Published(found.title, points, sheet, (*_plain(found.notes), *left))


def _left_out(n: int) -> str:
    if n == 1:
        return "1 more row of ours is in none of its tables; it stands in the leaderboard."
    return f"{n} more rows of ours are in none of its tables; they stand in the leaderboard."


def _published_name(line: Sequence[str]) -> str:
    name = line[_METHOD]
    return f"{line[_OUR_ROW]} (control)" if name == CONTROL else name


def _matrix(view: View) -> tuple[str, tuple[str, ...], list[Sheet]]:
    sheets = [_sheet(grid, [""] * len(grid.rows)) for block in view.blocks for grid in block.grids]
    return view.heading, _plain(view.facts), sheets


def _title(block: Block) -> str:
    return f"{block.title} by itself, at the shared threshold ({block.size})" if block.title else ""


def _sheets(grids: Sequence[Grid], table: Table) -> Iterator[Sheet]:
    """The grids are in the order of the groups, their lines in that of the rows."""
    groups = list(dict.fromkeys(row.group for row in table.rows))
    for group, grid in zip(groups, grids, strict=True):
        yield _sheet(grid, [row_anchor(row) for row in table.rows if row.group == group])


def _sheet(grid: Grid, anchors: Sequence[str]) -> Sheet:
    low = {column.heading for column in every_column().values() if not column.higher_is_better}
    lines = [
        Line(row[0], mark_of(grid, place), tuple(map(plain_text, row[1:])), anchor)
        for place, (row, anchor) in enumerate(zip(grid.rows, anchors, strict=True))
    ]
    headers = tuple(map(plain_text, grid.headers[1:]))
    return Sheet(grid.headers[0], headers, tuple(h not in low for h in headers), tuple(lines), tuple(legend_of(grid)))


def _plain(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(plain_text(line.removeprefix("- ")) for line in lines)
