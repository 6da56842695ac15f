"""Logistic regression on event counts: a supervised reference.

The score is the log-odds of "abnormal"; native threshold 0.

Told: source labels. So it never stands in one ranking with detectors that are told less; it shows how much of the label
is a weighted sum of event counts. A training part without abnormal sequences (the split `paper`) cannot train it.

Works badly on failures of a kind that training did not have: the count of unseen events (`oov`) is constant in training
and gets the weight 0; and wherever the order of events or a relation between counts decides.

Reconstructed [R]: counts are standardised, so that the penalty treats common and rare events alike. More:
docs/methods/logistic-regression.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogisticRegression.tags.told)
    >>> detector = LogisticRegression().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression as Model

from bench.detector import DetectorTags
from methods.shared.counts import CountConfig, Floats, Integers, State, SupervisedCounts, scale_of
from methods.shared.published import Published, original, sources_of


@dataclass(frozen=True, kw_only=True)
class Config(CountConfig):
    """Defaults of scikit-learn."""

    inverse_penalty: float = 1.0
    """C: inverse strength of the L2 penalty (scikit-learn)."""
    max_iterations: int = 1000
    """Steps of L-BFGS at most [R]; scikit-learn's 100 are too few on thousands of counts."""

    def __post_init__(self) -> None:
        if self.inverse_penalty <= 0 or self.max_iterations < 1:
            raise ValueError("inverse_penalty must be above 0 and max_iterations at least 1")


ORIGINAL: Published = {
    "oov": (False, "code (loglizer) drops unseen events"),
    "inverse_penalty": (100.0, "code (loglizer)"),
    "max_iterations": (100, "code (loglizer)"),
}


class LogisticRegression(SupervisedCounts):
    """Log-odds of a sequence's standardised event counts."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels"}, seeded=False)
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the public implementation; its tolerance of .01 is no setting here."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)
    native_threshold_ = 0.0

    def _learn_rows(self, rows: Floats, truth: Integers, counts: Integers) -> State:
        scale = scale_of(csr_matrix(rows), counts)
        model = Model(C=self.config.inverse_penalty, max_iter=self.config.max_iterations)
        model.fit((rows - scale.mean) / scale.deviation, truth, sample_weight=counts)
        return {
            "mean": scale.mean,
            "coefficients": model.coef_[0] / scale.deviation,
            "intercept": np.asarray(model.intercept_, np.float64),
        }

    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        offset = state["intercept"][0] - state["mean"] @ state["coefficients"]
        return np.asarray(rows @ state["coefficients"] + offset, np.float64)
