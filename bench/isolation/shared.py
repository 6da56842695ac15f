"""Sequences and arrays as files that several processes read and nobody can write to.

A file has no name: it is gone with the last process that holds it, however that ends. Where the kernel can (Linux) it
lies in memory and is sealed; each process maps it for itself, so that what one writes there (it cannot by accident)
changes nothing for another.
"""

from __future__ import annotations

import fcntl
import io
import itertools
import json
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.types import Parameters, RawLines, Sequences, Words

Arrays = Mapping[str, NDArray[Any]]
_ALIGNMENT: Final = 64
_PIECE: Final = 2**26
"""Bytes written at once."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Shared:
    """An open file with arrays."""

    number: int
    """Its name among all that this process shares."""
    file: int
    """File descriptor."""
    layout: dict[str, list[Any]]
    """Of each array its dtype, shape and first byte."""


class Shelf:
    """What this process shares, each object once, for as long as the object lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: dict[int, Shared] = {}
        self._gone: set[int] = set()

    def place(self, what: Sequences | NDArray[Any]) -> Shared:
        """The file of these sequences, or of this array; made at the first call."""
        with self._lock:
            found = self._shared.get(id(what))
            if found is None:
                found = share(flatten(what) if isinstance(what, Sequences) else {"": what})
                self._shared[id(what)] = found
                weakref.finalize(what, self._forget, id(what))
            return found

    def gone(self, numbers: set[int]) -> set[int]:
        """Which of these files are not shared any more."""
        return numbers & self._gone

    def _forget(self, key: int) -> None:
        # Called by the collector, perhaps in the middle of `place` in this very thread: no lock is taken here.
        found = self._shared.pop(key, None)
        if found is not None:
            os.close(found.file)
            self._gone.add(found.number)


SHELF: Final = Shelf()


def share(arrays: Arrays) -> Shared:
    """Write arrays into a new file; an OSError where there is no room."""
    layout: dict[str, list[Any]] = {}
    size = 0
    for name, values in arrays.items():
        layout[name] = [values.dtype.str, list(values.shape), size]
        size += -(-values.nbytes // _ALIGNMENT) * _ALIGNMENT
    file = _new_file()
    try:
        os.ftruncate(file, max(size, 1))
        for name, values in arrays.items():
            _write(file, np.ascontiguousarray(values), layout[name][2])
        _seal(file)
    except BaseException:
        os.close(file)
        raise
    return Shared(next(_numbers), file, layout)


def open_arrays(file: int, layout: Mapping[str, list[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays of a file, read-only; the file is closed, what is mapped stays."""
    try:
        held = mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    finally:
        os.close(file)
    return {name: _view(held, *place) for name, place in layout.items()}


def flatten(sequences: Sequences) -> dict[str, NDArray[Any]]:
    """Everything that sequences hold, as arrays by name; texts as UTF-8 JSON, columns of texts as Arrow."""
    return dict(_flattened(sequences))


def unflatten(arrays: Arrays) -> Sequences:
    """The sequences that `flatten` took apart."""
    values: dict[str, Any] = {}
    for name, array in arrays.items():
        part, _, inner = name.partition(".")
        if inner:
            values.setdefault(part, {})[inner] = _read_column(array) if inner == "values!" else array
        elif name.endswith("!"):
            values[name.removesuffix("!")] = tuple(json.loads(array.tobytes()))
        else:
            values[name] = array
    kinds = {"parameters": Parameters, "raw": RawLines, "words": Words}
    for name in kinds.keys() & values.keys():
        inner_values = {key.removesuffix("!"): value for key, value in values[name].items()}
        values[name] = kinds[name](**inner_values)
    return Sequences(**values)


def _flattened(sequences: Sequences) -> Iterator[tuple[str, NDArray[Any]]]:
    for field in fields(sequences):
        value = getattr(sequences, field.name)
        if isinstance(value, np.ndarray):
            yield field.name, value
        elif isinstance(value, tuple):
            yield f"{field.name}!", _bytes(json.dumps(value).encode())
        elif value is not None:
            for inner in fields(value):
                column = getattr(value, inner.name)
                is_array = isinstance(column, np.ndarray)
                name = f"{field.name}.{inner.name}{'' if is_array else '!'}"
                yield name, column if is_array else _bytes(_column(column))


def _bytes(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8)


def _column(series: Any) -> bytes:
    stream = io.BytesIO()
    series.to_frame("").write_ipc(stream)
    return stream.getvalue()


def _read_column(array: NDArray[Any]) -> Any:
    import polars as pl

    return pl.read_ipc(io.BytesIO(array.tobytes())).to_series()


def _view(held: mmap.mmap, dtype: str, shape: list[int], start: int) -> NDArray[Any]:
    size = int(np.prod(shape, dtype=np.int64))
    if not size:
        empty = np.empty(shape, dtype)
        empty.setflags(write=False)
        return empty
    return np.frombuffer(held, dtype, size, start).reshape(shape)


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("bench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())


def _write(file: int, values: NDArray[Any], start: int) -> None:
    content = memoryview(values.reshape(-1).view(np.uint8).data)
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done : done + _PIECE], start + done)


def _seal(file: int) -> None:
    if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
