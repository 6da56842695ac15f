"""The small model of ZeroLog, GeneralLog and FusionLog: the vectors of both systems are alike to its classifier.

An attentive GRU learns the source's labels while a classifier of the domain behind a gradient
reversal is deceived, in tasks of first-order meta-learning. Everything but the idea is reconstructed [R].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bench.detector import Evidence
from bench.types import Sequences
from methods.shared.meta import (
    Pool,
    WarmStart,
    kinds_of,
    labelled_pool,
    n_steps_of,
    of_role,
    parts_of,
    pool_of,
    require_watched,
)
from methods.shared.meta_tasks import AlignedClassifier, Course, Domains, Tasks, objective
from methods.shared.published import ADAM, Published
from methods.shared.semantic import AttentiveClassifier, ClassifierDetector, Reading
from methods.shared.text_inputs import TextSettings
from methods.shared.training import TrainingSettings, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class PlainSettings(TextSettings, TrainingSettings):
    """The shared budget, and the classifier of the sheet of ZeroLog."""

    width: int = 100
    """Dimensions of a text's vector, those of every method."""
    hidden: int = 100
    """Units of the GRU per direction [R]."""
    layers: int = 1
    """Stacked bidirectional GRUs [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.hidden, self.layers) < 1:
            raise ValueError("width, hidden and layers must be at least 1")


@dataclass(frozen=True, kw_only=True)
class SmallModelSettings(PlainSettings):
    """The shared budget, and the values that the sheet of ZeroLog proposes."""

    domain_hidden: int = 64
    """Units of the classifier of domains [R]."""
    reversal: float = 0.1
    """Largest weight of the domain term, which the reversal turns round; it stands in the loss alone [R]."""
    warm_start: float = 10.0
    """How steeply that weight rises: by 2 / (1 + exp(-warm_start * p)) - 1 at the share p of all steps [R]."""
    meta: Literal["first-order", "second-order", "none"] = "first-order"
    """Whether the step on the support set is a constant or differentiated too; none: no tasks, both domains' losses
    of the whole batch."""
    inner_rate: float = 1e-3
    """Length of the step on the support set [R]."""
    tasks: int = 1
    """Tasks that share the batch of a step: one has 64 sequences of each domain to support and 64 to query, as the
    sheet proposes; the sheet has 4 [R]."""
    queried: Literal["target", "source"] = "target"
    """What plays the target in the query: the target, or of several sources one that the support set lacks, with its
    labels. Without a target it is a source."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.domain_hidden, self.tasks) < 1:
            raise ValueError("domain_hidden and tasks must be at least 1")
        if min(self.reversal, self.warm_start, self.inner_rate) < 0:
            raise ValueError("reversal, warm_start and inner_rate must not be negative")


_OURS: Final = "[R] nobody published it: as the sheet of ZeroLog proposes"

SMALL_MODEL: Final[Published] = {
    **ADAM,
    "learning_rate": (1e-3, _OURS),
    "steps": (None, "[R] nobody published a budget: in epochs, as MetaLog's"),
    "max_epochs": (10, "[R] nobody published a budget: MetaLog's"),
    "patience": (None, "[R] nobody published a rule: the last weights"),
    "batch_size": (512, "[R] nobody published it: 4 tasks of two sets of 64"),
    "validation_fraction": (0.0, "[R] nobody published it"),
    "dropout": (0.0, "[R] none is known"),
    "width": (300, "[R] nobody published it: MetaLog's"),
    "centred": (False, "[R] no such step is known"),
    "hidden": (100, _OURS),
    "layers": (1, _OURS),
    "domain_hidden": (64, _OURS),
    "reversal": (0.1, _OURS),
    "warm_start": (10.0, _OURS),
    "meta": ("first-order", _OURS),
    "inner_rate": (1e-3, _OURS),
    "tasks": (4, _OURS),
    "queried": ("target", _OURS),
}
"""What ZeroLog's own profile holds."""


class Learned(NamedTuple):
    """What the small model was learned from; a method that goes on from it need not read that again."""

    reading: Reading
    source: Pool


class PlainDetector(ClassifierDetector):
    """Learns the source's labels alone: no domain term and no tasks."""

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn the source's labels; of the target only sequences are read, never a label."""
        self._learn_small(train, labels, evidence)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, and how many distinct sequences were learned from."""
        return {**super().monitor(), **self.pools_} if hasattr(self, "pools_") else {}

    def _learn_small(self, train: Sequences, labels: NDArray[np.int8] | None, evidence: Evidence) -> Learned:
        if reason := self.skip(train):
            raise ValueError(f"{type(self).__name__} cannot be trained: {reason}")
        config: PlainSettings = self.config
        is_source = of_role(train, evidence.roles, "source")
        is_target = of_role(train, evidence.roles, "target")
        reading = self._learn_inputs(train)
        source = labelled_pool(train, labels, reading.inverse, is_source, "source")
        target = pool_of(reading.inverse, train.system, np.zeros(len(train), bool), is_target)
        parts = parts_of(source, config.validation_fraction, self.seed)
        require_watched(parts, config)
        course = self._course()
        domains = Domains(reading, source, target)
        vectors = reading.vectors.float()
        tasks = Tasks(domains, course, config.batch_size, self.seed, vectors.device)
        schedule = WarmStart(course.reversal, course.warm_start, n_steps_of(config, parts.train))
        with seeded(self.seed, self.device):
            net = self._new_network()
            loss = objective(net, vectors, course, schedule)
            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=tasks)
        self.net_ = net.double().eval()
        self.pools_ = {"source": kinds_of(source), "target": {"distinct": len(target.bag)}}
        return Learned(reading, source)

    def _new_network(self) -> AttentiveClassifier:
        return self._network_of(nn.GRU)

    def _course(self) -> Course:
        return Course()


class SmallModelDetector(PlainDetector):
    """Learns the small model; a method that builds on it goes on from there."""

    def skip(self, train: Sequences) -> str | None:
        """It aligns a source with a target, or several sources."""
        found = len(np.unique(train.system[train.lengths > 0]))
        if found >= 2:
            return None
        return (
            f"it aligns a labelled source with an unlabelled target, and training has sequences of {found} system: "
            "use a transfer such as bgl2tbird whose target leaves a pool"
        )

    def _new_network(self) -> AttentiveClassifier:
        config: SmallModelSettings = self.config
        net = AlignedClassifier(
            config.width, config.hidden, config.layers, domain_hidden=config.domain_hidden, dropout=config.dropout
        )
        return net.to(self.device)

    def _course(self) -> Course:
        config: SmallModelSettings = self.config
        return Course(
            reversal=config.reversal,
            warm_start=config.warm_start,
            meta=config.meta,
            inner_rate=config.inner_rate,
            tasks=config.tasks,
            queried=config.queried,
            aligns=True,
        )
