"""Whether a method changed the data that all methods of a run share.

Parts are read-only, so that an honest slip fails at once. A method can still write: it can unlock the array at the
bottom, or go past numpy, as a tensor made of an array does. Hashes of the parts before and after it show that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from bench.data.sequences.loader import Prepared
from bench.types import Parameters, RawLines, Words

_PARTS = ("train", "validation", "test", "target_validation")
_ON_REQUEST = ("with_parameters", "with_raw", "with_words")


class Seal:
    """All values of prepared data that methods are given, as they were when first seen: objects, and hashes of arrays.

    Texts and ids are tuples, which nobody can write into; another object in their place is a change.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._known: dict[str, tuple[object, bytes]] = {}
        self.is_broken = False
        self.extend()

    def extend(self) -> None:
        """Take up what has come since, such as message parameters, which are read for the first that uses them."""
        hashes = {id(value): digest for value, digest in self._known.values()}
        for name, value in _values(self._prepared):
            if name not in self._known:
                self._known[name] = (value, _hash(value, hashes))

    def changed(self) -> list[str]:
        """Names of the values that are not as they were, or not there any more; then the seal is broken for good."""
        found = dict(_values(self._prepared))
        hashes: dict[int, bytes] = {}
        names = [
            name.removeprefix(_path(name))
            for name, (value, digest) in self._known.items()
            if found.get(name) is not value or _hash(value, hashes) != digest
        ]
        self.is_broken = self.is_broken or bool(names)
        return list(dict.fromkeys(names))


def _path(name: str) -> str:
    """What was read before a value, as in `with_raw.with_words.test.ids`."""
    return "".join(f"{word}." for word in name.split(".") if word in _ON_REQUEST)


def _values(prepared: Prepared) -> Iterator[tuple[str, object]]:
    """All that methods are given, by name."""
    yield from _values_of(prepared, "")
    yield from _on_request(prepared, "")


def _on_request(prepared: Prepared, path: str) -> Iterator[tuple[str, object]]:
    """What was read for some method; path: what was read before it, so that no two names are the same."""
    for name in _ON_REQUEST:
        # The cached property: asking for it here would read the numbers of a whole log for methods that use none.
        if (more := vars(prepared).get(name)) is not None:
            yield from _values_of(more, f"{path}{name}.")
            yield from _on_request(more, f"{path}{name}.")


def _values_of(prepared: Prepared, path: str) -> Iterator[tuple[str, object]]:
    for name in _PARTS:
        part = getattr(prepared, name)
        if part is None:
            continue
        yield f"{path}{name}.labels", part.labels
        for field in fields(part.sequences):
            value = getattr(part.sequences, field.name, None)
            yield f"{path}{name}.{field.name}", value
            for inner in fields(value) if isinstance(value, Parameters | RawLines | Words) else ():
                yield f"{path}{name}.{field.name}.{inner.name}", getattr(value, inner.name, None)


def _hash(value: object, known: dict[int, bytes]) -> bytes:
    """SHA-256 of an array, each memory once; in hardware nearly everywhere, so half the time of BLAKE2 there."""
    if not isinstance(value, np.ndarray):
        return b""
    if id(value) not in known:
        known[id(value)] = hashlib.sha256(np.ascontiguousarray(value).data).digest()
    return known[id(value)]
