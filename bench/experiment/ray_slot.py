"""What runs on the nodes of a Ray cluster: a process for cells, one after the other, and the preparation of data."""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from bench.experiment.cell import Data
from bench.experiment.code import InstalledCode
from bench.experiment.executors import Worker
from bench.experiment.parcels import Parcel
from bench.experiment.spec import Cell
from bench.experiment.workplace import Step, Told, Workplace
from bench.records.record import Record, Scores

STEP_S: Final = 0.2
"""How often progress of a cell travels, at most."""
Message = tuple[type[Any], tuple[Any, ...]]
"""What is told of the cell that runs, without the cell itself."""


class Finished(NamedTuple):
    """A cell is done; the driver keeps this."""

    record: Record
    scores: Scores | None


@dataclass(frozen=True)
class Node:
    """Where a slot is."""

    id: str
    address: str


class Slot:
    """A process that runs cells by the word of the driver; a Ray actor, which has the resources of one cell."""

    def __init__(self, place: Workplace, folder: str) -> None:
        """folder: of the driver; methods that are local files are looked for there, where this machine has it."""
        _enter(folder)
        self._loader = Loader(place.catalogue)
        self._key: object = None
        self._data: Data | None = None
        self._messages: queue.SimpleQueue[Message | BaseException | None] = queue.SimpleQueue()
        self._step_at = 0.0
        self._worker = Worker(place, InstalledCode(), self._data_of, self._keep, self._tell)

    def ready(self) -> Node:
        """Answers when it can run a cell."""
        ray: Any = importlib.import_module("ray")
        context = ray.get_runtime_context()
        return Node(context.get_node_id(), ray.util.get_node_ip_address())

    def run(self, cell: Cell, parcel: list[Any]) -> Iterator[Message]:
        """Run a cell; what happens comes as it happens, record and scores at the end.

        parcel: the reference to its data, in a list so that Ray leaves it to `_open` to get it
        """
        thread = threading.Thread(target=self._run, args=(cell, parcel[0]), daemon=True)
        thread.start()
        while True:
            message = self._messages.get()
            if message is None:
                break
            if isinstance(message, BaseException):
                raise message
            yield message
        thread.join()

    def _run(self, cell: Cell, parcel: Any) -> None:
        try:
            self._open(cell, parcel)
            self._worker.run(cell)
            self._messages.put(None)
        except BaseException as error:
            self._messages.put(error)

    def _open(self, cell: Cell, parcel: Any) -> None:
        """Have the data of a cell at hand: the same object for all cells on it, since what is lent is kept by that."""
        if self._key != cell.data_key:
            import ray

            self._data = None
            self._data = ray.get(parcel).open(self._loader)
            self._key = cell.data_key

    def _data_of(self, cell: Cell) -> Data:
        assert self._data is not None
        return self._data

    def _keep(self, record: Record, scores: Scores | None) -> Record:
        self._messages.put((Finished, (record, scores)))
        return record

    def _tell(self, told: Told) -> None:
        if isinstance(told, Step):
            now = time.monotonic()
            if now - self._step_at < STEP_S:
                return
            self._step_at = now
        self._messages.put((type(told), tuple(told[1:])))


def prepare(catalogue: Catalogue, cell: Cell, folder: str) -> tuple[str | None, Parcel | None]:
    """The data of a cell for all slots of this node, or the reason why there are none."""
    _enter(folder)
    if catalogue.data_dir is not None and not catalogue.data_dir.is_dir():
        return f"it has no data folder {catalogue.data_dir}: put the files there as they are on this machine", None
    loader = Loader(catalogue)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        prepared = loader.prepare(cell.data)
    except BenchError as error:
        return str(error), None
    data = Data(prepared, time.perf_counter() - wall, time.process_time() - cpu)
    return None, Parcel(data, loader, cell.data)


def _enter(folder: str) -> None:
    """Make relative names mean the same as for the driver, where this machine has its folder."""
    with contextlib.suppress(OSError):
        os.chdir(Path(folder))
