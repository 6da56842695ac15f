"""`bench run --plan`: what a run would do and take, before anything of it starts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import say

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.experiment.cell import Settings
    from bench.experiment.planning import Plan
    from bench.experiment.preview import Group, Preview
    from bench.records.store import Store

PlanOption = Annotated[
    bool,
    typer.Option("--plan", help="Show cells, time and memory by past records, and what cannot run; start nothing."),
]
_HEADERS = ("method", "scenario", "split", "cells", "CPU s", "MiB", "from")


def show_plan(
    plan: Plan,
    store: Store,
    catalogue: Catalogue,
    settings: Settings,
    *,
    as_json: bool,
    jobs: int = 1,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print what the run of a plan would do; nothing is run. more: further fields of the JSON."""
    import json

    from bench.experiment.preview import preview

    found = preview(plan.cells, store, catalogue, settings, jobs=jobs, others=shipped())
    if as_json:
        say(json.dumps({**_plain(found), **(more or {})}, indent=1))
    else:
        say("\n".join(_lines(found)))


def shipped() -> list[Store]:
    """The store of the checkout, whose records tell of methods that another folder does not know."""
    from bench.records.store import Store
    from bench.reporting.published.papers import published_file

    folder = published_file().parent
    return [Store(folder)] if (folder / "records").is_dir() else []


def _plain(found: Preview) -> dict[str, Any]:
    groups = [dataclasses.asdict(group) for group in found.groups]
    return {
        "cells": found.n_cells,
        "resumed": found.n_resumed,
        "stale": found.n_stale,
        "preparations": found.n_prepared,
        "without_record": found.n_unknown,
        "cpu_seconds": round(found.cpu_seconds, 3),
        "jobs": found.jobs,
        "wall_seconds": round(found.wall_seconds, 3),
        "groups": [{name.removeprefix("n_"): value for name, value in group.items()} for group in groups],
    }


def _lines(found: Preview) -> Iterator[str]:
    from tabulate import tabulate

    n_running = sum(group.n_cells for group in found.running)
    if found.running:
        rows = [dict(zip(_HEADERS, _row(group), strict=True)) for group in found.running]
        splits = {row["split"] for row in rows}
        shown = [name for name in _HEADERS if name != "split" or len(splits) > 1]
        cells = [[row[name] for name in shown] for row in rows]
        yield tabulate(cells, shown, tablefmt="simple", disable_numparse=True)
        yield ""
    again = f", {found.n_stale} of them again since another code made their records" if found.n_stale else ""
    yield f"{found.n_cells} cells: {found.n_resumed} resumed from their records, {n_running} to run{again}"
    yield from _reasons(found.groups)
    if found.running:
        yield (
            f"{found.n_prepared} preparations of data, shared by the cells on them; {duration(found.cpu_seconds)} of "
            f"CPU time, {duration(found.wall_seconds)} with --jobs {found.jobs}; start and tables come on top"
        )
    if found.n_unknown:
        yield f"{found.n_unknown} cells have no record to go by, and are in no sum"
    if not all(group.is_of_here for group in found.running):
        yield "* from another machine's records, scaled by methods that ran on both where there are such"
    yield "nothing was run"


def _row(group: Group) -> list[str]:
    mark = "" if group.is_of_here else "*"
    return [
        group.method,
        group.scenario,
        group.split,
        str(group.n_cells),
        "-" if group.seconds is None else f"{group.seconds:.1f}{mark}",
        "-" if group.memory_mib is None else f"{group.memory_mib:.0f}",
        ", ".join(group.sources),
    ]


def _reasons(groups: Sequence[Group]) -> Iterator[str]:
    counts: Counter[tuple[str, str]] = Counter()
    for group in groups:
        if group.reason:
            counts[group.method, group.reason] += group.n_cells
    for (method, reason), n in counts.items():
        yield f"{n} of {method} will not run: {reason}"


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {whole % 60} s"
