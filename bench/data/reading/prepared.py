"""Prepared editions: what a reader made of an edition, kept on disk as memory-mapped arrays.

A prepared edition is a folder below the cache whose name is the hash of everything that decided its content. It is
written under a temporary name and renamed when it is whole, so that no half of one is ever used; one process prepares
while others that want the same edition wait. The folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import filelock
import polars as pl

from bench._files import cache_dir
from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.columns import FileColumns, open_columns
from bench.data.reading.log import Log
from bench.data.reading.read import read
from bench.detector import report_progress
from bench.errors import BenchError

READER_VERSION: Final = 2
"""Raise it when the same files come to be read otherwise: what older versions prepared is then left aside."""
_PATIENCE_S: Final = 0.2
_TEMPORARY: Final = ".part-"


def open_prepared(card: Card, catalogue: Catalogue) -> Log:
    """The edition's log, memory-mapped; it is prepared first where that was not done yet."""
    folder = prepared_folder(card)
    log = _open(folder)
    if log is None:
        with alone(folder, card):
            # Another process may have prepared it while this one waited.
            log = _open(folder)
            if log is None:
                log = _prepare(card, catalogue, folder)
    return log


def is_prepared(card: Card) -> bool:
    """Whether a whole prepared edition is in the cache."""
    return _open(prepared_folder(card)) is not None


def forget(card: Card) -> None:
    """Remove the prepared edition, so that it is made anew."""
    with alone(prepared_folder(card), card):
        shutil.rmtree(prepared_folder(card), ignore_errors=True)


def prepared_folder(card: Card) -> Path:
    """Where it is kept: below `BENCH_CACHE`, named by what decides its content."""
    decisive = {
        "reader": READER_VERSION,
        "kind": card.kind,
        "files": [[file.name, file.inside, file.role, file.digest] for file in card.files],
        "simulated": dict(card.sha256) if card.kind == "simulated" else {},
        "format": dataclasses.asdict(card.format),
        "masks": card.parser.masks,
        "drop_events": card.drop_events,
        "template_column": card.template_column,
        "incidents": card.incidents,
        "lines": card.lines,
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:24]
    return cache_dir() / "prepared" / f"{card.name}-{digest}"


def _open(folder: Path) -> Log | None:
    try:
        return open_columns(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError):
        return None


def _prepare(card: Card, catalogue: Catalogue, folder: Path) -> Log:
    """Read the edition into a temporary folder and rename that."""
    _remove_leftovers(folder)
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}{_TEMPORARY}", dir=folder.parent))
        with contextlib.closing(FileColumns(temporary)) as columns:
            read(card, catalogue, columns)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        return open_columns(folder)
    except OSError as error:
        raise unwritable(folder.parent, error) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """What a killed process left; only the holder of the lock comes here, so nobody writes to it."""
    for path in folder.parent.glob(f"{folder.name}{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def alone(folder: Path, card: Card) -> Iterator[None]:
    """Hold the lock of a prepared edition; the system drops it with the process, however that ends."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            lock.acquire(timeout=_PATIENCE_S)
        except filelock.Timeout:
            report_progress(f"waiting for another process that prepares {card.key}", 0, 0)
            lock.acquire()
    except OSError as error:
        raise unwritable(folder.parent, error) from None
    try:
        yield
    finally:
        lock.release()


def unwritable(folder: Path, error: OSError) -> BenchError:
    """What to tell a user whose cache is full or closed."""
    reason = error.strerror or str(error)
    return BenchError(
        f"the cache folder {folder} cannot be written ({reason}): make room, or set BENCH_CACHE to another"
    )
