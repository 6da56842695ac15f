"""How groups of cells are run: by workers, which an executor has in whatever threads, processes or machines.

An executor hands groups to workers and passes on what they tell. A worker needs nothing of the process that planned
the run: cells and a workplace can be pickled, and data and detectors are made anew from their paths.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from bench.data.sequences.loader import Loader
from bench.detector import listen_to_progress
from bench.errors import BenchError, choose_one
from bench.experiment.cell import Data, Elsewhere, Fitter, new_record, run_cell, taken_over
from bench.experiment.code import InstalledCode
from bench.experiment.data_notes import data_notes, lacking_of_target
from bench.experiment.desk import AbortedError, Desk
from bench.experiment.spec import Cell
from bench.experiment.workplace import Event, Group, Said, Step, Told, Workplace
from bench.isolation.lodging import Lodging
from bench.isolation.remote import ProcessLostError
from bench.records.record import FINISHED, Record, Scores

EXECUTOR_GROUP: Final = "bench.executors"
_LOOK_AGAIN_S: Final = 0.5
"""How often a cell is looked at that another command runs."""


class Executor(Protocol):
    """Runs groups of cells, in whatever processes."""

    jobs: int
    """How many at a time."""

    def run(self, groups: Sequence[Group], desk: Desk) -> Generator[Told]:
        """Tell of each cell that it begins, and that it is finished and its record kept; in any order."""

    def stop(self) -> None:
        """Begin no further cell; those that run are finished."""

    def close(self) -> None:
        """Give back what it holds beyond a run, such as the connection to a cluster."""


def groups_of(cells: Sequence[Cell]) -> list[Group]:
    """The cells by their data and, within, by the detector they fit; both in the order in which they first came."""
    by_data: dict[object, dict[object, list[Cell]]] = {}
    for cell in cells:
        by_data.setdefault(cell.data_key, {}).setdefault(cell.fit_key, []).append(cell)
    return [tuple(group) for by_fit in by_data.values() for group in by_fit.values()]


@dataclass(frozen=True)
class ExecutorOptions:
    """What an executor is made with; each takes what it knows."""

    jobs: int | None = None
    """Cells at the same time; None: the executor's own number."""
    threads: int = 1
    """Of each cell."""
    address: str | None = None
    """Of a cluster."""
    gpus_per_cell: float = 0.0
    """GPUs of each cell, or a share of one."""


def find_executor(name: str, options: ExecutorOptions) -> Executor:
    """The executor of that name: an entry point of `bench.executors` that makes one of the options."""
    known = {point.name: point for point in entry_points(group=EXECUTOR_GROUP)}
    if name not in known:
        raise BenchError(f"unknown executor '{name}': {choose_one(name, sorted(known))}")
    made: Executor = known[name].load()(options)
    return made


def local(options: ExecutorOptions) -> Executor:
    """Processes on this machine."""
    return Local(options.jobs or 1)


class Preparations:
    """Data of cells: prepared once, and kept as long as a group still wants them; for several threads."""

    def __init__(self, loader: Loader, groups: Sequence[Group]) -> None:
        self._loader = loader
        self._wanted = Counter(group[0].data_key for group in groups)
        self._found: dict[object, Data] = {}
        self._one_at_a_time = threading.Lock()

    def of(self, cell: Cell) -> Data:
        """The data of a cell; a split that leaves nothing to learn from or to test is a BenchError."""
        with self._one_at_a_time:
            found = self._found.get(cell.data_key)
            if found is None:
                wall, cpu = time.perf_counter(), time.process_time()
                prepared = self._loader.prepare(cell.data)
                found = Data(prepared, time.perf_counter() - wall, time.process_time() - cpu)
                self._found[cell.data_key] = found
            return found

    def is_done(self, group: Group) -> None:
        """One group less wants its data."""
        key = group[0].data_key
        with self._one_at_a_time:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                self._found.pop(key, None)


class Worker:
    """Runs groups of cells, methods in processes of their own; for one thread.

    prepare: gives the data of a cell
    keep: keeps a record and its scores, and returns the record as it reads back
    """

    def __init__(
        self,
        place: Workplace,
        code: InstalledCode,
        prepare: Callable[[Cell], Data],
        keep: Callable[[Record, Scores | None], Record],
        tell: Callable[[Told], None],
    ) -> None:
        self._place, self._code = place, code
        self._prepare, self._keep, self._tell = prepare, keep, tell
        self._cell: Cell | None = None
        self.lodging = Lodging(self._on_print)
        self._fitter = Fitter(place.settings, Elsewhere(self.lodging, place.service))
        self._last: tuple[object, Record, Scores] | None = None
        self._noted: tuple[object, dict[str, Any]] | None = None

    def run(self, cell: Cell) -> Event:
        """Run a cell and keep its record."""
        self._cell = cell
        listen_to_progress(self._on_progress)
        try:
            data = self._prepare(cell)
            record = self._new_record(cell, data)
            self._tell(Event(cell, record, is_finished=False))
            record, scores = self._take_over(cell, record) or self._run_cell(cell, data, record)
            event = Event(cell, self._keep(record, scores), is_finished=True)
            self._last = None if scores is None else (cell.scores_key, event.record, scores)
            return event
        finally:
            listen_to_progress(None)
            self._cell = None

    def _new_record(self, cell: Cell, data: Data) -> Record:
        record = new_record(cell, data, self._place.settings, self._code)
        if self._noted is None or self._noted[0] != cell.data_key:
            self._noted = cell.data_key, data_notes(data.prepared)
        record["detector"]["teacher"] = cell.method.asks_a_model
        record["counts"] = {**record["counts"], **self._noted[1]}
        return record

    def _run_cell(self, cell: Cell, data: Data, record: Record) -> tuple[Record, Scores | None]:
        reason = lacking_of_target(cell, data.prepared)
        if reason is not None:
            record |= {"status": "skipped", "reason": reason, "memory_mib": {}}
            return record, None
        try:
            return run_cell(cell, data, self._fitter, record)
        except ProcessLostError:
            with self.lodging.apart():
                return run_cell(cell, data, self._fitter, self._new_record(cell, data))

    def is_ready(self, is_wanted: Callable[[], bool]) -> bool:
        """As `Hand.is_ready`: a process is had when it is needed."""
        return True

    def kill(self) -> None:
        """End the process of the method that runs, while another thread waits for it."""
        self.lodging.kill()

    def close(self) -> None:
        """End the process of the last method."""
        self.lodging.close()

    def _take_over(self, cell: Cell, record: Record) -> tuple[Record, Scores] | None:
        """Record and scores of the cell before, where its scores cannot be others."""
        if self._last is None or self._last[0] != cell.scores_key:
            return None
        return taken_over(record, self._last[1]), self._last[2]

    def _on_progress(self, what: str, done: int, total: int) -> None:
        if self._cell is not None:
            self._tell(Step(self._cell, what, done, total))

    def _on_print(self, line: str) -> None:
        if self._cell is not None:
            self._tell(Said(self._cell, line))


class LostError(Exception):
    """Whoever ran a cell is gone, and knows nothing to tell of it: the cell is to be run again."""


class Hand(Protocol):
    """Runs cells for one thread, here or elsewhere."""

    def is_ready(self, is_wanted: Callable[[], bool]) -> bool:
        """Wait until it can run a cell, which may take long on a busy cluster; False where it is wanted no more."""

    def run(self, cell: Cell) -> Event:
        """Run a cell and keep its record; LostError where whoever ran it is gone."""

    def kill(self) -> None:
        """End what runs, while its own thread waits for it."""

    def close(self) -> None:
        """Give back what it holds."""


class Crew:
    """The threads of a run, each with a hand, and what they share."""

    def __init__(self, groups: Sequence[Group], desk: Desk, is_done: Callable[[Group], None]) -> None:
        """is_done: told of each group of which nothing is left to run."""
        self._desk = desk
        self._is_done = is_done
        self._waiting = deque(groups)
        self._lock = threading.Lock()
        self._told: queue.SimpleQueue[Told | BaseException | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._hands: list[tuple[Hand, threading.Thread]] = []

    def add(self, hand: Hand) -> None:
        """One more, before the run begins."""
        self._hands.append((hand, threading.Thread(target=self._serve, args=(hand,), daemon=True)))

    def tell_all(self) -> Iterator[Told]:
        """What the hands tell, until all have ended."""
        for _, thread in self._hands:
            thread.start()
        n_left = len(self._hands)
        while n_left:
            told = self._told.get()
            if told is None:
                n_left -= 1
            elif isinstance(told, BaseException):
                raise told
            else:
                yield told

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def abort(self) -> None:
        """End what still runs, and keep nothing of it."""
        self._stopping.set()
        alive = [(hand, thread) for hand, thread in self._hands if thread.is_alive()]
        if alive:
            self._desk.abort()
        for hand, thread in alive:
            hand.kill()
            thread.join(timeout=5)

    def tell(self, told: Told) -> None:
        """Pass on what happens within a cell."""
        if isinstance(told, Step):
            self._desk.progress(*told)
        self._told.put(told)

    def _serve(self, hand: Hand) -> None:
        try:
            while hand.is_ready(self._is_any_waiting):
                group = self._next()
                if group is None:
                    break
                left = self._run(group, hand)
                if left and not self._stopping.is_set():
                    self._put_off(left, was_any=len(left) < len(group))
                else:
                    self._is_done(group)
        except AbortedError:
            pass
        except BaseException as error:
            self._told.put(error)
        finally:
            with contextlib.suppress(OSError):
                hand.close()
            self._told.put(None)

    def _is_any_waiting(self) -> bool:
        return bool(self._waiting) and not self._stopping.is_set()

    def _next(self) -> Group | None:
        with self._lock:
            return self._waiting.popleft() if self._is_any_waiting() else None

    def _put_off(self, left: Group, *, was_any: bool) -> None:
        """What another command runs is looked at again when all else has begun."""
        with self._lock:
            is_last = not self._waiting
            self._waiting.append(left)
        if is_last and not was_any:
            self._stopping.wait(_LOOK_AGAIN_S)

    def _run(self, group: Group, hand: Hand) -> Group:
        """Run the cells of a group; returns what is left from the first that got lost, or that another command has."""
        for place, cell in enumerate(group):
            if self._stopping.is_set():
                break
            with self._desk.claimed(cell) as is_mine:
                found = self._desk.found(cell)
                if found is not None:
                    self._told.put(Event(cell, found, is_finished=True, is_new=False))
                elif is_mine:
                    try:
                        event = hand.run(cell)
                    except LostError:
                        return group[place:]
                    if self._desk.place.fail_fast and event.record["status"] not in FINISHED:
                        self.stop()
                    self._told.put(event)
                else:
                    return group[place:]  # one fit serves all of them: the other command has made it
        return ()


class CrewExecutor(ABC):
    """An executor whose hands are driven by threads of this process."""

    def __init__(self) -> None:
        self._crew: Crew | None = None
        self._is_stopping = False

    def run(self, groups: Sequence[Group], desk: Desk) -> Generator[Told]:
        """As `Executor.run`; an error that is not a method's ends the run."""
        if not groups:
            return
        crew = self._crew = self._crew_for(groups, desk)
        if self._is_stopping:
            crew.stop()
        try:
            yield from crew.tell_all()
        finally:
            crew.abort()
            self._crew = None

    def stop(self) -> None:
        """As `Executor.stop`."""
        self._is_stopping = True
        if self._crew is not None:
            self._crew.stop()

    @abstractmethod
    def _crew_for(self, groups: Sequence[Group], desk: Desk) -> Crew:
        """The threads of a run, with their hands."""


class Local(CrewExecutor):
    """Runs several groups at once on this machine, each in a thread that drives the process of a method."""

    def __init__(self, jobs: int = 1) -> None:
        super().__init__()
        self.jobs = jobs

    def close(self) -> None:
        """As `Executor.close`: nothing is held."""

    def _crew_for(self, groups: Sequence[Group], desk: Desk) -> Crew:
        data = Preparations(Loader(desk.place.catalogue), groups)
        crew = Crew(groups, desk, data.is_done)
        for _ in range(min(self.jobs, len(groups))):
            crew.add(Worker(desk.place, desk.code, data.of, desk.keep, crew.tell))
        return crew
