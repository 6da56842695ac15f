"""`bench compare`: one method against others on the same test sequences."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli._options import RESULTS, AsJson, Out, Protocol, complete_methods, say
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.records.store import Store
    from bench.reporting.comparisons.differences import Comparison
    from bench.reporting.tables.rows import Table


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("compare")(compare)


def compare(
    method: Annotated[
        str,
        typer.Argument(
            help="A row of the tables, as they name it; best-control: that of each table.",
            autocompletion=complete_methods,
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="controls, all, or names separated by commas.",
            show_default="controls; of best-control all",
        ),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", "-s", help="Only this scenario (part of its name).")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Only these metrics, e.g. ap,f1; all that are compared if not given.")
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Print what is kept in OUT/comparisons; needs no scores.")
    ] = False,
    protocol: Protocol = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Is a method better than others, worse, or not separable? Paired 95 % intervals on the same test sequences."""
    from bench.records.store import Store
    from bench.reporting.comparisons import kept
    from bench.reporting.comparisons.differences import against_of

    metrics, store, others = kept.parse_metrics(metric), Store(out), against_of(method, against)
    if stored:
        found = _of_one_protocol(kept.stored(store, method, scenario=scenario, split=split), protocol)
    else:
        found = _make(method, others, scenario, split, store, protocol)
    shown = kept.chosen(found, others, metrics)
    _tell_stale(shown, store)
    if as_json:
        say(json.dumps({"comparisons": shown, "totals": kept.totals(shown)}, indent=1))
        return
    for comparison in shown:
        _print(comparison)
    say(kept.footer(shown))


def _of_one_protocol(found: list[Comparison], asked: int | None) -> list[Comparison]:
    """The kept comparisons of the protocol asked for, else of the newest."""
    versions = [comparison["protocol_version"] for comparison in found]
    chosen = max(versions) if asked is None else asked
    if chosen not in versions:
        raise BenchError(f"no kept comparison that fits is of protocol {chosen}: leave --protocol out for the newest")
    return [comparison for comparison in found if comparison["protocol_version"] == chosen]


def _make(
    method: str, against: str, scenario: str | None, split: str | None, store: Store, protocol: int | None
) -> list[Comparison]:
    from bench.cli._progress import Steps
    from bench.data.sequences.protocols import expanded
    from bench.detector import report_progress
    from bench.reporting.comparisons import differences as made
    from bench.reporting.comparisons.kept import keep
    from bench.reporting.files import renew_tables
    from bench.reporting.tables.choose import nothing_fits
    from bench.reporting.tables.protocols import of_one_protocol
    from bench.reporting.tables.table import make_tables

    tables = make_tables(store.records())
    splits = None if split is None else expanded([split])
    fitting = [
        table
        for table in tables
        if (scenario is None or scenario in table.key.scenario) and (splits is None or table.key.split in splits)
    ]
    if not fitting:
        raise nothing_fits(store, scenario, "--scenario, --split or --out")
    fitting, note = of_one_protocol([table for table in fitting if _has_row(table, method)] or fitting, protocol)
    if note:
        say(note, err=True)
    store.require_unchanged(record for table in fitting for record in table.records)
    asked = made.comparison_requests(fitting, method, against)
    made.require_scores(asked, store)
    found = []
    with Steps():
        for done, request in enumerate(asked):
            report_progress(f"comparing on {request.table.key.scenario}", done, len(asked))
            found.append(made.compare_rows(request, store))
    for comparison in found:
        say(f"written: {keep(comparison, store, tables)}", err=True)
    for path in renew_tables(store, {request.table.key for request in asked}):
        say(f"written: {path}", err=True)
    return found


def _has_row(table: Table, method: str) -> bool:
    return any(row.method == method for row in table.rows)


def _tell_stale(shown: list[Comparison], store: Store) -> None:
    from bench.cli._stale import tell_stale
    from bench.reporting.tables.table import make_tables

    places = {(c["scenario"], c["split"], c["protocol_version"]) for c in shown}
    rows = [row["method"] for comparison in shown for row in comparison["rows"]]
    tables = [
        table
        for table in make_tables(store.records())
        if (table.key.scenario, table.key.split, table.key.protocol_version) in places
    ]
    tell_stale(tables, store, [*rows, *(comparison["method"] for comparison in shown)])


def _print(comparison: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table as Grid

    from bench.reporting.comparisons.kept import heading, lines, notes

    method = comparison["method"]
    table = Grid("against", "", method, "other", "difference [95 %]", "seeds", "verdict", box=None, pad_edge=False)
    for line in lines(comparison):
        table.add_row(*line)
    console = Console(markup=False, highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(heading(comparison))
    console.print(table)
    for note in notes(comparison):
        console.print(note)
    console.print()
