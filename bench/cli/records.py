"""`bench results`: what is done to the records of a results folder as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli._options import EXIT_GATE, RESULTS, Data, Docs, Out, say
from bench.cli.outside import import_

app = typer.Typer(no_args_is_help=True, help="Archive, merge, check, export, import and cite records.")
app.command("import")(import_)


@app.command()
def pack(out: Out = RESULTS) -> None:
    """Move the records of the inbox into the archive, and sort its lines."""
    from bench.records import upkeep
    from bench.records.store import Store

    store = Store(out)
    store.require_results()
    say(f"{upkeep.pack(store)} records moved into {out / 'records'}")


@app.command()
def migrate(out: Out = RESULTS) -> None:
    """Archive the records of schema version 1, which lie in OUT/runs; nothing is run again."""
    from bench.records import upkeep
    from bench.records.store import Store

    say(f"{upkeep.migrate(Store(out))} records moved into {out / 'records'}")


@app.command()
def merge(
    folder: Annotated[Path, typer.Argument(help="Another results folder, as of another machine.")],
    out: Out = RESULTS,
) -> None:
    """Take the records and probes of another results folder in; where two records differ, nothing changes."""
    from bench.records import upkeep
    from bench.records.probes import take_probes
    from bench.records.store import Store

    done = upkeep.merge(Store(out), Store(folder))
    n_probes = take_probes(out, folder)
    probes = f"; {n_probes} new probes" if n_probes else ""
    say(f"{done.new} new records, {done.newer} newer ones, {done.kept} were here already{probes}")


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    out: Out = RESULTS,
) -> None:
    """Delete scores and training curves that no finished record belongs to."""
    from bench.records import upkeep
    from bench.records.store import Store

    store = Store(out)
    store.require_results()
    found = upkeep.orphans(store)
    for path in found:
        say(str(path))
        if not dry_run:
            path.unlink(missing_ok=True)
    say(f"{len(found)} files {'would be ' if dry_run else ''}deleted", err=True)


@app.command()
def verify(out: Out = RESULTS) -> None:
    """Exit 1 where a record, or a score file that is here, is not what its run left."""
    from bench.experiment.measure import are_scores_of
    from bench.records.store import Store
    from bench.records.verify import problems

    store = Store(out)
    store.require_results()
    wrong = list(problems(store, are_scores_of))
    for sentence in wrong:
        say(sentence)
    if wrong:
        raise typer.Exit(EXIT_GATE)
    say("all records are as their runs left them")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="runs.csv or runs.parquet")],
    out: Out = RESULTS,
) -> None:
    """Write all records as one flat table for notebooks: a row for each run, system and threshold rule."""
    from bench.records.store import Store
    from bench.reporting.tables.export import export as export_records

    say(f"{export_records(Store(out).records(), file)} rows written to {file}")


@app.command()
def cite(
    file: Annotated[
        Path | None, typer.Argument(help="Write it there, as table.bib; printed where none is given.")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", "-s", help="Only of this scenario (part of its name).")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only of this split.")] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", "-m", help="Only of these rows of the tables; commas for several.")
    ] = None,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Cite the methods and data of the tables, and this tool, in BibTeX, as far as their papers are known here."""
    from bench._files import replace_text
    from bench.data.cards.catalogue import catalogue
    from bench.records.store import Store
    from bench.reporting.citations import bibliography
    from bench.reporting.tables.choose import fitting_rows

    rows = fitting_rows(Store(out), scenario, split, methods)
    text = bibliography((record for row in rows for record in row.records), catalogue(data))
    if file is None:
        say(text, nl=False)
        return
    replace_text(file, text)
    say(f"written: {file}", err=True)


@app.command()
def pages(
    docs: Docs = Path("docs"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where a page is not what the records say.")
    ] = False,
    out: Out = RESULTS,
) -> None:
    """Write the generated blocks of DOCS/results and DOCS/methods; the prose between them stays."""
    from bench.records.store import Store
    from bench.reporting.pages.write import outdated_pages, write_pages

    store = Store(out)
    store.require_results()
    if not check:
        for path in write_pages(store, docs):
            say(f"written: {path}", err=True)
        return
    wrong = outdated_pages(store, docs)
    for path, what in wrong.items():
        say(f"{path} {what}")
    if wrong:
        raise typer.Exit(EXIT_GATE)
    say("all pages are what their records say")
