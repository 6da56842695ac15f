"""Sequences of log events as arrays: what detectors are given. Imports numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

UNKNOWN_KEY: Final = -1
"""Log key of an event whose template was not seen in training."""

NORMAL: Final = 0
ABNORMAL: Final = 1
UNLABELLED: Final = -1

_HASH_SALTS: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numeric message parameters per event, in CSR form.

    An event has one value for each `<*>` of its text, from left to right: the number behind it, or NaN where something
    else than one decimal number stands there. So value j means the same in all events of a text. An event of an edition
    without raw lines has none.

    values: float64 (n_values,)        in the order of the message
    offsets: int64 (n_events + 1,)     event e has values[offsets[e]:offsets[e + 1]]
    """

    values: NDArray[np.float64]
    offsets: NDArray[np.int64]

    def read_only(self) -> Parameters:
        """The same, locked as `Sequences.read_only` says."""
        return Parameters(_locked(self.values), _locked(self.offsets))


@dataclass(frozen=True, slots=True)
class RawLines:
    """Lines as they were written, without their label: a column of polars, no Python object per line.

    values: polars.Series of the dtype String, (n_events,); a text becomes a Python string where it is asked for
    """

    values: Any

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, event: int) -> str:
        return str(self.values[int(event)])

    def gather(self, events: NDArray[np.int64]) -> RawLines:
        """The lines of these events, in this order."""
        return RawLines(self.values.gather(events))


@dataclass(frozen=True, slots=True)
class Words:
    """Message parameters as text, in CSR form: what stood behind each `<*>` of an event's text, from left to right.

    As many for each event as `Parameters` has values; empty where it is not known. Each text is kept once, and its
    number has no meaning: another part of the same log numbers the same texts otherwise.

    values: polars.Series of the dtype String, (n_distinct,); a text becomes a Python string where it is asked for
    ids: int32 (n_values,)             index into values, in the order of the message
    offsets: int64 (n_events + 1,)     event e has the texts ids[offsets[e]:offsets[e + 1]]
    """

    values: Any
    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __getitem__(self, event: int) -> tuple[str, ...]:
        return tuple(self.values.gather(self.ids[self.offsets[event] : self.offsets[event + 1]]).to_list())

    def read_only(self) -> Words:
        """The same, locked as `Sequences.read_only` says."""
        return Words(self.values, _locked(self.ids), _locked(self.offsets))

    def gather(self, events: NDArray[np.int64]) -> Words:
        """The words of these events, in this order."""
        positions, offsets = _rows(self.offsets, events)
        return Words(self.values, self.ids[positions], offsets)


class Unique(NamedTuple):
    """What `Sequences.unique` returns."""

    sequences: Sequences
    """The distinct sequences, each as its first occurrence, in order of first occurrence."""
    counts: NDArray[np.int64]
    """(n_unique,) multiplicity of each."""
    inverse: NDArray[np.int64]
    """(n_sequences,) so that sequence i equals unique sequence inverse[i]."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Sequences:
    """Sessions or windows of one split part, in CSR form: no Python object per event.

    log_keys: int32 (n_events,)        key in the training vocabulary, or UNKNOWN_KEY
    text_ids: int32 (n_events,)        index into texts; an unseen line still has a text
    texts: tuple[str, ...]             text k is the template of log key k; behind the templates of training stand
                                       the distinct masked messages of lines that matched none of them
    offsets: int64 (n_sequences + 1,)  sequence i is log_keys[offsets[i]:offsets[i + 1]]
    elapsed_s: float64 (n_events,)     seconds since the sequence's first event; NaN where the log has no time
    start_time: float64 (n_sequences,) Unix seconds, or NaN
    system: uint8 (n_sequences,)       which system it comes from, for combined and transfer runs
    lines: int64 (n_events,)           raw line numbers, from 0
    ids: tuple[str, ...]               session id, or the number of the window's first line; () where nobody asked
    parameters: Parameters | None      numeric message parameters, for the methods that use them; else None
    raw: RawLines | None               lines as they were written, for the methods that use them; else None
    words: Words | None                message parameters as text, for the methods that use them; else None
    """

    log_keys: NDArray[np.int32]
    text_ids: NDArray[np.int32]
    texts: tuple[str, ...]
    offsets: NDArray[np.int64]
    elapsed_s: NDArray[np.float64]
    start_time: NDArray[np.float64]
    system: NDArray[np.uint8]
    lines: NDArray[np.int64]
    ids: tuple[str, ...] = ()
    parameters: Parameters | None = None
    raw: RawLines | None = None
    words: Words | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """Number of events of all sequences together."""
        return len(self.log_keys)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 (n_sequences,): events per sequence."""
        return np.diff(self.offsets)

    @property
    def sequence_of_event(self) -> NDArray[np.int64]:
        """int64 (n_events,): the sequence each event belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @classmethod
    def from_lists(cls, log_keys: Sequence[Sequence[int]], texts: Sequence[str], **fields: Any) -> Sequences:
        """Small sequences from lists of log keys, for tests and examples.

        An UNKNOWN_KEY gets the last text. Other fields are filled with zeros or NaN unless given.
        """
        lengths = np.array([len(keys) for keys in log_keys], dtype=np.int64)
        flat = np.array([key for keys in log_keys for key in keys], dtype=np.int32)
        arrays: dict[str, Any] = {
            "log_keys": flat,
            "text_ids": np.where(flat == UNKNOWN_KEY, len(texts) - 1, flat).astype(np.int32),
            "texts": tuple(texts),
            "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "elapsed_s": np.full(len(flat), np.nan),
            "start_time": np.full(len(lengths), np.nan),
            "system": np.zeros(len(lengths), dtype=np.uint8),
            "lines": np.arange(len(flat), dtype=np.int64),
        }
        return cls(**(arrays | fields))

    def select(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Sequences:
        """The sequences at these positions, in this order (or where the mask is true).

        Copies; those of read-only sequences are read-only too.
        """
        index = np.flatnonzero(which) if which.dtype == np.bool_ else which.astype(np.int64, copy=False)
        lengths = self.lengths[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = ranges(self.offsets[index], lengths)
        chosen = Sequences(
            log_keys=self.log_keys[events],
            text_ids=self.text_ids[events],
            texts=self.texts,
            offsets=offsets,
            elapsed_s=self.elapsed_s[events],
            start_time=self.start_time[index],
            system=self.system[index],
            lines=self.lines[events],
            ids=tuple(self.ids[i] for i in index) if self.ids else (),
            parameters=_select_parameters(self.parameters, events),
            raw=None if self.raw is None else self.raw.gather(events),
            words=None if self.words is None else self.words.gather(events),
        )
        return chosen.read_only() if self.is_read_only else chosen

    def with_log_keys(self, log_keys: NDArray[np.int32]) -> Sequences:
        """The same sequences under other log keys; where the sequences are read-only, so are these keys in them."""
        # A view: the array itself stays as its owner has it.
        return replace(self, log_keys=_locked(log_keys.view()) if self.is_read_only else log_keys)

    @property
    def is_read_only(self) -> bool:
        """Whether no array can be written to, as in all that a run hands to methods."""
        return not any(array.flags.writeable for array in self._arrays.values())

    def read_only(self) -> Sequences:
        """The same sequences in arrays that cannot be written to, neither these nor the memory below them.

        What is shared by many methods is handed out so: a method that writes into its inputs fails, and changes
        nothing for the others. Arrays of a file opened for reading (`numpy.memmap`, mode r) are so by themselves.
        """
        arrays: dict[str, Any] = {name: _locked(array) for name, array in self._arrays.items()}
        parameters = None if self.parameters is None else self.parameters.read_only()
        words = None if self.words is None else self.words.read_only()
        return replace(self, parameters=parameters, words=words, **arrays)

    @property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def without_parameters(self) -> Sequences:
        """The same sequences without message parameters, as numbers or words; what else is equal is then equal."""
        if self.parameters is None and self.words is None:
            return self
        return replace(self, parameters=None, words=None)

    def with_own_texts(self) -> Sequences:
        """The same with further columns over the same texts, for polars has none that is read-only."""
        raw = None if self.raw is None else RawLines(self.raw.values.clone())
        words = None if self.words is None else replace(self.words, values=self.words.values.clone())
        return replace(self, raw=raw, words=words)

    def unique(self) -> Unique:
        """Distinct sequences by (system, log keys, text ids, parameters, words), with counts and inverse.

        Times and lines (raw ones too) are the first's; parameters and words count only where there are any, and NaN
        equals NaN.
        Grouping is by a 64-bit hash and then verified event by event, so the result is exact.
        """
        for salt in _HASH_SALTS:
            first, inverse = _groups(self.fingerprints(salt))
            if self._all_equal(first[inverse]):
                break
        else:
            raise ArithmeticError("two independent 64-bit hashes collided")
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        inverse = rank[inverse]
        counts = np.bincount(inverse, minlength=len(order)).astype(np.int64)
        return Unique(self.select(first[order]), counts, inverse)

    def fingerprints(self, salt: np.uint64 = _HASH_SALTS[0]) -> NDArray[np.uint64]:
        """uint64 (n_sequences,): a hash of what `unique` compares; equal sequences have equal ones.

        Words are numbered in each object anew, so sequences that have them can be compared within one only.
        """
        position = np.arange(self.n_events, dtype=np.int64) - np.repeat(self.offsets[:-1], self.lengths)
        words = (self.log_keys.astype(np.int64) << 32) ^ self.text_ids
        mixed = _mix(_mix(words.view(np.uint64) + salt) ^ (position.view(np.uint64) * salt))
        if self.parameters is not None:
            mixed = _mix(mixed + _hashes_of(self.parameters, salt))
        if self.words is not None:
            mixed = _mix(mixed + _hashes_of(_numbered(self.words), salt))
        sums = _sums(mixed, self.offsets)
        return _mix(sums + _mix(self.lengths.view(np.uint64) * salt + self.system))

    def _all_equal(self, representative: NDArray[np.int64]) -> bool:
        lengths = self.lengths
        if not np.array_equal(lengths, lengths[representative]):
            return False
        if not np.array_equal(self.system, self.system[representative]):
            return False
        events = ranges(self.offsets[representative], lengths)
        return bool(
            np.array_equal(self.log_keys, self.log_keys[events])
            and np.array_equal(self.text_ids, self.text_ids[events])
            and (self.parameters is None or _equal(self.parameters, _select_parameters(self.parameters, events)))
            and (self.words is None or _equal(_numbered(self.words), _numbered(self.words.gather(events))))
        )


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    """A view of an array that is locked itself, so that numpy refuses to unlock the view."""
    array.setflags(write=False)
    return array.view()


def _groups(values: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each distinct value first is, (n_distinct,), and which of them each value is, (n,).

    What `numpy.unique` returns, with a sort that need not be stable and is quicker for that.
    """
    order = np.argsort(values)
    is_new = np.diff(values[order], prepend=np.uint64(0)) != 0
    is_new[:1] = True
    starts = np.flatnonzero(is_new)
    first = np.minimum.reduceat(order, starts) if len(starts) else order
    inverse = np.empty_like(order)
    inverse[order] = np.cumsum(is_new) - 1
    return first, inverse


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: spreads each input bit over all output bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _sums(values: NDArray[np.uint64], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Sum of the values of each row of a CSR array, modulo 2**64."""
    total: NDArray[np.uint64] = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
    return np.asarray(total[offsets[1:]] - total[offsets[:-1]])


def _hashes_of(parameters: Parameters, salt: np.uint64) -> NDArray[np.uint64]:
    """uint64 (n_events,): a hash of the values of each event, in order."""
    lengths = np.diff(parameters.offsets)
    position = np.arange(len(parameters.values), dtype=np.int64) - np.repeat(parameters.offsets[:-1], lengths)
    # All NaN are one word, and adding 0 makes -0 to 0.
    words = np.where(np.isnan(parameters.values), np.nan, parameters.values + 0.0).view(np.uint64)
    mixed = _mix(_mix(words + salt) ^ (position.view(np.uint64) * salt))
    return _mix(_sums(mixed, parameters.offsets) + lengths.view(np.uint64) * salt)


def _equal(one: Parameters, other: Parameters) -> bool:
    return np.array_equal(one.offsets, other.offsets) and np.array_equal(one.values, other.values, equal_nan=True)


@overload
def _select_parameters(parameters: Parameters, events: NDArray[np.int64]) -> Parameters: ...
@overload
def _select_parameters(parameters: Parameters | None, events: NDArray[np.int64]) -> Parameters | None: ...
def _select_parameters(parameters: Parameters | None, events: NDArray[np.int64]) -> Parameters | None:
    if parameters is None:
        return None
    positions, offsets = _rows(parameters.offsets, events)
    return Parameters(parameters.values[positions], offsets)


def _numbered(words: Words) -> Parameters:
    """The numbers of words in place of values: within one object the same number is the same text."""
    return Parameters(words.ids.astype(np.float64), words.offsets)


def _rows(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the items of these rows of a CSR array, and the offsets that they have one behind the other."""
    lengths = np.diff(offsets)[rows]
    return ranges(offsets[rows], lengths), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def ranges(starts: NDArray[np.integer[Any]], lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """int64 (lengths.sum(),): starts[i], ..., starts[i] + lengths[i] - 1 of all rows, one behind the other.

    starts, lengths: (n_rows,); with the starts of rows of a CSR array, these are the positions of their items.
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    total = ends[-1] if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total, dtype=np.int64)
