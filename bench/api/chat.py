"""How the chat detectors of a run ask: by its options, and where these say nothing, by the environment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchError, choose_one

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
def llm_service(options: LlmOptions, out: Path) -> Iterator[Path]:
    """Let the chat detectors of a command ask as its options say; gives the folder of what a dry run would ask."""
    from bench.llm.config import Service, read_price, use_service
    from bench.reporting.published.papers import published_file

    if options.mode is not None and options.mode not in _MODES:
        raise BenchError(f"--llm {options.mode} is unknown: {choose_one(str(options.mode), _MODES)}")
    given = Service.from_environment(out / "llm")
    if options.max_cost is not None and not 0 < options.max_cost < float("inf"):
        raise BenchError(f"--max-cost {options.max_cost} cannot be kept: give more than 0")
    if options.max_cost and not (options.price or given.price):
        raise BenchError("--max-cost needs the price of the model: add --price in,out per million tokens")
    read_price(options.price or "")
    with tempfile.TemporaryDirectory(prefix="bench-llm-") as folder:
        plan = Path(folder) / "plan"
        service = Service(
            mode="dry" if options.dry_run else options.mode or given.mode,
            store=given.store,
            shipped=published_file().with_name("llm"),
            price=options.price or given.price,
            max_calls=options.max_calls or given.max_calls,
            max_cost=options.max_cost or given.max_cost,
            spent=Path(folder) / "spent.json",
            plan=plan if options.dry_run else None,
        )
        with use_service(service):
            yield plan
