"""One vector per sequence whose events have no order: the mean of their sentence vectors, or how often each key occurs.

Sequences of equal events are one bag with a count, so a vector is computed once for each distinct sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.types import Sequences
from methods.shared import histories
from methods.shared.bags import Bags, Integers, UniqueBags, unique_bags
from methods.shared.text_inputs import InputSettings, TextInputs, texts_of

Floats = NDArray[np.float64]
Kind = Literal["vectors", "counts"]

_BLOCK = 4096
"""Vectors summed at once."""
_TINY = 1e-8


class Vectors(NamedTuple):
    """What `BagInputs.of` returns."""

    vectors: Floats
    """(n_bags, width); zeros for an empty bag."""
    unique: UniqueBags


@dataclass(frozen=True)
class BagInputs:
    """How a bag enters: made from the training sequences."""

    kind: Kind
    """`vectors`: the mean of what `texts` makes of the events; `counts`: log1p of the number of each log key, unknown
    ones in a column of their own, divided by its deviation in training."""
    keys: NDArray[np.int32]
    """Log keys of training, sorted; empty where sentence vectors enter."""
    scale: Floats
    """(width,) what each column is divided by; ones where sentence vectors enter."""
    texts: TextInputs
    """How a text enters; without a use where counts do."""

    @classmethod
    def learn(cls, train: Sequences, kind: Kind, settings: InputSettings) -> tuple[Self, Vectors]:
        """Return the inputs and the vectors of the training sequences."""
        if kind == "vectors":
            inputs = cls(kind, np.zeros(0, np.int32), np.ones(settings.width), TextInputs.learn(train, settings))
            return inputs, inputs.of(train)
        keys = np.unique(train.log_keys[train.log_keys >= 0])
        raw = cls(kind, keys, np.ones(len(keys) + 1), TextInputs.learned(()))
        vectors, unique = raw.of(train)
        scale = _deviation(vectors, unique.counts)
        return replace(raw, scale=scale), Vectors(vectors / scale, unique)

    def state(self) -> dict[str, NDArray[Any]]:
        """As arrays."""
        return {"keys": self.keys.copy(), "scale": self.scale.copy(), **self.texts.state()}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]], kind: Kind) -> Self:
        """The reverse of `state`."""
        return cls(kind, state["keys"], state["scale"], TextInputs.from_state(state))

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return len(self.scale)

    def of(self, sequences: Sequences) -> Vectors:
        """The vector of each distinct bag of events."""
        if self.kind == "counts":
            sums, unique = self._sums(*self._columns(sequences), sequences.offsets)
            return Vectors(np.log1p(sums) / self.scale, unique)
        sums, unique = self._sums(*self._texts(sequences), sequences.offsets)
        bags = unique.bags
        totals = np.bincount(np.repeat(np.arange(len(sums)), bags.lengths), bags.multiplicity, len(sums))
        return Vectors(sums / np.maximum(totals, 1)[:, None], unique)

    def _columns(self, sequences: Sequences) -> tuple[Integers, Floats]:
        """The column of each event, 0 for unknown keys, and a unit vector per column."""
        tokens = histories.tokens_of(sequences.log_keys, self.keys) if len(self.keys) else 0 * sequences.log_keys
        return np.maximum(tokens - 1, 0).astype(np.int64), np.eye(self.width)

    def _texts(self, sequences: Sequences) -> tuple[Integers, Floats]:
        """The row of each event's text, and what each text gives."""
        ids = np.unique(sequences.text_ids, return_inverse=True)[1]
        return ids.astype(np.int64), self.texts.features(texts_of(sequences))

    def _sums(self, ids: Integers, table: Floats, offsets: Integers) -> tuple[Floats, UniqueBags]:
        unique = unique_bags(ids, offsets)
        bags = unique.bags
        sums = np.zeros((len(bags.lengths), table.shape[1]))
        for start in range(0, len(sums), _BLOCK):
            _add_block(sums[start : start + _BLOCK], bags, start, table)
        return sums, unique


def _add_block(sums: Floats, bags: Bags, start: int, table: Floats) -> None:
    """Add the rows of the events to the sums of as many bags, from bag `start` on."""
    lengths = bags.lengths[start : start + len(sums)]
    events = slice(bags.offsets[start], bags.offsets[start + len(sums)])
    np.add.at(sums, np.repeat(np.arange(len(sums)), lengths), table[bags.ids[events]] * bags.multiplicity[events, None])


def _deviation(vectors: Floats, counts: Integers) -> Floats:
    """float64 (width,): standard deviation over sequences; 1 where a column never changes."""
    shares = counts / counts.sum()
    mean = shares @ vectors
    deviation = np.sqrt(shares @ np.square(vectors - mean))
    return np.where(deviation > _TINY, deviation, 1.0)
