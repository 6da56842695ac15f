"""`bench results reproduce` and `bench results restamp`: is a stored number what the code gives now?"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.api.chat import LlmOptions
from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Data, Out, say
from bench.cli.llm import Llm, llm_service
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.experiment.again import Reproduction
    from bench.experiment.restamp import Checked, Needing

_SHOWN = 10
"""Differences that are printed; of more only the number."""


def add_to_results(app: typer.Typer) -> None:
    """Register the commands of this file that belong to `bench results`."""
    app.command("reproduce")(reproduce)
    app.command("restamp")(restamp)


def reproduce(
    run_id: Annotated[str, typer.Argument(help="The run_id of a record, or its first digits.")],
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of torch, BLAS and polars.")] = 1,
    llm: Llm = None,
    data: Data = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Run a stored record again and compare its numbers; exit 1 when they differ. The record stays as it is."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = str(threads)
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.again import reproduce as run_again
    from bench.records.store import Store

    store = Store(out)
    record = store.find(run_id)
    with llm_service(LlmOptions(llm), out), Steps():
        found = run_again(record, store, catalogue(data), threads)
    typer.echo(json.dumps(_as_json(found), indent=1) if as_json else "\n".join(_lines(found)))
    if not found.holds:
        raise typer.Exit(EXIT_GATE)


def restamp(
    old: Annotated[
        str | None, typer.Option("--old", help="Hold all against this commit; else each against the one it names.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="Only this method.")] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", "-s", help="Only records of this scenario (part of its name).")
    ] = None,
    changed_methods: Annotated[
        bool, typer.Option("--changed-methods", help="Check also methods whose own code changed, by one setting each.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Train networks for so many optimiser steps at most; the records say so."),
    ] = None,
    jobs: Annotated[str | None, typer.Option("--jobs", help="Runs at the same time, as of `bench run`.")] = None,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Run a cell of every method and kind of scenario with old and new code; note in the records where both agree.

    Only for records that the installed code is not known to have made, because the engine's code changed. Exit 1 when a
    cell differs or cannot be run, or where a method's own code changed: its records are to be run again.
    """
    from bench.experiment.code import InstalledCode
    from bench.experiment.restamp import expected_s, method_of, needing
    from bench.experiment.restamp import restamp as check
    from bench.records.store import Store

    store = Store(out)
    store.require_writable()
    chosen = list(store.table_records(lambda name, split: scenario is None or scenario in name))
    store.require_unchanged(chosen)
    of_method = [record for record in chosen if method is None or method_of(record) == method]
    if not of_method:
        raise BenchError(f"no record in {out} is of what --method and --scenario name: `bench results` lists them")
    code = InstalledCode(store.cache)
    found = needing(of_method, code, old, changed_methods=changed_methods)
    if not any(found):
        typer.echo(f"no record in {out} needs it: each is of the installed code, of a file, imported, or gone")
        return
    _tell_left(found)
    minutes = expected_s(found.groups, steps) / 60
    say(f"{len(found.groups)} cells, each with old and new code; about {minutes:.0f} min by their runs", err=True)
    agreeing, stamped = 0, 0
    means = [*(["--jobs", jobs] if jobs else []), *(["--data", str(data.resolve())] if data else [])]
    for checked in check(found.groups, store, code, means, steps):
        agreeing += checked.agrees
        stamped += checked.n_records if checked.agrees else 0
        typer.echo(_outcome(checked))
    if found.groups:
        typer.echo(f"{agreeing} of {len(found.groups)} methods and kinds of scenario agree")
    if stamped:
        typer.echo(f"noted in {stamped} records, now in {store.inbox}: `bench results pack` archives them")
    if agreeing < len(found.groups) or found.changed:
        raise typer.Exit(EXIT_GATE)


def _tell_left(found: Needing) -> None:
    """Say which records are not checked, and what makes them current."""
    for method, n in found.changed.items():
        typer.echo(
            f"LEFT {method} ({n} records): the method's own code changed, and one cell does not speak for its "
            "settings: run them again, or give --changed-methods"
        )
    if found.unfinished:
        typer.echo(
            f"left: {found.unfinished} records without numbers (skipped or failed): `bench run` makes them again"
        )


def _lines(found: Reproduction) -> list[str]:
    record = found.record
    lines = [f"run {record['run_id']}: {record['method']} on {record['scenario']}, {record['spec']['split']}"]
    lines += [f"differs: {text}" for text in found.surroundings]
    lines += [f"FAILED {difference}" for difference in found.differences[:_SHOWN]]
    if len(found.differences) > _SHOWN:
        lines.append(f"FAILED {len(found.differences) - _SHOWN} numbers more")
    n_same = found.n_numbers - len(found.differences)
    scores = "scores not here" if found.scores_off is None else f"scores off by {found.scores_off:.3g} at most"
    return [*lines, f"{n_same} of {found.n_numbers} numbers hold within {found.tolerance:g}; {scores}"]


def _as_json(found: Reproduction) -> dict[str, Any]:
    return {
        "run_id": found.record["run_id"],
        "holds": found.holds,
        "tolerance": found.tolerance,
        "n_numbers": found.n_numbers,
        "differences": [difference._asdict() for difference in found.differences],
        "scores_off": None if found.scores_off is None else str(found.scores_off),
        "surroundings": list(found.surroundings),
    }


def _outcome(checked: Checked) -> str:
    name = f"{checked.group.method}, {checked.group.kind} ({checked.n_records} records, run {checked.run_id})"
    if checked.problem:
        return f"NOT CHECKED {name}: {checked.problem}"
    if checked.differences:
        more = f" and {len(checked.differences) - 1} more" if len(checked.differences) > 1 else ""
        return f"DIFFERS {name}: {checked.differences[0]}{more}"
    return f"agrees {name}: verified against {checked.group.commit[:12]}"
