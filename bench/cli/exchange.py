"""`bench llm pack|verify`: recorded answers to give away, and whether a folder of them can be replayed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Out, say

if TYPE_CHECKING:
    from bench.llm.exchange import Packed

Folder = Annotated[Path, typer.Argument(help="The folder of packed answers.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("pack")(pack)
    app.command("verify")(verify)


def pack(
    folder: Folder,
    model: Annotated[list[str] | None, typer.Option("--model", help="Of this model only; may be repeated.")] = None,
    store: Annotated[
        Path | None, typer.Option("--from", help="Recorded answers.", show_default="BENCH_LLM_STORE, else OUT/llm")
    ] = None,
    out: Out = RESULTS,
) -> None:
    """Write recorded answers into a new folder that others replay with BENCH_LLM_STORE; it holds what was sent."""
    from bench.llm import exchange
    from bench.llm.config import Service

    files = exchange.pack(store or Service.from_environment(out / "llm").store, folder, model or ())
    _tell(files)
    plain = sum(packed.answers - packed.redacted for packed in files)
    say(f"written: {folder}; {plain} prompts hold log lines as they are, unmasked", err=True)


def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Whether each answer of a packed folder is to the request beside it; ends with 1 where one is not."""
    from bench.llm import exchange

    files, faults = exchange.verify(folder)
    if as_json:
        say(json.dumps({"files": [packed._asdict() for packed in files], "faults": faults}, indent=1))
    else:
        _tell(files)
        say("\n".join(faults) or f"all is as it was packed: replay it with BENCH_LLM_STORE={folder} and --llm replay")
    if faults:
        raise typer.Exit(EXIT_GATE)


def _tell(files: Sequence[Packed]) -> None:
    for packed in files:
        reported = ", ".join(packed.reported) or "nothing"
        say(f"{packed.file}: {packed.answers:,} answers of {packed.model}, which the server called {reported}")
