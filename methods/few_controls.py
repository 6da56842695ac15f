"""Control for methods that are told a few labels of the target: what these say by themselves, without any training.

`knn-few`  is the nearest of the target's few labelled sequences abnormal rather than normal?

It is told nothing of the source, so what a method that is told both does not beat here, neither the source's labels nor
its training have added. A sequence is the mean of its sentence vectors, as in `knn-labelled`. Where the target's pool
has no abnormal sequence it is skipped. Reconstructed [R]: all of it; nothing here was tuned. More:
docs/methods/controls.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.embedding import DIMENSION
from bench.detector import DetectorTags
from bench.types import ABNORMAL, NORMAL, Sequences
from methods.shared.counts import FittedArrays, Floats, State
from methods.shared.mean_vectors import shares_of_texts
from methods.shared.occlusion import occlusion
from methods.shared.text_inputs import TextInputs, TextSettings

_DECIMALS: Final = 9
"""What rounding leaves of a product must not decide between equal distances."""


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings):
    """As of `knn-labelled`, and the share that MetaLog is told."""

    width: int = 100
    """Dimensions of a text's vector (MLAD section 5.1: the same for all methods)."""
    target_share: float = 0.01
    """Share of the target's labels that are known, of each kind the first in time, rounded up."""

    def __post_init__(self) -> None:
        if not 1 <= self.width <= DIMENSION:
            raise ValueError(f"width {self.width} is not in 1 to {DIMENSION}")
        if not 0 < self.target_share <= 1:
            raise ValueError(f"target_share {self.target_share} must be above 0 and at most 1")


class KNNFew(FittedArrays):
    """Distance to the nearest known normal sequence of the target, less that to its nearest known abnormal one.

    Cosine distances of mean sentence vectors, so the score lies in [-2, 2]; native threshold 0, where the label of the
    nearest known sequence is the verdict.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"target": "few"}, uses=frozenset({"texts"}), seeded=False)
    Config: ClassVar[type] = Config
    native_threshold_ = 0.0

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to compare with."""
        return None if train.n_events else "no training sequence has an event"

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        inputs = TextInputs.learn(train, self.config)
        sides = {"normal": NORMAL, "abnormal": ABNORMAL}
        # A known sequence without an event stays, as a vector of zeros: of so few labels none is to spare.
        known = np.full(len(train), -1) if labels is None else labels
        if not all((known == label).any() for label in sides.values()):
            raise ValueError(
                "KNNFew needs normal and abnormal labels of the target, and one kind is missing: use a target whose "
                "pool has both"
            )
        found = {name: _vectors(train.select(known == label), inputs)[0] for name, label in sides.items()}
        return {**found, **inputs.state()}

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,) in [-2, 2]; an empty sequence scores 0."""
        state = self.state()
        vectors, inverse = _vectors(sequences, TextInputs.from_state(state))
        if not len(vectors):
            return np.zeros(0)
        # Less distance is more likeness: 1 - normal likeness - (1 - abnormal likeness).
        likeness = [(vectors @ state[side].T).max(axis=1) for side in ("abnormal", "normal")]
        found = np.where(vectors.any(axis=1), np.round(likeness[0] - likeness[1], _DECIMALS), 0.0)
        return np.asarray(found[inverse], np.float64)

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): by how much the score falls without the event, its equals sharing (occlusion)."""
        return occlusion(sequences, self.score, "text_ids")


def _vectors(sequences: Sequences, inputs: TextInputs) -> tuple[Floats, NDArray[np.int64]]:
    """Distinct mean vectors of length 1, or 0 where a sequence is empty, and the row of each sequence."""
    shares, vectors, inverse = shares_of_texts(sequences, inputs)
    means = np.asarray(shares @ vectors, np.float64)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return means / np.where(norms > 0, norms, 1.0), inverse
