"""The words behind the `<*>` of an event as one vector: which characters they are made of.

Each distinct word is looked at once; an event's vector is the mean over its words, so nothing of it
depends on how words are numbered.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.types import Words

_FIRST: Final = 32
"""The first printable character of ASCII."""
_PRINTABLE: Final = 95

N_CHARACTERS: Final = _PRINTABLE + 2
"""Entries of a vector: the share of each printable ASCII character and of all others, and the mean length."""
_USUAL_LENGTH: Final = 8.0
"""Characters of a word by which lengths are divided, so that all entries are of one size."""

Integers = NDArray[np.int64]


class Characters(NamedTuple):
    """What is known of the words of some events."""

    of_words: csr_matrix
    """float64 (n_words, N_CHARACTERS): of each distinct word that occurs."""
    words: Integers
    """(n_values,) rows of `of_words`, in the order of the events."""
    offsets: Integers
    """(n_events + 1,) event e has the words words[offsets[e]:offsets[e + 1]]"""

    def of(self, events: Integers) -> NDArray[np.float64]:
        """float64 (len(events), N_CHARACTERS): the mean over the words of each event; zeros where it has none."""
        lengths = np.diff(self.offsets)[events]
        rows = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(rows[-1]) + np.repeat(self.offsets[events] - rows[:-1], lengths)
        shares = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
        shape = (len(events), self.of_words.shape[0])
        means = csr_matrix((shares, self.words[places], rows), shape=shape) @ self.of_words
        return np.asarray(means.toarray(), np.float64)


def characters_of(words: Words | None, n_events: int) -> Characters:
    """Look at each distinct word of these events once; without words every event has none."""
    if words is None:
        nothing = csr_matrix((0, N_CHARACTERS), dtype=np.float64)
        return Characters(nothing, np.zeros(0, np.int64), np.zeros(n_events + 1, np.int64))
    used, rows = np.unique(words.ids, return_inverse=True)
    texts = words.values.gather(used.astype(np.int64)).to_list()
    return Characters(_shares(texts), rows.astype(np.int64), words.offsets)


def _shares(texts: list[str]) -> csr_matrix:
    """float64 (len(texts), N_CHARACTERS): what each text is made of; a row of zeros for an empty one."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.int64) - _FIRST
    columns = np.where((codes >= 0) & (codes < _PRINTABLE), codes, _PRINTABLE)
    lengths = np.array([len(text) for text in texts], np.int64)
    owners = np.repeat(np.arange(len(texts)), lengths)
    filled = np.flatnonzero(lengths)
    rows = np.concatenate([owners, filled])
    places = np.concatenate([columns, np.full(len(filled), N_CHARACTERS - 1)])
    shares = np.concatenate([1.0 / lengths[owners], lengths[filled] / _USUAL_LENGTH])
    return csr_matrix((shares, (rows, places)), shape=(len(texts), N_CHARACTERS))
