"""PCA: detecting large-scale system problems by mining console logs (Xu, Huang, Fox, Patterson, Jordan, SOSP 2009).

Event counts are weighted by tf-idf and centred; the principal components that explain 95 % of the variance span what
is normal, and the score is the squared prediction error, the squared distance to that subspace. The native threshold is
the Q-statistic of Jackson and Mudholkar (1979) at alpha = 0.001.

Told: source unlabelled. It is fitted on the whole training period, abnormal sequences included, and reads no labels.

Works badly where anomalies are frequent in training, since they then are principal components themselves; where events
depend on each other in no linear way; and where only unseen events tell, which are dropped; with `oov` each lies
outside the subspace, so in a growing log it is a novelty detector with a scale. Errors of long sequences are larger,
because counts are. The Q-statistic assumes normal residuals, which counts are not: the false alarms it promises (0.1 %)
are not those one gets.

Reconstructed [R]: events unseen in training are dropped, or with `oov` weigh log(n + 1); where the statistic does not
exist the threshold is a quantile of the training errors. More: docs/methods/pca.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(PCA.tags.told)
    >>> detector = PCA().fit(log.train, log.labels, evidence=log.evidence)
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
from scipy.stats import norm

from bench.detector import DetectorTags
from bench.types import Sequences
from methods.shared.counts import CountConfig, CountDetector, Floats, State, idf, known_keys, weighted_quantile
from methods.shared.published import Published, original, sources_of


@dataclass(frozen=True, kw_only=True)
class Config(CountConfig):
    """Defaults of the paper, but for `oov`, which it leaves open."""

    oov: bool = False
    """Count events unseen in training in a column of their own [R]; without one they are dropped, as public
    implementations do. Chosen in the study `network-choices`."""
    variance: float = 0.95
    """Share of the variance that the normal subspace explains (section 4.2)."""
    alpha: float = 0.001
    """False alarms that the Q-statistic is set for (section 4.2); c = 3.2905."""
    weighting: Literal["tf-idf", "none"] = "tf-idf"
    """Of the counts: `tf-idf` (section 4.2) or `none`."""

    def __post_init__(self) -> None:
        if not 0 < self.variance < 1 or not 0 < self.alpha < 1:
            raise ValueError(f"variance {self.variance} and alpha {self.alpha} must lie between 0 and 1")
        if self.weighting not in ("tf-idf", "none"):
            raise ValueError(f"weighting '{self.weighting}' is unknown: use tf-idf or none")


ORIGINAL: Published = {
    "oov": (False, "code (loglizer) drops unseen events"),
    "variance": (0.95, "section 4.2"),
    "alpha": (0.001, "section 4.2"),
    "weighting": ("tf-idf", "section 4.2"),
}


class PCA(CountDetector):
    """Squared distance of a sequence's weighted event counts to the principal subspace of training."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "unlabelled"}, seeded=False)
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the paper, on event counts as in the public implementation."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        rows = self._rows(train, known)
        n = float(rows.counts.sum())
        weights = idf(rows.matrix, rows.counts) if self.config.weighting == "tf-idf" else np.ones(len(known) + 1)
        weighted = rows.matrix.multiply(weights).tocsr()
        mean = np.asarray(rows.counts @ weighted).ravel() / n
        second = (weighted.T @ weighted.multiply(rows.counts[:, None])).toarray() / n
        values, axes = np.linalg.eigh(second - np.outer(mean, mean))
        # From the largest on; rounding makes eigenvalues of 0 slightly negative.
        values, axes = np.maximum(values[::-1], 0.0), axes[:, ::-1]
        share = np.cumsum(values) / max(values.sum(), np.finfo(float).tiny)
        kept = min(int(np.searchsorted(share, self.config.variance) + 1), len(values)) if values.any() else 0
        state: State = {
            "known_keys": known,
            "weights": weights,
            "mean": mean,
            "residual_axes": np.ascontiguousarray(axes[:, kept:]),
        }
        threshold = q_statistic(values[kept:], self.config.alpha)
        if threshold is None:
            threshold = weighted_quantile(self._score_rows(rows.matrix, state), rows.counts, 1 - self.config.alpha)
        return state | {"eigenvalues": values, "native": np.array([threshold])}

    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        # Along the axes left out, so that counts stay sparse and nothing is lost in a difference of squares.
        axes = state["residual_axes"]
        residual = rows @ (state["weights"][:, None] * axes) - state["mean"] @ axes
        return np.asarray(np.einsum("nv,nv->n", residual, residual), np.float64)

    def monitor(self) -> dict[str, Any]:
        """Dimensions of the space and of its normal part, and the threshold."""
        state = self.state()
        columns, residual = state["residual_axes"].shape
        return {"columns": columns, "components": columns - residual, "native": self.native_threshold_}


def q_statistic(residual_values: Floats, alpha: float) -> float | None:
    """The error that a share alpha of normal data exceeds, or None where it does not exist.

    residual_values: float64 (n,), variances along the components that were left out.
    """
    phi1, phi2, phi3 = (float((residual_values**power).sum()) for power in (1, 2, 3))
    if phi1 <= 1e-12 or phi2 <= 0:
        return None
    h0 = 1.0 - 2.0 * phi1 * phi3 / (3.0 * phi2**2)
    if h0 <= 0:
        return None
    c = float(norm.ppf(1.0 - alpha / 2.0))
    base = c * np.sqrt(2.0 * phi2 * h0**2) / phi1 + 1.0 + phi2 * h0 * (h0 - 1.0) / phi1**2
    return float(phi1 * base ** (1.0 / h0)) if base > 0 else None
