"""n-gram: sequences of n log keys that training never had (STIDE; Forrest, Hofmeyr, Somayaji, Longstaff, S&P 1996).

On logs as in Landauer, Skopik, Wurzenberger, "A Critical Review of Common Log Data Sets Used for Evaluation of
Sequence-based Anomaly Detection Techniques" (FSE 2024). A border symbol stands before and behind each sequence. The
score is the share of its n-grams that no training sequence has; native threshold 0, any unseen n-gram flags.

Told: source normals.

Works badly where the order of concurrent events is free, the more so the larger n is; in the end it flags everything,
and so it does after a change of system, where every key is new.

Reconstructed [R]: n = 2; short sequences are filled up with border symbols; all keys unseen in training are one symbol.
The published form is the profile `original`: it weighs presence by length and looks at the whole test set. More:
docs/methods/ngram.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(NGram.tags.told)
    >>> detector = NGram().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bench.detector import DetectorTags
from bench.types import Sequences, ranges
from methods.shared.counts import (
    Floats,
    Integers,
    KeyDetector,
    State,
    columns_of,
    distinct_columns,
    known_keys,
    on_grid,
)
from methods.shared.published import Published, original, sources_of

_BORDER = 0
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Config:
    """Published are n = 2, 3 and 10."""

    n: int = 2
    """Keys per n-gram (the best of the published ones)."""
    normalise: Literal["length", "test-maximum"] = "length"
    """`length`: share of unseen n-grams; `test-maximum`: the published form, which looks at the test set."""

    thresholds: Literal["any", "grid"] = "any"
    """`grid`: scores are rounded down to hundredths, so that the rule `oracle` tries just the published thresholds."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}: it must be at least 1")
        if self.normalise not in ("length", "test-maximum"):
            raise ValueError(f"normalise '{self.normalise}' is unknown: use length or test-maximum")
        if self.thresholds not in ("any", "grid"):
            raise ValueError(f"thresholds '{self.thresholds}' is unknown: use any or grid")


ORIGINAL: Published = {
    "n": (2, "published with 2, 3 and 10: the best of them"),
    "normalise": ("test-maximum", "code"),
    "thresholds": ("grid", "code"),
}


class NGram(KeyDetector):
    """Share of a sequence's n-grams of log keys that training never had."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the code of Landauer et al."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)
    native_threshold_ = 0.0

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        sequences = distinct_columns(train, known).sequences
        filled = sequences.select(sequences.lengths > 0)
        return {"known_keys": known, "ngrams": np.unique(ngrams_of(filled, self.config.n)[0])}

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,), in [0, 1]."""
        scores = self._scores(sequences)
        return on_grid(scores) if self.config.thresholds == "grid" else scores

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): the number of unseen n-grams that the event belongs to."""
        state, n = self.state(), self.config.n
        # Not the distinct ones: each event keeps its place. An n-gram holds the n symbols from its own place on, the
        # first symbol being the border in front.
        columns = columns_of(sequences, state["known_keys"]).astype(np.int32)
        ngrams, offsets = ngrams_of(sequences.with_log_keys(columns), n)
        total: Integers = np.concatenate([[0], np.cumsum(np.isin(ngrams, state["ngrams"], invert=True))])
        place = np.arange(sequences.n_events) - np.repeat(sequences.offsets[:-1], sequences.lengths) + 1
        start, end = (np.repeat(bounds, sequences.lengths) for bounds in (offsets[:-1], offsets[1:]))
        last = np.minimum(start + place + 1, end)
        return np.asarray(total[last] - total[np.maximum(start + place + 1 - n, start)], np.float32)

    def _scores(self, sequences: Sequences) -> Floats:
        state, n = self.state(), self.config.n
        distinct, _, inverse = distinct_columns(sequences, state["known_keys"])
        ngrams, offsets = ngrams_of(distinct, n)
        unseen = np.isin(ngrams, state["ngrams"], invert=True)
        total: Integers = np.concatenate([[0], np.cumsum(unseen)])
        n_unseen = total[offsets[1:]] - total[offsets[:-1]]
        if self.config.normalise == "length":
            return np.asarray(n_unseen / np.diff(offsets))[inverse]
        length = distinct.lengths + 2.0
        any_unseen = (n_unseen > 0) & (length >= n)
        scores = np.where(any_unseen, 1.0 / (n * np.maximum(length - n / 2.0, 0.5)), 0.0)
        return np.asarray(scores / (scores.max(initial=0.0) or 1.0))[inverse]


def ngrams_of(sequences: Sequences, n: int) -> tuple[NDArray[np.uint64], Integers]:
    """Hashes uint64 (n_ngrams,) of all n-grams and int64 (n_sequences + 1,) offsets; at least one per sequence."""
    lengths = np.maximum(sequences.lengths + 2, n)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    symbols = np.full(starts[-1], _BORDER, np.int64)
    place = ranges(starts[:-1] + 1, sequences.lengths)
    symbols[place] = sequences.log_keys + (_BORDER + 1)
    hashes = np.zeros(len(symbols) - n + 1 if len(symbols) else 0, np.uint64)
    for i in range(n):
        hashes = _mixed(hashes * _MULTIPLIER + symbols[i : i + len(hashes)].astype(np.uint64) + np.uint64(1))
    offsets = np.concatenate([[0], np.cumsum(lengths - n + 1)]).astype(np.int64)
    first = ranges(starts[:-1], np.diff(offsets))
    return hashes[first], offsets


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
