"""Edit distance: how many events must change to make a sequence one of training?

Landauer, Skopik, Wurzenberger, "A Critical Review of Common Log Data Sets Used for Evaluation of Sequence-based Anomaly
Detection Techniques" (FSE 2024): the smallest Levenshtein distance of log keys to any training sequence, divided by the
longer of the two lengths, so in [0, 1]. It has no native threshold; the published one is the best on test labels, here
the rule `oracle`, and F1 that way is .716 on HDFS, .934 on BGL, .952 on Thunderbird. On Hadoop (.915) it only flags
everything.

Supervision: normal-only.

Works badly where concurrent events may come in any order, since a swapped block of events costs twice its length, and
in long sequences, where one wrong event of hundreds is a distance near 0.

The published form is this one: its scores are in [0, 1] already and are divided by nothing else. Reconstructions [R]:
all keys unseen in training are one symbol; as training has none of them, that gives what a symbol for each would. An
empty sequence has distance 0 to an empty one, else 1.

Distances are rapidfuzz's. Sequences of training are found exactly; for the others max(length) - sum min(counts) bounds
the distance from below, and only training sequences whose bound is below the best distance so far are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from bench.detector import DetectorTags
from bench.types import Sequences
from methods._counts import (
    FittedArrays,
    Floats,
    Integers,
    State,
    as_matrix,
    count_vectors,
    distinct_columns,
    known_keys,
    overlaps,
    vectors,
)

_AT_ONCE = 32
"""Training sequences compared before the bound is looked at again."""
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


class EditDistance(FittedArrays):
    """Smallest edit distance of a sequence's log keys to a training sequence, relative to the longer of the two."""

    tags: ClassVar[DetectorTags] = DetectorTags(supervision="normal-only")
    Config: ClassVar[type] = Config

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        distinct = distinct_columns(train, known).sequences
        return {"known_keys": known, "columns": distinct.log_keys, "offsets": distinct.offsets}

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,) in [0, 1]."""
        state = self.state()
        known = state["known_keys"]
        train = vectors(state["columns"], state["columns"], state["offsets"])
        tested = distinct_columns(sequences, known)
        both = vectors(
            np.concatenate([train.log_keys, tested.sequences.log_keys]),
            np.concatenate([train.log_keys, tested.sequences.log_keys]),
            np.concatenate([train.offsets, train.offsets[-1] + tested.sequences.offsets[1:]]),
        ).unique()
        # Training sequences are distinct and come first, so whatever lies behind them is not one of them.
        unmatched = np.flatnonzero(both.inverse[len(train) :] >= len(train))
        distances = np.zeros(len(tested.sequences))
        distances[unmatched] = _nearest(tested.sequences.select(unmatched), train, len(known) + 1)
        return distances[tested.inverse]


def _nearest(rows: Sequences, train: Sequences, width: int) -> Floats:
    """float64 (n_rows,): the smallest relative distance to a training sequence."""
    best = np.ones(len(rows))
    every_column = np.arange(width - 1, dtype=np.int32)
    counts = [as_matrix(count_vectors(part, every_column), width) for part in (rows, train)]
    row_texts, train_texts = _strings(rows), _strings(train)
    row_lengths, train_lengths = rows.lengths, train.lengths
    for i, block, shared in overlaps(*counts):
        longer = np.maximum(train_lengths[block], row_lengths[i])
        if longer.any():
            bounds = 1.0 - shared / np.maximum(longer, 1)
            best[i] = _smallest(row_texts[i], train_texts[block], longer, bounds, float(best[i]))
    return best


def _smallest(text: str, others: NDArray[np.object_], longer: Integers, bounds: Floats, best: float) -> float:
    """The smallest relative distance of the text to the others, or `best` where that is smaller."""
    candidates = np.flatnonzero(bounds < best)
    order = candidates[np.argsort(bounds[candidates], kind="stable")]
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        if bounds[part[0]] >= best:
            break
        distances = cdist([text], others[part].tolist(), scorer=Levenshtein.distance, dtype=np.int32)[0]
        best = min(best, float((distances / longer[part]).min()))
    return best


def _strings(sequences: Sequences) -> NDArray[np.object_]:
    """Each sequence as a string with one character per event, object (n_sequences,)."""
    codes = sequences.log_keys.astype(np.uint32) + 1
    codes[codes >= _SURROGATES.start] += len(_SURROGATES)
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    bounds = sequences.offsets.tolist()
    strings = np.empty(len(sequences), dtype=object)
    strings[:] = [text[a:b] for a, b in pairwise(bounds)]
    return strings
