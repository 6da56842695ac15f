"""`bench results status`: what runs now in a results folder, of all commands and machines that share it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from bench.cli._options import RESULTS, AsJson, Out, say
from bench.errors import BenchError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from bench.records.running import Board, RunningCell, RunningCommand

_EVERY_S = 2.0


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("status")(status)


def status(
    out: Out = RESULTS,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew until nothing runs any more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what runs now in a results folder: of all commands, and of all machines that share it."""
    from bench.records.running import Board
    from bench.records.store import Store

    if watch and as_json:
        raise BenchError("--watch and --json exclude each other: give one of them")
    store = Store(out)
    store.require_current()
    board = Board(store.cache)
    seen = Seen(board.cells(), board.commands())
    if as_json:
        say(json.dumps(_facts(seen), indent=1))
        return
    if watch:
        seen = _watch(board, seen)
    if seen.cells or seen.commands:
        _console().print(_picture(seen))
    else:
        say(f"nothing runs in {out}" if out.is_dir() else f"nothing runs in {out}, which does not exist")


class Seen(NamedTuple):
    """What runs at one moment."""

    cells: Sequence[RunningCell]
    commands: Sequence[RunningCommand]

    @property
    def is_over(self) -> bool:
        """Whether nothing lives."""
        return all(cell.is_gone for cell in self.cells) and all(command.is_gone for command in self.commands)


def _facts(seen: Seen) -> dict[str, Any]:
    from bench._plain import jsonable

    found = {"cells": [cell._asdict() for cell in seen.cells], "commands": [one._asdict() for one in seen.commands]}
    return {name: jsonable(rows) for name, rows in found.items()}


def _watch(board: Board, seen: Seen) -> Seen:
    """Draw what runs until nothing lives, and return what is left then."""
    from rich.live import Live

    console = _console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not seen.is_over:
            if console.is_terminal:
                live.update(_picture(seen), refresh=True)
            else:
                console.print(_picture(seen))
            time.sleep(_EVERY_S)
            seen = Seen(board.cells(), board.commands())
    return seen


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _picture(seen: Seen) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_table(seen.cells)] if seen.cells else []
    parts += [Text(_printable(_sentence(command))) for command in seen.commands]
    n_gone = sum(cell.is_gone for cell in seen.cells)
    if n_gone:
        noun = "run is" if n_gone == 1 else "runs are"
        parts.append(Text(f"{n_gone} {noun} gone: the process has ended; `bench run` takes over what it is asked for"))
    return Group(*parts)


def _table(cells: Sequence[RunningCell]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("method", "scenario", "seed", "for", "step", "on"):
        is_short = name in ("seed", "for")
        table.add_column(name, overflow="fold", no_wrap=is_short, justify="right" if is_short else "left")
    for cell in cells:
        elapsed = "" if cell.elapsed_s is None else _clock(cell.elapsed_s)
        step = "gone" if cell.is_gone else _step(cell.progress)
        words = [_word(cell.what, "method") or cell.run_id, _scenario(cell.what), _word(cell.what, "seed")]
        table.add_row(*(Text(_printable(word)) for word in (*words, elapsed, step, cell.host)))
    return table


def _scenario(what: Mapping[str, Any]) -> str:
    split = _word(what, "split")
    return _word(what, "scenario") + (f" {split}" if split != "chronological" else "")


def _step(progress: Mapping[str, Any]) -> str:
    """As `training 3 of 30, loss 0.21`."""
    step, done, total = (_word(progress, key) for key in ("step", "done", "total"))
    words = [" ".join(filter(None, [step, done, f"of {total}" if total not in ("", "0") else ""]))]
    loss = progress.get("loss")
    words.append(f"loss {loss:.4g}" if isinstance(loss, float | int) else "")
    return ", ".join(filter(None, words))


def _sentence(command: RunningCommand) -> str:
    words = [f"{command.done} of {command.total} runs finished"]
    words.append(f"{command.failed} failed" if command.failed else "")
    words.append("" if command.elapsed_s is None else f"{_clock(command.elapsed_s)} so far")
    words.append("" if command.left_s is None else f"about {_clock(command.left_s)} left")
    where = f" ({command.host}, pid {command.pid}{', gone' if command.is_gone else ''})"
    return ", ".join(filter(None, words)) + where


def _word(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    return "" if value is None else str(value)[:200]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _printable(text: str) -> str:
    """Text of another process for a terminal, which would obey its control characters."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
