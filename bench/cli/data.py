"""`bench data list|info|verify|prepare|fetch|new|corpus|simulate|export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import EXIT_GATE, AsJson, Data, say
from bench.cli.corpus import corpus
from bench.cli.fetch import fetch
from bench.cli.new import new
from bench.cli.outside import export
from bench.cli.prepare import prepare
from bench.cli.simulate import simulate
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.card import Card
    from bench.data.cards.catalogue import Catalogue

app = typer.Typer(help="Data sets and their editions.", no_args_is_help=True)
app.command()(corpus)
app.command()(export)
app.command()(fetch)
app.command()(new)
app.command()(prepare)
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
    plot: Annotated[bool, typer.Option("--plot", help="Draw lines and anomalies over time as EDITION.png.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Lines, templates, sequences, labels, duplicates, time range, licence and citation of an edition."""
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.data.facts import edition_facts

    known = catalogue(data)
    card = known.resolve(edition)
    with Steps():
        facts = edition_facts(card, known)
    if plot:
        facts["picture"] = str(_plot(card, known))
    if as_json:
        say(json.dumps(facts, indent=1))
        return
    warnings = facts.pop("warnings")
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"{name.ljust(width)}  {_shown(value)}")
    for warning in warnings:
        say(f"warning: {warning}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plot(card: Card, known: Catalogue) -> Path:
    from bench.data.facts import timeline
    from bench.data.sequences.protocols import CUTS
    from bench.reporting.figures.timeline import draw_timeline

    target = Path(f"{card.key.replace('@', '-')}.png")
    draw_timeline(timeline(card, known, CUTS), card.key, target)
    return target


@app.command()
def verify(
    edition: Annotated[str | None, typer.Argument(help="One edition; without it all that are here.")] = None,
    data: Data = None,
) -> None:
    """Read editions, compare checksums and counts with their cards, and what is prepared with its digests.

    Every file is hashed, whatever was noted of it. Exit 1 when something differs.
    """
    from bench.data.cards.catalogue import catalogue

    known = catalogue(data)
    cards = [known.resolve(edition)] if edition else [card for card in known.cards if known.is_available(card)]
    failed = 0
    for card in cards:
        try:
            wrong = _differences(card, known)
        except BenchError as error:
            wrong = [str(error)]
        failed += bool(wrong)
        say(f"{card.key}: {'; '.join(wrong) or 'ok'}")
    if failed:
        raise typer.Exit(EXIT_GATE)


def _counts(card: Card, known: Catalogue) -> dict[str, int]:
    from bench.data.reading.read import read

    log = read(card, known)
    counts = {"lines": log.n_lines, "abnormal_lines": int((log.labels == 1).sum())}
    if log.session_labels is not None:
        counts |= {"sessions": len(log.session_ids), "abnormal_sessions": int((log.session_labels == 1).sum())}
    return counts


def _differences(card: Card, known: Catalogue) -> list[str]:
    from bench._sealed import damages
    from bench.data.reading.prepared import prepared_folder

    for file in card.files:
        known.path(file, thorough=True)
    counts = _counts(card, known)
    wrong = [
        f"{name} {counts.get(name, 'unknown')}, the card says {value}"
        for name, value in card.counts.items()
        if counts.get(name) != value
    ]
    prepared = damages(prepared_folder(card))
    return wrong + [f"prepared {damage}; it is made anew when it is next used" for damage in prepared]
