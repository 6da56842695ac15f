"""`bench run --plan`: what a run would do and take, before anything of it starts."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import say
from bench.cli._wrapping import WIDTH, wrapped

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
_HEADERS = ("method", "cells", "CPU s", "MiB", "from")
_METHOD_WIDTH = 35
_SOURCES = {
    "no record": "no record",
    "other edition scaled": "another, scaled",
    "same edition": "same edition",
    "own record": "own record",
}
"""The words of the table; the weakest first, which is shown where the cells of a row differ."""


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
    for line in _unwrapped(found):
        wraps = len(line) > WIDTH and "\n" not in line
        yield wrapped(line) if wraps else line


def _unwrapped(found: Preview) -> Iterator[str]:
    n_running = sum(group.n_cells for group in found.running)
    for (scenario, split), groups in itertools.groupby(found.running, _table_of):
        yield f"{scenario}, {split}"
        yield _table(list(groups))
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


def _table_of(group: Group) -> tuple[str, str]:
    return group.scenario, group.split


def _table(groups: Sequence[Group]) -> str:
    from tabulate import tabulate

    return tabulate([_row(group) for group in groups], _HEADERS, tablefmt="simple", disable_numparse=True)


def _row(group: Group) -> list[str]:
    mark = "" if group.is_of_here else "*"
    return [
        _name(group.method),
        str(group.n_cells),
        "-" if group.seconds is None else f"{group.seconds:.1f}{mark}",
        "-" if group.memory_mib is None else f"{group.memory_mib:.0f}",
        next(word for source, word in _SOURCES.items() if source in group.sources),
    ]


def _name(method: str) -> str:
    """A method in lines of the table's first column, broken behind commas where it can be."""
    lines = [""]
    for part in re.split("(?<=,)", method):
        if lines[-1] and len(lines[-1]) + len(part) > _METHOD_WIDTH:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)


def _reasons(groups: Sequence[Group]) -> Iterator[str]:
    counts: dict[str, Counter[str]] = {}
    for group in groups:
        if group.reason:
            counts.setdefault(group.reason, Counter())[group.method] += group.n_cells
    for reason, methods in counts.items():
        named = ", ".join(f"{n} of {method}" for method, n in methods.items())
        yield f"{named} will not run: {reason}"


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {whole % 60} s"
