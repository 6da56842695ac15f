"""What is asked of a figure, and what it is made of: plain data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.data.cards.catalogue import Catalogue
from bench.errors import BenchError
from bench.experiment.grades import group_of
from bench.experiment.planning import Plan
from bench.experiment.runner import Settings
from bench.experiment.spec import Cell
from bench.experiment.suites import Suite
from bench.records.store import Record, Store
from bench.reporting.tables.rows import Row

STAND_INS: Final = {"simulated": "simulated", "smoke": "put together from pieces", "development": "development system"}


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
            key: Row(key[2], group_of(next(iter(records.values()))), tuple(records.values()))
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


def standing(record: Record) -> str:
    """What limits the editions of a record, in words, or nothing."""
    tiers = {"simulated"} if record["simulated"] else set(record["tiers"].values())
    return next((words for tier, words in STAND_INS.items() if tier in tiers), "")
