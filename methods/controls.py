"""The trivial detectors that stand in every table: what a method does not beat, it has not learned.

`all-positive`  flags everything; F1 = 2p / (1 + p) at prevalence p, so 0.667 where half of the test is abnormal
`random`        knows nothing; AUROC 0.5
`new-event`     is any log key new? Nearly perfect on BGL, where failures print lines of their own
`length`        is the sequence shorter or longer than any in training? Good on HDFS sessions, blind on fixed windows
`ecvc`          has training a sequence with similar event counts? The strongest simple detector on sessions
`clock`         is it late? Its AUROC says how much of the label is time alone
`gaussian`      is the mean sentence vector unusual? What a network on sentence vectors must beat, without one

`new-event`, `length` and `ecvc` are detectors of Landauer, Skopik and Wurzenberger, "A Critical Review of Common Log
Data Sets Used for Evaluation of Sequence-based Anomaly Detection Techniques" (FSE 2024), code
github.com/ait-aecid/anomaly-detection-log-datasets. They are given the normal training sequences; labels are not read.
More: docs/methods/controls.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.data.embedding import DIMENSION
from bench.detector import DetectorTags
from bench.types import Sequences
from methods.shared.counts import (
    FittedArrays,
    State,
    as_matrix,
    blocks,
    columns_of,
    count_vectors,
    frequencies,
    known_keys,
    vectors,
)
from methods.shared.mean_vectors import shares_of_texts, shrunk
from methods.shared.nearest import nearest
from methods.shared.occlusion import occlusion
from methods.shared.text_inputs import TextInputs, texts_of

_DECIMALS: Final = 10
"""Distances that are equal as fractions must be equal as floats, else a threshold would separate them by rounding."""
_MOST_COMMON: Final = 1000
"""Frequencies are compared as whole numbers of this sum at most: their distances are fractions of denominators below
2,000, which neither collide nor lie on the edge between two roundings."""


@dataclass(frozen=True)
class NoConfig:
    """Nothing to set."""


@dataclass(frozen=True)
class NewEventConfig:
    """Hyper-parameters of `new-event`."""

    measure: Literal["count", "share"] = "count"
    """`count`: number of unseen events; `share`: that divided by the length. Landauer et al. ask only whether there is
    any, and at the native threshold 0 the two agree. As a ranking, every further unseen event is further evidence,
    while a share lets one in a short session outrank ten in a long one; on windows of one length they rank alike."""


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """Hyper-parameters of `gaussian`."""

    width: int = 100
    """Dimensions of a text's vector (MLAD section 5.1: the same for all methods)."""
    jitter: float | None = None
    """Added to the diagonal of the covariance, as MLAD's; None: the shrinkage of Ledoit and Wolf (2004), which follows
    from the training sequences and leaves nothing to choose."""

    def __post_init__(self) -> None:
        if not 1 <= self.width <= DIMENSION:
            raise ValueError(f"width {self.width} is not in 1 to {DIMENSION}")
        if self.jitter is not None and self.jitter <= 0:
            raise ValueError(f"jitter {self.jitter} must be positive, or None")


class _Control(FittedArrays):
    """Has nothing to set, unless it says so."""

    Config: ClassVar[type] = NoConfig


class AllPositive(_Control):
    """Score 0 for every sequence and native threshold -inf: flags everything, whatever the log.

    The floor of F1: 2p / (1 + p). Under a conformal or quantile rule it flags nothing; AUROC is 0.5.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset(), seeded=False)
    native_threshold_ = float("-inf")

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        return {"n_train": np.array([len(train)], dtype=np.int64)}

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): zeros."""
        self.state()
        return np.zeros(len(sequences))


class Random(_Control):
    """A uniform number in [0, 1) per sequence: AUROC 0.5 and AP the prevalence, up to chance.

    The number is a hash of the seed, the system, the length and the first and last raw line number. So it belongs to
    the sequence and not to its place in a batch; two sequences with equal events at other lines get other numbers, and
    empty sequences of one system all get the same.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"lines"}))

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        return {"seed": np.array([self.seed % 2**64], dtype=np.uint64)}

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,) in [0, 1)."""
        digest = _mix(np.repeat(self.state()["seed"], len(sequences)))
        for part in (sequences.system, sequences.lengths, *_first_and_last_line(sequences)):
            digest = _mix(digest ^ part.astype(np.uint64))
        return (digest >> np.uint64(11)).astype(np.float64) / 2.0**53


class NewEvent(_Control):
    """Number of events whose log key no normal training sequence had; native threshold 0: any such event flags.

    Landauer et al., "Events". Weak where failures are in the order or the number of known events, and wherever a new
    software version prints new lines: the cut decides. UNKNOWN_KEY always counts as unseen, and so does a key of the
    vocabulary which only abnormal training sequences have.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    Config: ClassVar[type] = NewEventConfig
    native_threshold_ = 0.0

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        return {"known_keys": known_keys(train)}

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): number (or share, see `NewEventConfig`) of unseen events."""
        total: NDArray[np.int64] = np.concatenate([[0], np.cumsum(self._unseen(sequences))])
        counts: NDArray[np.float64] = (total[sequences.offsets[1:]] - total[sequences.offsets[:-1]]).astype(np.float64)
        if self.config.measure == "count":
            return counts
        return counts / np.maximum(sequences.lengths, 1)

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): 1 for an unseen event."""
        return self._unseen(sequences).astype(np.float32)

    def _unseen(self, sequences: Sequences) -> NDArray[np.bool_]:
        return np.isin(sequences.log_keys, self.state()["known_keys"], invert=True)


class Length(_Control):
    """How far the number of events lies outside the range of training, relative to the bound it passes.

    score = max(0, (min - length) / min, (length - max) / max), a bound of 0 counting as 1; native threshold 0. Landauer
    et al., "Length": flagged outside [min, max]; the distance is ours, as that rule gives no ranking, and is relative
    because sequences can be too long by far more events than too short. On fixed windows it is 0 and flags nothing.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    native_threshold_ = 0.0

    def skip(self, train: Sequences) -> str | None:
        """Without a training sequence there is no range."""
        return None if len(train) else "no training sequence"

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        return {"range": np.array([train.lengths.min(), train.lengths.max()], dtype=np.int64)}

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,), at least 0."""
        low, high = (int(bound) for bound in self.state()["range"])
        short = (low - sequences.lengths) / max(low, 1)
        long = (sequences.lengths - high) / max(high, 1)
        return np.maximum(0.0, np.maximum(short, long))


class ECVC(_Control):
    """Event count vector clustering: distance of a sequence's event counts to the nearest ones of training, in [0, 1].

    Landauer et al.: with counts divided by the length to frequencies a, b, the distance is sum |a - b| / sum max(a, b).
    As frequencies sum to 1, with the overlap o = sum min(a, b) the L1 distance is 2 - 2o and the distance is
    2 L1 / (2 + L1) = (2 - 2o) / (2 - o). It cannot see order, and on Hadoop it only flags everything.

    All keys that training did not have share one extra column (`oov`), as UNKNOWN_KEY does; as long as training has no
    UNKNOWN_KEY either, this gives exactly what a column for each would. An empty sequence has distance 0 if training
    had an empty one, else 1; so has every sequence where there was no training sequence at all.

    Equal frequencies are one vector, found exactly by reduced counts. Vectors which occur in training have distance 0
    and are not compared. The others are compared with those blocks of similar vectors that may hold a nearer one.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        distinct = count_vectors(train, known, reduced=True).unique().sequences
        return {
            "known_keys": known,
            "columns": distinct.log_keys,
            "counts": distinct.text_ids,
            "offsets": distinct.offsets,
        }

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,) in [0, 1]."""
        state = self.state()
        train = vectors(state["columns"], state["counts"], state["offsets"])
        tested = count_vectors(sequences, state["known_keys"], reduced=True)
        unique = vectors(
            np.concatenate([train.log_keys, tested.log_keys]),
            np.concatenate([train.text_ids, tested.text_ids]),
            np.concatenate([train.offsets, train.offsets[-1] + tested.offsets[1:]]),
        ).unique()
        # The training vectors are distinct and come first, so they are also the first of the unique ones.
        unmatched = unique.sequences.select(np.arange(len(train), len(unique.sequences)))
        width = len(state["known_keys"]) + 1
        overlap = _overlaps(as_matrix(unmatched, width), as_matrix(train, width))
        distances = np.concatenate([np.zeros(len(train)), (2.0 - 2.0 * overlap) / (2.0 - overlap)])
        return np.round(distances, _DECIMALS)[unique.inverse[len(train) :]]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): how far the event's frequency is from that in the nearest vector of training.

        Equal events share it. What a sequence lacks has no event and gets no weight.
        """
        state, events = self.state(), columns_of(sequences, self.state()["known_keys"])
        width = len(state["known_keys"]) + 1
        distinct, _, inverse = count_vectors(sequences, state["known_keys"], reduced=True).unique()
        rows = frequencies(as_matrix(distinct, width))
        train = frequencies(as_matrix(vectors(state["columns"], state["counts"], state["offsets"]), width))
        closest = train[nearest(rows, train)] if train.shape[0] else csr_matrix(rows.shape)
        owner = np.repeat(np.arange(len(distinct)), distinct.lengths)
        apart = np.abs(rows.data - np.asarray(closest[owner, rows.indices]).ravel())
        cell = np.searchsorted(owner * width + rows.indices, np.repeat(inverse, sequences.lengths) * width + events)
        repeats = rows.data[cell] * np.repeat(sequences.lengths, sequences.lengths)
        return np.asarray(np.round(apart[cell] / repeats, _DECIMALS), np.float32)


class Clock(_Control):
    """Position in the log: the raw line number of the last event, 0 for an empty sequence.

    No detector, but a question to the data: its AUROC is far from 0.5 where failures come in one stretch of time, and
    a method that sees anything which drifts with time (a new version, a counter) can then score without seeing
    failures. Data sets put together from pieces give it a high F1.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"lines"}), seeded=False)

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        return {"n_train": np.array([len(train)], dtype=np.int64)}

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): line numbers."""
        self.state()
        return _first_and_last_line(sequences)[1].astype(np.float64)


class Gaussian(_Control):
    """Squared Mahalanobis distance of the mean sentence vector to one Gaussian of the training sequences; no training.

    The energy of MLAD and of DAGMM with one component and without a network: what they do not beat, their training has
    not added. The Gaussian is that of the distinct mean vectors, each once, since copies are no evidence of their own;
    a full covariance makes it the same for centred vectors. An empty sequence scores 0.

    Texts that training lacks point in directions in which it hardly varies. How much those count is decided by what the
    covariance is regularised with, so nothing here was tuned: see `GaussianConfig.jitter`.
    """

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"texts"}), seeded=False)
    Config: ClassVar[type] = GaussianConfig

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is no mean."""
        return None if train.n_events else "no training sequence has an event"

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        inputs = TextInputs.sentence(texts_of(train), self.config.width, centred=False)
        shares, vectors, _ = shares_of_texts(train.select(train.lengths > 0), inputs)
        mean = np.asarray(shares.mean(axis=0)).ravel() @ vectors
        covariance, fourth = np.zeros((len(mean), len(mean))), 0.0
        for part in blocks(shares.shape[0]):
            apart = shares[part] @ vectors - mean
            covariance += apart.T @ apart / shares.shape[0]
            fourth += float(np.square(np.square(apart).sum(axis=1)).sum()) / shares.shape[0]
        if self.config.jitter is None:
            covariance = shrunk(covariance, fourth, shares.shape[0])
        else:
            covariance = covariance + self.config.jitter * np.eye(len(mean))
        variances, axes = np.linalg.eigh(covariance)
        return {"mean": mean, "whitening": axes / np.sqrt(variances), **inputs.state()}

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,), at least 0."""
        state = self.state()
        shares, vectors, inverse = shares_of_texts(sequences, TextInputs.from_state(state))
        scores = np.zeros(shares.shape[0])
        for part in blocks(len(scores)):
            white = (shares[part] @ vectors - state["mean"]) @ state["whitening"]
            scores[part] = np.square(white).sum(axis=1)
        # In float32 the last bits of a matrix product do not depend on how many others are scored.
        return np.where(sequences.lengths > 0, scores.astype(np.float32)[inverse], 0.0).astype(np.float64)

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): by how much the score falls without the event, its equals sharing (occlusion)."""
        return occlusion(sequences, self.score, "text_ids")


def _first_and_last_line(sequences: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, last = np.zeros(len(sequences), dtype=np.int64), np.zeros(len(sequences), dtype=np.int64)
    filled = sequences.lengths > 0
    first[filled] = sequences.lines[sequences.offsets[:-1][filled]]
    last[filled] = sequences.lines[sequences.offsets[1:][filled] - 1]
    return first, last


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A step of splitmix64: spreads each input bit over all output bits."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _overlaps(rows: csr_matrix, train: csr_matrix) -> NDArray[np.float64]:
    """The largest sum min(row, t) of frequencies over the training vectors t, float64 (n_rows,); 0 where there is none.

    rows, train: counts
    """
    if not train.shape[0] or not rows.shape[0]:
        return np.zeros(rows.shape[0])
    common = _common_sum(rows, train)
    if common is None:
        found = nearest(frequencies(rows), frequencies(train))
    else:
        # Whole numbers of one sum are compared exactly, so that of equal distances any will do.
        found = nearest(_scaled(rows, common), _scaled(train, common), any_of_equals=True)
    return np.asarray(frequencies(rows).minimum(frequencies(train)[found]).sum(axis=1), np.float64).ravel()


def _common_sum(*counts: csr_matrix) -> int | None:
    """The smallest multiple of the sums of all these vectors, or None above `_MOST_COMMON`."""
    common = 1
    for matrix in counts:
        for total in np.unique(np.asarray(matrix.sum(axis=1))).tolist():
            common = math.lcm(common, max(1, int(total)))
            if common > _MOST_COMMON:
                return None
    return common


def _scaled(counts: csr_matrix, common: int) -> csr_matrix:
    """The same proportions in whole numbers of the sum `common`, a multiple of each vector's own."""
    matrix = counts.copy()
    sums = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1.0)
    matrix.data *= np.repeat(common / sums, np.diff(matrix.indptr))
    return matrix
