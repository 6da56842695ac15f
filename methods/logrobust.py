"""LogRobust: robust log-based anomaly detection on unstable log data (Zhang et al., FSE 2019).

A classifier: semantic vectors of the events go through a bidirectional LSTM, attention weighs its states, a linear
layer tells normal from abnormal. A statement that was reworded has nearly the same vector, which is the robustness of
the name. The score is log p(abnormal) - log p(normal); the paper takes the more probable class (`native_threshold_`
0).

Told: source labels. It reads texts, never log keys.

Works badly on kinds of anomalies that training never showed: nothing forces their score up. Where training has none at
all, as in the split `paper`, it cannot be trained.

Reconstructed [R]: there is no official code. Sentence vectors stand for FastText with TF-IDF; all training sequences
are used and both classes weigh the same (`class_weight`). An empty sequence gets the score of no evidence. More:
docs/methods/logrobust.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogRobust.tags.told)
    >>> detector = LogRobust().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import DetectorTags, Evidence
from bench.types import ABNORMAL, NORMAL, Sequences
from methods.shared.classes import Lesson, lacking_class, lesson_of
from methods.shared.draws import hold_out_of_each
from methods.shared.published import ADAM, LOGDEEP, Published, original, sources_of
from methods.shared.semantic import AttentiveClassifier, ClassifierDetector, encode_batch
from methods.shared.text_inputs import TextSettings
from methods.shared.training import TrainingSettings, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """Defaults: the shared budget, and the architecture of the sheet; study `network-choices`."""

    width: int = 100
    """Dimensions of a text's vector, those of every method; 300 in the paper."""
    hidden: int = 128
    """Units per direction (re-implementations)."""
    layers: int = 2
    """Stacked bidirectional LSTMs [R]."""
    class_weight: Literal["balanced", "none"] = "balanced"
    """Both classes weigh the same in the loss, as in the paper's balanced training set, or each sequence does [R]."""
    per_class: int | None = None
    """Sequences of each class that are drawn to train on: as many as the rarer one has, at most this (paper: 6,000 of
    each); None: all, of both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.hidden, self.layers) < 1:
            raise ValueError("width, hidden and layers must be at least 1")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"per_class {self.per_class} must be at least 1, or none")


ORIGINAL: Published = {
    **ADAM,
    **LOGDEEP,
    "decay_epochs": ((40, 50), "code (logdeep)"),
    "steps": (None, "code (logdeep) counts epochs"),
    "max_epochs": (60, "code (logdeep)"),
    "batch_size": (256, "code (logdeep)"),
    "width": (300, "paper: FastText vectors of 300 dimensions"),
    "centred": (False, "[R] the paper has no such step"),
    "hidden": (128, "code (logdeep)"),
    "layers": (2, "code (logdeep)"),
    "class_weight": ("none", "paper: its training sample is balanced instead"),
    "per_class": (6000, "paper: 6,000 normal and 6,000 abnormal sessions of HDFS"),
}


class LogRobust(ClassifierDetector):
    """Log-odds of "abnormal" by an attentive bidirectional LSTM."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels"}, uses=frozenset({"texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the paper where its settings are known, else the re-implementation in logdeep."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn the labels of the training sequences; those without a label are left out."""
        labels = np.zeros(len(train), np.int8) if labels is None else labels
        if reason := self.skip(train) or lacking_class(labels):
            raise ValueError(f"LogRobust cannot be trained: {reason}")
        config: Config = self.config
        labelled = labels >= 0
        bags, _, inverse, vectors = self._learn_inputs(train.select(labelled))
        pairs, counts = np.unique(2 * inverse + labels[labelled], return_counts=True)
        if config.per_class is not None:
            counts = as_many_of_each(pairs % 2, counts, config.per_class, self.seed)
            pairs, counts = pairs[counts > 0], counts[counts > 0]
        bag_of, class_of = pairs // 2, pairs % 2
        vectors = vectors.float()
        parts = hold_out_of_each(counts, class_of, bag_of, config.validation_fraction, self.seed)
        balance = torch.as_tensor(_class_weights(class_of, counts, config.class_weight), device=self.device)
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(lesson: Lesson, weights: Tensor) -> dict[str, Tensor]:
                logits = encode_batch(net, vectors, lesson.batch)[lesson.row_of]
                return objective(logits, lesson.classes, weights, balance)

            def stage(batches: Iterable[NDArray[np.int64]]) -> list[Lesson]:
                return [lesson_of(bags, bag_of[items], class_of[items], vectors.device) for items in batches]

            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=stage)
        self.net_ = net.double().eval()
        return self

    def _new_network(self) -> AttentiveClassifier:
        return self._network_of(nn.LSTM)


def objective(logits: Tensor, classes: Tensor, weights: Tensor, balance: Tensor) -> dict[str, Tensor]:
    """Cross-entropy of logits (B, 2); weights: (B,) summing to 1; balance: (2,) weight of each class."""
    return {"loss": (weights * balance[classes] * F.cross_entropy(logits, classes, reduction="none")).sum()}


def as_many_of_each(class_of: NDArray[np.int64], counts: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """int64 (n,): how often each is drawn without replacement, the same number of both classes, at most `most`."""
    size = min(most, *np.bincount(class_of, counts, minlength=2).astype(np.int64).tolist())
    rng = np.random.default_rng([seed, 4])
    drawn = np.zeros_like(counts)
    for label in (NORMAL, ABNORMAL):
        mine = class_of == label
        drawn[mine] = rng.multivariate_hypergeometric(counts[mine], size, method="marginals")
    return drawn


def _class_weights(class_of: NDArray[np.int64], counts: NDArray[np.int64], kind: str) -> NDArray[np.float32]:
    """float32 (2,): weight of a sequence of each class; 1 on average over the sequences."""
    sizes = np.bincount(class_of, counts, minlength=2)
    return (sizes.sum() / (2 * sizes) if kind == "balanced" else np.ones(2)).astype(np.float32)
