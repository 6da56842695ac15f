"""Tables of one scenario under several cuts, or block by block, as one: each method's mean and its worst."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from bench.data.sequences.protocols import block_of, cuts_of, family_of, is_cut
from bench.errors import harmless
from bench.evaluation.measures import Measure, gated
from bench.evaluation.thresholds import parse_rule
from bench.experiment.grades import group_rank
from bench.experiment.measure import ALL
from bench.reporting.tables.formats import view_markdown
from bench.reporting.tables.headroom import licence_lines
from bench.reporting.tables.layout import view_of
from bench.reporting.tables.rows import Row, Table, TableKey, heading, mean_of, shown_rule
from bench.reporting.tables.split_words import block_words
from bench.reporting.tables.view import Block, Grid, View

ReadingOf = Callable[[Table], Sequence[str]]
"""What is said below a table."""
CUTS: Final = "cuts"
"""The family of all cuts in time."""
_MOST_COLUMNS: Final = 8
"""Of more tables than these, only mean and worst are shown."""
_MOST_BRIEFLY: Final = 5
"""The same on a terminal."""
_MAIN: Final = "ap"
"""What a terminal shows of each table."""


@dataclass(frozen=True)
class Series:
    """The tables of one family, in order of time."""

    key: TableKey
    """With the family as its split."""
    tables: tuple[Table, ...]

    @property
    def is_blocks(self) -> bool:
        """Whether these are the blocks of `prequential`."""
        return self.key.split != CUTS

    @property
    def unit(self) -> str:
        """What its tables are called."""
        return "blocks" if self.is_blocks else "cuts"


@dataclass(frozen=True)
class SeriesMethod:
    """One method in the tables of a series."""

    first: Row
    rows: tuple[Row | None, ...]
    """Its row of each table."""

    @property
    def group(self) -> str:
        """What it is told, in words."""
        return self.first.group

    def values(self, measure: Measure, rule: str) -> list[float | None]:
        """Its mean over seeds in each table; None where there is none."""
        return [None if row is None else mean_of(row, ALL, measure.key, shown_rule(row, rule)) for row in self.rows]


def series_key(key: TableKey) -> TableKey | None:
    """The key of the series a table is one of; None where it stands for itself alone."""
    if is_cut(key.split):
        return key._replace(split=CUTS)
    return None if block_of(key.split) is None else key._replace(split=family_of(key.split))


def series_file(key: TableKey) -> str:
    """The file of the series a table is one of, or nothing."""
    found = series_key(key)
    return "" if found is None else found.file_name


def make_series(tables: Iterable[Table]) -> list[Series]:
    """The series of these tables; one cut alone is none."""
    groups: dict[TableKey, list[Table]] = defaultdict(list)
    for table in tables:
        key = series_key(table.key)
        if key is not None:
            groups[key].append(table)
    found = [Series(key, tuple(sorted(group, key=_place))) for key, group in sorted(groups.items())]
    return [series for series in found if series.is_blocks or len(series.tables) > 1]


def render_all(tables: Sequence[Table], rule: str, reading_of: ReadingOf | None = None) -> str:
    """All tables and series as Markdown; blocks only as the series they make."""
    views = all_views(
        tables, lambda table: view_of(table, rule, reading=() if reading_of is None else reading_of(table))
    )
    return "\n".join(map(view_markdown, [*views, *(series_view(series, rule) for series in make_series(tables))]))


def all_views(tables: Sequence[Table], view: Callable[[Table], View]) -> list[View]:
    """The views of tables that stand for themselves: blocks are shown only as the series they make."""
    return [view(table) for table in tables if block_of(table.key.split) is None]


def render_series(series: Series, rule: str, reading: Sequence[str] = ()) -> str:
    """A series as Markdown."""
    return view_markdown(series_view(series, rule, reading))


def series_view(series: Series, rule: str, reading: Sequence[str] = (), *, brief: bool = False) -> View:
    """A series laid out: mean and worst of each method, and each table's values where these are few.

    reading: what is said below it;  brief: what fits a terminal, of single tables the AP alone
    """
    rule = str(parse_rule(rule))
    records = [record for table in series.tables for record in table.records]
    grids = []
    methods = series_methods(series)
    for group in dict.fromkeys(method.group for method in methods):
        same = [method for method in methods if method.group == group]
        grids.append(_means(series, group, same, rule, brief=brief))
        if len(series.tables) <= (_MOST_BRIEFLY if brief else _MOST_COLUMNS):
            shown = [measure for measure in gated() if not brief or measure.key == _MAIN]
            grids += [_each(series, measure, same, rule) for measure in shown]
    facts = tuple(_facts(series, rule))
    notes = tuple(licence_lines(records))
    return View(heading(series.key, records), facts, (Block(tuple(grids)),), notes, tuple(reading), brief=facts)


def series_methods(series: Series) -> list[SeriesMethod]:
    """The rows of all tables by what they share but for seed and split, in the order of tables."""
    found: dict[str, list[Row | None]] = {}
    tables = series.tables
    for place, table in enumerate(tables):
        for row in table.rows:
            spec = row.records[0]["spec"]
            identity = json.dumps({name: spec[name] for name in spec.keys() - {"seed", "split"}}, sort_keys=True)
            found.setdefault(identity, [None] * len(tables))[place] = row
    methods = [SeriesMethod(next(filter(None, rows)), tuple(rows)) for rows in found.values()]
    return sorted(methods, key=lambda method: (group_rank(method.group), method.first.method))


def _means(series: Series, group: str, methods: Sequence[SeriesMethod], rule: str, *, brief: bool) -> Grid:
    worst = "worst" if series.is_blocks else "worst cut"
    asked = [(measure, word) for measure in gated() for word in ("mean", worst)]
    if brief:
        asked = [(measure, word) for measure, word in asked if word == "mean" or measure.key == _MAIN]
    headers = (group, *(f"{measure.column} {word}" for measure, word in asked), series.unit)
    return Grid(headers, tuple(tuple(_mean_line(method, rule, asked)) for method in methods))


def _mean_line(method: SeriesMethod, rule: str, asked: Sequence[tuple[Measure, str]]) -> list[str]:
    cells, counts = [method.first.method], []
    for measure, word in asked:
        found = [value for value in method.values(measure, rule) if value is not None]
        value = None if not found else sum(found) / len(found) if word == "mean" else min(found)
        cells.append("-" if value is None else f"{value:.3f}")
        counts.append(len(found))
    fewest, most = min(counts), max(counts)
    shown = str(most) if fewest == most else f"{fewest} to {most}"
    return [*cells, f"{shown}/{len(method.rows)}"]


def _each(series: Series, measure: Measure, methods: Sequence[SeriesMethod], rule: str) -> Grid:
    """One metric of each table of the series."""
    lines = tuple(
        (method.first.method, *("-" if value is None else f"{value:.3f}" for value in method.values(measure, rule)))
        for method in methods
    )
    return Grid((measure.column, *(_short(table.key.split) for table in series.tables)), lines)


def _facts(series: Series, rule: str) -> list[str]:
    key, tables = series.key, series.tables
    unit = "sessions" if key.window == "sessions" else "windows of {} lines, step {}".format(*key.window.split("/"))
    if series.is_blocks:
        what = f"- split: {key.split}, {block_words('each block')}"
        note = "- mean and worst over the blocks that hold normal and abnormal sequences; no interval: blocks differ"
    else:
        what = f"- cuts: {', '.join(_short(table.key.split) for table in tables)} % of the lines (train/validate)"
        note = "- mean and worst over cuts whose tests overlap, each to the end of the log: no interval"
    tests = [f"{_short(table.key.split)}: {_test_size(table)}" for table in tables]
    sizes = [f"- test sequences: {'; '.join(tests)}"] if len(tables) <= _MOST_COLUMNS else []
    return [what, note, *sizes, f"- {unit}; threshold rule {rule}", *_failures(series)]


def _failures(series: Series) -> list[str]:
    """What did not finish and why: each reason once, with the tables of the series that it holds for."""
    where: dict[tuple[str, str], list[Table]] = defaultdict(list)
    for table in series.tables:
        for label, reason in _failures_of(table):
            where[label, reason.replace(table.key.split, series.key.split)].append(table)
    return [
        f"- {_places(tables, is_blocks=series.is_blocks)}{label}: {harmless(reason)}"
        for (label, reason), tables in where.items()
    ]


def _failures_of(table: Table) -> list[tuple[str, str]]:
    """Row and reason of what did not finish there; once, and without a row, where it is one reason for all."""
    reasons = {row.failure for row in table.rows}
    if len(reasons) == 1 and "" not in reasons:
        return [("", reasons.pop())]
    return [(f", {row.label}", row.failure) for row in table.rows if row.failure]


def _places(tables: Sequence[Table], *, is_blocks: bool) -> str:
    """`50/70` of cuts; `blocks 1 to 6, 8` of blocks."""
    if not is_blocks:
        return ", ".join(_short(table.key.split) for table in tables)
    numbers = [int(_short(table.key.split)) for table in tables]
    runs = [list(run) for _, run in groupby(enumerate(numbers), key=_start_of_run)]
    ends = [(run[0][1], run[-1][1]) for run in runs]
    named = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ends)
    return f"block {named}" if len(numbers) == 1 else f"blocks {named}"


def _start_of_run(place: tuple[int, int]) -> int:
    """Equal for numbers that follow one another."""
    return place[1] - place[0]


def _test_size(table: Table) -> str:
    counts = table.records[0]["counts"]
    return f"{counts['n_test']} ({counts['n_test_abnormal']} abnormal)"


def _short(split: str) -> str:
    """`50/70` of a cut, `3` of a block."""
    block = block_of(split)
    return "/".join(map(str, cuts_of(split))) if block is None else str(block.number)


def _place(table: Table) -> tuple[int, ...]:
    block = block_of(table.key.split)
    return cuts_of(table.key.split) if block is None else tuple(block)
