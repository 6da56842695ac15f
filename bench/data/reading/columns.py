"""Where a log's arrays are gathered while it is read: in memory, or in files of a folder."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import polars as pl
from numpy.typing import DTypeLike, NDArray

from bench._sealed import seal, unseal
from bench.data.reading.log import Defect, Log, Texts

DTYPES: Final[dict[str, DTypeLike]] = {
    "message_ids": np.int32,
    "labels": np.int8,
    "times": np.float64,
    "file_starts": np.int64,
    "session_lines": np.int64,
    "session_codes": np.int32,
    "session_labels": np.int8,
    "session_parts": np.int8,
    "first_lines": np.int64,
}
TEXTS: Final = ("messages", "session_ids")
_FACTS: Final = "log.json"


class Columns:
    """The arrays of a log in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Append to a column; its type is that of `DTYPES`."""
        self._parts[name].append(values.astype(DTYPES[name], copy=False))

    def fill(self, log: Log) -> Log:
        """Take over a whole log that was read without columns."""
        for name in DTYPES:
            if (values := getattr(log, name)) is not None:
                self.add(name, values)
        texts = {name: list(getattr(log, name)) for name in TEXTS if len(getattr(log, name))}
        return self.finish(texts, {"is_parsed": log.is_parsed})

    def finish(self, texts: dict[str, list[str]], facts: dict[str, Any]) -> Log:
        """The log of all columns."""
        arrays = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        return Log(**{**arrays, **{name: tuple(values) for name, values in texts.items()}, **facts})


class FileColumns(Columns):
    """The arrays of a log in files of a folder, written as they come."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Append to a column's file; a full disk is an OSError."""
        if name not in self._files:
            self._files[name] = _array_path(self._folder, name).open("wb")
        self._files[name].write(np.ascontiguousarray(values, dtype=DTYPES[name]).data)

    def finish(self, texts: dict[str, list[str]], facts: dict[str, Any]) -> Log:
        """Write what is left and open the log from the files."""
        self.close()
        for name, values in texts.items():
            pl.DataFrame({name: pl.Series(values, dtype=pl.String)}).write_ipc(_text_path(self._folder, name))
        defects = [[defect.kind, defect.count, defect.first_line] for defect in facts.pop("defects", ())]
        files = sorted(self._folder.iterdir())
        seal(self._folder / _FACTS, {"defects": defects, **facts}, files)
        log = open_columns(self._folder)
        assert log is not None
        return log

    def close(self) -> None:
        """Close the files, all of them even where one cannot be written to its end: that is an OSError."""
        with contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)


def open_columns(folder: Path) -> Log | None:
    """A log that `FileColumns` wrote, memory-mapped; None where there is none, `Damaged` where it is another."""
    facts = unseal(folder / _FACTS)
    if facts is None:
        return None
    files = facts.pop("files")
    defects = tuple(Defect(*row) for row in facts.pop("defects"))
    alerts = tuple((token, count) for token, count in facts.pop("alerts", ()))
    arrays = {
        name: map_array(_array_path(folder, name), DTYPES[name])
        for name in DTYPES
        if _array_path(folder, name).name in files
    }
    texts = {name: _texts(folder, name) for name in TEXTS if _text_path(folder, name).name in files}
    notes = tuple(facts.pop("notes", ()))
    return Log(**{**arrays, **texts, **facts, "defects": defects, "alerts": alerts, "notes": notes})


def size_of(folder: Path) -> int:
    """Bytes on disk."""
    return sum(path.stat().st_size for path in folder.iterdir())


def _array_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.bin"


def _text_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.arrow"


def map_array(path: Path, dtype: DTypeLike) -> NDArray[Any]:
    """The array in a file, memory-mapped and read-only."""
    # An empty file cannot be mapped.
    if not path.stat().st_size:
        return np.empty(0, dtype)
    # A plain array over the map: indexing np.memmap itself costs twice as much.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _texts(folder: Path, name: str) -> Texts:
    return Texts(pl.read_ipc(_text_path(folder, name))[name])
