"""Controls for methods that are told labels of a source: what labels say without any training.

`knn-labelled`     is the nearest source sequence abnormal rather than normal?
`mean-difference`  does it lie from the source's mean normal vector towards its mean abnormal one?

Both read a sequence as the mean of its sentence vectors, and both are told source labels, so they stand beside methods
that are told as much, under the split `transfer`: what such a method does not beat there, its training has not added.
Without abnormal training sequences they are skipped. Reconstructed [R]: all of it; nothing here was tuned.
More: docs/methods/controls.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.embedding import DIMENSION
from bench.detector import DetectorTags, report_progress
from bench.types import ABNORMAL, NORMAL, Sequences
from methods.shared.counts import FittedArrays, Floats, State, blocks
from methods.shared.mean_vectors import shares_of_texts
from methods.shared.occlusion import occlusion
from methods.shared.text_inputs import TextInputs, TextSettings, texts_of

_ROWS: Final = 1024
"""Vectors of each side compared at once at most."""
_DECIMALS: Final = 9
"""What rounding leaves of a product must not decide between equal distances."""


@dataclass(frozen=True, kw_only=True)
class MeanConfig:
    """Hyper-parameters of `mean-difference`; a difference of means is the same for centred vectors."""

    width: int = 100
    """Dimensions of a text's vector (MLAD section 5.1: the same for all methods)."""

    def __post_init__(self) -> None:
        _require_width(self.width)


@dataclass(frozen=True, kw_only=True)
class NearestConfig(TextSettings):
    """Hyper-parameters of `knn-labelled`."""

    width: int = 100
    """Dimensions of a text's vector (MLAD section 5.1: the same for all methods)."""

    def __post_init__(self) -> None:
        _require_width(self.width)


def _require_width(width: int) -> None:
    if not 1 <= width <= DIMENSION:
        raise ValueError(f"width {width} is not in 1 to {DIMENSION}")


class _Labelled(FittedArrays):
    """Learns from sequences with a label; those without one are left out."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels"}, uses=frozenset({"texts"}), seeded=False)
    native_threshold_ = 0.0

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to compare with."""
        return None if train.n_events else "no training sequence has an event"

    def _sides(self, train: Sequences, labels: NDArray[np.int8] | None) -> tuple[Sequences, Sequences]:
        """Normal and abnormal training sequences that have an event."""
        sides = [
            train.select((labels == value) & (train.lengths > 0)) for value in (NORMAL, ABNORMAL) if labels is not None
        ]
        if not sides or not all(len(side) for side in sides):
            raise ValueError(
                f"{type(self).__name__} needs normal and abnormal training sequences with labels, and one kind is "
                "missing: use a split or an edition whose training part has both"
            )
        return sides[0], sides[1]


class KNNLabelled(_Labelled):
    """Distance to the nearest normal sequence of the source, less that to its nearest abnormal one.

    Cosine distances of mean sentence vectors, so the score lies in [-2, 2]; native threshold 0, where the label of the
    nearest source sequence is the verdict. `knn-embedding` with labels: it says what abnormal looked like on the source
    and can say nothing of failures unlike all of these.
    """

    Config: ClassVar[type] = NearestConfig

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        sides = self._sides(train, labels)
        inputs = TextInputs.learn(train, self.config)
        normal, abnormal = (_vectors(side, inputs)[0] for side in sides)
        return {"normal": normal, "abnormal": abnormal, **inputs.state()}

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,) in [-2, 2]; an empty sequence scores 0."""
        state = self.state()
        vectors, inverse = _vectors(sequences, TextInputs.from_state(state))
        found = np.zeros(len(vectors))
        for part in blocks(len(vectors), _ROWS):
            # Less distance is more likeness: 1 - normal likeness - (1 - abnormal likeness).
            found[part] = _likeness(vectors[part], state["abnormal"]) - _likeness(vectors[part], state["normal"])
            report_progress("comparing vectors", part.stop, len(vectors))
        known = np.where(vectors.any(axis=1), np.round(found, _DECIMALS), 0.0)
        return np.asarray(known[inverse], np.float64)

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): by how much the score falls without the event, its equals sharing (occlusion)."""
        return occlusion(sequences, self.score, "text_ids")


class MeanDifference(_Labelled):
    """How far a sequence's mean vector lies along the way from the mean normal to the mean abnormal one of the source.

    The score is the projection on that direction, 0 half-way (the native threshold), in lengths of vectors. A linear
    rule of one direction, the least that labels can teach; where both means are equal it scores 0 everywhere.
    """

    Config: ClassVar[type] = MeanConfig

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        sides = self._sides(train, labels)
        inputs = TextInputs.sentence(texts_of(train), self.config.width, centred=False)
        normal, abnormal = (_mean(side, inputs) for side in sides)
        way = abnormal - normal
        length = float(np.linalg.norm(way))
        direction = way / length if length > 0 else way
        half_way = float((normal + abnormal) @ direction) / 2
        return {"direction": direction, "half_way": np.array([half_way]), **inputs.state()}

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,); an empty sequence scores 0."""
        values = self._of_events(sequences)
        sums = np.zeros(len(sequences))
        np.add.at(sums, sequences.sequence_of_event, values)
        return np.asarray(np.round(sums / np.maximum(sequences.lengths, 1), _DECIMALS), np.float64)

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): how far the event's own text lies along that way; the score is their mean."""
        return self._of_events(sequences).astype(np.float32)

    def _of_events(self, sequences: Sequences) -> Floats:
        state = self.state()
        texts = TextInputs.from_state(state).features(texts_of(sequences))
        projected = np.round(texts @ state["direction"] - state["half_way"][0], _DECIMALS)
        row_of_event = np.unique(sequences.text_ids, return_inverse=True)[1]
        return np.asarray(projected[row_of_event], np.float64)


def _vectors(sequences: Sequences, inputs: TextInputs) -> tuple[Floats, NDArray[np.int64]]:
    """Distinct mean vectors of length 1, or 0 where a sequence is empty, and the row of each sequence."""
    shares, vectors, inverse = shares_of_texts(sequences, inputs)
    means = np.asarray(shares @ vectors, np.float64)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return means / np.where(norms > 0, norms, 1.0), inverse


def _mean(sequences: Sequences, inputs: TextInputs) -> Floats:
    """The mean of all mean vectors; equal sequences count as often as they occur."""
    shares, vectors, inverse = shares_of_texts(sequences, inputs)
    weights = np.bincount(inverse, minlength=shares.shape[0]) / len(inverse)
    return np.asarray((weights @ shares) @ vectors, np.float64)


def _likeness(vectors: Floats, train: Floats) -> Floats:
    """float64 (n,): the largest cosine of each vector with a row of train."""
    found = np.full(len(vectors), -np.inf)
    for part in blocks(len(train), _ROWS):
        np.maximum(found, (vectors @ train[part].T).max(axis=1), out=found)
    return found
