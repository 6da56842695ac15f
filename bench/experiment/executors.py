"""How batches of cells are run: what a batch is, what a worker needs, and the executor that does one after the other.

An executor hands batches to workers and passes on what they tell. A worker needs nothing of the process that planned
the run: a batch and a workplace can be pickled, and data, detectors and records are made anew from their paths.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.loader import Loader
from bench.experiment.cell import Data, Fitter, Settings, new_record, run_cell
from bench.experiment.code import InstalledCode
from bench.experiment.resume import resumable
from bench.experiment.seal import Seal
from bench.experiment.spec import Cell
from bench.llm.config import Service, use_service
from bench.records.store import Record, Store

Batch = tuple[Cell, ...]
"""Cells that share their data, those beside each other that share a fitted detector."""


@dataclass(frozen=True)
class Workplace:
    """What all batches of a run share."""

    out: Path
    """The results folder."""
    catalogue: Catalogue
    settings: Settings
    service: Service
    """How chat models are asked; its limits hold for all workers together."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Records of other code that are made again: when they were begun, by run_id."""


class Event(NamedTuple):
    """What a worker tells of a cell."""

    cell: Cell
    record: Record
    """The record as it begins, or as it is kept; whoever ends a worker can finish what it began: see `ended`."""
    is_finished: bool


class Executor(Protocol):
    """Runs batches, in whatever processes."""

    def run(self, batches: Sequence[Batch], place: Workplace) -> Iterator[Event]:
        """Tell of each cell that it begins, and that it is finished and its record kept; in any order."""


def batches(cells: Sequence[Cell]) -> list[Batch]:
    """The cells by their data and, within, by the detector they fit; both in the order in which they first came."""
    by_data: dict[object, dict[object, list[Cell]]] = {}
    for cell in cells:
        by_data.setdefault(cell.data_key, {}).setdefault(cell.fit_key, []).append(cell)
    return [tuple(cell for group in by_fit.values() for cell in group) for by_fit in by_data.values()]


class Worker:
    """Runs batches in this process, and keeps what it read of the data."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._store = Store(place.out)
        self._loader = Loader(place.catalogue)
        self._code = InstalledCode(self._store.cache)

    def run(self, batch: Batch) -> Iterator[Event]:
        """Run the cells of a batch and keep their records."""
        fitter, settings = Fitter(self._place.settings), self._place.settings
        for cell, data in self._with_data(batch):
            # Another command may have finished it meanwhile: two that share a store share the work.
            found = resumable(cell.run_id, self._store, settings.extra_rules, self._place.stale)
            if found is not None:
                yield Event(cell, found, is_finished=True)
                continue
            record = new_record(cell, data, settings, self._code)
            yield Event(cell, record, is_finished=False)
            with use_service(self._place.service):
                record, scores = run_cell(cell, data, fitter, record)
            yield Event(cell, self._store.write(record, scores), is_finished=True)

    def _with_data(self, batch: Batch) -> Iterator[tuple[Cell, Data]]:
        """Each cell with its data, which are prepared once unless a method writes to them."""
        current: Data | None = None
        for cell in batch:
            if current is None or current.seal.is_broken:
                start = time.perf_counter()
                prepared = self._loader.prepare(cell.data)
                current = Data(prepared, time.perf_counter() - start, Seal(prepared))
            yield cell, current


class Serial:
    """One batch after the other, in this process."""

    def run(self, batches: Sequence[Batch], place: Workplace) -> Iterator[Event]:
        """As `Executor.run`, in the order given."""
        worker = Worker(place)
        for batch in batches:
            yield from worker.run(batch)


SERIAL: Final = Serial()


def ended(begun: Event, store: Store, status: str, reason: str) -> Event:
    """Keep the record of a cell whose worker was ended from outside, or is gone: `timeout`, `error`, `out_of_memory`.

    A record that the worker kept before it ended is not touched.
    """
    found = store.read(begun.record["run_id"])
    if found is not None and found["started_at"] == begun.record["started_at"]:
        return Event(begun.cell, found, is_finished=True)
    record = store.write({**begun.record, "status": status, "reason": reason, "memory_mib": {}})
    return Event(begun.cell, record, is_finished=True)
