"""`bench data simulate`."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from bench.cli._options import AsJson, Data, new_folder, say
from bench.errors import BenchError
from bench.experiment.settings import MAX_SEED

if TYPE_CHECKING:
    from bench.data.cards.card import Card
    from bench.data.simulation.edition import Made

_REFRESH_S = 0.1


def simulate(
    name: Annotated[str, typer.Argument(help="A system with a grammar: bgl, hdfs or tbird.")],
    lines: Annotated[
        int | None, typer.Option("--lines", min=1, help="How many; the card's number if not given.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Another seed, another log.")] = 0,
    kinds: Annotated[
        str | None, typer.Option("--kinds", help="Only these kinds of anomaly, by comma; none: ''.")
    ] = None,
    without: Annotated[str | None, typer.Option("--without", help="All kinds of anomaly but these, by comma.")] = None,
    edition: Annotated[
        str | None, typer.Option("--edition", help="Name of the edition; sim-<lines>-s<seed> if not given.")
    ] = None,
    data: Data = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an edition of before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a simulated log of any length with its labels, ground truth and card in the data folder."""
    from bench.data.cards.catalogue import catalogue
    from bench.data.simulation.edition import simulated_card, write_edition

    with new_folder(data), _Bar() as bar:
        known = catalogue(data)
        card = simulated_card(known, name)
        chosen = _chosen(card, kinds, without)
        made = write_edition(
            card, known, seed=seed, n_lines=lines, kinds=chosen, edition=edition, force=force, report=bar.report
        )
    if as_json:
        say(json.dumps(_facts(made), indent=1))
        return
    _print(made)


def _chosen(card: Card, kinds: str | None, without: str | None) -> Collection[str] | None:
    from bench.data.simulation.grammar import read_grammar
    from bench.data.simulation.simulate import choose_kinds

    if kinds is not None and without is not None:
        raise BenchError("--kinds and --without exclude each other: give one of them")
    if kinds is None and without is None:
        return None
    named = [part.strip() for part in (kinds if kinds is not None else without or "").split(",") if part.strip()]
    rules = read_grammar(card.simulate)
    asked = choose_kinds(rules, named)
    return asked if kinds is not None else [kind for kind in rules.kinds if kind not in asked]


def _print(made: Made) -> None:
    say(f"{made.key} is in {made.data_dir}")
    say(f"  {made.n_lines:,} lines in {made.seconds:.1f} s, {made.n_lines / made.seconds:,.0f} a second")
    if made.session_kinds is not None:
        say(f"  {made.n_sessions:,} sessions, {sum(made.session_kinds.values()):,} abnormal")
    width = max((len(kind) for kind in made.kinds), default=0)
    for kind, count in made.kinds.items():
        sessions = f", {made.session_kinds[kind]:,} sessions" if made.session_kinds is not None else ""
        say(f"  {kind.ljust(width)}  {count:,} lines{sessions}")
    for file in made.files:
        say(f"  {file['name']}  {file['bytes']:,} bytes  SHA-256 {file['sha256']}")
    say(f"  {made.truth}  kind and {'session' if made.session_kinds is not None else 'episode'} of each line")
    say(f"  {made.card}")


def _facts(made: Made) -> dict[str, Any]:
    return {
        "edition": made.key,
        "data": str(made.data_dir),
        "lines": made.n_lines,
        "seconds": round(made.seconds, 3),
        "lines per second": round(made.n_lines / made.seconds),
        "abnormal lines": made.kinds,
        "sessions": made.n_sessions if made.session_kinds is not None else None,
        "abnormal sessions": made.session_kinds,
        "files": list(made.files),
        "truth": made.truth,
        "card": made.card,
    }


class _Bar:
    """Progress on stderr; quiet when not a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("lines"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)
        self._last_draw = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def report(self, done: int, total: int) -> None:
        """Show `done` of `total` lines."""
        now = time.monotonic()
        if now - self._last_draw >= _REFRESH_S or done == total:
            self._last_draw = now
            self._progress.update(self._task, completed=done, total=total)
