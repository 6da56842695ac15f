"""Prepared editions: what a reader made of an edition, kept on disk as memory-mapped arrays.

A prepared edition is a folder below the cache whose name is the hash of everything that decided its content. It is
written under a temporary name and renamed when it is whole, so that no half of one is ever used; one process prepares
while others that want the same edition wait. Its files are sealed by digests: what was damaged is made anew. The folder
may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import filelock
import polars as pl

from bench._files import cache_dir
from bench._sealed import Damaged, NotSealed, State, say_anew
from bench.data.cards.card import Card, Format
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.columns import FileColumns, open_columns
from bench.data.reading.label_words import has_spellings
from bench.data.reading.log import Log
from bench.data.reading.read import read
from bench.detector import report_progress
from bench.errors import BenchError

READER_VERSION: Final = 2
"""Raise it when the same files come to be read otherwise: what older versions prepared is then left aside."""
_PLAIN: Final = Format()
_LATER: Final = ("mark", "zone", "skip", "begins", "fields", "event")
"""Fields of `[format]` that came when editions had been prepared."""
_PATIENCE_S: Final = 0.2
_TEMPORARY: Final = ".part-"

LABELS_VERSION: Final = 2
"""Raise it when the same words of labels come to be read otherwise."""

T = TypeVar("T")


def open_prepared(card: Card, catalogue: Catalogue) -> Log:
    """The edition's log, memory-mapped; it is prepared first where that was not done yet.

    A BenchError where a file of the edition is not the one that its card means, prepared or not.
    """
    _require_own_files(card, catalogue)
    folder = prepared_folder(card)
    return kept_or_made(
        card,
        f"the prepared edition {card.key}",
        lambda: open_columns(folder),
        lambda: _prepare(card, catalogue, folder),
    )


def is_prepared(card: Card) -> bool:
    """Whether a whole prepared edition is in the cache."""
    try:
        return open_columns(prepared_folder(card)) is not None
    except (Damaged, NotSealed, OSError):
        return False


def kept_or_made(card: Card, what: str, kept: Callable[[], T | None], make: Callable[[], T]) -> T:
    """What `kept` opens, else what `make` makes under the edition's lock.

    What is `Damaged` is said in one line; what an earlier version made is made anew without a word.
    """
    # Also what another process replaces at this moment; under the lock nobody does.
    with contextlib.suppress(ValueError, OSError, pl.exceptions.PolarsError):
        found = kept()
        if found is not None:
            return found
    with alone(prepared_folder(card), card):
        # Another process may have made it while this one waited.
        try:
            found = kept()
        except NotSealed:
            found = None
        except Damaged as damage:
            say_anew(what, damage)
            found = None
        return make() if found is None else found


@contextlib.contextmanager
def unchanged(card: Card, catalogue: Catalogue) -> Iterator[None]:
    """Keep nothing that was read from files which changed meanwhile: that is a BenchError at the end."""
    before = [state.facts for state in _states(card, catalogue)]
    yield
    if [state.facts for state in _states(card, catalogue)] != before:
        raise BenchError(f"a file of '{card.key}' changed while it was read: run the command again")


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
        "format": _format(card),
        "masks": card.parser.masks,
        "drop_events": card.drop_events,
        "template_column": card.template_column,
        "incidents": card.incidents,
        "lines": card.lines,
        # Since then a 29 February is no time in a year that has none.
        **({"year": 2} if card.format.year else {}),
        **({"labels": LABELS_VERSION} if _depends_on_words(card) else {}),
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:24]
    return cache_dir() / "prepared" / f"{card.name}-{digest}"


def _depends_on_words(card: Card) -> bool:
    """Whether words are read that may be spelled otherwise than the card does."""
    form = card.format
    if card.kind not in ("lines", "simulated"):
        return False
    return form.label in ("label-file", "session-list") or (form.label == "first-token" and has_spellings(form.normal))


def _format(card: Card) -> dict[str, Any]:
    """All of it, but a later field only where it is used, so that what was prepared before stays found."""
    values = dataclasses.asdict(card.format)
    unused = {name for name in _LATER if values[name] == getattr(_PLAIN, name)}
    return {name: value for name, value in values.items() if name not in unused}


def _require_own_files(card: Card, catalogue: Catalogue) -> None:
    """What was prepared long ago must not answer for files that are others now; files that are away say nothing."""
    folder = catalogue.data_dir
    for file in card.files if card.kind != "simulated" else ():
        if folder is not None and (folder / file.name).is_file():
            catalogue.path(file)


def _states(card: Card, catalogue: Catalogue) -> list[State]:
    """How the files of an edition look now, those that are here."""
    if catalogue.data_dir is None or card.kind == "simulated":
        return []
    paths = [catalogue.data_dir / file.name for file in card.files]
    return [State.of(path) for path in paths if path.is_file()]


def _prepare(card: Card, catalogue: Catalogue, folder: Path) -> Log:
    """Read the edition into a temporary folder and rename that."""
    _remove_leftovers(folder)
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}{_TEMPORARY}", dir=folder.parent))
        with contextlib.closing(FileColumns(temporary)) as columns, unchanged(card, catalogue):
            read(card, catalogue, columns)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        log = open_columns(folder)
        assert log is not None
        return log
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
