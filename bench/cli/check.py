"""`bench check`: the conformance kit on a detector, and a new one that passes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli._options import EXIT_GATE, AsJson, Set, complete_methods
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.detector import Detector
    from bench.testing import CheckResult


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("check")(check)


def check(
    method: Annotated[
        str,
        typer.Argument(help="A method, or path.py:Class; with --new a name for one.", autocompletion=complete_methods),
    ],
    settings: Set = None,
    permuted: Annotated[
        bool, typer.Option("--permuted", help="Permute labels on disk instead, where no score may move.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every check and why it is made, with tracebacks.")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="First write it: a plugin skeleton with its test and entry point.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="With --new: folder of the new package; here if not given.")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="With --new: add it to this checkout of bench instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the conformance kit on a detector; exit 1 when a check fails. `--new` writes one that passes first."""
    if not new and (here or to is not None):
        raise BenchError("--to and --here say where a new method is written: give --new too, or leave them out")
    if new:
        if settings or permuted or (here and to is not None):
            raise BenchError("--new writes a method as it comes: leave --set and --permuted out, and --to or --here")
        method = _write_new(method, Path() if to is None else to, here=here)
    from bench import registry
    from bench.cli._progress import Steps
    from bench.detector import ContractError
    from bench.testing import check_detector, summarise

    ref = registry.find(method)
    try:
        detector = registry.load(ref)
    except BenchError:
        raise
    except ContractError as error:
        _print_refusal(str(error), as_json)
        raise typer.Exit(EXIT_GATE) from None
    except Exception as error:
        raise BenchError(f"'{method}' cannot be imported ({type(error).__name__}: {error}): correct it") from None
    if permuted:
        _check_permuted(method, settings or [], as_json)
        return
    config = _config(method, detector, settings) if settings else None
    with Steps():
        results = check_detector(detector, config=config)
    if as_json:
        rows = [{"name": r.name, "status": r.status, "reason": r.reason, "detail": r.detail} for r in results]
        typer.echo(json.dumps(rows, indent=1))
    else:
        _print_checks(results, verbose=verbose)
        said = summarise(results).splitlines()[-1]
        typer.echo(said if verbose else f"{said}; -v shows every check")
    if any(result.status in ("failed", "xpass") for result in results):
        raise typer.Exit(EXIT_GATE)


def _write_new(name: str, to: Path, *, here: bool) -> str:
    """Write a skeleton, say what was written and what comes next; returns it as `path.py:Class`."""
    from bench import scaffold

    written = scaffold.new_method(name, Path()) if here else scaffold.new_package(name, to)
    for path in written:
        typer.echo(f"wrote {path}", err=True)
    source = next(path for path in written if path.name in ("detector.py", f"{name.replace('-', '_')}.py"))
    place = f"{source}:{''.join(word.capitalize() for word in name.split('-'))}"
    typer.echo(f"\nNext: write it, and after each change: bench check {place}", err=True)
    typer.echo(
        f"then: pip install -e {'.' if here else to / name}, and bench run --methods {name} --scenario bgl\n", err=True
    )
    return place


def _check_permuted(method: str, settings: list[str], as_json: bool) -> None:
    from bench._files import cache_dir
    from bench.experiment.cell import Settings
    from bench.experiment.spec import resolve_one
    from bench.probes.permuted import permute_labels

    found = permute_labels(resolve_one(method, settings, cache_dir()), Settings())
    if found.reason is not None:
        raise BenchError(f"'{method}' cannot run on the small edition: {found.reason}")
    status = "failed" if found.moved else "passed"
    words = f"labels permuted on disk move {found.moved} of {found.n} scores"
    row = {"name": "permuted", "status": status, "reason": words, "detail": ""}
    typer.echo(json.dumps([row], indent=1) if as_json else f"{status} permuted: {words}")
    if found.moved:
        raise typer.Exit(EXIT_GATE)


def _print_refusal(reason: str, as_json: bool) -> None:
    """Of a class that the harness refuses, all that can be said."""
    row = {"name": "check_contract", "status": "failed", "reason": reason, "detail": ""}
    typer.echo(json.dumps([row], indent=1) if as_json else f"failed check_contract: {reason}")


def _config(method: str, detector: type[Detector], settings: list[str]) -> object:
    from bench._files import cache_dir
    from bench.experiment.spec import resolve_one

    chosen = resolve_one(method, settings, cache_dir()).config
    try:
        return detector.Config(**chosen)
    except (TypeError, ValueError) as error:
        raise BenchError(f"'{method}' does not accept its --set: {' '.join(str(error).split())}") from None


def _print_checks(results: list[CheckResult], *, verbose: bool) -> None:
    """What failed, each cause once; or every check, the passed ones with what they are for."""
    from rich.console import Console
    from rich.table import Table

    from bench.testing import failures

    console = Console(markup=False, highlight=False, soft_wrap=not sys.stdout.isatty())
    if not verbose:
        unexpected = [f"{r.status}   {r.name}: {r.detail}" for r in results if r.status == "xpass"]
        for line in [*failures(results), *unexpected]:
            console.print(line)
        return
    table = Table("check", "result", "why it is made, or what is wrong", box=None, pad_edge=False)
    for result in results:
        remark = result.detail if result.status in ("failed", "xpass") else result.reason
        table.add_row(result.name, result.status, remark)
    console.print(table)
