"""Edit distance: how many events must change to make a sequence one of training?

Landauer, Skopik, Wurzenberger, "A Critical Review of Common Log Data Sets Used for Evaluation of Sequence-based Anomaly
Detection Techniques" (FSE 2024): the smallest Levenshtein distance of log keys to any training sequence, divided by the
longer of the two lengths, so in [0, 1]. There is no native threshold; the published one is the best of a grid on test
labels, here the rule `oracle` with `thresholds="grid"` (profile `original`).

Told: source normals.

Works badly where concurrent events may come in any order, since a swapped block of events costs twice its length, and
in long sequences, where one wrong event of hundreds is a distance near 0.

Reconstructed [R]: all keys unseen in training are one symbol. An empty sequence has distance 0 to an empty one, else 1.
Distances are rapidfuzz's; what a bound rules out is not compared. More: docs/methods/edit-distance.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(EditDistance.tags.told)
    >>> detector = EditDistance().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.sparse import csr_matrix

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
from methods.shared.nearest import MOST_CELLS, Blocks, Float32s, Steps
from methods.shared.published import Published, original, sources_of

_SHORT = 32
"""Longest sequence of which rapidfuzz compares several pairs in one machine word."""
_AT_ONCE = 32
"""Training sequences compared before the bound is looked at again."""
_CODES = 255
"""Characters that rapidfuzz looks up in a table; a hash map costs it four times as long."""
_MANY_PAIRS = 50_000_000
"""More are compared only where a bound allows; all of these take less than a second."""
_MOST_STEPS = 400
"""Distinct counts of all log keys together: with more, a bound takes as long as a distance."""
_FULL = 1 / 8
"""Share of a block from which it is compared as a whole: many at a time, a pair costs a seventh of one alone."""
_SLACK = 1e-6
"""Rounding of a bound, far below the difference of two relative distances of short sequences."""
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Config:
    """The published form and the clean one differ in the thresholds alone."""

    thresholds: Literal["any", "grid"] = "any"
    """`grid`: scores are rounded down to hundredths, so that the rule `oracle` tries just the published thresholds."""

    def __post_init__(self) -> None:
        if self.thresholds not in ("any", "grid"):
            raise ValueError(f"thresholds '{self.thresholds}' is unknown: use any or grid")


ORIGINAL: Published = {"thresholds": ("grid", "code")}


class EditDistance(KeyDetector):
    """Smallest edit distance of a sequence's log keys to a training sequence, relative to the longer of the two."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the code of Landauer et al."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

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


def _nearest_of_many(rows: Sequences, train: Sequences, width: int) -> Floats | None:
    """float64 (n_rows,), as `_nearest_of_short`, from pairs within the bound; None where blocks do not pay."""
    if len(rows) * len(train) <= _MANY_PAIRS or width > _CODES:
        return None
    counts = [_counts(part, width) for part in (rows, train)]
    steps = Steps.of(counts[1])
    if len(steps.values) > _MOST_STEPS or len(steps.values) * len(train) > MOST_CELLS:
        return None
    codes = np.arange(1, width + 1, dtype=np.uint32)
    found = _Trained(_strings(train, codes), train.lengths, Blocks(counts[1], steps, train.lengths.astype(np.float64)))
    texts, lengths, best = _strings(rows, codes), rows.lengths, np.ones(len(rows))
    for part in blocks(len(rows)):
        batch = _Batch(texts[part], lengths[part], steps.filled(counts[0][part]), found)
        best[part] = batch.search()
        report_progress("comparing sequences", part.stop, len(rows))
    return best


class _Trained(NamedTuple):
    """Training sequences in blocks of similar event counts."""

    texts: NDArray[np.object_]
    lengths: Integers
    blocks: Blocks


class _Batch:
    """Tested sequences that are searched together, and the smallest relative distances found so far."""

    def __init__(self, texts: NDArray[np.object_], lengths: Integers, filled: Float32s, train: _Trained) -> None:
        self._texts, self._lengths, self._filled, self._train = texts, lengths, filled, train
        self._best = np.ones(len(texts))
        self._shortest = np.array([train.lengths[part.members].min() for part in train.blocks.parts])
        self._waiting: list[tuple[Integers, Integers, Float32s]] = []

    def search(self) -> Floats:
        """Compare each with the block of most alike counts, then with what of all others may be nearer."""
        bounds = self._bounds()
        first = bounds.argmin(axis=1)
        order = np.argsort(first, kind="stable")
        starts = np.searchsorted(first[order], np.arange(bounds.shape[1] + 1))
        for number in range(bounds.shape[1]):
            self._compare_all(number, order[starts[number] : starts[number + 1]])
        bounds[np.arange(len(first)), first] = 2.0
        for number in range(bounds.shape[1]):
            self._compare(number, np.flatnonzero(bounds[:, number] < self._best - _SLACK))
        if self._waiting:
            rows, members, shared = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
            self._compare_pairs(rows, members, shared)
        return self._best

    def _bounds(self) -> Float32s:
        """float32 (n_rows, n_blocks): no relative distance to a sequence of the block is smaller, but for rounding."""
        every = np.arange(len(self._texts))
        longer = self._longer(every[:, None], self._shortest).astype(np.float32)
        return np.asarray(1.0 - self._train.blocks.shared_bounds(self._filled) / longer, np.float32)

    def _compare_all(self, number: int, which: Integers) -> None:
        """Compare these with all of a block, many at a time."""
        if not len(which):
            return
        members = self._train.blocks.parts[number].members
        texts = self._texts[which].tolist(), self._train.texts[members].tolist()
        distances = cdist(*texts, scorer=Levenshtein.distance, dtype=np.uint8)
        lengths = self._train.lengths[members]
        if lengths.min() == lengths.max():
            found = distances.min(axis=1) / self._longer(which, lengths[0])
        else:
            found = (distances / self._longer(which[:, None], lengths)).min(axis=1)
        self._best[which] = np.minimum(self._best[which], found)

    def _compare(self, number: int, which: Integers) -> None:
        """Compare these with a block: where much of it is within the bound with all, else later with what is."""
        if not len(which):
            return
        members = self._train.blocks.parts[number].members
        shared = self._train.blocks.shared(number, self._filled[which])
        # What is nearer shares more than this; the longer of two is at least as long as the shortest of the block.
        least = (1.0 - self._best[which] + _SLACK) * self._longer(which, self._shortest[number])
        is_near = shared > least.astype(np.float32)[:, None]
        n_near = np.count_nonzero(is_near, axis=1)
        is_full = n_near > _FULL * len(members)
        self._compare_all(number, which[is_full])
        which, is_near, shared = which[~is_full], is_near[~is_full], shared[~is_full]
        row, place = np.nonzero(is_near)
        self._waiting.append((which[row], members[place], shared[row, place]))

    def _compare_pairs(self, rows: Integers, members: Integers, shared: Float32s) -> None:
        """Compare pairs, of each row the most alike first."""
        longer = self._longer(rows, self._train.lengths[members])
        bounds = 1.0 - shared / longer
        near = np.flatnonzero(bounds < self._best[rows] - _SLACK)
        near = near[np.lexsort([bounds[near], rows[near]])]
        starts = np.flatnonzero(np.diff(rows[near], prepend=-1))
        for part in np.split(near, starts[1:]) if len(near) else ():
            i, texts = int(rows[part[0]]), self._train.texts[members[part]]
            self._best[i] = _smallest(self._texts[i], texts, longer[part], bounds[part], float(self._best[i]))

    def _longer(self, which: Integers, train_lengths: Integers) -> Integers:
        return np.maximum(np.maximum(self._lengths[which], train_lengths), 1)


def _counts(sequences: Sequences, width: int) -> csr_matrix:
    """float64 (n_sequences, width): events of each column; the last one is what training did not have."""
    return as_matrix(count_vectors(sequences, np.arange(width - 1, dtype=np.int32)), width)


def _nearest_of_short(rows: Sequences, train: Sequences, width: int) -> Floats:
    """float64 (n_rows,): the smallest relative distance to a training sequence, from all pairs."""
    found = _nearest_of_many(rows, train, width)
    if found is not None:
        return found
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
    codes = np.arange(1, width + 1, dtype=np.uint32)
    codes[codes >= _SURROGATES.start] += len(_SURROGATES)
    counts = [_counts(part, width) for part in (rows, train)]
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
