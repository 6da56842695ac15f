"""What is asked of a figure, what it is made of (plain data), and what the kinds of figures share in gathering it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench.data.cards.catalogue import Catalogue
from bench.errors import BenchError
from bench.experiment.cell import Settings
from bench.experiment.groups import row_group
from bench.experiment.measure import ALL
from bench.experiment.planning import Plan
from bench.experiment.spec import Cell
from bench.experiment.suites import Suite
from bench.records import record as records
from bench.records.record import Record
from bench.records.store import Store
from bench.reporting.tables.rows import Row, aggregate, shown_rule

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

Options = Mapping[str, Any]
STAND_INS: Final = {"simulated": "simulated", "smoke": "put together from pieces", "development": "development system"}


@dataclass(frozen=True)
class FigureRequest:
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
            key: Row(key[2], row_group(next(iter(records.values()))), tuple(records.values()))
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
    return STAND_INS.get(records.standing(record), "")


@dataclass(frozen=True)
class Kind:
    """One kind of figure: what its file gathers, from which options of a suite's [figure], and how it is drawn."""

    name: str
    options: tuple[str, ...]
    gather: Callable[[FigureRequest, Options], list[Figure]]
    draw: Callable[[Mapping[str, Any]], Picture] | None = None
    """None: it is a page alone."""
    needs: Callable[[], object] | None = None
    """Raises BenchError where something it cannot do without is not installed: asked before a suite runs."""


def interval_of(row: Row | None, block: str, metric: str, rule: str) -> dict[str, Any]:
    """Mean and interval of a metric as JSON, or nothing where no finished run has it."""
    if row is None:
        return {}
    found = aggregate(row, block, metric, rule_of(row, rule))
    return {} if found is None else {key: round(v, 6) for key, v in found._asdict().items()}


def rule_of(row: Row, rule: str) -> str:
    """The rule that a figure shows a row by: its own where a table does so too."""
    shown = shown_rule(row, rule.partition("@")[0])
    return rule if shown == rule.partition("@")[0] else shown


def panel_facts(record: Record, block: str = ALL) -> dict[str, Any]:
    """What a reader must know of the data of a panel."""
    metrics = record.get("metrics", {}).get(block)
    return {
        "scenario": record["scenario"],
        "split": record["spec"]["split"],
        "standing": standing(record),
        "n_test": metrics["n"] if metrics else record["counts"]["n_test"],
        "n_test_abnormal": metrics["n_abnormal"] if metrics else record["counts"]["n_test_abnormal"],
        "all_positive_f1": metrics["ranking"]["all_positive_f1"] if metrics else None,
    }


def failures(rows: Iterable[Row]) -> list[str]:
    """What did not finish, once each."""
    return list(dict.fromkeys(f"{row.method}: {row.failure}" for row in rows if row.failure))


def run_ids(rows: Iterable[Row]) -> tuple[str, ...]:
    """The runs that rows are made of, once each."""
    return tuple(dict.fromkeys(record["run_id"] for row in rows for record in row.finished))


def listed(notes: Iterable[str]) -> str:
    """A markdown list."""
    return "\n".join(f"- {note}" for note in notes)
