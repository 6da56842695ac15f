"""`bench data new`: a card for a log of one's own."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.cli._options import AsJson, Data, say, two_names
from bench.data.cards.clocks import has_zone

if TYPE_CHECKING:
    from bench.data.own.card import NewCard, ShownLine
    from bench.data.own.guess import Guess


_LABELS = {
    "first-token": "first token, normal is '{normal}'",
    "label-file": "a table of sessions, normal is '{normal}'",
    "session-list": "a list of the abnormal sessions",
    "incidents": "lines within an incident are abnormal",
    "none": "none found",
}
_WAYS = {
    "--label first-token": "each line begins with its label",
    "--labels FILE --session REGEX": "a table, or a list of abnormal sessions",
    "--incidents FILE": "ranges of time: a start,end on each line",
}


def new(
    name: Annotated[str, typer.Argument(help="What the data set shall be called.")],
    log: Annotated[Path, typer.Argument(help="A log file: plain, gz, bz2, xz, zst or zip.")],
    data: Data = None,
    label: Annotated[
        Literal["first-token", "none"] | None,
        typer.Option("--label", help="Where the label of a line stands; guessed if not given."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="CSV with a row for each session, or a list of the abnormal ones."),
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="REGEX", help="The session id inside a message.")
    ] = None,
    incidents: Annotated[
        Path | None, typer.Option("--incidents", help="Time ranges of failures: a start,end on each line, in UTC.")
    ] = None,
    normal: Annotated[str | None, typer.Option("--normal", help="The label that means normal.")] = None,
    year: Annotated[int | None, typer.Option("--year", help="Of the first line, where times have none.")] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", help="Where clocks stood that name no zone: Europe/Berlin, +05:30.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="A,B", help="Columns of --labels (session,label) or --incidents (start,end), by name."
        ),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files from elsewhere below the data folder instead of linking them.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace cards, and with --copy a copied log, of before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Guess the format of a log, write a card for it, and show how ten lines are read.

    Where NAME exists, the log becomes a further edition of it, read by its format.
    """
    from bench.data.own.card import new_card, ways_to_label
    from bench.data.own.format import Given

    given = Given(label, labels, incidents, session, normal, year, zone, two_names(columns))
    made = new_card(name, log, data_dir=data, given=given, copy=copy, force=force)
    ways, warnings = ways_to_label(made), _warnings(made)
    if as_json:
        say(json.dumps({**_facts(made, ways), "warnings": warnings}, indent=1))
        return
    _print_guess(made)
    for warning in warnings:
        say(f"warning: {warning}")
    _print_lines(made.shown)
    _print_ways(made)
    is_best = len(made.written) > 1
    say(f"\nNext: bench data info {name if is_best else made.key}{_data_option(made)}")
    if not made.is_told:
        say(f"or once: export BENCH_DATA={shlex.quote(str(made.data_dir))}")


def _print_ways(made: NewCard) -> None:
    """How labels are given, where none was found; without any there is an answer too."""
    if made.guess.form.label != "none":
        return
    log = shlex.quote(str(made.data_dir / made.log))
    say(f"\nNo labels? bench score {log} --fit new-event,ecvc")
    say(f"Labels: bench data new {made.key.partition('@')[0]} {log} --force{_data_option(made)} and one of these")
    for option, what in _WAYS.items():
        say(f"  {option.ljust(31)}  {what}")
    say("What each writes into a card: datasets/README.md, or --json.")


def _warnings(made: NewCard) -> list[str]:
    """What is odd about the templates of the first lines."""
    from bench.data.cards.catalogue import catalogue
    from bench.data.own.heads import head
    from bench.data.sequences.variety import warnings_of_lines

    card = catalogue(made.data_dir).resolve(made.key)
    return warnings_of_lines(head(made.data_dir / made.log)[0], card)


def _print_guess(made: NewCard) -> None:
    found = made.guess
    label = _LABELS[found.form.label].format(normal=found.form.normal)
    session = found.form.session or (f"perhaps {found.session} (a commented line of the card)" if found.session else "")
    facts = {
        "data set": made.key,
        "file": f"{made.log}, {made.n_lines:,} lines",
        "format": _format(found),
        "times": _times(found),
        "label": label,
        "session id": session or "none found",
        "cards": ", ".join(map(str, made.written)),
    }
    for fact, value in facts.items():
        say(f"{fact.ljust(10)}  {value}")
    for note in found.notes:
        say(f"note: {note}")


def _format(found: Guess) -> str:
    from bench.data.own.layouts import UNKNOWN

    if found.name == UNKNOWN:
        return "unknown: no format that is known here fits, so each line is a message; `header` in the card says else"
    return f"{found.name}: {found.matched:.1%} of the first {found.n_lines:,} lines match"


def _times(found: Guess) -> str:
    """How many are read, and in which zone."""
    form = found.form
    if not form.time:
        return "none read"
    where = (
        ""
        if has_zone(form.time)
        else f", in {form.zone}"
        if form.zone
        else ", in UTC, as they name no zone; else --zone"
    )
    return f"{found.timed:.1%} read{where}"


def _print_lines(lines: tuple[ShownLine, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    columns = [c for c in ("number", "time", "label", "message") if any(getattr(line, c) for line in lines)]
    room = console.width - 2
    for column in columns:
        width = max(len(column), *(len(str(getattr(line, column))) for line in lines))
        # Rich would take the room for long messages from the columns before them.
        width = width if column != "message" else max(20, min(width, room - 3))
        room -= width + 3
        table.add_column("line" if column == "number" else column, no_wrap=True, overflow="ellipsis", width=width)
    for line in lines:
        # Text, because a message such as [error] is no markup, and a log may hold control characters.
        table.add_row(*(Text(_printable(str(getattr(line, column))[:300])) for column in columns))
    console.print(table)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _data_option(made: NewCard) -> str:
    return "" if made.is_told else f" --data {shlex.quote(str(made.data_dir))}"


def _facts(made: NewCard, ways: dict[str, str]) -> dict[str, Any]:
    found = made.guess
    return {
        "edition": made.key,
        "data": str(made.data_dir),
        "log": made.log,
        "lines": made.n_lines,
        "format": found.name,
        "lines looked at": found.n_lines,
        "matched": round(found.matched, 6),
        "timed": round(found.timed, 6),
        "label": found.form.label,
        "normal": found.form.normal,
        "header": found.form.header,
        "time": found.form.time,
        "zone": found.form.zone,
        "session": found.session,
        "masks": [mask for mask, _ in found.masks],
        "notes": list(found.notes),
        "cards": [str(path) for path in made.written],
        "read": [dataclasses.asdict(line) for line in made.shown],
        "ways to label": ways,
    }
