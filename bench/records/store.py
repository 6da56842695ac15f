"""Records on disk: `runs/<run_id>.json`, and beside them the scores they were made from, `scores/<run_id>.npz`.

A record is written to a temporary name and renamed, so that a killed run leaves no half record. The scores are written
first: a record whose scores are missing can still be read, but a new threshold rule needs its cell run again.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench._files import remove_leftovers, replace_file, replace_text
from bench.errors import BenchError

SCHEMA_VERSION: Final = 1
FINISHED: Final = ("ok", "skipped")
"""Statuses that resume does not run again."""

_PLAIN_LIST: Final = re.compile(r"(?<=: )\[\n(?: +[-\d.eE]+,?\n)+ +\]")
_LINE_BREAK: Final = re.compile(r"\n +")

Record = dict[str, Any]
Scores = dict[str, NDArray[Any]]


class Store:
    """The results folder of one or many runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._runs = root / "runs"
        self._scores = root / "scores"

    @property
    def cache(self) -> Path:
        """Folder for what can be made again."""
        return self.root / "cache"

    def read(self, run_id: str) -> Record | None:
        """The record, or None where there is none."""
        path = self._runs / f"{run_id}.json"
        return _load(path) if path.is_file() else None

    def find(self, prefix: str) -> Record:
        """The one record whose run_id starts so."""
        found = sorted(path for path in self._runs.glob("*.json") if path.name.startswith(prefix))
        if not found:
            raise BenchError(f"no record '{prefix}' in {self._runs}: `bench table` lists what there is")
        if len(found) > 1:
            raise BenchError(f"'{prefix}' fits {len(found)} records: give more digits of the run_id")
        return _load(found[0])

    def records(self) -> Iterator[Record]:
        """All records, ordered by run_id."""
        for path in sorted(self._runs.glob("*.json")):
            yield _load(path)

    def write(self, record: Record, scores: Scores | None = None) -> Record:
        """Keep a record, and first its scores; returns the record as it reads back."""
        run_id = record["run_id"]
        if scores is not None:
            path = self._scores / f"{run_id}.npz"
            replace_file(path, lambda temporary: _save_arrays(temporary, scores))
        text = record_text(record)
        replace_text(self._runs / f"{run_id}.json", text)
        stored: Record = json.loads(text)
        return stored

    def has_scores(self, run_id: str) -> bool:
        """Whether the scores of a run are here."""
        return (self._scores / f"{run_id}.npz").is_file()

    def read_scores(self, run_id: str) -> Scores | None:
        """The stored scores of a run, or None where they are not here."""
        path = self._scores / f"{run_id}.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BenchError(f"the scores {path} are damaged ({error}): delete the file and run again") from None

    def require_writable(self) -> None:
        """Raise BenchError where records cannot be kept: before hours of work, not after them."""
        probe = self._runs / "writable"
        replace_file(probe, lambda temporary: temporary.touch())
        probe.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Delete temporary files of runs that were killed while writing, when their process is gone."""
        for folder in (self._runs, self._scores):
            remove_leftovers(folder)


def _save_arrays(path: Path, scores: Scores) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, **scores)  # type: ignore[arg-type]  # its stub takes a keyword for an array


def _load(path: Path) -> Record:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"the record {path} is damaged ({error}): delete it and run again") from None
    if not isinstance(record, dict):
        raise BenchError(f"the record {path} is damaged (no JSON object): delete it and run again")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise BenchError(
            f"the record {path} has schema version {record.get('schema_version')}, this program reads "
            f"{SCHEMA_VERSION}: use the version that wrote it, or another --out"
        )
    return record


def record_text(record: Record) -> str:
    """A record as its file holds it: keys in order, one line for each, a list of plain values on one line."""
    text = json.dumps(jsonable(record), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (
        _PLAIN_LIST.sub(lambda found: _LINE_BREAK.sub(" ", found[0]).replace("[ ", "[").replace(" ]", "]"), text) + "\n"
    )


def jsonable(value: Any) -> Any:
    """Plain JSON of a value: arrays become lists, NaN null, an infinite number its name; else a TypeError.

    What UTF-8 cannot hold, such as a lone surrogate from the name of a file, is escaped, as Python writes it.
    """
    if isinstance(value, Mapping):
        return {_encodable(str(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, str):
        return _encodable(value)
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} cannot be kept in a record")
    return value


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
