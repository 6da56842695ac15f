"""The results folder: records in an inbox (a file each) and an archive (lines), beside them what they were made from.

`inbox/<run_id>.json` is written by runs, `records/*.jsonl` by `bench results pack`; reading looks in both, and the
inbox wins. A record appears whole or not at all, so that a killed run leaves no half one. The scores,
`scores/<run_id>.npz`, are written first: a record whose scores are missing can still be read, but a new threshold rule
needs its cell run again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench._files import anchored, remove_leftovers, replace_file, replace_text
from bench._plain import jsonable
from bench.errors import BenchError
from bench.records.archive import Archive, without_collection
from bench.records.index import IN_SEVERAL_LINES, Index
from bench.records.lines import WAY_OUT
from bench.records.record import (
    FINISHED,
    SCHEMA_VERSION,
    Record,
    Scores,
    holds_series,
    is_newer,
    parse_record,
    record_digest,
    record_text,
    require_shape,
    require_version,
    scores_digest,
    split_of_file,
)
from bench.records.shape import fault_of

__all__ = [
    "FINISHED",
    "SCHEMA_VERSION",
    "Record",
    "Scores",
    "Store",
    "record_text",
    "remove_leftovers",
    "replace_file",
]

OLD_FOLDER: Final = "runs"
"""Where records of schema version 1 lie."""

_LEVEL: Final = 2
"""Of zlib, for scores: a fifth of the default's time for a twentieth more space."""

Wanted = Callable[[str, str], bool]
"""Whether the records of a scenario and split are asked for."""


def everything(scenario: str, split: str) -> bool:
    """Every scenario and split is wanted."""
    return True


class Store:
    """The results folder of one or many runs."""

    def __init__(self, root: Path) -> None:
        self.root = root = anchored(root)
        self.inbox = root / "inbox"
        self.scores = root / "scores"
        self.curves = root / "curves"
        self.archive = Archive(root / "records")
        self._index = Index(self.archive, self.cache)

    @property
    def cache(self) -> Path:
        """Folder for what can be made again."""
        return self.root / "cache"

    def read(self, run_id: str) -> Record | None:
        """The record, with its training curves where they are here, or None where there is none."""
        self.require_current()
        record = self.read_inbox(run_id)
        return self._archived(run_id) if record is None else record

    def find(self, prefix: str) -> Record:
        """The one record whose run_id starts so."""
        self.require_current()
        names = {path.stem for path in self.inbox.glob("*.json")} | self._index.places().keys()
        found = sorted(name for name in names if name.startswith(prefix))
        if not found:
            raise BenchError(f"no record '{prefix}' in {self.root}: `bench table --json` has the run_ids of all rows")
        if len(found) > 1:
            raise BenchError(f"'{prefix}' fits {len(found)} records: give more digits of the run_id")
        record = self.read(found[0])
        if record is None:
            raise BenchError(f"the record {found[0]} of {self.root} has just gone: try again")
        return record

    def records(self) -> Iterator[Record]:
        """All records, ordered by run_id; of those in the archive without training curves."""
        groups = (records for _, records in self.by_table())
        with without_collection():
            found = sorted(itertools.chain.from_iterable(groups), key=lambda record: record["run_id"])
        yield from found

    def by_table(self, wanted: Wanted = everything) -> Iterator[tuple[Path, list[Record]]]:
        """The records of each scenario and split that is wanted, by run_id, and the archive file they belong in.

        Only the files of what is wanted are read, and those of series. Records share parts: they are not to be changed.
        """
        self.require_current()
        self.archive.forget()
        inbox: dict[Path, dict[str, Record]] = defaultdict(dict)
        for record in self.inbox_records():
            inbox[self._path_of(record)][record["run_id"]] = record
        files = set(self.archive.files())
        for path in sorted(files | inbox.keys()):
            is_series = holds_series(path.stem)
            scenario, _, split = path.stem.rpartition("--")
            if not is_series and not wanted(scenario, split_of_file(split)):
                continue
            archived = self.archive.read(path) if path in files else []
            found = {record["run_id"]: record for record in archived} | inbox[path]
            records = [found[run_id] for run_id in sorted(found)]
            if is_series:
                records = [r for r in records if wanted(scenario, r["spec"]["split"])]
            if records:
                yield path, records

    def table_records(self, wanted: Wanted) -> Iterator[Record]:
        """The records of the scenarios and splits that are wanted."""
        for _, records in self.by_table(wanted):
            yield from records

    def inbox_records(self) -> Iterator[Record]:
        """The records that are not archived yet, by run_id."""
        for path in sorted(self.inbox.glob("*.json")):
            record = self.read_inbox(path.stem)
            if record is not None:  # else another command has just archived it
                yield record

    def read_inbox(self, run_id: str) -> Record | None:
        """The record of a run as it lies in the inbox."""
        path = self.inbox / f"{run_id}.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BenchError(
                f"the record {path} cannot be read ({error.strerror or error}): move what is in its place away"
            ) from None
        return parse_inbox(content, path)

    def write(self, record: Record, scores: Scores | None = None) -> Record:
        """Keep a record in the inbox, and first its scores; returns the record as it reads back, with its digests.

        BenchError where it could not be read back: such a file would stop every later command on this store.
        """
        self.require_current()
        plain: dict[str, Any] = jsonable(record)
        wrong = fault_of(plain | {"digest": ""})
        if wrong:
            raise BenchError(f"a record without a right '{wrong}' was not written: a fault of this program")
        run_id = plain["run_id"]
        self._require_not_newer(run_id)
        if scores is not None:
            path = self.scores / f"{run_id}.npz"
            replace_file(path, lambda temporary: _save_arrays(temporary, scores))
            plain["scores_sha256"] = scores_digest(scores)
        plain["digest"] = record_digest(plain)
        text = record_text(plain)
        replace_text(self.inbox / f"{run_id}.json", text)
        stored: Record = json.loads(text)
        return stored

    def _require_not_newer(self, run_id: str) -> None:
        """Raise BenchError where a newer program has kept this run meanwhile: what it knows is not written over."""
        path = self.inbox / f"{run_id}.json"
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and is_newer(found):
                require_version(found, f"the record {path}")

    def has_scores(self, run_id: str) -> bool:
        """Whether the scores of a run are here."""
        return (self.scores / f"{run_id}.npz").is_file()

    def read_scores(self, run_id: str) -> Scores | None:
        """The stored scores of a run, or None where they are not here."""
        path = self.scores / f"{run_id}.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BenchError(f"the scores {path} are damaged ({error}): delete the file and run again") from None

    def require_current(self) -> None:
        """Raise BenchError where records of an older schema lie: they are migrated first, never half read.

        Also where a file stands in the place of a folder: nothing there would read as no records.
        """
        for folder in (self.root, self.inbox, self.archive.folder):
            if folder.exists() and not folder.is_dir():
                raise BenchError(
                    f"records cannot be read and cannot be written: {folder} is no folder; "
                    "move it away, or give another --out"
                )
        if any((self.root / OLD_FOLDER).glob("*.json")):
            raise BenchError(
                f"{self.root} holds records of schema version 1 (its folder '{OLD_FOLDER}'): "
                f"run `bench results migrate --out {self.root}` once"
            )

    def require_results(self) -> None:
        """Raise BenchError where there is no results folder: nothing wrong with nothing is no answer."""
        self.require_current()
        if not any(folder.is_dir() for folder in (self.inbox, self.archive.folder, self.scores, self.curves)):
            raise BenchError(
                f"{self.root} is no results folder (it holds neither 'inbox' nor 'records'): give that of your runs"
            )

    def require_unchanged(self, records: Iterable[Record]) -> None:
        """Raise BenchError where a record is not what its run left: asked for where something is concluded from it."""
        for record in records:
            if record_digest(record) != record["digest"]:
                raise BenchError(
                    f"the record {record['run_id']} in {self.archive.path_of(record)} was changed after its run "
                    f"(its digest is not that of its content): {WAY_OUT}"
                )

    def require_writable(self) -> None:
        """Raise BenchError where records cannot be kept: before hours of work, not after them."""
        self.require_current()
        probe = self.inbox / "writable"
        replace_file(probe, lambda temporary: temporary.touch())
        probe.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Delete temporary files of runs that were killed while writing, when their process is gone."""
        remove_leftovers(self.root, *self.root.glob("*/"), *self.cache.glob("*/"))

    def _archived(self, run_id: str) -> Record | None:
        for attempt in range(2):
            place = self._index.places().get(run_id)
            if place is None:
                return None
            record = self._at(run_id, *place)
            if record is not None:
                return self._with_curves(record)
            if attempt == 0:
                self._index.rebuild()
        return None

    def _at(self, run_id: str, path: Path, offset: int) -> Record | None:
        if offset == IN_SEVERAL_LINES:
            return next((r for r in self.archive.read(path) if r["run_id"] == run_id), None)
        record = self.archive.read_at(path, offset)
        return record if record is not None and record["run_id"] == run_id else None

    def _with_curves(self, record: Record) -> Record:
        """The record with the curves of its training where they are here; damaged ones are left out."""
        path = self.curves / f"{record['run_id']}.json"
        with contextlib.suppress(OSError, ValueError, RecursionError):
            epochs = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(record.get("monitor"), dict) and epochs is not None:
                record["monitor"] = {**record["monitor"], "epochs": epochs}
        return record

    def _path_of(self, record: Record) -> Path:
        return self.archive.path_of(record)


def parse_inbox(content: bytes, path: Path) -> Record:
    """The record of an inbox file; what is wrong with it is a BenchError."""
    where, way_out = f"the record {path}", "delete it and run again"
    try:
        record = parse_record(content.decode(), where, way_out)
    except UnicodeDecodeError as error:
        raise BenchError(f"{where} is damaged ({error}): {way_out}") from None
    if record.get("run_id") != path.stem:
        raise BenchError(f"{where} is that of run {record.get('run_id')}: give it its name back, or delete it")
    require_shape(record, where, way_out)
    if record_digest(record) != record["digest"]:
        raise BenchError(f"{where} was changed after its run (its digest is not that of its content): {way_out}")
    return record


def _save_arrays(path: Path, scores: Scores) -> None:
    """As `numpy.savez_compressed` does, which has no level."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, values in scores.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, values, allow_pickle=False)
