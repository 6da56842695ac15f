"""One-class SVM (Schölkopf, Platt, Shawe-Taylor, Smola, Williamson, Neural Computation 13, 2001) on event counts.

A boundary in the space of an RBF kernel that leaves a share nu of the training sequences outside. The score is the
signed distance outwards, minus the decision function; native threshold 0, up to the solver's tolerance. The solver is
scikit-learn's (libsvm), run on distinct count vectors with their counts as weights; support vectors are kept as arrays.

Told: source normals.

Works badly on long and sparse counts: the most frequent keys decide the distance; with `standardise` a key that is rare
in training is many standard deviations away wherever it occurs, the kernel is then 0, and all such sequences share the
top score, so a conformal threshold can be that score and flag nothing. Public wrappers keep nu = .5, which declares
half of the normal sequences abnormal (profile `original`).

Reconstructed [R]: counts as they are and nu = .1, as the study `network-choices` chose; more than
`max_vectors` distinct vectors are sampled; an event unseen in training weighs as one that a single sequence had. More:
docs/methods/ocsvm.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(OCSVM.tags.told)
    >>> detector = OCSVM().fit(log.train, log.labels, evidence=log.evidence)
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
from sklearn.svm import OneClassSVM

from bench.detector import DetectorTags
from bench.types import Sequences
from methods.shared.counts import CountConfig, CountDetector, Floats, State, known_keys, sample_rows, scale_of
from methods.shared.published import Published, original, sources_of


@dataclass(frozen=True, kw_only=True)
class Config(CountConfig):
    """One choice per line, with its source."""

    nu: float = 0.1
    """Share of training sequences left outside at most [R]; chosen in the study `network-choices` (sheet: the target
    rate of false alarms, .01 to .05)."""
    standardise: bool = False
    """Divide counts by their standard deviation in training [R]; as they are in the study's choice and public
    wrappers."""
    max_vectors: int = 10_000
    """Distinct count vectors to train on (sheet: 10 to 20 thousand)."""

    def __post_init__(self) -> None:
        if not 0 < self.nu <= 1 or self.max_vectors < 1:
            raise ValueError(f"nu {self.nu} must be in (0, 1] and max_vectors {self.max_vectors} at least 1")


ORIGINAL: Published = {
    "oov": (False, "code (loglizer) drops unseen events"),
    "nu": (0.5, "code (public wrappers): scikit-learn's"),
    "standardise": (False, "code (public wrappers)"),
    "max_vectors": (10_000, "[R] none is stated: the solver takes quadratic time"),
}


class OCSVM(CountDetector):
    """Distance of a sequence's event counts from the region that holds those of training."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"})
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: as public wrappers run it on logs."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        matrix, counts = sample_rows(self._rows(train, known), self.config.max_vectors, self.seed)
        mean, deviation = scale_of(matrix, counts)
        if not self.config.standardise:
            mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
        points = (matrix.toarray() - mean) / deviation
        weights = counts / counts.mean()
        # scikit-learn's gamma="scale": the variance of all cells, with every training sequence counted.
        first, second = (np.average(points**power, axis=0, weights=weights).mean() for power in (1, 2))
        variance = second - first**2
        gamma = 1.0 / (points.shape[1] * (variance if variance > 1e-12 else 1.0))
        model = OneClassSVM(nu=self.config.nu, gamma=gamma, cache_size=500).fit(points, sample_weight=weights)
        # What is no outlier by the solution may be one by the solver's tolerance, among it the most common vector.
        inside = np.setdiff1d(np.arange(len(counts)), model.support_[model.dual_coef_[0] >= weights[model.support_]])
        return {
            "known_keys": known,
            "mean": mean,
            "deviation": deviation,
            "gamma": np.array([gamma]),
            "support": np.asarray(model.support_vectors_, np.float64),
            "dual": np.asarray(model.dual_coef_[0], np.float64),
            "intercept": np.asarray(model.intercept_, np.float64),
            "native": np.array([max(0.0, -model.decision_function(points[inside]).min(initial=0.0))]),
        }

    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        points = (rows.toarray() - state["mean"]) / state["deviation"]
        support = state["support"]
        squares = np.einsum("nv,nv->n", points, points)[:, None] + np.einsum("sv,sv->s", support, support)
        distances = np.maximum(squares - 2.0 * points @ support.T, 0.0)
        return np.asarray(-(np.exp(-state["gamma"][0] * distances) @ state["dual"]) - state["intercept"][0])

    def monitor(self) -> dict[str, Any]:
        """Support vectors and the kernel's width."""
        state = self.state()
        return {"support_vectors": len(state["dual"]), "gamma": float(state["gamma"][0])}
