"""Words of events: for each `<*>` of an event's text, what stands behind it in the raw line, as text.

The places are those of the numbers (`parameters.py`). A word of the message that the parser made to `<*>` stands as it
was written, also where a mask had replaced a part of it. Headers and labels are cut off before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.reading.log import WILDCARD, Log, take
from bench.data.reading.words import distinct_texts
from bench.data.sequences.parameters import Integers, Place, offsets_of, places
from bench.types import Sequences, Words, ranges


class WordedLog(NamedTuple):
    """A log with the words of its lines."""

    log: Log
    words: Words | None
    """Of each line, as `open_words` gives them; None where the edition has no raw lines."""


class _Found(NamedTuple):
    """The words of some events: the texts there are, and the number of each word, one event behind the other."""

    texts: pl.Series
    ids: Integers
    lengths: Integers
    """(n_events,) words of each event"""


class _Columns(NamedTuple):
    """The places of distinct pairs of a message and a text, in CSR form."""

    offsets: Integers
    places: list[Place]


def words_of(sequences: Sequences, systems: Mapping[int, WordedLog]) -> Words | None:
    """The words of all events; systems: by `Sequences.system`. None where one of them has no lines.

    Of the texts there are only those of these events, so a training part holds none of the test.
    """
    system = np.repeat(sequences.system, sequences.lengths)
    lengths = np.zeros(sequences.n_events, np.int64)
    made: list[tuple[Integers, _Found]] = []
    for index in np.unique(system).tolist():
        log, words = systems[index]
        if words is None:
            return None
        events = np.flatnonzero(system == index)
        made.append((events, _of_events(sequences, events, log, words)))
        lengths[events] = made[-1][1].lengths
    offsets = offsets_of(lengths)
    ids = np.zeros(offsets[-1], np.int64)
    n_texts = 0
    for events, found in made:
        ids[ranges(offsets[events], found.lengths)] = found.ids + n_texts
        n_texts += len(found.texts)
    texts = pl.concat([pl.Series(dtype=pl.String), *(found.texts for _, found in made)])
    return Words(*_only_used(texts, ids), offsets).read_only()


def _only_used(texts: pl.Series, ids: Integers) -> tuple[pl.Series, NDArray[np.int32]]:
    """The distinct texts that are used, and int32 (n_values,): the number of each."""
    used = np.zeros(len(texts), bool)
    used[ids] = True
    distinct, number_of = distinct_texts(texts.gather(np.flatnonzero(used)))
    return distinct, number_of[(np.cumsum(used) - 1)[ids]].astype(np.int32)


def _of_events(sequences: Sequences, events: Integers, log: Log, words: Words) -> _Found:
    lines = sequences.lines[events]
    codes = log.message_ids[lines].astype(np.int64) * len(sequences.texts) + sequences.text_ids[events]
    pairs, pair_of = np.unique(codes, return_inverse=True)
    messages = take(log.messages, pairs // len(sequences.texts))
    texts = [sequences.texts[i] for i in (pairs % len(sequences.texts)).tolist()]
    own = [list(places(message, text)) for message, text in zip(messages, texts, strict=True)]
    columns = _Columns(offsets_of(np.array(list(map(len, own)), np.int64)), [place for row in own for place in row])
    lengths = np.diff(columns.offsets)[pair_of]
    column_of = ranges(columns.offsets[pair_of], lengths)
    first = np.repeat(words.offsets[lines], lengths) + np.array([p.source for p in columns.places], np.int64)[column_of]
    stands = np.array([place.word is not None for place in columns.places], bool)[column_of]
    ids = np.empty(len(column_of), np.int64)
    ids[~stands] = words.ids[first[~stands]]
    written, n_texts = [words.values], len(words.values)
    for at, restored in _as_written(columns.places, column_of, first, words):
        ids[at] = np.arange(len(at)) + n_texts
        written.append(restored)
        n_texts += len(restored)
    return _Found(pl.concat(written), ids, lengths)


def _as_written(
    columns: list[Place], column_of: Integers, first: Integers, words: Words
) -> Iterator[tuple[Integers, pl.Series]]:
    """Words of masked messages with what the masks replaced put back: where they stand, and these texts.

    column_of, first: of each value, its column, and which of all words of all lines is the first one of it.
    """
    pieces = [[] if place.word is None else place.word.split(WILDCARD) for place in columns]
    n_pieces = np.array(list(map(len, pieces)), np.int64)[column_of]
    for n in np.unique(n_pieces[n_pieces > 0]).tolist():
        at = np.flatnonzero(n_pieces == n)
        parts: list[pl.Series] = []
        for i in range(n):
            constant = pl.Series([own[i] if len(own) == n else "" for own in pieces], dtype=pl.String)
            parts.append(constant.gather(column_of[at]))
            if i + 1 < n:
                parts.append(words.values.gather(words.ids[first[at] + i]))
        yield at, pl.select(pl.concat_str(parts)).to_series()
