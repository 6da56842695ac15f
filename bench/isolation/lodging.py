"""Which process a method gets: one of its distribution may be used again, any other method gets a fresh one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bench import registry
from bench.errors import BenchError, CellTimeoutError
from bench.isolation.nursery import Nursery, end_group
from bench.isolation.remote import (
    MethodError,
    MethodProcess,
    ProcessEndedError,
    RemoteDetector,
    description_from,
    fault_of_config,
)
from bench.registry import Description, DetectorRef

IMPORT_LIMIT_S: Final = 120.0
"""How long an import may take where nothing but that is asked."""
_TOO_LONG: Final = "its import took longer than {:g} s"

Tell = Callable[[str], None]
"""Is given each line that a method prints."""


class Lodging:
    """Keeps the process of the method that was asked for last; for one thread."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._process: MethodProcess | None = None
        self._owner: str | None = None
        self._apart: Nursery | None = None

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Meanwhile processes come from a nursery of their own, which no other method can end."""
        self.close()
        self._apart = Nursery()
        try:
            yield
        finally:
            self.close()
            self._apart.close()
            self._apart = None

    def detector(
        self,
        ref: DetectorRef,
        config: Mapping[str, Any],
        *,
        deadline: float | None,
        is_suspect: bool = False,
        **order: Any,
    ) -> RemoteDetector:
        """A new detector; order: seed, device, threads, service, and `known`, its description.

        deadline: by `time.monotonic`, for its import and all that it does then; None where it may take any time
        is_suspect: its import failed before, perhaps by never ending
        """
        process = self._process_of(ref)
        process.prints.begin()
        latest = time.monotonic() + IMPORT_LIMIT_S
        process.deadline = min(latest, deadline or latest) if is_suspect else deadline
        try:
            made = RemoteDetector(process, ref, config, **order)
        except CellTimeoutError:
            if deadline is not None and time.monotonic() >= deadline:
                raise
            raise ProcessEndedError(_TOO_LONG.format(IMPORT_LIMIT_S)) from None
        process.deadline = deadline
        return made

    def describe(self, ref: DetectorRef) -> Description:
        """Tags and config fields; where the import does not end, or ends the process, an error in their place."""
        try:
            with _Limit(self._process_of(ref)) as process:
                return description_from(process, ref)
        except CellTimeoutError:
            return registry.undescribed(_TOO_LONG.format(IMPORT_LIMIT_S))
        except ProcessEndedError as error:
            return registry.undescribed(f"its import ends the program ({error})")
        except MethodError as error:
            return registry.undescribed(f"{error.kind}: {error}")

    def fault_of_config(self, ref: DetectorRef, config: Mapping[str, Any]) -> str | None:
        """Why its Config does not accept these values, or None; a class that cannot be loaded fails in its own cell."""
        with suppress(CellTimeoutError, ProcessEndedError, MethodError), _Limit(self._process_of(ref)) as process:
            return fault_of_config(process, ref, config)
        return None

    def spare(self) -> None:
        """Let the next lodging of this program have the process, which imported something already."""
        if self._process is not None and self._is_sound and self._owner is not None:
            _Spare.put(self._owner, self._process)
            self._process = None
        self.close()

    def kill(self) -> None:
        """End the process while another thread waits for its answer."""
        if self._process is not None and self._process.is_open:
            end_group(self._process.pid)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    @property
    def _is_sound(self) -> bool:
        return self._process is not None and self._process.is_open and not self._process.has_strays

    def _process_of(self, ref: DetectorRef) -> MethodProcess:
        owner = _owner_of(ref)
        if self._process is None or owner != self._owner or not self._is_sound:
            self.close()
            self._process = self._new_process(owner)
            self._owner = owner
        self._process.prints.tell = self._tell
        return self._process

    def _new_process(self, owner: str) -> MethodProcess:
        return MethodProcess(self._apart) if self._apart is not None else _Spare.take(owner) or MethodProcess()


class _Limit:
    """Imports end after a while."""

    def __init__(self, process: MethodProcess) -> None:
        self._process = process

    def __enter__(self) -> MethodProcess:
        self._process.limit(IMPORT_LIMIT_S)
        return self._process

    def __exit__(self, *ignored: object) -> None:
        self._process.deadline = None


class _Spare:
    """A process that is kept for whoever comes next, in the same folder and environment."""

    _lock: Final = threading.Lock()
    _kept: tuple[object, MethodProcess] | None = None

    @classmethod
    def put(cls, owner: str, process: MethodProcess) -> None:
        with cls._lock:
            before, cls._kept = cls._kept, (_surroundings(owner), process)
        if before is not None:
            before[1].close()

    @classmethod
    def take(cls, owner: str) -> MethodProcess | None:
        with cls._lock:
            kept, cls._kept = cls._kept, None
        if kept is None:
            return None
        if kept[0] == _surroundings(owner):
            return kept[1]
        kept[1].close()
        return None


def describe(ref: DetectorRef, cache: Path | None = None) -> Description:
    """As `registry.describe`; what must be imported for that is imported in a process of its own."""
    return registry.describe(ref, cache, _describe_elsewhere)


def _describe_elsewhere(ref: DetectorRef) -> Description:
    lodging = Lodging(to_stderr)
    try:
        return lodging.describe(ref)
    finally:
        lodging.spare()


def require_configs(methods: Mapping[str, tuple[DetectorRef, Mapping[str, Any]]]) -> None:
    """Let every Config judge its values, by label; a BenchError for the first that does not accept them."""
    lodging = Lodging(to_stderr)
    try:
        for label, (ref, config) in methods.items():
            fault = lodging.fault_of_config(ref, config)
            if fault is not None:
                raise BenchError(f"'{label}' does not accept its --set: {fault}")
    finally:
        lodging.spare()


def to_stderr(line: str) -> None:
    """Print a line of a method where no table and no JSON is spoilt."""
    sys.stderr.write(f"{line}\n")


def _owner_of(ref: DetectorRef) -> str:
    """Methods of one owner may share a process."""
    return (
        f"distribution {ref.distribution}" if ref.distribution and not ref.is_local else ref.target.rpartition(":")[0]
    )


def _surroundings(owner: str) -> object:
    return owner, dict(os.environ), str(Path.cwd()), list(sys.path), os.getpid()
