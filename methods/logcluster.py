"""LogCluster: log clustering based problem identification (Lin, Zhang, Lou, Zhang, Chen, ICSE 2016).

Normal sequences, as tf-idf vectors, are clustered by complete linkage of cosine distances cut at .3; each cluster keeps
its mean as representative. The score is the cosine distance to the nearest representative; native threshold .3.

Told: source normals; the knowledge base is built from them.

Works badly where anomalies differ by few events of many (the cosine hardly moves), by the order of events or by their
number alone. Events of every training sequence weigh nothing, so that a sequence without them goes unseen.

Reconstructed [R]: the first 1000 sequences are clustered at once and later ones join the nearest cluster or found one,
once for each distinct count vector. Events unseen in training weigh log(n + 1). More: docs/methods/logcluster.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogCluster.tags.told)
    >>> detector = LogCluster().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_matrix
from scipy.spatial.distance import pdist

from bench.detector import DetectorTags, report_progress
from bench.types import Sequences
from methods.shared.counts import CountConfig, CountDetector, Floats, Integers, State, blocks, idf, known_keys
from methods.shared.published import Published, original, sources_of

_DECIMALS = 9
"""A distance of 0 must not be above another one by rounding."""


@dataclass(frozen=True, kw_only=True)
class Config(CountConfig):
    """Defaults of the public implementation, but for `max_distance`."""

    max_distance: float = 0.5
    """Cosine distance at which clusters are cut, sequences join one, and the native rule flags; chosen in the study
    `network-choices` (.3 there)."""
    bootstrap: int = 1000
    """First training sequences that are clustered by linkage; later ones are assigned one by one."""

    def __post_init__(self) -> None:
        if not 0 < self.max_distance < 1 or self.bootstrap < 1:
            raise ValueError("max_distance must lie between 0 and 1 and bootstrap be at least 1")


ORIGINAL: Published = {
    "oov": (False, "code (loglizer) drops unseen events"),
    "max_distance": (0.3, "code (loglizer)"),
    "bootstrap": (1000, "code (loglizer)"),
}


class LogCluster(CountDetector):
    """Cosine distance of a sequence's tf-idf vector to the nearest cluster of training."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the public implementation."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        rows = self._rows(train, known)
        weights = idf(rows.matrix, rows.counts)
        # Rows stand in order of first occurrence, so those of the first sequences are the first rows.
        first = int(rows.inverse[: self.config.bootstrap].max()) + 1
        clusters = _linked(_directions(rows.matrix[:first], weights), rows.counts[:first], self.config.max_distance)
        later, counts = rows.matrix[first:], rows.counts[first:]
        for part in blocks(len(counts)):
            _assign(clusters, _directions(later[part], weights), counts[part], self.config.max_distance)
            report_progress("assigning count vectors", part.stop, len(counts))
        return {
            "known_keys": known,
            "weights": weights,
            "representatives": clusters.means,
            "native": np.array([self.config.max_distance]),
        }

    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        cosine = _directions(rows, state["weights"]) @ _unit(state["representatives"]).T
        return np.asarray(np.round(1.0 - cosine.max(axis=1), _DECIMALS))

    def monitor(self) -> dict[str, Any]:
        """Number of clusters."""
        return {"clusters": len(self.state()["representatives"])}


class _Clusters:
    """Sums of member directions and their number, in arrays that double when they are full."""

    def __init__(self, sums: Floats, sizes: Floats) -> None:
        self._sums, self._sizes, self._n = sums, sizes, len(sizes)
        self._units = _unit(sums)

    @property
    def means(self) -> Floats:
        """float64 (n_clusters, width)."""
        return np.asarray(self._sums[: self._n] / self._sizes[: self._n, None])

    def nearest(self, direction: Floats) -> tuple[int, float]:
        """The cluster whose mean is nearest, and the cosine distance to it."""
        cosine = self._units[: self._n] @ direction
        best = int(cosine.argmax())
        return best, 1.0 - float(cosine[best])

    def join(self, cluster: int, direction: Floats, count: int) -> None:
        """Add members to a cluster, or found one where cluster is their number."""
        if cluster == self._n:
            self._n += 1
            if self._n > len(self._sizes):
                self._sums, self._units = (np.concatenate([a, np.zeros_like(a)]) for a in (self._sums, self._units))
                self._sizes = np.concatenate([self._sizes, np.zeros_like(self._sizes)])
        self._sums[cluster] += count * direction
        self._sizes[cluster] += count
        # As `_unit` does, which takes four times as long for one row.
        total = self._sums[cluster]
        self._units[cluster] = total / (math.sqrt(np.add.reduce(total * total)) or 1.0)

    @property
    def n(self) -> int:
        """Number of clusters."""
        return self._n


def _directions(rows: csr_matrix, weights: Floats) -> Floats:
    """float64 (n_rows, width + 1): weighted counts of length 1; the last column is 1 where nothing has weight."""
    weighted = rows.multiply(weights).toarray()
    nothing = ~weighted.any(axis=1, keepdims=True)
    return _unit(np.concatenate([weighted, nothing], axis=1))


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))


def _linked(directions: Floats, counts: Integers, max_distance: float) -> _Clusters:
    """Complete linkage, cut where two members would be farther apart than max_distance."""
    cluster = np.zeros(len(directions), np.int64)
    if len(directions) > 1:
        tree = linkage(np.maximum(pdist(directions, "cosine"), 0.0), "complete")
        cluster = fcluster(tree, max_distance, "distance") - 1
    membership = csr_matrix((counts.astype(np.float64), (cluster, np.arange(len(counts)))))
    return _Clusters(np.asarray(membership @ directions), np.asarray(membership.sum(axis=1)).ravel())


def _assign(clusters: _Clusters, directions: Floats, counts: Integers, max_distance: float) -> None:
    """Add each vector to the nearest cluster, or found one where none is near enough."""
    for direction, count in zip(directions, counts.tolist(), strict=True):
        best, distance = clusters.nearest(direction)
        clusters.join(best if distance <= max_distance else clusters.n, direction, count)
