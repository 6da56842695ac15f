"""Progress on stderr: on a terminal bars for what runs, elsewhere one plain line per finished run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.cli.plan import duration
from bench.detector import listen_to_progress
from bench.errors import harmless

if TYPE_CHECKING:
    from bench.experiment.estimates import Estimates
    from bench.experiment.spec import Cell
    from bench.experiment.workplace import Said, Step
    from bench.records.store import Record

_REFRESH_S = 0.1
_FINE = ("ok", "skipped")
_QUIET_S = 2.0
"""Runs that are over sooner need no line each."""


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),  # mlad[alpha=1.3] is no markup
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Steps:
    """Draws what a long step reports of itself, for commands that run nothing else."""

    def __init__(self) -> None:
        self._progress = _bars(Console(stderr=True))
        self._step = self._progress.add_task("", total=None, visible=False)
        self._last = ("", 0.0)

    def __enter__(self) -> Self:
        self._progress.start()
        listen_to_progress(self._on_step)
        return self

    def __exit__(self, *ignored: object) -> None:
        listen_to_progress(None)
        self._progress.stop()

    def _on_step(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._last[0] or now - self._last[1] >= _REFRESH_S or done == total:
            self._last = (what, now)
            self._progress.update(self._step, description=what, completed=done, total=total or None, visible=True)


class Watcher:
    """Shows how a run goes: which cells run and how far they are, which failed, and the time that is left."""

    def __init__(self, estimates: Estimates, jobs: int) -> None:
        self._console = Console(stderr=True)
        self._progress = _bars(self._console)
        self._runs = self._progress.add_task("runs", total=None)
        self._running: dict[str, TaskID] = {}
        self._start = time.monotonic()
        self._estimates, self._jobs = estimates, jobs
        self._left: dict[str, Cell] = {}
        self._left_s: float | None = None
        self._n_failed = 0
        self._last_look = self._start
        self.done = 0
        self.total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __call__(self, done: int, total: int, cell: Cell, record: Record | None) -> None:
        """A cell begins, or is finished with this record."""
        self.done, self.total = done, total
        if record is None and cell.run_id in self._running:
            pass  # begun again, since its worker got lost
        elif record is None:
            name = f"  {cell.scenario.key} {cell.method.label} seed {cell.seed}"
            self._running[cell.run_id] = self._progress.add_task(name, total=None)
        elif (task := self._running.pop(cell.run_id, None)) is not None:
            self._progress.remove_task(task)
        if record is not None:
            self._left.pop(cell.run_id, None)
            self._left_s = self._left_s if self._left else None
            self._n_failed += record["status"] not in _FINE
            self._observe(cell, record)
        self._progress.update(self._runs, completed=done, total=total, description=self._summary())
        if record is not None:
            self._tell_finished(cell, record)

    def on_begin(self, cells: Sequence[Cell]) -> None:
        """These cells will run."""
        self._left = {cell.run_id: cell for cell in cells}

    def left_s(self) -> float | None:
        """Seconds to the end, where past records or the cells that are done tell; looked up anew every second."""
        now = time.monotonic()
        if self._left and now - self._start > _QUIET_S and now - self._last_look > 1:
            self._last_look = now
            self._left_s = self._estimates.left(list(self._left.values()), self._jobs)
        return self._left_s

    def on_step(self, step: Step) -> None:
        """How far a cell is."""
        task = self._running.get(step.cell.run_id)
        if task is not None:
            name = f"  {step.cell.method.label} seed {step.cell.seed}: {step.what}"
            self._progress.update(task, description=name, completed=step.done, total=step.total or None)

    def on_print(self, said: Said) -> None:
        """What a method printed."""
        self.say(f"{said.cell.method.label}: {said.line}")

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(harmless(line), markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the bars away."""
        self._progress.stop()

    def _observe(self, cell: Cell, record: Record) -> None:
        """What a cell took corrects what the others are thought to take."""
        took = record.get("cpu_seconds", {})
        if record["status"] == "ok" and "fit" in took and "fitted_as" not in record:
            self._estimates.observe(cell, took["fit"] + took.get("score", 0.0))

    def _summary(self) -> str:
        parts = ["runs"]
        if self._n_failed:
            parts.append(f"{self._n_failed} failed")
        if self._left_s is not None:
            parts.append(f"about {duration(self._left_s)} left")
        return ", ".join(parts)

    def _tell_finished(self, cell: Cell, record: Record) -> None:
        status = record["status"]
        if status not in _FINE:
            self.say(f"{record['method']} seed {cell.seed}: {status}: {record['reason']}")
        elif not self._console.is_terminal and time.monotonic() - self._start > _QUIET_S:
            seconds = sum(record["seconds"].values())
            left = "" if self._left_s is None else f"; about {duration(self._left_s)} left"
            name = f"{cell.scenario.key} {record['method']} seed {cell.seed}"
            self.say(f"{self.done} of {self.total}: {name}: {status}, {seconds:.1f} s{left}")
