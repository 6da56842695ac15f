"""`bench llm batch write|read`: questions to a chat model as a batch file, and its answers as recorded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli._options import RESULTS, AllowEndpoint, Data, Out, Set, Suite, say
from bench.cli._run_options import Methods, SampleSize, ScenarioOption, Seeds, SplitOption
from bench.cli.run import run
from bench.errors import BenchError

app = typer.Typer(help="Ask by batch files instead of calls, at half the price of many services.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="JSON lines of OpenAI's form.")]


@app.command("write")
def write(
    file: File,
    methods: Methods = None,
    scenario: ScenarioOption = None,
    suite: Suite = None,
    seeds: Seeds = None,
    settings: Set = None,
    split: SplitOption = None,
    sample: SampleSize = None,
    allow_endpoint: AllowEndpoint = False,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Write what a run would ask and has no recorded answer for; nothing is sent."""
    run(
        methods, scenario, suite=suite, seeds=seeds, settings=settings, split=split, sample=sample, dry_run=True,
        allow_endpoint=allow_endpoint, data=data, out=out, batch=file,
    )  # fmt: skip


@app.command("read")
def read(
    requests: Annotated[Path, typer.Argument(help="The file that `write` made.")],
    answers: Annotated[Path, typer.Argument(help="What the service returned for it.")],
    out: Out = RESULTS,
) -> None:
    """Keep the answers of a batch, so that `bench run --llm replay` finds them."""
    from bench.llm.batch import read_batch
    from bench.llm.config import Service

    store = Service.from_environment(out / "llm").store
    found = read_batch(requests, answers, store)
    say(
        f"{found.n_kept} answers were kept, {found.n_known} were known, {found.n_open} requests have no answer",
        err=True,
    )
    if found.n_failed:
        raise BenchError(
            f"{found.n_failed} requests failed, the first because: {found.reason}; the others are kept: write a batch "
            "again and it asks for these"
        )
