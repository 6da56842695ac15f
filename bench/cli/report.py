"""`bench report`: the records as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import RESULTS, AsJson, Data, Out, Protocol, say
from bench.cli._tables import Methods
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.reporting.report.page import Report


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("report")(report)


def report(
    scenario: Annotated[
        str | None, typer.Option("--scenario", "-s", help="Only scenarios that have this in their name.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
    methods: Methods = None,
    threshold: Annotated[str, typer.Option("--threshold", help="Threshold rule.")] = "conformal:0.01",
    protocol: Protocol = None,
    mistakes: Annotated[
        int,
        typer.Option("--mistakes", help="Show so many mistakes of each kind, for the best method of each table."),
    ] = 0,
    to: Annotated[
        Path | None, typer.Option("--to", help="The file, or its folder.", show_default="OUT/report.html")
    ] = None,
    data: Data = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Write the records as one HTML page to look at or hand on: ranks, tables, pictures, costs, every run."""
    from bench.cli._stale import tell_stale
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.protocols import expanded
    from bench.experiment.settings import read_rule
    from bench.records.store import Store
    from bench.reporting.report.page import Asked, write_report
    from bench.reporting.tables.choice import Choice

    if mistakes < 0:
        raise BenchError(f"--mistakes is {mistakes}: give a whole number from 0")
    rule, store = str(read_rule(threshold)), Store(out)
    splits = None if split is None else expanded([split])
    asked = Asked(
        store,
        catalogue(data),
        rule,
        lambda name, cut: (scenario is None or scenario in name) and (splits is None or cut in splits),
        scenario,
        protocol,
        mistakes,
        Choice.of(methods),
    )
    path = store.root if to is None else to
    path = path / "report.html" if to is None or path.is_dir() else path
    made = write_report(asked, path)
    for warning in made.warnings:
        say(f"note: {warning}", err=True)
    tell_stale(made.tables, store)
    if as_json:
        say(json.dumps(_facts(made, path), indent=1))
    say(f"written: {path}, {path.stat().st_size / 1e6:.1f} MB", err=True)


def _facts(made: Report, path: Path) -> dict[str, Any]:
    """What a program asks of the page."""
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "protocol": made.tables[0].key.protocol_version,
        "tables": len(made.tables),
        "runs": made.n_records,
        "notes": list(made.warnings),
    }
