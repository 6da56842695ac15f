"""MetaLog: cross-system log anomaly detection with meta-learning (Zhang et al., ICSE 2024).

A bidirectional GRU with attention classifies sequences of event vectors that all systems share. A step of descent on a
batch of the source leads to other weights, and what these are worth on the few labelled sequences of the target is
added to the loss: L = L_source(w) + beta L_target(w - alpha dL_source). The score is log p(abnormal) - log p(normal);
the paper takes the more probable class (`native_threshold_` 0).

Told: source labels + target labels of 1 %, those of each kind that are first in time, rounded up: of the abnormal ones
at least one. It reads texts, never log keys.

Works badly where the few known anomalies of the target are of one kind and others follow. Where its pool holds no
abnormal sequence it is skipped.

Reconstructed [R]: after a script that continues the authors' own; sentence vectors stand for GloVe with TF-IDF; the
target's other sequences are left out, where the script estimates their labels; no true label picks an epoch. More:
docs/methods/metalog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(MetaLog.tags.told)
    >>> detector = MetaLog().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detector import DetectorTags, Evidence
from bench.types import Sequences
from methods.shared.layers import Integers
from methods.shared.meta import (
    Pool,
    class_errors,
    differentiable_twice,
    draws_beside,
    forward_with,
    gradients_of,
    kinds_of,
    labelled_pool,
    mean_of,
    moved,
    of_role,
    parts_of,
    require_watched,
    weights_of,
    with_gradients,
)
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.semantic import AttentiveClassifier, Batch, ClassifierDetector, Reading, batch_of, encode_batch
from methods.shared.text_inputs import TextSettings
from methods.shared.training import Loss, TrainingSettings, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """The shared budget, and the classifier of PLELog, which the paper takes over."""

    width: int = 100
    """Dimensions of a text's vector, those of every method; 300 in the paper."""
    hidden: int = 100
    """Units of the GRU per direction."""
    layers: int = 2
    """Stacked bidirectional GRUs."""
    inner_rate: float = 2e-3
    """alpha: length of the step on the source's batch; 0: both losses are taken at the same weights."""
    target_weight: float = 1.0
    """beta: weight of the target's loss; 0: the source alone is learned."""
    second_order: bool = False
    """Differentiate that step too, instead of taking its gradient as a constant."""
    target_share: float = 0.01
    """Share of the target's labels that are known, of each kind the first in time, rounded up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.hidden, self.layers) < 1:
            raise ValueError("width, hidden and layers must be at least 1")
        if min(self.inner_rate, self.target_weight) < 0:
            raise ValueError("inner_rate and target_weight must not be negative")
        if not 0 < self.target_share <= 1:
            raise ValueError(f"target_share {self.target_share} must be above 0 and at most 1")


_PLELOG = "[R] the script has PLELog's optimiser: PLELog's value"

ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (2e-3, "code"),
    "betas": ((0.9, 0.9), "code"),
    "epsilon": (1e-12, _PLELOG),
    "decay": (0.75, _PLELOG),
    "decay_steps": (1000, _PLELOG),
    "clip_norm": (1.0, _PLELOG),
    "steps": (None, "code counts epochs"),
    "max_epochs": (10, "code"),
    "patience": (None, "[R] code keeps the weights with the best F1 on the test part: here the last ones"),
    "batch_size": (100, "code"),
    "validation_fraction": (0.0, "[R] code validates on the test part"),
    "dropout": (0.33, "[R] none is known: PLELog's"),
    "width": (300, "[R] none is known: PLELog's GloVe vectors of 300 dimensions"),
    "centred": (False, "[R] no such step is known"),
    "hidden": (100, "code"),
    "layers": (2, "code"),
    "inner_rate": (2e-3, "code: the learning rate"),
    "target_weight": (1.0, "code"),
    "second_order": (False, "code: the gradient is a constant"),
    "target_share": (0.01, "paper: 1 % of the target's labels (abstract)"),
}


class MetaLog(ClassifierDetector):
    """Log-odds of "abnormal" by an attentive GRU whose steps on the source are chosen to help on the target."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels", "target": "few"}, uses=frozenset({"texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: a script that continues the authors' code."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def skip(self, train: Sequences) -> str | None:
        """It learns a source and a target."""
        found = len(np.unique(train.system[train.lengths > 0]))
        if found >= 2:
            return None
        return (
            f"it learns from a source and a few labels of a target, and training has sequences of {found} system: "
            "use a transfer such as bgl2tbird whose target leaves a pool"
        )

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn the labels of the source, and those few of the target that are known."""
        if reason := self.skip(train):
            raise ValueError(f"MetaLog cannot be trained: {reason}")
        config: Config = self.config
        reading = self._learn_inputs(train)
        is_source = of_role(train, evidence.roles, "source")
        is_target = of_role(train, evidence.roles, "target")
        source = labelled_pool(train, labels, reading.inverse, is_source, "source")
        target = labelled_pool(train, labels, reading.inverse, is_target, "target")
        parts = parts_of(source, config.validation_fraction, self.seed)
        require_watched(parts, config)
        pairs = Pairs(reading, source, target, config.batch_size, self.seed)
        vectors = reading.vectors.float()
        with seeded(self.seed, self.device):
            net = self._new_network()
            loss = objective(net, vectors, config)
            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=pairs)
        self.net_ = net.double().eval()
        self.facts_ = {"source": kinds_of(source), "target": kinds_of(target)}
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, and how many labelled sequences of each kind there were."""
        return {**super().monitor(), **self.facts_} if hasattr(self, "facts_") else {}

    def _new_network(self) -> AttentiveClassifier:
        return self._network_of(nn.GRU)


class Labelled(NamedTuple):
    """Sequences on the device, and how many copies of each are abnormal, float32 (n,)."""

    batch: Batch
    share: Tensor


class Lesson(NamedTuple):
    """A batch of the source and one of the target's labelled sequences."""

    source: Labelled
    target: Labelled
    beside: Tensor
    """float32 (m,) how often each sequence of the target was drawn."""


class Pairs:
    """Puts draws of the target's labelled sequences beside the items that training drew of the source."""

    def __init__(self, reading: Reading, source: Pool, target: Pool, batch_size: int, seed: int) -> None:
        self.reading, self.source, self.target = reading, source, target
        self.draws = draws_beside(target.counts, batch_size, seed)

    def __call__(self, batches: Sequence[Integers]) -> list[Lesson]:
        """A lesson for each batch of items."""
        lessons = []
        for items in batches:
            others, repeats = next(self.draws)
            beside = torch.as_tensor(repeats, dtype=torch.float32, device=self.reading.vectors.device)
            lessons.append(Lesson(self._labelled(self.source, items), self._labelled(self.target, others), beside))
        return lessons

    def _labelled(self, pool: Pool, items: Integers) -> Labelled:
        device = self.reading.vectors.device
        batch = batch_of(self.reading.bags, pool.bag[items], device)
        return Labelled(batch, torch.as_tensor(pool.share[items], device=device))


def objective(net: nn.Module, vectors: Tensor, config: Config) -> Loss:
    """The source's loss, and the target's at the weights after a step on it; held out, the source's alone."""

    def loss(lesson: Lesson, draws: Tensor) -> dict[str, Tensor]:
        weights = weights_of(net)

        def of(part: Labelled, drawn: Tensor, at: dict[str, Tensor]) -> Tensor:
            logits = encode_batch(forward_with(net, at), vectors, part.batch)
            return mean_of(class_errors(logits, part.share), drawn)

        with differentiable_twice(config.second_order):
            source = of(lesson.source, draws, weights)
            if not net.training or config.target_weight == 0:
                return {"loss": source}
            slope = gradients_of(source, weights, second_order=config.second_order)
            target = of(lesson.target, lesson.beside, moved(weights, slope, config.inner_rate))
            if not config.second_order:
                source = with_gradients(source, weights, slope)
        return {"loss": source + config.target_weight * target, "source": source, "target": target}

    return loss
