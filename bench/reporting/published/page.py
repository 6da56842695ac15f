"""A page that sets published values beside the records of ours.

The two never share a column: a published number has another protocol, which the page names point by point, and the
audit's verdict stands behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._plain import jsonable
from bench.errors import BenchError
from bench.experiment.grades import CONTROL, asks_a_model
from bench.experiment.groups import is_control
from bench.experiment.measure import ALL
from bench.experiment.spec import resolve_methods
from bench.records.record import Record, standings
from bench.reporting import markdown
from bench.reporting.published.audit import NOT_JUDGED, judge_value
from bench.reporting.published.papers import METRICS, Paper, Value, load_published
from bench.reporting.tables.answers import call_notes, models_of
from bench.reporting.tables.rows import Row, Table, aggregate, heading, mean_of, sample_lines, shown_rule
from bench.reporting.tables.split_words import split_words

HEADERS: Final = (
    "table",
    "method",
    "P",
    "R",
    "F1",
    "judged",
    "our row",
    "our P",
    "our R",
    "our F1 [95 %]",
    "oracle",
    "seeds",
)
NOT_PUBLISHED: Final = "not published"
"""The method of a line that is one of our rows alone."""


def render_published(
    tables: Sequence[Table],
    rule: str,
    cache: Path,
    papers: Sequence[Paper] | None = None,
    *,
    only: Collection[str] = (),
) -> str:
    """Markdown: for each of our tables whose scenario a paper reports, its values and ours, and how they differ.

    only: published tables, by their numbers; all if empty
    """
    papers = _chosen(load_published() if papers is None else papers, only)
    found = beside_of(tables, rule, cache, papers)
    if not found:
        reported = ", ".join(sorted({value.scenario for paper in papers for value in paper.values}))
        raise BenchError(f"no paper reports a scenario of these records: reported are {reported}")
    return "\n".join(map(_page, found))


def with_stored_rows(
    tables: Sequence[Table],
    stored: Iterable[Table],
    cache: Path,
    papers: Sequence[Paper] | None = None,
    *,
    only: Collection[str] = (),
) -> list[Table]:
    """The tables, each with the stored rows of those published methods that it has no row of.

    stored: the tables of all that is recorded;  only: as of `render_published`
    """
    papers = _chosen(load_published() if papers is None else papers, only)
    finder, known = _Finder(cache), {table.key: table.rows for table in stored}
    return [
        replace(table, rows=(*table.rows, *_not_among(table, known.get(table.key, ()), papers, finder)))
        for table in tables
    ]


def _not_among(table: Table, stored: Sequence[Row], papers: Iterable[Paper], finder: _Finder) -> list[Row]:
    values = [value for paper in papers for value in paper.values if value.scenario == scenario_name(table)]
    missing = [value for value in values if finder.find(value, table.rows) is None]
    found = [row for value in missing if (row := finder.find(value, stored)) is not None]
    return list({row.method: row for row in found}.values())


def _chosen(papers: Sequence[Paper], only: Collection[str]) -> Sequence[Paper]:
    """The papers with the values of these tables alone; with all of them where none is named."""
    if not only:
        return papers
    return [replace(p, values=tuple(v for v in p.values if v.table in only)) for p in papers]


class Beside(NamedTuple):
    """The values of a paper beside those of one of our tables."""

    title: str
    points: list[list[str]]
    """Of the protocol: what is compared, as published, as here."""
    lines: list[list[str]]
    """Cells under `HEADERS`."""
    notes: list[str]


def beside_of(tables: Sequence[Table], rule: str, cache: Path, papers: Sequence[Paper]) -> list[Beside]:
    """For each of our tables whose scenario a paper reports, its values and ours."""
    finder = _Finder(cache)
    pairs = [(paper, table) for paper in papers for table in tables]
    found = (_beside(paper, table, rule, finder) for paper, table in pairs)
    return [each for each in found if each is not None]


def scenario_name(table: Table) -> str:
    """The scenario without editions, as papers name it: `bgl2tbird`."""
    spec = table.records[0]["spec"]
    sides = ["+".join(part["edition"].partition("@")[0] for part in spec[side]) for side in ("train", "test")]
    return sides[0] if sides[0] == sides[1] else "2".join(sides)


class _Finder:
    """Finds our row of a published one: the same detector, under its present defaults and the settings named."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._configs: dict[tuple[str, tuple[str, ...]], Mapping[str, Any] | None] = {}

    def find(self, value: Value, rows: Iterable[Row]) -> Row | None:
        config = self._config(value.detector, value.settings) if value.detector else None
        if config is None:
            return None
        return next((row for row in rows if _is_run_of(row.records[0], value.detector, config)), None)

    def _config(self, detector: str, settings: tuple[str, ...]) -> Mapping[str, Any] | None:
        key = (detector, settings)
        if key not in self._configs:
            try:
                self._configs[key] = jsonable(resolve_methods([detector], settings, self._cache)[0].config)
            except BenchError:  # not installed here, or without this setting
                self._configs[key] = None
        return self._configs[key]


def _is_run_of(record: Record, detector: str, config: Mapping[str, Any]) -> bool:
    ours = record["spec"]["detector"]
    # A field that came after the record was made is not held against it; papers do not say which model answered how.
    free = asks_a_model(record)
    same = free or all(config.get(name) == value for name, value in ours["config"].items())
    return bool(ours["name"] == detector and not ours.get("variant") and same)


def _beside(paper: Paper, table: Table, rule: str, finder: _Finder) -> Beside | None:
    values = [value for value in paper.values if value.scenario == scenario_name(table)]
    if not values:
        return None
    found = [finder.find(value, table.rows) for value in values]
    lines = [
        [*_printed(value), *(_ours(row, rule) if row else ["-"] * 6)] for value, row in zip(values, found, strict=True)
    ]
    for row in table.rows:
        if row not in found:
            word = CONTROL if is_control(row.group) else NOT_PUBLISHED
            lines.append(["", word, *["-"] * 4, *_ours(row, rule)])
    title = f"{heading(table.key, table.records)}: beside {paper.title}"
    notes = [note for row in table.rows for note in call_notes(row)]
    return Beside(title, _differences(paper, table, rule), lines, notes)


def _page(found: Beside) -> str:
    grid = markdown.table(found.lines, HEADERS)
    points = markdown.table(found.points, ["protocol", "published", "here"])
    return "\n\n".join(filter(None, [f"### {found.title}", points, grid, "\n".join(found.notes)])) + "\n"


def _printed(value: Value) -> list[str]:
    verdict = judge_value(value)[0]
    numbers = [_digits(number) for number in (value.precision, value.recall, value.f1)]
    return [value.table, value.method, *numbers, "-" if verdict == NOT_JUDGED else verdict]


def _digits(number: Decimal | None) -> str:
    return "-" if number is None else str(number)


def _ours(row: Row, rule: str) -> list[str]:
    shown = shown_rule(row, rule)
    cells = [row.label if row.group == CONTROL else f"{row.label} ({row.group})"]
    for metric in METRICS:
        interval = aggregate(row, ALL, metric, shown)
        if interval is None:
            cells.append("n/e" if row.finished else "-")
        elif metric == "f1":
            cells.append(f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
        else:
            cells.append(f"{interval.mean:.3f}")
    oracle = mean_of(row, ALL, "oracle_f1", shown)
    seeds = f"{len(row.finished)}/{len(row.records)}" if row.failure else str(len(row.records))
    return [*cells, "-" if oracle is None else f"{oracle:.3f}", seeds]


def _differences(paper: Paper, table: Table, rule: str) -> list[list[str]]:
    """The protocol of the paper against that of the records, point by point."""
    record, key = table.records[0], table.key
    counts = record["counts"]
    editions = ", ".join(f"{edition} ({name})" for edition, name in standings(record).items())
    unit = "sessions" if key.window == "sessions" else "windows of {} lines, step {}".format(*key.window.split("/"))
    split = {
        "paper": "as there, but 20 % of the normal sequences left validate",
        "chronological": "the first 60 % of the lines train, 20 % validate, the last 20 % test",
    }
    words = split.get(key.split) or split_words(key.split, counts["split"])
    encoders = sorted({str(r["spec"]["encoder"]) for r in table.records if "encoder" in r["spec"]})
    ours = {
        "data": editions,
        "test": f"{counts['n_test']:,} sequences, {counts['n_test_abnormal']:,} of them abnormal"
        + "".join(f"; {fact.removeprefix('- ')}" for fact in sample_lines(table.records)),
        "sequences": unit,
        "split": f"{key.split}: {words}",
        "threshold": f"{rule}, from validation data; `oracle` alone reads test labels{_own_rules(table, rule)}",
        "runs": "mean over seeds with its 95 % interval",
        "vectors": " and ".join(encoders) or "no method of this table reads texts",
        "model": " and ".join(models_of(table.records)) or "none answered",
    }
    asks = any(asks_a_model(row.records[0]) for row in table.rows)
    return [
        [point, published, ours.get(point, "the same")]
        for point, published in _published(paper, table).items()
        if asks or point != "model"
    ]


def _own_rules(table: Table, rule: str) -> str:
    """Which rows are not reported by the rule, though they do not flag everything."""
    rows = [row for row in table.rows if asks_a_model(row.records[0]) and shown_rule(row, rule) != rule]
    return f"; native for {', '.join(row.label for row in rows)}" if rows else ""


def _published(paper: Paper, table: Table) -> dict[str, str]:
    sizes = paper.sizes.get(scenario_name(table).rpartition("2")[2])
    test = f"{sizes['test']:,}, {sizes['abnormal']:,} of them abnormal (lines or sequences)" if sizes else "not stated"
    return {"data": paper.protocol["data"], "test": test, **paper.protocol}
