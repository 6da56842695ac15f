"""PLELog: log-based anomaly detection via probabilistic label estimation (Yang et al., ICSE 2021).

Some normal sequences are known. All training sequences are clustered by the sum of their event vectors; a cluster
with a known normal one is normal, any other and the noise is abnormal. These estimated labels, softened by how well a
sequence fits its cluster, train a GRU with attention. The score is its log p(abnormal) - log p(normal); the paper
takes the more probable class (`native_threshold_` 0).

Told: source first normals: of each system's normals the first half, as in the published code. The others are in the
unlabelled pool: one that held abnormal sequences only would give the labels away. It reads texts, never log keys.

Works badly where normals come up after the known ones, in a cluster of their own: they are learned as abnormal.
Anomalies that share the cluster of a known normal are learned as normal. Without abnormal sequences in training it is
skipped: each estimated "abnormal" would be a false one.

Reconstructed [R]: sentence vectors stand for GloVe with TF-IDF, whitened principal components for FastICA; copies of a
multiset are capped; no true label picks an epoch. More: docs/methods/plelog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(PLELog.tags.told)
    >>> detector = PLELog().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from hdbscan import HDBSCAN
from numpy.typing import NDArray
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import DetectorTags, Evidence
from bench.types import NORMAL, Sequences
from methods.shared import layers
from methods.shared.layers import Bags, Integers
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.semantic import AttentiveClassifier, Batch, ClassifierDetector, Reading, batch_of, encode_batch
from methods.shared.text_inputs import TextSettings
from methods.shared.training import TrainingSettings, hold_out, seeded, train_network

Floats = NDArray[np.float64]

_FEWEST = 5
"""Smallest cluster, and fewest copies of a point: HDBSCAN's own default."""


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """Defaults: the shared budget, and the published code; they stood in the study `network-choices`."""

    width: int = 100
    """Dimensions of a text's vector, those of every method; 300 in the paper."""
    hidden: int = 100
    """Units of the GRU per direction."""
    layers: int = 2
    """Stacked bidirectional GRUs."""
    dropout_on: Literal["states", "events"] = "states"
    """Where dropout stands besides between the layers: on the pooled states [R], or on whole event vectors (code)."""
    known_share: float = 0.5
    """Where no sequence is unlabelled: the share of the normals, first in order, that are used as known."""
    components: int = 50
    """Dimensions of the points that are clustered."""
    min_cluster_size: int = 100
    """Of HDBSCAN, and its min_samples."""
    cluster_share: float = 0.01
    """min_cluster_size is at most this share of the training sequences, but at least 5 [R]."""
    max_points: int = 10_000
    """Points clustered at most, copies included: about 10 seconds of one thread [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.known_share <= 1:
            raise ValueError(f"known_share {self.known_share} must be above 0 and at most 1")
        if min(self.width, self.hidden, self.layers, self.components) < 1 or self.min_cluster_size < _FEWEST:
            raise ValueError("width, hidden, layers and components must be at least 1, min_cluster_size at least 5")


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (2e-3, "code"),
    "betas": ((0.9, 0.9), "code"),
    "epsilon": (1e-12, "code"),
    "decay": (0.75, "code"),
    "decay_steps": (1000, "code"),
    "clip_norm": (1.0, "code"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (5, "code"),
    "patience": (None, "code: the last weights; its best ones go by test labels"),
    "batch_size": (100, "code"),
    "validation_fraction": (0.0, "code trains on the whole training part"),
    "dropout": (0.33, "code"),
    "dropout_on": ("events", "code: on whole event vectors and between the layers"),
    "width": (300, "section 3: GloVe vectors of 300 dimensions"),
    "centred": (False, "code has no such step"),
    "hidden": (100, "code"),
    "layers": (2, "code"),
    "known_share": (0.5, "code"),
    "components": (50, "code"),
    "min_cluster_size": (100, "code"),
    "cluster_share": (1.0, "code: 100, whatever the size of the training part"),
    "max_points": (10_000, "[R] the code clusters all, in quadratic time"),
}


class PLELog(ClassifierDetector):
    """Log-odds of "abnormal" by an attentive bidirectional GRU that was taught estimated labels."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "first-normals"}, uses=frozenset({"texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the authors' code."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Estimate labels from the known normals (label 0), then learn them."""
        if reason := self.skip(train):
            raise ValueError(f"PLELog cannot be trained: {reason}")
        config: Config = self.config
        known = np.full(len(train), True) if labels is None else labels == NORMAL
        if known.all():
            known = first_known(labels, train.system, config.known_share)
        reading = self._learn_inputs(train)
        targets = self._targets(reading, known)
        self._require_two_kinds(targets, known)
        parts = hold_out(reading.counts, config.validation_fraction, self.seed)
        vectors = reading.vectors.float()
        soft = torch.as_tensor(targets, dtype=torch.float32, device=self.device)
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(lesson: tuple[Batch, Tensor], weights: Tensor) -> dict[str, Tensor]:
                batch, targets = lesson
                return objective(encode_batch(net, vectors, batch), targets, weights)

            def stage(batches: Iterable[Integers]) -> list[tuple[Batch, Tensor]]:
                device = vectors.device
                return [
                    (batch_of(reading.bags, items, device), soft[torch.as_tensor(items, device=device)])
                    for items in batches
                ]

            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=stage)
        self.net_ = net.double().eval()
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss by steps, and what the clustering found."""
        return {**super().monitor(), **self.facts_} if hasattr(self, "facts_") else {}

    def _new_network(self) -> AttentiveClassifier:
        return self._network_of(nn.GRU, self.config.dropout_on)

    def _targets(self, reading: Reading, known: NDArray[np.bool_]) -> Floats:
        """float64 (n_bags,): estimated probability that each distinct sequence is abnormal."""
        config: Config = self.config
        bags, counts, inverse, vectors = reading
        multisets = layers.unique_bags(bags.ids, bags.offsets)
        point_of = multisets.inverse
        n_points = len(multisets.counts)
        point_counts = np.bincount(point_of, counts, n_points).astype(np.int64)
        has_known = np.bincount(point_of[inverse], known, n_points) > 0
        sums = sums_of(multisets.bags, vectors.cpu().numpy().astype(np.float64))
        points = whitened(sums, point_counts, config.components)
        size = int(np.clip(config.cluster_share * counts.sum(), _FEWEST, config.min_cluster_size))
        found = cluster(points, point_counts, size, config.max_points, self.seed)
        abnormal = probabilistic_labels(found, has_known)[:, 1]
        self.facts_ = {
            "min_cluster_size": size,
            "clusters": int(found.of_point.max(initial=-1)) + 1,
            "noise_share": float(point_counts[found.of_point < 0].sum() / point_counts.sum()),
            "estimated_abnormal_share": float((abnormal > 0.5) @ point_counts / point_counts.sum()),
            "known_sequences": int(known.sum()),
        }
        share_known = np.bincount(inverse, known, len(counts)) / counts
        return (1 - share_known) * abnormal[point_of]

    def _require_two_kinds(self, targets: Floats, known: NDArray[np.bool_]) -> None:
        if not known.any() or (targets < 0.5).all():
            missing = (
                "every sequence was estimated to be normal" if known.any() else "no sequence is known to be normal"
            )
            raise ValueError(f"PLELog cannot be trained: {missing}, so there is nothing to tell apart")


def objective(logits: Tensor, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Binary cross-entropy of the softmax of logits (B, 2) to p(abnormal) (B,); weights: (B,) summing to 1."""
    # Both columns of the softmax give the same term: that of the difference of the logits.
    errors = F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], targets, reduction="none")
    return {"loss": (weights * errors).sum()}


class Clusters(NamedTuple):
    """What `cluster` returns."""

    of_point: Integers
    """(n_points,) from 0, or -1 for noise."""
    uncertainty: Floats
    """(n_points,) in [0, 1]: outlier score, 0 for noise."""


def first_known(labels: NDArray[np.int8] | None, system: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Bool (n_sequences,): the first known normals of each system, rounded up; without labels all count as known."""
    normal = np.full(len(system), True) if labels is None else labels == NORMAL
    known = np.zeros(len(system), np.bool_)
    for number in np.unique(system):
        places = np.flatnonzero(normal & (system == number))
        known[places[: int(np.ceil(share * len(places)))]] = True
    return known


def sums_of(bags: Bags, vectors: Floats) -> Floats:
    """float64 (n_bags, d): the sum of the vectors of each bag's events."""
    counts = sparse.csr_matrix((bags.multiplicity, bags.ids, bags.offsets), (len(bags.lengths), len(vectors)))
    return np.asarray(counts.astype(np.float64) @ vectors)


def whitened(points: Floats, counts: Integers, components: int) -> Floats:
    """Principal components of variance 1 over all copies; points: (n_points, d) -> (n_points, at most components)."""
    share = counts / counts.sum()
    centred = points - share @ points
    variances, directions = np.linalg.eigh((centred * share[:, None]).T @ centred)
    # Directions without variance would be blown up from rounding errors to variance 1.
    kept = np.flatnonzero(variances > 1e-10 * max(variances.max(), 1e-10))[-components:]
    return np.asarray(centred @ directions[:, kept] / np.sqrt(variances[kept]))


def cluster(points: Floats, counts: Integers, size: int, max_points: int, seed: int) -> Clusters:
    """HDBSCAN with min_cluster_size and min_samples `size` on points (n_points, d) that stand for `counts` each."""
    n = len(points)
    # hdbscan does not count a point among its own neighbours: with size copies besides itself its core distance is 0.
    while size > _FEWEST and np.minimum(counts, size + 1).sum() > max_points:
        size = max(_FEWEST, size // 2)
    copies = np.minimum(counts, size + 1)
    order = np.random.default_rng([seed, 3]).permutation(n)
    chosen = np.sort(order[np.cumsum(copies[order]) <= max_points])
    if copies[chosen].sum() < 2 * size or not points.shape[1]:
        return Clusters(np.full(n, -1), np.zeros(n))
    # One job: others would be processes of their own for a second of work.
    found = HDBSCAN(min_cluster_size=size, min_samples=size, core_dist_n_jobs=1)
    found.fit(np.repeat(points[chosen], copies[chosen], 0))
    first = np.cumsum(copies[chosen]) - copies[chosen]
    nearest = first[NearestNeighbors(n_neighbors=1).fit(points[chosen]).kneighbors(points, return_distance=False)[:, 0]]
    of_point = found.labels_[nearest].astype(np.int64)
    # Beside infinitely dense points the score is inf / inf; its limit is 1.
    uncertainty = np.nan_to_num(found.outlier_scores_[nearest], nan=1.0)
    return Clusters(of_point, np.where(of_point < 0, 0.0, uncertainty))


def probabilistic_labels(clusters: Clusters, has_known: NDArray[np.bool_]) -> Floats:
    """float64 (n_points, 2): estimated p(normal) and p(abnormal), rows sum to 1; has_known: (n_points,)."""
    noise = clusters.of_point < 0
    known_in = np.bincount(clusters.of_point[~noise], has_known[~noise], int(clusters.of_point.max(initial=0)) + 1)
    is_normal = np.where(noise, has_known, known_in[clusters.of_point] > 0)
    sure = 1 - clusters.uncertainty / 2
    normal = np.where(is_normal, sure, 1 - sure)
    return np.stack([normal, 1 - normal], 1)
