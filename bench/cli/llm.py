"""What `bench run` offers for methods that ask a chat model: recorded answers, a dry run, limits of calls and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.api.chat import LlmOptions
from bench.api.chat import llm_service as ask_so

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.experiment.cell import Settings
    from bench.experiment.spec import Cell

Llm = Annotated[
    str | None,
    typer.Option("--llm", help="Chat models: record (ask what is not recorded), replay (never ask), live (ask all)."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Count the calls to chat models and their tokens; send and record nothing.")
]
Price = Annotated[str | None, typer.Option("--price", help="Of a chat model per million tokens: in,out, e.g. 0.5,1.5.")]
MaxCost = Annotated[float | None, typer.Option("--max-cost", help="What all calls may cost by --price.")]
Batch = Annotated[Path | None, typer.Option("--batch", hidden=True, help="As `bench llm batch write`.")]
MaxCalls = Annotated[int | None, typer.Option("--max-calls", min=1, help="Calls to chat models at most.")]


@contextmanager
def llm_service(options: LlmOptions, out: Path) -> Iterator[None]:
    """As `bench.api.chat.llm_service`; with --batch, what a dry run would ask is written at the end."""
    with ask_so(options, out) as plan:
        yield
        if options.batch is not None:
            _write_batch(plan, options.batch)


def _write_batch(plan: Path, file: Path) -> None:
    from bench.llm.batch import write_batch

    n = write_batch(plan, file)
    again = "; what follows from their answers is written by the same command once they are read"
    typer.echo(f"{n:,} requests are in '{file}'{again if n else ''}", err=True)


def show_calls(cells: list[Cell], catalogue: Catalogue, settings: Settings, *, as_json: bool) -> None:
    """Print calls, tokens and price of every row that asks a chat model; nothing is sent and no record written."""
    import json

    from tabulate import tabulate

    rows = _planned(cells, catalogue, settings)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        typer.echo("no method of this run asks a chat model")
        return
    typer.echo(tabulate(rows, headers="keys", tablefmt="github", intfmt=",", floatfmt=".4f"))
    total = {name: sum(row[name] for row in rows) for name in ("calls", "tokens in", "tokens out")}
    cost = f", cost at most {sum(row['cost'] for row in rows):.4f}" if all("cost" in row for row in rows) else ""
    typer.echo(
        f"nothing was sent: {total['calls']:,} calls, about {total['tokens in']:,} tokens in and at most "
        f"{total['tokens out']:,} out{cost} (tokens in are estimated without the model's own tokeniser; answers are "
        "counted at their greatest length)"
    )


def tell_calls(records: Sequence[Mapping[str, Any]]) -> None:
    """One line for each row that asked a chat model, on stderr."""
    from bench.reporting.tables.answers import answer_lines

    for line in answer_lines(records):
        typer.echo(line, err=True)


def _planned(cells: list[Cell], catalogue: Catalogue, settings: Settings) -> list[dict[str, Any]]:
    """One row for each method and scenario; what an earlier row or seed asks as well is counted once."""
    from bench.data.sequences.loader import Loader
    from bench.experiment.cell import ask_all

    loader, rows = Loader(catalogue), dict[tuple[str, str, str], dict[str, Any]]()
    for cell in cells:
        if not cell.method.asks_a_model:
            continue
        facts = ask_all(cell, loader.prepare(cell.data), settings)
        if facts is None:
            continue
        key = (cell.method.label, cell.scenario.key, cell.split)
        names = {"recorded": "replayed", "calls": "calls", "tokens in": "tokens_in", "tokens out": "tokens_out"}
        row = rows.setdefault(key, dict(zip(("method", "scenario", "split"), key, strict=True)))
        for shown, name in {**names, **({"cost": "cost"} if "cost" in facts else {})}.items():
            row[shown] = row.get(shown, 0) + facts.get(name, 0)
    return list(rows.values())
