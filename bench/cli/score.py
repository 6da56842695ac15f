"""`bench score`: new lines by a saved detector, or a log by detectors fitted on its earlier part."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli._options import AsJson, complete_methods, two_names
from bench.errors import BenchError, harmless
from bench.experiment.settings import MAX_SEED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.deploy.saved import Fitted
    from bench.deploy.score import Asked, ScoredSequence, StrongEvent
    from bench.deploy.tally import Tally

_SHOWN_TEXT = 100
_STDIN = Path("-")

Fit = Annotated[
    str | None,
    typer.Option(
        "--fit",
        metavar="METHOD[,METHOD]",
        help="Without a saved detector: fit these on the earlier part of LOG, and tell of the rest on one page.",
        autocompletion=complete_methods,
    ),
]
Before = Annotated[
    str | None, typer.Option("--before", metavar="TIME", help="With --fit: where the later part begins; else at 60 %.")
]
Window = Annotated[
    str | None, typer.Option("--window", help="With --fit: windows of so many lines (20), or of time (5m).")
]
Session = Annotated[str | None, typer.Option("--session", metavar="REGEX", help="With --fit: the session id.")]
Label = Annotated[
    Literal["first-token", "none"] | None, typer.Option("--label", help="With --fit: where a line's label stands.")
]
Labels = Annotated[Path | None, typer.Option("--labels", help="With --fit: CSV or list of sessions, to judge alerts.")]
Incidents = Annotated[
    Path | None, typer.Option("--incidents", help="With --fit: a start,end of a failure on each line, to judge alerts.")
]
Normal = Annotated[str | None, typer.Option("--normal", help="With --fit: the label that means normal.")]
Year = Annotated[int | None, typer.Option("--year", help="With --fit: of the first line, where times have none.")]
Zone = Annotated[str | None, typer.Option("--zone", help="With --fit: where clocks stood that name no zone.")]
Names = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B", help="With --fit: columns of --labels or --incidents, by name."),
]
Save = Annotated[Path | None, typer.Option("--save", help="With --fit of one method: keep it, to score new lines.")]


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("score")(score)


def score(
    model: Annotated[Path, typer.Argument(help="Folder that --save wrote; with --fit the log.", metavar="MODEL|LOG")],
    log: Annotated[
        Path | None, typer.Argument(help="A log file, plain or packed, or - for standard input; none with --fit.")
    ] = None,
    fit: Fit = None,
    before: Before = None,
    window: Window = None,
    session: Session = None,
    label: Label = None,
    labels: Labels = None,
    incidents: Incidents = None,
    normal: Normal = None,
    year: Year = None,
    zone: Zone = None,
    columns: Names = None,
    save: Save = None,
    system: Annotated[str | None, typer.Option("--system", help="Whose lines these are, of several.")] = None,
    explain: Annotated[int, typer.Option("--explain", min=0, help="Show so many of the events that weigh most.")] = 0,
    flagged: Annotated[bool, typer.Option("--flagged", help="Show flagged sequences only.")] = False,
    flush: Annotated[
        str | None,
        typer.Option("--flush", metavar="60s", help="Score lines that waited so long for a full window, and the last."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="path.py:Class of a detector fitted from a local file; its code is run."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.KEY=VALUE", help="With --fit any setting, else only an endpoint's."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="With --fit.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Score the lines of a log with a saved detector: one row for each session or window.

    With --fit there is no saved detector and no label is needed: detectors are fitted on the earlier part of the log,
    and one page tells how loud they would be in the rest, what surprises them most, and how far they agree.
    """
    if fit is not None:
        from bench.cli._triage import Options, print_page
        from bench.data.own.format import Given

        of_model = {"a second log": log, "--system": system, "--flush": flush, "--method": method}
        _refuse(of_model, "--fit goes without {}: write `bench score LOG --fit METHOD`")
        known = Given(label, labels, incidents, session, normal, year, zone, two_names(columns))
        told = Options(fit, before, window, known, save, settings or [], seed, device)
        print_page(model, told, as_json=as_json)
        return
    of_fit = {"--before": before, "--window": window, "--save": save, "--labels": labels}
    of_fit |= {"--columns": columns, "--zone": zone}
    _refuse(of_fit, "{} belongs to --fit: a saved detector reads lines as it was fitted on them")
    if log is None:
        raise BenchError(
            f"what is to be scored? write `bench score {model} LOG` for a saved detector, or "
            f"`bench score {model} --fit new-event,ecvc` where {model} is the log"
        )
    _score_new(model, log, system, explain, flagged, flush, method, settings or (), device, as_json=as_json)


def _refuse(options: Mapping[str, object], sentence: str) -> None:
    """A BenchError for the first option that is given; sentence: with {} for its name."""
    for option, given in options.items():
        if given is not None:
            raise BenchError(sentence.format(option))


def _score_new(
    model: Path,
    log: Path,
    system: str | None,
    explain: int,
    flagged: bool,
    flush: str | None,
    method: str | None,
    settings: list[str] | tuple[str, ...],
    device: str,
    *,
    as_json: bool,
) -> None:
    from bench._files import anchored
    from bench.deploy.saved import load
    from bench.deploy.score import Asked, Explained
    from bench.deploy.tally import Tally
    from bench.deploy.windows import parse_span

    if log != _STDIN and not log.is_file():
        raise BenchError(f"the log '{log}' does not exist or is no file: give a log file, or - for standard input")
    log = log if log == _STDIN else anchored(log)
    fitted = load(model, device=device, method=method, settings=settings)
    waits = None if flush is None else parse_span(flush, "--flush", "60s")
    tally = Tally()
    for row in _rows(fitted, log, Asked(system, Explained(explain, flagged), waits), tally):
        if row.flagged or not flagged:
            _print(row, as_json=as_json)
    _print_tally(tally, fitted)


def _rows(fitted: Fitted, log: Path, asked: Asked, tally: Tally) -> Iterator[ScoredSequence]:
    from bench.deploy.score import score_file, score_stream

    if log == _STDIN:
        return score_stream(fitted, sys.stdin.buffer, asked, tally)
    return score_file(fitted, log, asked, tally)


def _print(row: ScoredSequence, *, as_json: bool) -> None:
    if as_json:
        values = dataclasses.asdict(row)
        values["events"] = [event._asdict() for event in row.events]
        typer.echo(json.dumps(values))
    else:
        mark = "flagged" if row.flagged else "-"
        typer.echo(f"{row.first_line}-{row.last_line}\t{harmless(row.id)}\t{row.score:.6g}\t{mark}")
        if row.alert is not None:
            where = " ".join(filter(None, (row.alert.time, harmless(row.alert.host)))) or f"line {row.alert.number}"
            typer.echo(_fitting(f"    {where} | {harmless(row.alert.raw)}"))
        for event in row.events:
            typer.echo(f"    line {event.line}\t{_weight(event)}\t{harmless(event.text[:_SHOWN_TEXT])}")
    # A reader of a pipe sees a window as soon as it is scored.
    sys.stdout.flush()


def _fitting(text: str) -> str:
    """On a terminal a line of it; elsewhere all."""
    width = shutil.get_terminal_size().columns
    return text if not sys.stdout.isatty() or len(text) <= width else f"{text[: width - 1]}\N{HORIZONTAL ELLIPSIS}"


def _print_tally(tally: Tally, fitted: Fitted) -> None:
    value = fitted.threshold.value
    typer.echo(f"{tally.n_sequences:,} sequences, {tally.n_flagged:,} flagged (score > {value:.6g})", err=True)
    if tally.n_events:
        typer.echo(f"{tally.n_unknown / tally.n_events:.1%} of the lines match no template of the model", err=True)
    if tally.n_unscored:
        typer.echo(
            f"{tally.n_unscored:,} of {tally.n_lines:,} lines are not scored: they fill no window of {fitted.windows} "
            "(--flush 60s scores the last ones too), or name no session",
            err=True,
        )
    for warning in tally.warnings():
        typer.echo(f"warning: {warning}", err=True)


def _weight(event: StrongEvent) -> str:
    copies = f" x{event.n_lines}" if event.n_lines > 1 else ""
    attention = "" if event.attention is None else f"\tattention {event.attention:.3f}"
    return f"{event.weight:.4g}{copies}{attention}"
