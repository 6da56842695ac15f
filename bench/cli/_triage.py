"""`bench score LOG --fit METHOD`: from what was typed to the page."""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from bench.cli._options import say
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.own.format import Given

CHEAP: Final = ("new-event", "ecvc", "ngram")
"""Fitted in any case: is a message new, is the mix of messages, is their order?"""


@dataclass(frozen=True)
class Options:
    """What was typed behind `bench score LOG`."""

    fit: str
    before: str | None
    window: str | None
    known: Given
    """Of its format and labels; the rest is guessed."""
    save: Path | None
    settings: list[str]
    seed: int
    device: str


def print_page(log: Path, told: Options, *, as_json: bool) -> None:
    """Fit, score, print the page, and keep the detector where that was asked."""
    from bench._files import anchored
    from bench.cli._progress import Steps
    from bench.data.own.once import read_once
    from bench.deploy.page import page_of
    from bench.deploy.saved import save
    from bench.deploy.triage import triage

    if str(log) == "-":
        raise BenchError("standard input is read once, and --fit reads a log twice: write it into a file first")
    names = [name.strip() for name in told.fit.split(",") if name.strip()]
    if told.save is not None and len(names) != 1:
        raise BenchError(f"--save keeps one detector, and --fit names {len(names)}: name one")
    folder = None if told.save is None else anchored(told.save)
    path = anchored(log)
    with Steps():
        found = read_once(path, told.known)
        page, fitted = triage(
            path, found.card, found.table, _question(names, told), layout=found.layout, notes=found.notes
        )
        if folder is not None:
            save(fitted[0], folder)
    if as_json:
        say(json.dumps(_plain(dataclasses.asdict(page)), indent=1))
    else:
        say(page_of(page), nl=False)
    if folder is not None:
        typer.echo(f"saved in {told.save}: bench score {told.save} NEW.log", err=True)


def _question(names: list[str], told: Options) -> Any:
    from bench._files import cache_dir
    from bench.deploy.triage import Question
    from bench.deploy.windows import Windows, parse_windows
    from bench.experiment.cell import Settings
    from bench.experiment.spec import resolve_one

    cache = cache_dir()
    methods = [
        resolve_one(name, [text for text in told.settings if text.startswith(f"{name}.")], cache)
        for name in dict.fromkeys(names)
    ]
    unused = [text for text in told.settings if not any(text.startswith(f"{name}.") for name in names)]
    if unused:
        raise BenchError(f"--set {unused[0]} is of none of {', '.join(names)}: write METHOD.KEY=VALUE of one of them")
    plain = {method.ref.name: method for method in methods}
    return Question(
        methods=tuple(methods),
        cheap=tuple(plain.get(name) or resolve_one(name, [], cache) for name in CHEAP),
        windows=Windows() if told.window is None else parse_windows(told.window),
        before=None if told.before is None else _moment(told.before),
        seed=told.seed,
        settings=Settings(device=told.device),
    )


def _moment(text: str) -> float:
    """Unix seconds of an ISO time, in UTC where it names no zone."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise BenchError(f"--before {text} is no time: write e.g. 2026-11-20T12:00 or 2026-11-20") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _plain(value: Any) -> Any:
    """Without infinities, which JSON has not."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if not isinstance(value, float) or abs(value) != float("inf") else str(value)
