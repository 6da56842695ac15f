"""`bench errors`: what a stored record got wrong, and the log lines behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bench.cli._options import RESULTS, AsJson, Data, Out, Protocol, complete_methods, say
from bench.cli._wrapping import WIDTH

if TYPE_CHECKING:
    from polars import DataFrame

    from bench.data.cards.catalogue import Catalogue
    from bench.records.record import Scores
    from bench.reporting.tables.choose import Chosen


class Files(NamedTuple):
    """What to write, where it was asked for."""

    predictions: Path | None
    split: Path | None


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("errors")(errors)


def errors(
    method: Annotated[
        str, typer.Argument(help="A row of the tables, as they name it.", autocompletion=complete_methods)
    ],
    scenario: Annotated[
        str, typer.Option("--scenario", "-s", help="As the tables name it, with or without the editions.")
    ],
    split: Annotated[str | None, typer.Option("--split", help="Its split; chronological if not given.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of which run; the first finished if not given.")] = None,
    threshold: Annotated[str, typer.Option("--threshold", help="Threshold rule.")] = "conformal:0.01",
    top: Annotated[int, typer.Option("--top", help="Sequences to show of each kind.")] = 5,
    lines: Annotated[int, typer.Option("--lines", help="Log lines to show of each, the rarest; 0 needs no data.")] = 3,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Write the score and verdicts of each sequence: FILE.parquet.")
    ] = None,
    write_split: Annotated[
        Path | None, typer.Option("--write-split", help="Write which part each sequence is in: FILE.parquet.")
    ] = None,
    protocol: Protocol = None,
    data: Data = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Show what a method got wrong: false positives and negatives by score, with time and log lines."""
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.settings import read_rule
    from bench.records.store import Store
    from bench.reporting.errors.find import Depth, errors_of
    from bench.reporting.errors.predictions import require_parquet, write_frame
    from bench.reporting.errors.text import render_errors
    from bench.reporting.tables.choose import Asked, choose_record, scores_of_record

    depth, rule = Depth(top, lines), str(read_rule(threshold))
    files = Files(predictions, write_split)
    for path in filter(None, files):
        require_parquet(path)
    store, known = Store(out), catalogue(data)
    chosen = choose_record(store, Asked(method, scenario, split, seed, protocol))
    scores = scores_of_record(chosen.record, store)
    with Steps():
        found = errors_of(chosen, scores, known, rule=rule, depth=depth)
        frames = _frames(chosen, scores, known, rule, files)
    for frame, path in frames:
        say(f"written: {path} ({write_frame(frame, path):,} sequences)", err=True)
    say(json.dumps(found.as_json(), indent=1) if as_json else render_errors(found, WIDTH))


def _frames(chosen: Chosen, scores: Scores, known: Catalogue, rule: str, files: Files) -> list[tuple[DataFrame, Path]]:
    """What was asked for as files; all of it is made before any is written."""
    from bench.experiment.behind import split_frame
    from bench.reporting.errors.predictions import predictions

    found = []
    if files.predictions is not None:
        found.append((predictions(chosen.record, scores, also=[rule]), files.predictions))
    if files.split is not None:
        found.append((split_frame(chosen.record, known), files.split))
    return found
