"""`bench list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli._options import AsJson, Data

if TYPE_CHECKING:
    from bench.registry import DetectorRef


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("list")(list_)


def list_(
    what: Annotated[Literal["methods", "datasets", "scenarios", "suites"], typer.Argument()],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List what there is."""
    rows = {"methods": _methods, "datasets": _datasets, "scenarios": _scenarios, "suites": _suites}[what](data)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    widths = [max(len(str(row[key])) for row in rows) for key in rows[0]]
    for row in rows:
        typer.echo(
            "  ".join(str(value).ljust(width) for value, width in zip(row.values(), widths, strict=True)).rstrip()
        )


def _methods(data: Path | None) -> list[dict[str, str]]:
    from bench import registry

    return [
        {"name": ref.name, "kind": "control" if ref.is_control else "method", "summary": _summary(ref)}
        for ref in registry.available().values()
    ]


def _summary(ref: DetectorRef) -> str:
    from bench import registry

    try:
        return registry.summarise(ref)
    except Exception as error:  # of another package, which must not hide the others
        return f"cannot be read ({type(error).__name__}: {error}): repair or uninstall {ref.distribution}"


def _datasets(data: Path | None) -> list[dict[str, str]]:
    from bench.data.cards.catalogue import catalogue

    known = catalogue(data)
    cards = sorted(known.cards, key=lambda card: (card.name, -card.rank))
    return [
        {
            "edition": card.key,
            "tier": card.tier,
            "available": "available" if known.is_available(card) else "files missing",
            "title": card.title,
            "to get it": "" if known.is_available(card) else known.how_to_get(card),
        }
        for card in cards
    ]


def _scenarios(data: Path | None) -> list[dict[str, str]]:
    from bench.data.cards.catalogue import catalogue

    known = catalogue(data)
    names = sorted({card.name for card in known.cards if known.is_available(card)})
    within = [{"scenario": name, "meaning": f"within {known.resolve(name).key}"} for name in names]
    transfers = [
        {"scenario": f"{a}2{b}", "meaning": f"train on {known.resolve(a).key}, test on {known.resolve(b).key}"}
        for a in names
        for b in names
        if a != b
    ]
    combined = [
        {"scenario": f"{a}+{b}", "meaning": f"{known.resolve(a).key} and {known.resolve(b).key} together"}
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]
    return within + transfers + combined


def _suites(data: Path | None) -> list[dict[str, str]]:
    from bench.experiment.suites import load_suite, suite_names

    return [{"name": name, "description": load_suite(name).description} for name in suite_names()]
