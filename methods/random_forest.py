"""Random forest (Breiman, Machine Learning 45, 2001) on event counts: a supervised reference.

The score is the mean over 100 trees of the share of abnormal training sequences in the leaf; native threshold 0.5.

Told: source labels. So it never stands in one ranking with detectors that are told less; it shows how much the event
counts tell. A training part without abnormal sequences (the split `paper`) cannot train it.

Works badly on failures of a kind that training did not have: a column that is constant in training is never split, so
unseen events (`oov`) are invisible to it, and the order of events is as well.

Reconstructed [R]: trees are scikit-learn's, fitted on distinct count vectors with the counts of each bootstrap sample
as weights, which is exactly a forest on all sequences. More: docs/methods/random-forest.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(RandomForest.tags.told)
    >>> detector = RandomForest().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.tree import DecisionTreeClassifier

from bench.types import ABNORMAL
from methods.shared import trees as _trees
from methods.shared.counts import CountConfig, Floats, Integers, State, SupervisedCounts


@dataclass(frozen=True, kw_only=True)
class Config(CountConfig):
    """Defaults of scikit-learn's RandomForestClassifier."""

    trees: int = 100
    """Number of trees (scikit-learn)."""
    max_features: str = "sqrt"
    """Columns tried per split: `sqrt` or `log2` of all (scikit-learn)."""

    def __post_init__(self) -> None:
        if self.trees < 1 or self.max_features not in ("sqrt", "log2"):
            raise ValueError("trees must be at least 1 and max_features sqrt or log2")


class RandomForest(SupervisedCounts):
    """Share of abnormal training sequences where a sequence's event counts end in the trees."""

    Config: ClassVar[type] = Config
    native_threshold_ = 0.5

    def _learn_rows(self, rows: Floats, truth: Integers, counts: Integers) -> State:
        rng = np.random.default_rng(self.seed)
        trees, values = [], []
        for _ in range(self.config.trees):
            drawn = rng.multinomial(counts.sum(), counts / counts.sum())
            tree = DecisionTreeClassifier(max_features=self.config.max_features, random_state=int(rng.integers(2**31)))
            tree.fit(rows[drawn > 0], truth[drawn > 0], sample_weight=drawn[drawn > 0])
            at = np.flatnonzero(tree.classes_ == ABNORMAL)
            share = tree.tree_.value[:, 0, at] / tree.tree_.value[:, 0, :].sum(axis=1, keepdims=True)
            values.append(share[:, 0] if len(at) else np.zeros(tree.tree_.node_count))
            trees.append(tree.tree_)
        return _trees.arrays_of(trees, [np.arange(rows.shape[1])] * len(trees), values)

    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        return _trees.mean_value(state, rows.toarray())
