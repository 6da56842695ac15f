"""The driver's side of a run, where records are looked up, claimed and kept; for all workers of an executor."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from bench.experiment.code import InstalledCode
from bench.experiment.resume import resumable
from bench.experiment.spec import Cell
from bench.experiment.workplace import Workplace
from bench.records.claims import Claim, Claims
from bench.records.record import FINISHED, Record, Scores
from bench.records.store import Store


class AbortedError(BaseException):
    """The run was ended while a cell ran: nothing is kept of it."""


class Desk:
    """Looks up, claims and keeps records; its methods may be called from several threads."""

    def __init__(self, place: Workplace, claims: Claims) -> None:
        self.place = place
        self._claims = claims
        self._store = Store(place.out)
        self.code = InstalledCode(self._store.cache)
        self._held: dict[str, Claim] = {}
        self._beside: dict[str, int] = {}
        """Of each cell that runs, how many ran beside it, at most."""
        self._lock = threading.Lock()
        self._is_aborted = False

    def found(self, cell: Cell) -> Record | None:
        """The finished record of a cell; another command may have made it meanwhile."""
        place = self.place
        return resumable(cell.run_id, self._store, place.settings.extra_rules, place.stale)

    @contextlib.contextmanager
    def claimed(self, cell: Cell) -> Iterator[bool]:
        """Have a cell for oneself meanwhile; False where another command has it."""
        claim = self._claims.take(cell.run_id, what=_what(cell))
        if claim is None:
            yield False
            return
        with claim:
            with self._lock:
                self._held[cell.run_id] = claim
                self._beside[cell.run_id] = 0
                others = len(self._beside) - 1
                self._beside = {run_id: max(most, others) for run_id, most in self._beside.items()}
            try:
                yield True
            finally:
                with self._lock:
                    self._held.pop(cell.run_id)
                    self._beside.pop(cell.run_id)

    def progress(self, cell: Cell, what: str, done: int, total: int) -> None:
        """Let others see how far a claimed cell is."""
        claim = self._held.get(cell.run_id)
        if claim is not None:
            claim.update({"step": what, "done": done, "total": total})

    def keep(self, record: Record, scores: Scores | None) -> Record:
        """Keep a record and its scores; returns it as it reads back."""
        with self._lock:
            if self._is_aborted:
                raise AbortedError
            claim = self._held.get(record["run_id"])
            record["beside"] = self._beside.get(record["run_id"], 0)
        if claim is not None and not claim.is_held():
            # This machine slept, or lost sight of the folder, and another one has the cell now.
            found = self._store.read(record["run_id"])
            if found is not None and found["status"] in FINISHED:
                return found
        return self._store.write(record, scores)

    def abort(self) -> None:
        """Keep nothing more."""
        with self._lock:
            self._is_aborted = True

    def report(self, *, total: int, done: int, failed: int, left_s: float | None) -> None:
        """Let others see how far the run is."""
        self._claims.report(total=total, done=done, failed=failed, left_s=left_s)


def _what(cell: Cell) -> Mapping[str, Any]:
    """What a claim says of a cell, for whoever asks."""
    return {"method": cell.method.label, "scenario": cell.scenario.key, "split": cell.split, "seed": cell.seed}
