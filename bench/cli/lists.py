"""`bench list`, `bench check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli._options import EXIT_GATE, AsJson, Data, Set, complete_methods
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.detector import Detector
    from bench.registry import DetectorRef
    from bench.testing import CheckResult


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("list")(list_)
    app.command("check")(check)


def list_(
    what: Annotated[Literal["methods", "datasets", "scenarios", "suites"], typer.Argument()],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List what there is."""
    rows = {"methods": _methods, "datasets": _datasets, "scenarios": _scenarios, "suites": _suites}[what](data)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    widths = [max(len(str(row[key])) for row in rows) for key in rows[0]]
    for row in rows:
        typer.echo(
            "  ".join(str(value).ljust(width) for value, width in zip(row.values(), widths, strict=True)).rstrip()
        )


def check(
    method: Annotated[str, typer.Argument(help="A method, or path.py:Class.", autocompletion=complete_methods)],
    settings: Set = None,
    permuted: Annotated[
        bool, typer.Option("--permuted", help="Permute labels on disk instead, where no score may move.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every check and why it is made, with tracebacks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the conformance kit on a detector; exit 1 when a check fails."""
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


def _methods(data: Path | None) -> list[dict[str, str]]:
    from bench import registry

    return [
        {"name": ref.name, "kind": "control" if ref.is_control else "method", "summary": _summary(ref)}
        for ref in registry.available().values()
    ]


def _summary(ref: DetectorRef) -> str:
    from bench import registry

    try:
        return registry.summarise(ref)
    except Exception as error:  # of another package, which must not hide the others
        return f"cannot be read ({type(error).__name__}: {error}): repair or uninstall {ref.distribution}"


def _datasets(data: Path | None) -> list[dict[str, str]]:
    from bench.data.cards.catalogue import catalogue

    known = catalogue(data)
    cards = sorted(known.cards, key=lambda card: (card.name, -card.rank))
    return [
        {
            "edition": card.key,
            "tier": card.tier,
            "available": "available" if known.is_available(card) else "files missing",
            "title": card.title,
            "to get it": "" if known.is_available(card) else known.how_to_get(card),
        }
        for card in cards
    ]


def _scenarios(data: Path | None) -> list[dict[str, str]]:
    from bench.data.cards.catalogue import catalogue

    known = catalogue(data)
    names = sorted({card.name for card in known.cards if known.is_available(card)})
    within = [{"scenario": name, "meaning": f"within {known.resolve(name).key}"} for name in names]
    transfers = [
        {"scenario": f"{a}2{b}", "meaning": f"train on {known.resolve(a).key}, test on {known.resolve(b).key}"}
        for a in names
        for b in names
        if a != b
    ]
    combined = [
        {"scenario": f"{a}+{b}", "meaning": f"{known.resolve(a).key} and {known.resolve(b).key} together"}
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]
    return within + transfers + combined


def _suites(data: Path | None) -> list[dict[str, str]]:
    from bench.experiment.suites import load_suite, suite_names

    return [{"name": name, "description": load_suite(name).description} for name in suite_names()]
