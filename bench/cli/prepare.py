"""`bench data prepare`."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import EXIT_GATE, AsJson, Data, say
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.card import Card
    from bench.data.cards.catalogue import Catalogue
    from bench.data.reading.log import Log


def prepare(
    edition: Annotated[str, typer.Argument(help="bgl, or an edition such as bgl@full; with --from a new edition.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Make the edition from this file, - for standard input; several follow in order."),
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="With --from: the labels of sessions.")] = None,
    lines: Annotated[int | None, typer.Option("--lines", min=1, help="Only the first so many lines.")] = None,
    part: Annotated[
        str | None, typer.Option("--slice", metavar="A:B", help="Only lines (or whole sessions) A to B - 1.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of defective lines above which the exit code is 1.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Prepare anew what is prepared already.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Read an edition into memory-mapped arrays, so that later commands open it at once."""
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.data.reading.prepared import forget, is_prepared, open_prepared

    chosen = _range(lines, part)
    if labels is not None and not sources:
        raise BenchError("--labels belongs to a new edition: give its log with --from, or write labels into the card")
    with Steps():
        if sources:
            from bench.data.own.edition import new_edition

            edition = new_edition(edition, sources, labels=labels, data_dir=data)
        known = catalogue(data)
        card = _part(known, edition, chosen, unit=None if lines is None else "lines")
        if again:
            forget(card)
        was_there = is_prepared(card)
        start = time.perf_counter()
        log = open_prepared(card, known)
        seconds = time.perf_counter() - start
    allowed = card.tolerance if tolerance is None else tolerance
    facts = _facts(card, log, seconds, was_there=was_there)
    if as_json:
        say(json.dumps(facts, indent=1))
    else:
        _print(facts)
    if log.defective_share > allowed:
        say(
            f"error: {log.defective_share:.2%} of the lines of '{card.key}' are defective, {allowed:.2%} are allowed: "
            "correct the card, or give --tolerance",
            err=True,
        )
        raise typer.Exit(EXIT_GATE)


def _range(lines: int | None, part: str | None) -> tuple[int, int] | None:
    if lines is not None and part is not None:
        raise BenchError("--lines and --slice both choose lines: give one of them")
    if part is None:
        return None if lines is None else (0, lines)
    match = re.fullmatch("([0-9]{0,18}):([0-9]{1,18})", part)
    if match is None or int(match[1] or 0) >= int(match[2]):
        raise BenchError(f"--slice is '{part}': write two line numbers such as 0:100000, the first below the second")
    return int(match[1] or 0), int(match[2])


def _part(known: Catalogue, edition: str, chosen: tuple[int, int] | None, *, unit: str | None) -> Card:
    from bench.data.cards.catalogue import slice_of, unit_of

    card = known.resolve(edition)
    return card if chosen is None else slice_of(card, *chosen, unit or unit_of(card))


def _facts(card: Card, log: Log, seconds: float, *, was_there: bool) -> dict[str, Any]:
    from bench.data.reading.columns import size_of
    from bench.data.reading.prepared import prepared_folder

    return {
        "edition": card.key,
        "status": "already prepared" if was_there else "prepared",
        "lines": log.n_lines,
        **({"events": len(log)} if log.other_lines else {}),
        "distinct masked messages": len(log.messages),
        "sessions": len(log.session_ids),
        "defects": [
            {"kind": defect.kind, "count": defect.count, "first_line": defect.first_line} for defect in log.defects
        ],
        "notes": list(log.notes),
        "seconds": max(0.001, round(seconds, 3)),
        "bytes": size_of(prepared_folder(card)),
    }


def _print(facts: dict[str, Any]) -> None:
    from bench.data.reading.log import Defect

    rate = f", {facts['lines'] / facts['seconds']:,.0f} lines a second" if facts["status"] == "prepared" else ""
    say(
        f"{facts['edition']} is {facts['status']}: {facts['lines']:,} lines, {facts['distinct masked messages']:,} "
        f"distinct masked messages" + (f", {facts['sessions']:,} sessions" if facts["sessions"] else "")
    )
    say(f"  {facts['seconds']:.2f} s{rate}, {facts['bytes'] / 2**20:,.1f} MiB on disk")
    for row in facts["defects"]:
        say(f"  {Defect(row['kind'], row['count'], row['first_line'])}")
    for note in facts["notes"]:
        say(f"  {note}")
