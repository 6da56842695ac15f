"""What `bench run` offers for methods that ask a chat model: recorded answers, a dry run, limits of calls and cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bench.errors import BenchError

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

_MODES: Final = ("record", "replay", "live")


@dataclass(frozen=True)
class LlmOptions:
    """The options as typed."""

    mode: str | None = None
    dry_run: bool = False
    price: str | None = None
    max_cost: float | None = None
    max_calls: int | None = None
    batch: Path | None = None
    """Where a dry run writes what it would ask."""


@contextmanager
def llm_service(options: LlmOptions, out: Path) -> Iterator[None]:
    """Let the chat detectors of a command ask as its options say; what they do not say, the environment does."""
    from bench.llm.config import Service, read_price, use_service
    from bench.reporting.published.papers import published_file

    if options.mode is not None and options.mode not in _MODES:
        raise BenchError(f"--llm {options.mode} is unknown: choose one of {', '.join(_MODES)}")
    given = Service.from_environment(out / "llm")
    if options.max_cost is not None and not 0 < options.max_cost < float("inf"):
        raise BenchError(f"--max-cost {options.max_cost} cannot be kept: give more than 0")
    if options.max_cost and not (options.price or given.price):
        raise BenchError("--max-cost needs the price of the model: add --price in,out per million tokens")
    read_price(options.price or "")
    with tempfile.TemporaryDirectory(prefix="bench-llm-") as folder:
        service = Service(
            mode="dry" if options.dry_run else options.mode or given.mode,
            store=given.store,
            shipped=published_file().with_name("llm"),
            price=options.price or given.price,
            max_calls=options.max_calls or given.max_calls,
            max_cost=options.max_cost or given.max_cost,
            spent=Path(folder) / "spent.json",
            plan=Path(folder) / "plan" if options.dry_run else None,
        )
        with use_service(service):
            yield
        if options.batch is not None:
            _write_batch(Path(folder) / "plan", options.batch)


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
