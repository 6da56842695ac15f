"""How `bench table` and `bench run` print tables: on a terminal what fits it, else Markdown, or as asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bench.cli._options import complete_methods, say
from bench.errors import BenchError, unknown_name

if TYPE_CHECKING:
    from bench.records.store import Store
    from bench.reporting.tables.choice import Choice
    from bench.reporting.tables.rows import Table
    from bench.reporting.tables.view import View

FORMATS: Final = ("text", "md", "csv", "latex", "html", "json")
"""`text` is what a terminal shows, also without one."""
_MANY: Final = 4
"""From so many tables on, a terminal is told how to see fewer, and nothing is compared that was not kept."""

_LEGEND: Final = (
    "- F1 and FPR (false alarms) are of the threshold, AP and AUROC of the ranking; more: bench table --wide"
)

Format = Annotated[
    str | None,
    typer.Option("--format", help=f"One of {', '.join(FORMATS)}.", show_default="text on a terminal, else md"),
]
Methods = Annotated[
    str | None,
    typer.Option("--methods", "-m", help="Only these methods, beside the controls.", autocompletion=complete_methods),
]
Columns = Annotated[str | None, typer.Option("--columns", help="Only these columns, e.g. f1,auroc,fit.")]
Sort = Annotated[
    str | None, typer.Option("--sort", help="Best first by this column, or by method.", show_default="ap on a terminal")
]
Top = Annotated[int | None, typer.Option("--top", help="Only so many rows of each group.")]
Wide = Annotated[bool, typer.Option("--wide", help="All columns, facts and notes on a terminal.")]


def chosen_format(name: str | None, *, as_json: bool) -> str:
    """The format asked for, else what suits where stdout goes."""
    if as_json and name not in (None, "json"):
        raise BenchError(f"--json and --format {name} ask for two things: leave one out")
    if name is not None and name not in FORMATS:
        raise unknown_name("format", name, FORMATS, where="--format")
    return "json" if as_json else name or ("text" if sys.stdout.isatty() else "md")


def print_tables(
    tables: Sequence[Table], rule: str, store: Store, choice: Choice, form: str, *, wide: bool = False
) -> None:
    """Print the tables with what each of them says.

    tables: with the rows and in the order of the choice
    """
    from bench.reporting.tables.formats import flat, rows_csv
    from bench.reporting.tables.table import summary

    if form in ("json", "csv"):
        wanted = None if choice.columns is None else {column.key for column in choice.columns}
        rows = [row for table in tables for row in summary(table, rule, wanted)]
        say(json.dumps(rows, indent=1) if form == "json" else rows_csv([flat(row) for row in rows]), nl=form == "json")
        return
    _print_views(_views(tables, rule, store, choice, form, wide=wide), form, wide=wide)
    if form == "text" and len(tables) >= _MANY:
        say(f"{len(tables)} tables: --scenario and --split show one, --matrix sets all side by side", err=True)


def print_matrix(tables: Sequence[Table], rule: str, choice: Choice, form: str, *, wide: bool = False) -> None:
    """Print methods by data sets: AP on a terminal and in a paper, else F1, AUROC and AP, or the metrics chosen."""
    from bench.evaluation.measures import all_measures
    from bench.reporting.tables.formats import rows_csv
    from bench.reporting.tables.matrix import METRICS, matrix_rows, matrix_views
    from bench.reporting.tables.ranking import RANKED_BY

    metrics = [column.key for column in choice.columns or ()]
    known = {measure.key for measure in all_measures()}
    for key in metrics:
        if key not in known:
            raise BenchError(f"--columns: {key} is no metric, and a matrix shows metrics: choose one as f1 or ap")
    metrics = metrics or ([RANKED_BY] if form in ("text", "latex") else list(METRICS))
    if form in ("json", "csv"):
        rows = matrix_rows(tables, metrics, rule)
        say(json.dumps(rows, indent=1) if form == "json" else rows_csv(rows), nl=form == "json")
        return
    _print_views(matrix_views(tables, metrics, rule), form, wide=wide)


def _views(tables: Sequence[Table], rule: str, store: Store, choice: Choice, form: str, *, wide: bool) -> list[View]:
    from rich.console import Console

    from bench.reporting.certificates import certificates, certified_names
    from bench.reporting.comparisons.quick import with_quick
    from bench.reporting.reading import kept_verdicts, reading
    from bench.reporting.series_reading import series_reading
    from bench.reporting.tables.columns import narrow_columns
    from bench.reporting.tables.layout import view_of
    from bench.reporting.tables.series import all_views, make_series, series_view
    from bench.reporting.tables.terminal import columns_for

    columns = choice.columns
    if columns is None and not wide and form in ("text", "latex"):
        columns = tuple(columns_for(Console().width) if form == "text" else narrow_columns())

    def view(table: Table) -> View:
        kept = kept_verdicts(store, table)
        verdicts = with_quick(table, kept, store) if len(tables) < _MANY else kept
        certified = certified_names(certificates(table, verdicts))
        said = reading(table, rule, verdicts)
        shown = view_of(table, rule, columns, said, brief=form == "text", certified=certified)
        return replace(shown, brief=(*shown.brief, _LEGEND)) if choice.columns is None else shown

    brief = form == "text" and not wide
    of_series = [series_view(each, rule, series_reading(each, rule), brief=brief) for each in make_series(tables)]
    return [*all_views(tables, view), *of_series]


def _print_views(views: Sequence[View], form: str, *, wide: bool) -> None:
    from rich.console import Console

    from bench.reporting.tables.formats import view_html, view_latex, view_markdown
    from bench.reporting.tables.terminal import show

    if form == "text":
        console = Console(markup=False, highlight=False)
        for view in views:
            show(view, console, wide=wide)
        return
    write = {"md": view_markdown, "latex": view_latex, "html": view_html}[form]
    say("\n".join(map(write, views)))
