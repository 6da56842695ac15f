"""Edit distance: how many events must change to make a sequence one of training?

Landauer, Skopik, Wurzenberger, "A Critical Review of Common Log Data Sets Used for Evaluation of Sequence-based Anomaly
Detection Techniques" (FSE 2024): the smallest Levenshtein distance of log keys to any training sequence, divided by the
longer of the two lengths, so in [0, 1]. It has no native threshold; the published one is the best of 0, .01, ..., .99
on test labels, here the rule `oracle` with `thresholds="grid"` (profile `original`), and F1 that way is .716 on HDFS,
.934 on BGL, .952 on Thunderbird. On Hadoop (.915) it only flags everything.

Told: source normals.

Works badly where concurrent events may come in any order, since a swapped block of events costs twice its length, and
in long sequences, where one wrong event of hundreds is a distance near 0.

The published scores are these: they are in [0, 1] already and are divided by nothing else. Reconstructions [R]: all
keys unseen in training are one symbol; as training has none of them, that gives what a symbol for each would. An empty
sequence has distance 0 to an empty one, else 1.

Distances are rapidfuzz's; sequences of training are found exactly and not compared. Of short sequences every pair is
compared, many at a time. Of longer ones max(length) - sum min(counts) bounds the distance from below, and only training
sequences whose bound is below the best distance so far are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from bench.detector import DetectorTags, report_progress
from bench.types import Sequences
from methods.shared.counts import (
    Floats,
    Integers,
    KeyDetector,
    State,
    as_matrix,
    blocks,
    count_vectors,
    distinct_columns,
    known_keys,
    on_grid,
    overlaps,
    vectors,
)

_SHORT = 32
"""Longest sequence of which rapidfuzz compares several pairs in one machine word."""
_AT_ONCE = 32
"""Training sequences compared before the bound is looked at again."""
_CODES = 255
"""Characters that rapidfuzz looks up in a table; a hash map costs it four times as long."""
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Config:
    """The published form and the clean one differ in the thresholds alone."""

    thresholds: Literal["any", "grid"] = "any"
    """`grid`: scores are rounded down to hundredths, so that the rule `oracle` tries just the published thresholds."""

    def __post_init__(self) -> None:
        if self.thresholds not in ("any", "grid"):
            raise ValueError(f"thresholds '{self.thresholds}' is unknown: use any or grid")


class EditDistance(KeyDetector):
    """Smallest edit distance of a sequence's log keys to a training sequence, relative to the longer of the two."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"original": {"thresholds": "grid"}}

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
        rows = tested.sequences.select(unmatched)
        if max(train.lengths.max(), rows.lengths.max(initial=0)) <= _SHORT:
            distances[unmatched] = _nearest_of_short(rows, train, len(known) + 1)
        else:
            distances[unmatched] = _nearest_of_long(rows, train, len(known) + 1)
        scores = distances[tested.inverse]
        return on_grid(scores) if self.config.thresholds == "grid" else scores


def _nearest_of_short(rows: Sequences, train: Sequences, width: int) -> Floats:
    """float64 (n_rows,): the smallest relative distance to a training sequence, from all pairs."""
    train = train.select(np.argsort(train.lengths, kind="stable"))
    lengths, groups = np.unique(train.lengths, return_index=True)
    best, waiting = np.ones(len(rows)), [*blocks(len(rows), 512)][::-1]
    while waiting:
        block = waiting.pop()
        part = rows.select(np.arange(block.start, block.stop))
        if len(used := np.unique(part.log_keys)) >= _CODES:
            middle = (block.start + block.stop) // 2
            waiting += [slice(middle, block.stop), slice(block.start, middle)]
            continue
        # Characters that none of these rows has are alike to them.
        codes = np.zeros(width, np.uint32)
        codes[used] = np.arange(1, len(used) + 1)
        texts = [_strings(side, codes).tolist() for side in (part, train)]
        distances = cdist(*texts, scorer=Levenshtein.distance, dtype=np.uint8)
        longer = np.maximum(np.maximum(part.lengths[:, None], lengths), 1)
        best[block] = (np.minimum.reduceat(distances, groups, axis=1) / longer).min(axis=1)
        report_progress("comparing sequences", block.stop, len(rows))
    return best


def _nearest_of_long(rows: Sequences, train: Sequences, width: int) -> Floats:
    """float64 (n_rows,): the smallest relative distance to a training sequence, from pairs within the bound."""
    best = np.ones(len(rows))
    every_column = np.arange(width - 1, dtype=np.int32)
    codes = np.arange(1, width + 1, dtype=np.uint32)
    codes[codes >= _SURROGATES.start] += len(_SURROGATES)
    counts = [as_matrix(count_vectors(part, every_column), width) for part in (rows, train)]
    row_texts, train_texts = _strings(rows, codes), _strings(train, codes)
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


def _strings(sequences: Sequences, codes: NDArray[np.uint32]) -> NDArray[np.object_]:
    """Each sequence as a string with one character per event, object (n_sequences,); codes: that of each column."""
    text = codes[sequences.log_keys].astype("<u4").tobytes().decode("utf-32-le")
    strings = np.empty(len(sequences), dtype=object)
    strings[:] = [text[a:b] for a, b in pairwise(sequences.offsets.tolist())]
    return strings
