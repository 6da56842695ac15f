"""k nearest neighbours in sentence-embedding space: no training, no keys, only what the lines say.

A sequence is the mean of the sentence vectors of its texts; the score is the mean cosine distance to the k nearest
distinct training sequences. With `unit="text"` each text is compared with the distinct texts of training, and the score
is that of its least familiar line. The idea is the k-NN novelty detector (Ramaswamy, Rastogi, Shim, SIGMOD 2000) on
sentence vectors (Reimers, Gurevych, "Sentence-BERT", EMNLP 2019), the null model of every method that reads texts.

Told: source normals. It reads texts and no log keys, so an unseen line is never blind to it.

Works badly where one line of many is the failure (a mean hardly moves: use `unit="text"`), where order or number
decides, and across systems: what is unlike the source is not what is abnormal.

Reconstructed [R]: all of it, as no log paper fixes this control. Cosine distance, k = 1 as in `ecvc`, and the shared
projection to 100 dimensions (`dimension=384`: the encoder's own vectors). More: docs/methods/knn-embedding.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(KNNEmbedding.tags.told)
    >>> detector = KNNEmbedding().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.data.embedding import DIMENSION
from bench.detector import DetectorTags, report_progress
from bench.types import Sequences
from methods.shared.counts import FittedArrays, Floats, Integers, State, blocks
from methods.shared.occlusion import occlusion
from methods.shared.text_inputs import Projection, TextInputs, TextSettings, texts_of

_ROWS = 1024
"""Vectors of each side compared at once at most: their products, 8 MB, stay near the processor."""
_DECIMALS = 9
"""The distance of equal texts must be 0 and not what rounding leaves."""


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings):
    """No paper fixes these; see the sheets of the methods that read texts."""

    unit: Literal["sequence", "text"] = "sequence"
    """What is compared: mean vectors of sequences, or texts, the score being the largest of a sequence's texts."""
    k: int = 1
    """Neighbours whose distances are averaged (1 as in ECVC)."""
    dimension: int = 100
    """Dimensions after the shared projection (design: 100 for every method); 384 is the encoder's own vector."""

    def __post_init__(self) -> None:
        if self.unit not in ("sequence", "text"):
            raise ValueError(f"unit '{self.unit}' is unknown: use sequence or text")
        if self.k < 1 or not 1 <= self.dimension <= DIMENSION:
            raise ValueError(f"k {self.k} must be at least 1 and dimension {self.dimension} in 1 to {DIMENSION}")


class KNNEmbedding(FittedArrays):
    """Cosine distance of a sequence's sentence vectors to the nearest ones of training."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"texts"}), seeded=False)
    Config: ClassVar[type] = Config

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to compare with."""
        return None if train.n_events else "no training sequence has an event"

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        config: Config = self.config
        projection: Projection = "fixed" if config.dimension < DIMENSION else "learned"
        inputs = TextInputs.sentence(
            texts_of(train), config.dimension, centred=config.centred, projection=projection, scale=1.0
        )
        vectors = _items(train, inputs, config.unit).vectors()
        return {"vectors": vectors[vectors.any(axis=1)], **inputs.state()}

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,), in [0, 2]; an empty sequence scores 0."""
        train = self.state()["vectors"]
        items = self._read(sequences)
        distances = _mean_distance(items, train, min(self.config.k, len(train)))
        if self.config.unit == "sequence":
            return distances[items.inverse]
        worst = np.zeros(len(sequences))
        np.maximum.at(worst, sequences.sequence_of_event, distances[items.inverse])
        return worst

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): the distance of each text, or how far that of the sequence falls without it."""
        if self.config.unit == "sequence":
            return occlusion(sequences, self.score, "text_ids")
        train = self.state()["vectors"]
        items = self._read(sequences)
        distances = _mean_distance(items, train, min(self.config.k, len(train)))
        return distances[items.inverse].astype(np.float32)

    def _read(self, sequences: Sequences) -> _Items:
        return _items(sequences, TextInputs.from_state(self.state()), self.config.unit)


class _Items(NamedTuple):
    texts: Floats
    """(n_texts, d) of length 1"""
    counts: csr_matrix | None
    """(n_items, n_texts): how often each text stands in an item; None where each text is one."""
    inverse: Integers
    """(n_sequences,) or (n_events,): the item of each."""

    @property
    def n(self) -> int:
        """How many items there are."""
        return len(self.texts) if self.counts is None else int(self.counts.shape[0])

    def vectors(self, part: slice = slice(None)) -> Floats:
        """(n_part, d) of length 1, or 0 where a sequence is empty; made when asked for, since all would fill memory."""
        return self.texts[part] if self.counts is None else _unit(np.asarray(self.counts[part] @ self.texts))


def _items(sequences: Sequences, inputs: TextInputs, unit: str) -> _Items:
    """What is compared: each distinct sequence, or each distinct text."""
    vectors = _unit(inputs.features(texts_of(sequences)))
    text_of_event = np.unique(sequences.text_ids, return_inverse=True)[1]
    if unit == "text":
        return _Items(vectors, None, text_of_event.astype(np.int64))
    plain = replace(
        sequences,
        log_keys=np.zeros_like(sequences.log_keys),
        text_ids=text_of_event.astype(np.int32),
        system=np.zeros_like(sequences.system),
    )
    distinct, _, inverse = plain.unique()
    shape = (len(distinct), len(vectors))
    counts = csr_matrix((np.ones(distinct.n_events), distinct.text_ids, distinct.offsets), shape=shape, copy=True)
    counts.sum_duplicates()
    return _Items(vectors, counts, inverse)


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))


def _mean_distance(items: _Items, train: Floats, k: int) -> Floats:
    """float64 (n_items,): mean cosine distance to the k nearest rows of train; 0 for a vector of zeros."""
    distances = np.zeros(items.n)
    for part in blocks(items.n, _ROWS):
        vectors = items.vectors(part)
        nearest = _largest(vectors, train, k).mean(axis=1)
        distances[part] = np.where(vectors.any(axis=1), 1.0 - nearest, 0.0)
        report_progress("comparing vectors", part.stop, items.n)
    return np.asarray(np.round(np.maximum(distances, 0.0), _DECIMALS), np.float64)


def _largest(vectors: Floats, train: Floats, k: int) -> Floats:
    """float64 (n, k): the k largest products of each vector with rows of train, in no order."""
    if not len(train):  # centred, the only text of training is the zero vector: nothing is alike
        return np.zeros((len(vectors), 1))
    found = np.full((len(vectors), k), -np.inf)
    for part in blocks(len(train), _ROWS):
        products = vectors @ train[part].T
        if k == 1:
            np.maximum(found[:, 0], products.max(axis=1), out=found[:, 0])
        else:
            found = np.partition(np.concatenate([found, products], axis=1), -k, axis=1)[:, -k:]
    return found
