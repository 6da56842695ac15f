"""`bench data list|info|verify|fetch|new|simulate`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import EXIT_GATE, AsJson, Data
from bench.cli.fetch import fetch
from bench.cli.new import new
from bench.cli.simulate import simulate
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards import Card, Catalogue

app = typer.Typer(help="Data sets and their editions.", no_args_is_help=True)
app.command()(fetch)
app.command()(new)
app.command()(simulate)

Edition = Annotated[str, typer.Argument(help="bgl, or an edition such as bgl@simulated")]


@app.command("list")
def list_(data: Data = None, as_json: AsJson = False) -> None:
    """List all editions, and whether their files are here."""
    from bench.cli.lists import list_ as list_command

    list_command("datasets", data=data, as_json=as_json)


@app.command()
def info(
    edition: Edition,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Lines, sequences, labels, time range, licence and citation of an edition."""
    from bench.data.cards import catalogue

    known = catalogue(data)
    card = known.resolve(edition)
    facts = _facts(card, known)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name.ljust(width)}  {value}")


@app.command()
def verify(
    edition: Annotated[str | None, typer.Argument(help="One edition; without it all that are here.")] = None,
    data: Data = None,
) -> None:
    """Read editions and compare checksums and counts with their cards; exit 1 when one differs."""
    from bench.data.cards import catalogue

    known = catalogue(data)
    cards = [known.resolve(edition)] if edition else [card for card in known.cards if known.is_available(card)]
    failed = 0
    for card in cards:
        try:
            wrong = _differences(card, known)
        except BenchError as error:
            wrong = [str(error)]
        failed += bool(wrong)
        typer.echo(f"{card.key}: {'; '.join(wrong) or 'ok'}")
    if failed:
        raise typer.Exit(EXIT_GATE)


def _counts(card: Card, known: Catalogue) -> dict[str, int]:
    from bench.data.readers import read

    log = read(card, known)
    counts = {"lines": len(log), "abnormal_lines": int((log.labels == 1).sum())}
    if log.session_labels is not None:
        counts |= {"sessions": len(log.session_ids), "abnormal_sessions": int((log.session_labels == 1).sum())}
    return counts


def _differences(card: Card, known: Catalogue) -> list[str]:
    for file in card.files:
        known.path(file, thorough=True)
    counts = _counts(card, known)
    return [
        f"{name} {counts.get(name, 'unknown')}, the card says {value}"
        for name, value in card.counts.items()
        if counts.get(name) != value
    ]


def _facts(card: Card, known: Catalogue) -> dict[str, Any]:
    import datetime

    import numpy as np

    from bench.data.grouping import Grouping, group
    from bench.data.readers import read

    log = read(card, known)
    groups = group(log, Grouping())
    _, repeats = np.unique(log.message_ids, return_counts=True)
    times = log.times[~np.isnan(log.times)]
    span = (
        [datetime.datetime.fromtimestamp(t, datetime.UTC).isoformat() for t in (times.min(), times.max())]
        if len(times)
        else []
    )
    labelled = groups.labels[groups.labels >= 0]
    return {
        "edition": card.key,
        "title": card.title,
        "system": known.editions(card.name)[0].name,
        "tier": card.tier,
        "kind": card.kind,
        "lines": len(log),
        "time range (UTC)": " to ".join(span) or "no time",
        "distinct masked messages": len(repeats),
        "unit": "sessions" if card.has_sessions else "windows of 20 lines",
        "sequences": len(groups),
        "abnormal": f"{int((labelled == 1).sum())} ({(labelled == 1).mean():.1%})" if len(labelled) else "no labels",
        "lines with bytes that are no UTF-8 (replaced)": log.n_replaced,
        "lines without the card's header (kept whole)": log.n_headerless,
        "files": ", ".join(file.name for file in card.files) or "made by the simulator",
        "licence": card.licence,
        "citation": card.citation,
        "notes": " ".join(card.notes.split()),
    }
