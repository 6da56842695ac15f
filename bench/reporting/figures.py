"""Figures and pages of suites: what is drawn is first gathered from records as plain data, and kept beside the picture.

`gather` makes the data, `write` the files `figures/NAME.png`, `.svg`, `.json` and, where there is a page, `.md`. The
JSON file holds every number of the picture, the run ids it comes from, and what is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import bench
from bench.data.catalogue import Catalogue
from bench.errors import BenchError
from bench.experiment.planning import Plan
from bench.experiment.runner import Settings
from bench.experiment.spec import Cell
from bench.experiment.store import Record, Store, record_text, replace_file
from bench.experiment.suites import Suite
from bench.reporting.tables import Row


@dataclass(frozen=True)
class Request:
    """What a figure is made from."""

    suite: Suite
    plan: Plan
    store: Store
    catalogue: Catalogue
    rule: str
    settings: Settings = field(default_factory=Settings)

    @functools.cached_property
    def records(self) -> dict[str, Record]:
        """The record of each run of the suite that has one, by run id."""
        ids = dict.fromkeys(cell.run_id for cell in self.plan.cells)
        return {run_id: record for run_id in ids if (record := self.store.read(run_id)) is not None}

    @property
    def missing(self) -> list[str]:
        """What a reader must know of runs that are not there."""
        ids = {cell.run_id for cell in self.plan.cells}
        if ids and not self.records:
            raise BenchError(
                f"none of the {len(ids)} runs of the suite '{self.suite.name}' has a record in {self.store.root}: "
                f"make them with `bench run --suite {self.suite.name}`, or give another --out"
            )
        n = len(ids) - len(self.records)
        return [f"{n} of {len(ids)} runs have no record yet"] if n else []

    def rows(self, keep: Callable[[Cell], bool] = lambda cell: True) -> dict[tuple[str, str, str], Row]:
        """A row of its seeds for each (scenario, split, method label) with a record, in the order of the plan."""
        found: dict[tuple[str, str, str], dict[str, Record]] = {}
        for cell in self.plan.cells:
            if keep(cell) and (record := self.records.get(cell.run_id)) is not None:
                found.setdefault((cell.scenario.key, cell.split, cell.method.label), {})[cell.run_id] = record
        return {
            key: Row(key[2], next(iter(records.values()))["detector"]["supervision"], tuple(records.values()))
            for key, records in found.items()
        }


@dataclass(frozen=True)
class Figure:
    """What is drawn or printed, as plain data."""

    name: str
    kind: str
    content: Mapping[str, Any]
    """All that is shown."""
    run_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    page: str = ""
    """Markdown."""


def check(suite: Suite) -> None:
    """Raise BenchError for a suite without a [figure], or with a kind or an option that there is not."""
    from bench.reporting import contents

    options = dict(suite.figure)
    if not options:
        raise BenchError(
            f"the suite '{suite.name}' has no [figure]: `bench run --suite {suite.name}` prints its tables"
        )
    kind = options.pop("kind")
    if kind not in contents.KINDS:
        raise BenchError(f"unknown kind of figure '{kind}': choose one of {', '.join(sorted(contents.KINDS))}")
    known = contents.KINDS[kind][1]
    if unknown := sorted(set(options) - set(known)):
        raise BenchError(
            f"a figure of kind '{kind}' has no option '{unknown[0]}': known are {', '.join(known) or 'none'}"
        )


def gather(request: Request) -> list[Figure]:
    """The figures of a suite, from its records; whatever is wrong with its [figure] is a BenchError."""
    from bench.reporting import contents

    check(request.suite)
    options = {name: value for name, value in request.suite.figure.items() if name != "kind"}
    return contents.KINDS[request.suite.figure["kind"]][0](request, options)


def write(figure: Figure, request: Request) -> list[Path]:
    """Write a figure's files and return them."""
    folder = request.store.root / "figures"
    paths = []
    if figure.page:
        path = folder / f"{figure.name}.md"
        replace_file(path, functools.partial(Path.write_text, data=figure.page, encoding="utf-8"))
        paths.append(path)
    versions = {"bench": bench.__version__}
    from bench.reporting import plots

    if figure.kind in plots.DRAWINGS:
        versions["matplotlib"] = plots.version()
        paths += plots.save(figure, folder)
    described = {
        "figure": figure.name,
        "kind": figure.kind,
        "suite": request.suite.name,
        "rule": request.rule,
        "run_ids": list(figure.run_ids),
        "notes": list(figure.notes),
        "versions": versions,
        "content": figure.content,
    }
    path = folder / f"{figure.name}.json"
    replace_file(path, functools.partial(Path.write_text, data=record_text(described), encoding="utf-8"))
    return [*paths, path]


STAND_INS: Final = {"simulated": "simulated", "smoke": "put together from pieces", "development": "development system"}


def standing(record: Record) -> str:
    """What limits the editions of a record, in words, or nothing."""
    tiers = {"simulated"} if record["simulated"] else set(record["tiers"].values())
    return next((words for tier, words in STAND_INS.items() if tier in tiers), "")
