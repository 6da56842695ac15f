"""What is done to a whole results folder: pack, merge, prune, and the migration from schema version 1."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import filelock

from bench._files import replace_file, replace_text, temporary_beside
from bench.errors import BenchError
from bench.records.archive import differs, newer
from bench.records.record import (
    SCHEMA_VERSION,
    Record,
    parse_object,
    record_digest,
    require_shape,
    split_curves,
)
from bench.records.store import OLD_FOLDER, Store, parse_inbox
from bench.records.verify import record_problems

_WAIT_S: Final = 600.0


class Merged(NamedTuple):
    """What a merge did: records that are new here, older ones that were replaced, and those that stay."""

    new: int
    newer: int
    kept: int


def pack(store: Store, *, tidy: bool = True) -> int:
    """Move all records of the inbox into the archive; returns how many were moved.

    tidy: also put every file of the archive in order, as after a merge by git

    Failures move too: a table shows them as rows. A record that is not what its run left is a BenchError, and nothing
    moves.
    """
    store.require_current()
    with _alone(store):
        contents = {path: path.read_bytes() for path in sorted(store.inbox.glob("*.json"))}
        records = {path: parse_inbox(content, path) for path, content in contents.items()}
        for path, record in records.items():
            _require_sound(record, f"the record {path}")
        if tidy:
            store.archive.tidy()
        if records:
            _archive(store, records.values())
        for path, content in contents.items():
            _remove(path, content)
    return len(records)


def merge(store: Store, other: Store) -> Merged:
    """Take the records of another folder in, with their scores and curves; of two equal ones the newer stays.

    Two different records of one run are a BenchError, and nothing changes.
    """
    if not other.root.is_dir():
        raise BenchError(f"there is no folder {other.root} to merge: give the results folder of another machine")
    other.require_results()
    theirs = list(other.records())
    for record in theirs:
        _require_sound(record, f"the record {record['run_id']} of {other.root}")
    pack(store)
    with _alone(store):
        known = {record["run_id"]: record for record in store.records()}
        new = [record for record in theirs if record["run_id"] not in known]
        better = [
            chosen
            for record in theirs
            if (chosen := _better(known.get(record["run_id"]), record, store, other)) is not None
        ]
        for record in (*new, *better):
            if _is_of(record, other):
                _copy(other.scores / f"{record['run_id']}.npz", store.scores)
        if new or better:
            _archive(store, [_with_curves(record, other) for record in (*new, *better)])
    return Merged(len(new), len(better), len(theirs) - len(new) - len(better))


def orphans(store: Store) -> list[Path]:
    """Scores and curves that no finished record belongs to."""
    ok = {record["run_id"] for record in store.records() if record["status"] == "ok"}
    files = (*store.scores.glob("*.npz"), *store.curves.glob("*.json"))
    return sorted(path for path in files if path.stem not in ok)


def migrate(store: Store) -> int:
    """Archive the records of schema version 1, the folder `runs`; returns how many.

    The old files go once all of them read back equal. What a migration that was stopped left is done by the next.
    """
    folder = store.root / OLD_FOLDER
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise BenchError(f"there is no record of schema version 1 in {store.root}: nothing to migrate")
    with _alone(store):
        archived = {record["run_id"]: record for path in store.archive.files() for record in store.archive.read(path)}
        records = [_unless_known(_raised(path), archived, path) for path in paths]
        _archive(store, records)
        moved = Store(store.root)
        back = {record["run_id"]: record for path in moved.archive.files() for record in moved.archive.read(path)}
        for record in records:
            if back[record["run_id"]] != split_curves(record)[0]:
                raise BenchError(f"the record {record['run_id']} does not read back as it was: nothing was removed")
        for path in paths:
            path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
    return len(records)


def _unless_known(raised: Record, archived: dict[str, Record], path: Path) -> Record:
    """The old record, or what the archive holds of its run where that is newer."""
    known = archived.get(raised["run_id"])
    return raised if known is None else newer(known, raised, f"the record {path}")


def _raised(path: Path) -> Record:
    where, way_out = f"the record {path}", "delete it, or put it right, and migrate again"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BenchError(f"{where} is damaged ({error}): {way_out}") from None
    content = parse_object(text, where, way_out)
    if content.get("schema_version") != 1:
        raise BenchError(f"{where} has schema version {content.get('schema_version')}, not 1: {way_out}")
    raised: Any = content | {"schema_version": SCHEMA_VERSION}
    raised["digest"] = record_digest(raised)
    record: Record = raised
    require_shape(record, where, way_out)
    _require_sound(record, where)
    return record


def _archive(store: Store, records: Iterable[Record]) -> None:
    """Curves first: a record in the archive has lost nothing."""
    records = list(records)
    for record in records:
        curves = split_curves(record)[1]
        if curves is not None:
            text = json.dumps(curves, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            replace_text(store.curves / f"{record['run_id']}.json", text + "\n")
    store.archive.add(records)


def _better(ours: Record | None, theirs: Record, store: Store, other: Store) -> Record | None:
    """What is to stand in the place of our record of a run; None where that stays, or we have none."""
    if ours is None:
        return None
    fields = differs(ours, theirs)
    if fields:
        raise BenchError(
            f"run {ours['run_id']} differs between {store.root} and {other.root} in {fields}: "
            "delete the line of the one that is wrong, then merge again"
        )
    chosen = newer(ours, theirs, f"the record in {other.root}")
    return None if chosen is ours else chosen


def _is_of(record: Record, other: Store) -> bool:
    """Whether a record is the run that another folder holds, and not ours with what was checked there."""
    found = other.read(record["run_id"])
    return found is not None and found["started_at"] == record["started_at"]


def _with_curves(record: Record, other: Store) -> Record:
    found = other.read(record["run_id"]) if _is_of(record, other) else None
    curves = None if found is None else split_curves(found)[1]
    if curves is None:
        return record
    whole: Any = record | {"monitor": {**record["monitor"], "epochs": curves}}
    with_curves: Record = whole
    return with_curves


def _require_sound(record: Record, where: str) -> None:
    wrong = next(record_problems(record), None)
    if wrong:
        raise BenchError(f"{where} cannot be archived, {wrong}: delete it and run again")


def _remove(path: Path, content: bytes) -> None:
    """Remove an inbox file that still holds what was archived; what another command wrote meanwhile stays."""
    aside = temporary_beside(path)
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
        if aside.read_bytes() == content or path.exists():
            aside.unlink()
        else:
            aside.replace(path)


def _copy(path: Path, folder: Path) -> None:
    if path.is_file():
        replace_file(folder / path.name, lambda temporary: shutil.copyfile(path, temporary))


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Let one command at a time rewrite the archive of a folder."""
    path = store.cache / "archive.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path, timeout=_WAIT_S):
            yield
    except filelock.Timeout:
        raise BenchError(
            f"another command has been writing the archive of {store.root} for {_WAIT_S:g} s: try again"
        ) from None
    except OSError as error:
        raise BenchError(
            f"the archive of {store.root} cannot be written ({error.strerror or error}): "
            "choose another folder or make room"
        ) from None
