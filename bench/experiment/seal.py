"""Whether a method changed the data that all methods of a run share.

Parts are read-only, so that an honest slip fails at once. A method can still write: it can unlock the array at the
bottom, or go past numpy, as a tensor made of an array does. Hashes of the parts before and after it show that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.loader import Prepared

_PARTS = ("train", "validation", "test", "target_validation")
_ON_REQUEST = {"with_parameters": "parameters", "with_raw": "raw", "with_words": "words"}


class Seal:
    """Hashes of all arrays of prepared data, as they were when first seen."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._known: dict[str, bytes] = {}
        self.is_broken = False
        self.extend()

    def extend(self) -> None:
        """Take up what has come since, such as message parameters, which are read for the first that uses them."""
        for name, array in _arrays(self._prepared):
            if name not in self._known:
                self._known[name] = _hash(array)

    def changed(self) -> list[str]:
        """Names of the arrays that are not as they were; from then on the seal is broken."""
        found = dict(_arrays(self._prepared))
        names = [name for name, known in self._known.items() if _hash(found[name]) != known]
        self.is_broken = self.is_broken or bool(names)
        return names


def _arrays(prepared: Prepared) -> Iterator[tuple[str, NDArray[Any]]]:
    """All arrays that methods are given, by name, each memory once."""
    yield from _arrays_of(prepared)
    yield from _on_request(prepared, "")


def _on_request(prepared: Prepared, path: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """What was read for some method; path: what was read before it, so that no two names are the same."""
    for name, part in _ON_REQUEST.items():
        # The cached property: asking for it here would read the numbers of a whole log for methods that use none.
        if (more := vars(prepared).get(name)) is not None:
            yield from _arrays_within(more, part, path)
            yield from _on_request(more, f"{path}{name}.")


def _arrays_of(prepared: Prepared) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in _PARTS:
        part = getattr(prepared, name)
        if part is None:
            continue
        yield f"{name}.labels", part.labels
        for field in fields(part.sequences):
            value = getattr(part.sequences, field.name)
            if isinstance(value, np.ndarray):
                yield f"{name}.{field.name}", value


def _arrays_within(prepared: Prepared, part: str, path: str) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in _PARTS:
        values = getattr(getattr(prepared, name), "sequences", None)
        held = getattr(values, part, None)
        for field in fields(held) if held is not None else ():
            array = getattr(held, field.name)
            if isinstance(array, np.ndarray):
                yield f"{path}{name}.{part}.{field.name}", array


def _hash(array: NDArray[Any]) -> bytes:
    """SHA-256, in hardware nearly everywhere: half the time of BLAKE2 there."""
    return hashlib.sha256(np.ascontiguousarray(array).data).digest()
