"""Options that several commands share, and their completions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from bench._files import as_typed
from bench.errors import BenchError


def complete_methods(incomplete: str) -> list[str]:
    """Names of methods for the last part of a comma-separated list."""
    from bench import registry

    head, comma, last = incomplete.rpartition(",")
    return [f"{head}{comma}{name}" for name in registry.available() if name.startswith(last)]


def complete_scenarios(incomplete: str) -> list[str]:
    """Data sets, and transfers between them."""
    from bench.data.cards.catalogue import catalogue

    names = sorted({card.name for card in catalogue().cards})
    pairs = [f"{a}{sign}{b}" for a in names for b in names if a != b for sign in ("2", "+")]
    return [name for name in names + pairs if name.startswith(incomplete)]


def complete_suites(incomplete: str) -> list[str]:
    """Names of shipped suites."""
    from bench.experiment.suites import suite_names

    return [name for name in suite_names() if name.startswith(incomplete)]


@contextlib.contextmanager
def new_folder(data: Path | None) -> Iterator[None]:
    """Make the folder of --data for a command that writes into it; away again where the command is refused."""
    if data is None or data.exists():
        yield
        return
    try:
        data.mkdir()
    except OSError as error:
        reason = error.strerror or error
        raise BenchError(f"the data folder '{data}' cannot be made ({reason}): choose another --data") from None
    try:
        yield
    except BenchError:
        with contextlib.suppress(OSError):  # not empty: what was kept says why
            data.rmdir()
        raise


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text, in which paths stand as they were typed, without what a terminal would obey."""
    typer.echo(_CONTROL.sub("\ufffd", as_typed(text)), err=err, nl=nl)


Out = Annotated[Path, typer.Option("--out", help="Folder of records, scores and tables.")]
Docs = Annotated[Path, typer.Option("--docs", help="Folder of the pages.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with the files of data sets and further cards; BENCH_DATA if not given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
Suite = Annotated[
    str | None,
    typer.Option(
        "--suite", help="A shipped suite by name, or a TOML file; commas for several.", autocompletion=complete_suites
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="METHOD.KEY=VALUE", help="A hyper-parameter; 1,2 or 1.0:1.6:0.1 gives several rows."),
]
AllowEndpoint = Annotated[
    bool,
    typer.Option("--allow-endpoint", help="Let a suite file say where log lines, a key and answers go."),
]
Protocol = Annotated[
    int | None,
    typer.Option("--protocol", help="Show records of this version of the protocol; the newest if not given."),
]
RESULTS = Path("results")
EXIT_GATE, EXIT_BAD_INPUT, EXIT_FAILED_CELL, EXIT_INTERRUPTED = 1, 2, 3, 130


def two_names(text: str | None) -> tuple[str, str] | None:
    """The names that `--columns A,B` gives; a BenchError where they are not two."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise BenchError(f"--columns is '{text}': write two names of columns with a comma between them")
    return names[0], names[1]
