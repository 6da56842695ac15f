"""`bench fit` and `bench score`: from a scenario to a saved detector, and from that to scores of new lines."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli._options import AsJson, Data, Set, complete_methods, complete_scenarios
from bench.data.sequences.protocols import HELP
from bench.errors import BenchError, harmless
from bench.experiment.settings import MAX_SEED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.deploy.saved import Fitted
    from bench.deploy.score import Explained, ScoredSequence, StrongEvent

_SHOWN_TEXT = 100


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("fit")(fit)
    app.command("score")(score)


def fit(
    method: Annotated[str, typer.Argument(help="A method of `bench list methods`.", autocompletion=complete_methods)],
    scenario: Annotated[
        str,
        typer.Option("--scenario", "-s", help="What to fit on: bgl, or bgl+tbird.", autocompletion=complete_scenarios),
    ],
    save: Annotated[Path, typer.Option("--save", help="Folder of the saved detector.")],
    settings: Set = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED)] = 0,
    split: Annotated[str, typer.Option("--split", help=HELP)] = "chronological",
    threshold: Annotated[str, typer.Option("--threshold", help="Rule of the threshold.")] = "conformal:0.01",
    window_size: Annotated[int, typer.Option("--window-size", help="Lines per window, without sessions.")] = 20,
    window_step: Annotated[int | None, typer.Option("--window-step", help="Lines between window starts.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of torch, BLAS and polars.")] = 1,
    data: Data = None,
) -> None:
    """Fit one method on a data set's training part and save it, to score new lines with `bench score`."""
    from bench._files import anchored, cache_dir
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.grouping import Grouping
    from bench.deploy import saved as artifact
    from bench.experiment.cell import Settings
    from bench.experiment.scenario import parse_scenario
    from bench.experiment.settings import read_rule
    from bench.experiment.spec import plan, resolve_one

    folder, known = anchored(save), catalogue(data)
    parsed = parse_scenario(scenario, known)
    if parsed.is_transfer:
        raise BenchError(f"'{scenario}' is a transfer: name what to fit on, such as {scenario.partition('2')[0]}")
    resolved = resolve_one(method, settings or [], cache_dir())
    grouping = Grouping(window_size, window_size if window_step is None else window_step)
    (cell,) = plan([parsed], [resolved], splits=[split], seeds=[seed], grouping=grouping)
    with Steps():
        fitted = artifact.fit(cell, known, Settings(device=device, threads=threads), read_rule(threshold))
        artifact.save(fitted, folder)
    typer.echo(f"{cell.method.label} fitted on {parsed.key} ({split}, seed {seed}): saved in {save}")
    typer.echo(f"  {fitted.rule} from {fitted.threshold.n} {fitted.threshold.fitted_on}: {fitted.threshold.value:.6g}")


def score(
    model: Annotated[Path, typer.Argument(help="Folder that `bench fit --save` wrote.")],
    log: Annotated[Path, typer.Argument(help="A log file, plain or packed, or - for standard input.")],
    system: Annotated[str | None, typer.Option("--system", help="Whose lines these are, of several.")] = None,
    explain: Annotated[int, typer.Option("--explain", min=0, help="Show so many of the events that weigh most.")] = 0,
    flagged: Annotated[bool, typer.Option("--flagged", help="Show flagged sequences only.")] = False,
    method: Annotated[
        str | None,
        typer.Option("--method", help="path.py:Class of a detector fitted from a local file; its code is run."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.KEY=VALUE", help="What is no part of what was fitted: an endpoint."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Score the lines of a log with a saved detector: one row for each session or window."""
    from bench._files import anchored
    from bench.deploy.saved import load
    from bench.deploy.score import Explained

    if str(log) != "-" and not log.is_file():
        raise BenchError(f"the log '{log}' does not exist or is no file: give a log file, or - for standard input")
    log = log if str(log) == "-" else anchored(log)
    fitted = load(model, device=device, method=method, settings=settings or ())
    n_rows = n_flagged = 0
    for row in _rows(fitted, log, system, Explained(explain, flagged)):
        n_rows, n_flagged = n_rows + 1, n_flagged + row.flagged
        if row.flagged or not flagged:
            _print(row, as_json=as_json)
    typer.echo(f"{n_rows:,} sequences, {n_flagged:,} flagged (score > {fitted.threshold.value:.6g})", err=True)


def _rows(fitted: Fitted, log: Path, system: str | None, explained: Explained) -> Iterator[ScoredSequence]:
    from bench.deploy.score import score_file, score_stream

    if str(log) == "-":
        return score_stream(fitted, sys.stdin.buffer, system=system, explained=explained)
    return score_file(fitted, log, system=system, explained=explained)


def _print(row: ScoredSequence, *, as_json: bool) -> None:
    if as_json:
        values = dataclasses.asdict(row)
        values["events"] = [event._asdict() for event in row.events]
        typer.echo(json.dumps(values))
    else:
        mark = "flagged" if row.flagged else "-"
        typer.echo(f"{row.first_line}-{row.last_line}\t{harmless(row.id)}\t{row.score:.6g}\t{mark}")
        for event in row.events:
            typer.echo(f"    line {event.line}\t{_weight(event)}\t{harmless(event.text[:_SHOWN_TEXT])}")
    # A reader of a pipe sees a window as soon as it is scored.
    sys.stdout.flush()


def _weight(event: StrongEvent) -> str:
    copies = f" x{event.n_lines}" if event.n_lines > 1 else ""
    attention = "" if event.attention is None else f"\tattention {event.attention:.3f}"
    return f"{event.weight:.4g}{copies}{attention}"
