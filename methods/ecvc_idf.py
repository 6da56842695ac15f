"""ECVC with idf weights: distance of a sequence's weighted event counts to the nearest ones of training, in [0, 1].

Landauer, Skopik, Wurzenberger, "A Critical Review of Common Log Data Sets Used for Evaluation of Sequence-based Anomaly
Detection Techniques" (FSE 2024), variant "idf" of the control `ecvc`: counts divided by the length to frequencies a, b,
and every event weighing w = log10((1 + N) / n_e), where n_e of N training sequences have it; the distance is sum w |a -
b| / sum w max(a, b). There is no native threshold; the published one is the best of a grid on test labels, here the
rule `oracle` with `thresholds="grid"` (profile `original`).

Told: source normals.

Works badly where `ecvc` does: it cannot see order. An event of every training sequence weighs next to nothing, so that
its absence is next to invisible; where training is large, an unseen event weighs less than a rare one.

Reconstructed [R]: all keys unseen in training share one column. An empty sequence has distance 0 if training had one.
More: docs/methods/ecvc-idf.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(ECVCIdf.tags.told)
    >>> detector = ECVCIdf().fit(log.train, log.labels, evidence=log.evidence)
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
from scipy.sparse import csr_matrix

from bench.detector import DetectorTags
from bench.types import Sequences
from methods.shared.counts import (
    Floats,
    KeyDetector,
    State,
    as_matrix,
    count_vectors,
    distinct_counts,
    document_frequency,
    known_keys,
    on_grid,
    vectors,
)
from methods.shared.nearest import nearest
from methods.shared.published import Published, original, sources_of

_DECIMALS = 10
"""Distances that are equal as fractions must be equal as floats, else a threshold would separate them by rounding."""


@dataclass(frozen=True)
class Config:
    """The published forms: with and without idf weights, thresholds on a grid."""

    weights: Literal["idf", "none"] = "idf"
    """`none`: all events weigh 1, which is the control `ecvc`."""
    thresholds: Literal["any", "grid"] = "any"
    """`grid`: scores are rounded down to hundredths, so that the rule `oracle` tries just the published thresholds."""

    def __post_init__(self) -> None:
        if self.weights not in ("idf", "none"):
            raise ValueError(f"weights '{self.weights}' is unknown: use idf or none")
        if self.thresholds not in ("any", "grid"):
            raise ValueError(f"thresholds '{self.thresholds}' is unknown: use any or grid")


ORIGINAL: Published = {
    "weights": ("idf", "code"),
    "thresholds": ("grid", "code"),
}


class ECVCIdf(KeyDetector):
    """Distance of a sequence's idf-weighted event frequencies to the nearest ones of training, in [0, 1]."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the code of Landauer et al."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        rows = distinct_counts(train, known)
        frequency = document_frequency(rows.matrix, rows.counts)
        weights = np.where(frequency > 0, np.log10((1.0 + len(train)) / np.maximum(frequency, 1.0)), 1.0)
        if self.config.weights == "none":
            weights[:] = 1.0
        distinct = count_vectors(train, known, reduced=True).unique().sequences
        return {
            "known_keys": known,
            "weights": weights,
            "columns": distinct.log_keys,
            "counts": distinct.text_ids,
            "offsets": distinct.offsets,
        }

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,) in [0, 1]."""
        state = self.state()
        train = _weighted(vectors(state["columns"], state["counts"], state["offsets"]), state["weights"])
        distinct, _, inverse = count_vectors(sequences, state["known_keys"], reduced=True).unique()
        scores = _smallest_distance(_weighted(distinct, state["weights"]), train)[inverse]
        return on_grid(scores) if self.config.thresholds == "grid" else scores


def _weighted(sparse_vectors: Sequences, weights: Floats) -> csr_matrix:
    """Sparse float64 (n_vectors, width): weight times frequency."""
    matrix = as_matrix(sparse_vectors, len(weights))
    matrix.data /= np.repeat(np.asarray(matrix.sum(axis=1)).ravel(), sparse_vectors.lengths)
    matrix.data *= weights[matrix.indices]
    return matrix


def _smallest_distance(rows: csr_matrix, train: csr_matrix) -> Floats:
    """float64 (n_rows,): with the overlap o and the masses A, B of two vectors, (A + B - 2 o) / (A + B - o).

    The nearest vector is searched in float32 by the largest o / (A + B), and its distance then computed in float64.
    """
    mass, train_mass = (np.asarray(matrix.sum(axis=1)).ravel() for matrix in (rows, train))
    empty = mass == 0.0
    found = nearest(rows, train)
    overlap = np.asarray(rows.minimum(train[found]).sum(axis=1)).ravel()
    masses = mass + train_mass[found]
    distance = (masses - 2.0 * overlap) / np.where(empty, 1.0, masses - overlap)
    distance[empty] = 0.0 if (train_mass == 0.0).any() else 1.0
    return np.asarray(np.round(np.maximum(distance, 0.0), _DECIMALS))
