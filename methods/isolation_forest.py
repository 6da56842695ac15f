"""Isolation forest (Liu, Ting, Zhou, ICDM 2008) on event counts, as public log benchmarks use it.

Random trees split random columns at random values; what is alone after few splits is abnormal. The score is
2^(-E[h] / c) with the mean depth h of the leaf and the mean depth c of an unsuccessful search, about 0.5 for what is
average and near 1 for what is isolated at once. The forest is scikit-learn's; its trees are kept as arrays.

Told: source unlabelled. It is fitted on the whole training period, abnormal sequences included, and reads no labels.

Works badly, by its construction, wherever anomalies show in events that training never had: a column that is constant
in training is never split, so a window of nothing but new events is the zero vector, on the crowded side of every
split. AUROC below 0.5 is possible and no error. It is blind to relations between counts as well.

Reconstructed [R]: none in the forest. The native threshold is 0.5 (section 3 of the paper), not the quantile of a known
share of anomalies, which is label knowledge. More: docs/methods/isolation-forest.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(IsolationForest.tags.told)
    >>> detector = IsolationForest().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.ensemble import IsolationForest as Forest

from bench.detector import DetectorTags
from bench.types import Sequences
from methods.shared import trees as _trees
from methods.shared.counts import CountConfig, CountDetector, Floats, Integers, State, known_keys, weighted_quantile
from methods.shared.published import Published, original, sources_of

_EULER_GAMMA = 0.5772156649015329


@dataclass(frozen=True, kw_only=True)
class Config(CountConfig):
    """Defaults of the paper."""

    trees: int = 100
    """Number of trees (section 4.3)."""
    max_samples: float = 256
    """Sequences per tree (section 4.3); below 1, a share of all."""
    contamination: float = 0.0
    """Share of training sequences that the native threshold flags; 0: the threshold is 0.5 (section 3)."""

    def __post_init__(self) -> None:
        if self.trees < 1 or self.max_samples <= 0 or not 0 <= self.contamination < 1:
            raise ValueError("trees must be at least 1, max_samples above 0 and contamination in [0, 1)")


ORIGINAL: Published = {
    "oov": (False, "code (loglizer) drops unseen events"),
    "trees": (100, "section 4.3"),
    "max_samples": (0.9999, "code (loglizer), its benchmark on HDFS"),
    "contamination": (0.03, "code (loglizer), its benchmark on HDFS"),
}


class IsolationForest(CountDetector):
    """How few random splits isolate a sequence's event counts."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "unlabelled"})
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: as the public benchmark of logs runs it."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        rows = self._rows(train, known)
        share = self.config.max_samples < 1
        size = max(
            1, int(self.config.max_samples * len(train)) if share else int(min(self.config.max_samples, len(train)))
        )
        forest = Forest(n_estimators=self.config.trees, max_samples=size, random_state=self.seed % 2**32)
        forest.fit(rows.matrix.astype(np.float32)[rows.inverse])
        trees = [tree.tree_ for tree in forest.estimators_]
        lengths = [path_lengths(tree) for tree in trees]
        state: State = {
            "known_keys": known,
            "mean_search": np.array([mean_search(np.array([size]))[0]]),
            **_trees.arrays_of(trees, forest.estimators_features_, lengths),
        }
        threshold = 0.5
        if self.config.contamination:
            scores = self._score_rows(rows.matrix, state)
            threshold = weighted_quantile(scores, rows.counts, 1 - self.config.contamination)
        return state | {"native": np.array([threshold])}

    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        # A forest of one sequence per tree isolates everything at once: all are average.
        mean_search_length = float(state["mean_search"][0]) or 1.0
        return np.exp2(-_trees.mean_value(state, rows.toarray()) / mean_search_length)


def mean_search(n: Integers) -> Floats:
    """Mean depth of an unsuccessful search in a binary search tree of n items, float64 like n (equation 1)."""
    many = np.maximum(n, 3).astype(np.float64)
    depth = 2.0 * (np.log(many - 1.0) + _EULER_GAMMA) - 2.0 * (many - 1.0) / many
    return np.asarray(np.where(n > 2, depth, np.where(n == 2, 1.0, 0.0)))


def path_lengths(tree: Any) -> Floats:
    """float64 (n_nodes,): edges from the root, plus the mean depth that a tree of the leaf's sequences would have."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # a child stands behind its parent
        if (left := tree.children_left[node]) >= 0:
            depth[[left, tree.children_right[node]]] = depth[node] + 1.0
    return depth + mean_search(tree.n_node_samples)
