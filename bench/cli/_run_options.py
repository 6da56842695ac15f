"""Options of `bench run`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli._options import complete_methods, complete_scenarios
from bench.data.sequences.protocols import HELP

Methods = Annotated[
    str | None,
    typer.Option("--methods", "-m", help="mlad,deeplog+nearest,mine.py:Mine", autocompletion=complete_methods),
]
ScenarioOption = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        "-s",
        help="bgl, bgl2tbird (train on bgl, test on tbird), bgl+tbird (combined), hdfs@simulated, "
        "all2each (every pair of --editions); commas for several.",
        autocompletion=complete_scenarios,
    ),
]
Editions = Annotated[
    str | None,
    typer.Option("--editions", help="With --scenario all2each: every ordered pair of these, e.g. bgl,tbird,spirit."),
]
Train = Annotated[str | None, typer.Option("--train", help="Data sets to train on, e.g. bgl+tbird.")]
Test = Annotated[str | None, typer.Option("--test", help="Data sets to test on, with --train.")]
Seeds = Annotated[
    str | None, typer.Option("--seeds", help="5 means seeds 0 to 4; 3,7 means those two.", show_default="5")
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help=f"{HELP}. Several with commas.", show_default="chronological"),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile", help="paper: the common budget; original: each method's own settings.", show_default="paper"
    ),
]
Threshold = Annotated[
    list[str] | None,
    typer.Option("--threshold", help="Rule to add to the records; the table is made by the first one given."),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")]
Precision = Annotated[str, typer.Option("--precision", help="float32, or bf16 where a method can; never of scores.")]
Compile = Annotated[bool, typer.Option("--compile", help="Translate networks with torch.compile where a method can.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of torch, BLAS and polars.")]
WindowSize = Annotated[
    int | None,
    typer.Option("--window-size", help="Lines per window, where a log has no sessions.", show_default="20"),
]
WindowStep = Annotated[
    int | None, typer.Option("--window-step", help="Lines between window starts; the window size if not given.")
]
SampleSize = Annotated[
    int | None,
    typer.Option("--sample", min=2, help="Score only so many test sequences, stratified; metrics weight them."),
]
Auxiliary = Annotated[
    str | None,
    typer.Option(
        "--auxiliary", help="Data sets that help methods which are told of them; never tested. Several with commas."
    ),
]
IncidentsOption = Annotated[
    str | None,
    typer.Option("--incidents", help="Known failures: a file of start,end lines, or 35s around abnormal lines."),
]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0.1, help="Seconds a single run may take.")]
Pack = Annotated[
    bool, typer.Option("--pack/--no-pack", help="Move the records from the inbox into the archive at the end.")
]
Jobs = Annotated[
    str | None,
    typer.Option(
        "--jobs",
        help="Runs at the same time, each with --threads; auto: as many as cores are free.",
        show_default="1; with --executor ray as many as the cluster has room for",
    ),
]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="Where runs go: local (processes of this machine) or ray (a Ray cluster).")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="The Ray cluster, with --executor ray: auto (the one that this machine belongs to) or host:port.",
        show_default="one of this machine alone, for this command",
    ),
]
GpusPerCell = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-cell",
        min=0,
        help="GPUs of each run with --executor ray; 0.25 lets four share one.",
        show_default="1 with --device cuda, else 0",
    ),
]
Retry = Annotated[
    str | None,
    typer.Option("--retry", help="Try runs once more that end so: error, timeout, out_of_memory; commas for several."),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Begin no further run when one has failed.")]
