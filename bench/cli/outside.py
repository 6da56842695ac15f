"""`bench data export`, `bench results import`: sequences for a program in any language, and its scores back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli._options import RESULTS, AsJson, Data, Out, complete_scenarios, say
from bench.cli._run_options import Threshold
from bench.data.sequences.protocols import HELP
from bench.errors import BenchError
from bench.experiment.settings import MAX_SEED

Folder = Annotated[Path, typer.Option("--out", help="Folder of the export; a new one, or that of an earlier export.")]
Told = Annotated[
    str,
    typer.Option(
        "--told", help="What the method is told: source=labels,target=few:0.1, or nothing. Grades as of tags."
    ),
]


def export(
    scenario: Annotated[
        str, typer.Argument(help="bgl, bgl2tbird, bgl+tbird, hdfs@simulated", autocompletion=complete_scenarios)
    ],
    out: Folder,
    split: Annotated[str, typer.Option("--split", help=HELP)] = "chronological",
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Where it draws the data.")] = 0,
    told: Told = "source=normals",
    formats: Annotated[str, typer.Option("--format", help="parquet,jsonl, or one of them.")] = "parquet,jsonl",
    raw: Annotated[
        bool, typer.Option("--raw", help="The lines as they were written too, without their label.")
    ] = False,
    window_size: Annotated[int, typer.Option("--window-size", help="Lines per window, without sessions.")] = 20,
    window_step: Annotated[int | None, typer.Option("--window-step", help="Lines between window starts.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write the sequences of all parts, for a method in another language: parquet, JSON lines, a manifest.

    Labels are those of training that --told names, and no others.
    """
    from bench.api.asked import listed
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.grouping import Grouping
    from bench.exchange.export import export as write
    from bench.exchange.outsider import parse_told

    with Steps():
        made = write(
            scenario,
            out,
            catalogue(data),
            split=split,
            grouping=Grouping(window_size, window_size if window_step is None else window_step),
            seed=seed,
            told=parse_told(told),
            formats=listed(formats, "--format", "parquet,jsonl"),
            raw=raw,
        )
    if as_json:
        say(json.dumps(made, indent=1))
        return
    for name, part in made["parts"].items():
        say(f"{name}: {part['sequences']:,} sequences, {part['events']:,} events")
    wanted = " and ".join(made["to_score"])
    say(f"written to {out}; score each sequence of {wanted} (higher is more abnormal) as lines of id,score, then")
    say(f"bench results import NAME scores.csv --export {out}")


def import_(
    name: Annotated[str, typer.Argument(help="Of the row.")],
    file: Annotated[Path, typer.Argument(help="CSV of sequence id and score; higher is more abnormal.")],
    folder: Annotated[
        Path | None, typer.Option("--export", help="Folder of the export; that of FILE if not given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=MAX_SEED, help="Of the training, where not that of the export.")
    ] = None,
    native: Annotated[float | None, typer.Option("--native", help="The method's own threshold.")] = None,
    threshold: Threshold = None,
    certifies: Annotated[
        str | None, typer.Option("--certifies", help="The row here that the code is for, e.g. deeplog.")
    ] = None,
    code: Annotated[str, typer.Option("--code", help="With --certifies: which code it is, with its version.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Put it over other scores of that name and seed.")] = False,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Make a record of scores from elsewhere: a row of the division `scores only` in the tables of that split."""
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.exchange.scores import import_scores
    from bench.experiment.settings import read_rule
    from bench.records.store import Store
    from bench.reporting.tables.table import table_key

    rules = [read_rule(text) for text in threshold or ()]
    if code and certifies is None:
        raise BenchError(f"--code '{code}' says nothing without --certifies: name the method that the code is for")
    store = Store(out)
    with Steps():
        found = import_scores(
            name,
            file,
            file.parent if folder is None else folder,
            catalogue(data),
            store,
            seed=seed,
            native=native,
            rules=rules,
            replace=replace,
            certifies=None if certifies is None else {"method": certifies, "code": code.strip()},
        )
    if found.n_unused:
        say(f"{found.n_unused} scores of training sequences are not needed", err=True)
    key = table_key(found.record)
    what = "record" if found.is_new else "these scores were imported before: record"
    say(f"{what} {found.record['run_id']}: {name} on {key.scenario}, {key.split}, seed {found.record['spec']['seed']}")
    say(f"bench table --scenario {key.scenario} shows it beside what ran here", err=True)
