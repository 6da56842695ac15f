"""Progress on stderr: one bar over the runs, one line for what the current one does; quiet when not a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.detector import listen_to_progress
from bench.errors import harmless

if TYPE_CHECKING:
    from bench.experiment.spec import Cell
    from bench.records.store import Record

_REFRESH_S = 0.1


class Steps:
    """Draws what a long step reports of itself, for commands that run nothing else."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
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
    """Draws a run's progress; called by the runner before and after each cell."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),  # mlad[alpha=1.3] is no markup
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._runs = self._progress.add_task("runs", total=None)
        self._step = self._progress.add_task("", total=None, visible=False)
        self._last_draw = 0.0
        self.done = 0
        self.total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        listen_to_progress(self._on_step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __call__(self, done: int, total: int, cell: Cell, record: Record | None) -> None:
        self.done, self.total = done, total
        self._progress.update(self._runs, completed=done, total=total)
        self._progress.update(self._runs, description=f"{cell.scenario.key} {cell.method.label} seed {cell.seed}")
        self._progress.update(self._step, visible=False)
        if record is not None and record["status"] not in ("ok", "skipped"):
            line = f"{record['method']} seed {cell.seed}: {record['status']}: {record['reason']}"
            self._progress.console.print(harmless(line), markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the bars away."""
        listen_to_progress(None)
        self._progress.stop()

    def _on_step(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last_draw >= _REFRESH_S or done == total:
            self._last_draw = now
            self._progress.update(self._step, description=f"  {what}", completed=done, total=total, visible=True)
