"""What `bench run` offers for methods that ask a chat model: recorded answers, a dry run, limits of calls and cost."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.experiment.runner import Settings
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
MaxCalls = Annotated[int | None, typer.Option("--max-calls", min=1, help="Calls to chat models at most.")]

_MODES: Final = ("record", "replay", "live")
_RECORDED: Final = ("tokens_in", "tokens_out", "latency_s", "cost")


@dataclass(frozen=True)
class LlmOptions:
    """The options as typed."""

    mode: str | None = None
    dry_run: bool = False
    price: str | None = None
    max_cost: float | None = None
    max_calls: int | None = None


@contextmanager
def llm_environment(options: LlmOptions, out: Path) -> Iterator[None]:
    """Tell chat detectors, also those in other processes, what was asked for; afterwards all is as before."""
    if options.mode is not None and options.mode not in _MODES:
        raise BenchError(f"--llm {options.mode} is unknown: choose one of {', '.join(_MODES)}")
    if options.max_cost is not None and not 0 < options.max_cost < float("inf"):
        raise BenchError(f"--max-cost {options.max_cost} cannot be kept: give more than 0")
    if options.max_cost and not (options.price or os.environ.get("BENCH_LLM_PRICE")):
        raise BenchError("--max-cost needs the price of the model: add --price in,out per million tokens")
    _check_price(options.price)
    from bench.reporting.published.papers import published_file

    with tempfile.TemporaryDirectory(prefix="bench-plan-") as plan:
        values = {
            "BENCH_LLM": "dry" if options.dry_run else options.mode,
            "BENCH_LLM_STORE": os.environ.get("BENCH_LLM_STORE") or str(out / "llm"),
            "BENCH_LLM_SHIPPED": str(published_file().with_name("llm")),
            "BENCH_LLM_PRICE": options.price,
            "BENCH_LLM_MAX_COST": None if options.max_cost is None else str(options.max_cost),
            "BENCH_LLM_MAX_CALLS": None if options.max_calls is None else str(options.max_calls),
            "BENCH_LLM_RUN": uuid.uuid4().hex,
            "BENCH_LLM_PLAN": plan if options.dry_run else None,
        }
        given = {name: value for name, value in values.items() if value is not None}
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


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
    """One line for each row that asked a chat model: which one answered, what it cost, whether lines were redacted."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        facts = record.get("monitor") or {}
        if "unparsable_share" in facts:
            rows.setdefault(f"{record['method']} on {record['scenario']}", []).append(facts)
    for row, runs in rows.items():
        total = {name: sum(facts[name] for facts in runs) for name in ("calls", "replayed", "tokens_in", "tokens_out")}
        asked = max(1, sum(facts["asked"] for facts in runs))
        recorded = {name: sum(facts.get(f"replayed_{name}", 0) for facts in runs) for name in _RECORDED}
        models = ", ".join(sorted({name for facts in runs for name in facts["models"]})) or "no model"
        words = [
            f"{total['calls']:,} calls and {total['replayed']:,} recorded answers",
            f"{total['tokens_in']:,} tokens in, {total['tokens_out']:,} out",
            f"{sum(facts['latency_s'] for facts in runs) / max(1, total['calls']):.2f} s per call",
            f"{sum(facts['unparsable_share'] * facts['asked'] for facts in runs) / asked:.1%} of answers unparsable",
        ]
        if all("cost" in facts for facts in runs):
            words.insert(2, f"cost {sum(facts['cost'] for facts in runs):.4f}")
        if total["replayed"]:
            cost = f", cost {recorded['cost']:.4f}" if all("cost" in facts for facts in runs) else ""
            words.append(
                f"the recorded answers took {recorded['tokens_in']:,} tokens in, {recorded['tokens_out']:,} out{cost}, "
                f"{recorded['latency_s'] / total['replayed']:.2f} s each"
            )
        if any(facts["redacted"] for facts in runs):
            words.append("addresses, users, hosts, paths and secrets were masked before lines left this machine")
        typer.echo(f"{row}, answered by {models}: {'; '.join(words)}", err=True)


def _planned(cells: list[Cell], catalogue: Catalogue, settings: Settings) -> list[dict[str, Any]]:
    """One row for each method and scenario; what an earlier row or seed asks as well is counted once."""
    from bench.data.sequences.loader import Loader
    from bench.experiment.runner import ask_all

    loader, rows = Loader(catalogue), dict[tuple[str, str, str], dict[str, Any]]()
    for cell in cells:
        fields = cell.method.description.fields
        if not {"mode", "max_calls"} <= fields.keys():
            continue
        facts = ask_all(cell, loader.prepare(cell.data), settings)
        if facts is None:
            continue
        key = (cell.method.label, cell.scenario.key, cell.split)
        names = {"recorded": "replayed", "calls": "calls", "tokens in": "tokens_in", "tokens out": "tokens_out"}
        row = rows.setdefault(key, dict(zip(("method", "scenario", "split"), key, strict=True)))
        for shown, name in {**names, **({"cost": "cost"} if "cost" in facts else {})}.items():
            row[shown] = row.get(shown, 0) + facts[name]
    return list(rows.values())


def _check_price(price: str | None) -> None:
    try:
        parts = [float(part) for part in (price or "0,0").split(",")]
    except ValueError:
        parts = []
    if len(parts) != 2 or not all(0 <= part < float("inf") for part in parts):
        raise BenchError(f"--price {price} cannot be read: write in,out per million tokens, e.g. 0.5,1.5")
