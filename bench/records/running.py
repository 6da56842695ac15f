"""What runs in a results folder now, as `bench results status` shows it: read from claims, never written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import BenchError
from bench.records.claims import STALE_S, Slot
from bench.records.holders import Holder, Observer, is_number, parse_holder, parse_object


class RunningCell(NamedTuple):
    """A run that somebody does."""

    run_id: str
    host: str
    pid: int
    what: Mapping[str, Any]
    """What `Claims.take` was told: method, scenario, split, seed, cell, cells."""
    progress: Mapping[str, Any]
    """What `Claim.update` was told last: step, done, total, loss."""
    elapsed_s: float | None
    """By its holder's clock, up to its last beat; None before the first."""
    is_gone: bool
    """Its process has ended, or gave no beat for a minute of looking."""


class RunningCommand(NamedTuple):
    """A command that does several runs."""

    host: str
    pid: int
    total: int
    done: int
    failed: int
    left_s: float | None
    elapsed_s: float | None
    is_gone: bool


class Board:
    """Looks at the claims of a results folder; one that looks several times also sees other machines go.

    root: the folder for what can be made again (`Store.cache`)
    """

    def __init__(self, root: Path, *, stale_s: float = STALE_S) -> None:
        self._claims = root / "claims"
        self._running = root / "running"
        self._observer = Observer(stale_s)

    def cells(self) -> list[RunningCell]:
        """The runs that are claimed, those of a command together, in their order."""
        return sorted(self._cells(), key=lambda cell: (cell.host, cell.pid, _order(cell.what), cell.run_id))

    def commands(self) -> list[RunningCommand]:
        """The commands that said how far they are."""
        return sorted(self._commands(), key=lambda command: (command.host, command.pid))

    def _cells(self) -> Iterator[RunningCell]:
        for path in _files(self._claims, "*.json"):
            if path.name.count(".") > 1:
                continue
            slot = Slot(self._claims, path.stem, self._observer)
            found = slot.read()
            if found is None or found.holder is None:
                continue
            told = parse_object(_read(slot.beside(found.token, "beat")))
            progress = told.get("progress")
            yield RunningCell(
                path.stem,
                found.holder.host,
                found.holder.pid,
                found.holder.what,
                progress if isinstance(progress, dict) else {},
                _number(told.get("elapsed_s")),
                slot.is_dead(path, found),
            )

    def _commands(self) -> Iterator[RunningCommand]:
        for path in _files(self._running, "*.json"):
            content = _read(path)
            told, holder = parse_object(content), parse_holder(content)
            counts = [_number(told.get(key)) for key in ("total", "done", "failed")]
            if holder is None or None in counts:
                continue
            total, done, failed = (int(count or 0) for count in counts)
            left_s, elapsed_s = _number(told.get("left_s")), _number(told.get("elapsed_s"))
            is_gone = self._is_gone(path, holder, content)
            yield RunningCommand(holder.host, holder.pid, total, done, failed, left_s, elapsed_s, is_gone)

    def _is_gone(self, path: Path, holder: Holder, content: bytes) -> bool:
        gone = holder.is_gone()
        return self._observer.stands_still(path.name, content) if gone is None else gone


def _order(what: Mapping[str, Any]) -> int:
    cell = what.get("cell")
    return cell if isinstance(cell, int) else 0


def _number(value: object) -> float | None:
    return float(value) if is_number(value, above=-1e-9) else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern)) if folder.is_dir() else []
    except OSError as error:
        raise BenchError(f"'{folder}' cannot be read ({error.strerror or error}): check its permissions") from None
