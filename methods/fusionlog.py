"""FusionLog: cross-system log anomaly detection, general and proprietary knowledge fused (arXiv 2511.05878).

A router tells which sequences of the unlabelled target the source knows. Of the others, proprietary to the target, a
language model with retrieval and the small model, ZeroLog's network, say in rounds what is abnormal: what they agree
on, or one of them is sure of, becomes a pseudo-label that the small model learns beside the source and that later
questions retrieve. In the end the small model alone scores, by log p(abnormal) - log p(normal); the more probable
class is taken (`native_threshold_` 0).

Told: source labels + target unlabelled; asks a model, while it is fitted only. `teacher=embedding` is the stand-in
without one, and its rows say so. It reads texts, never log keys.

Works badly where both sides are wrong alike: pseudo-labels confirm themselves. A model near chance is near it here.
Where they are of one class nothing is learned from them [R]: the small model stays as it is, and the row says so.

Reconstructed [R]: the published abstract apart, all of it; its third version no longer says "without any labeled target
logs" of the method, so a number needs its version. More: docs/methods/fusionlog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(FusionLog.tags.told)
    >>> detector = FusionLog(Config(teacher="embedding", steps=60)).fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.detector import DetectorTags, Evidence
from bench.types import Sequences
from methods.shared.meta import Pool, of_role
from methods.shared.pseudo_labels import Agreement, agree, budget_of, learn, lessons_of
from methods.shared.published import Published, original, sources_of
from methods.shared.router import ROUTER, Router, RouterSettings, require_router
from methods.shared.semantic import Reading
from methods.shared.system_agnostic import SMALL_MODEL, SmallModelDetector, SmallModelSettings
from methods.shared.teachers import TEACHER, Distinct, Memory, TeacherSettings, Tutor, require_teacher
from methods.shared.training import seeded

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Config(RouterSettings, TeacherSettings, SmallModelSettings):
    """The shared budget, and the sheet's proposals; the rounds share `max_teacher_calls` evenly."""

    rounds: int = 3
    """Rounds of pseudo-labels [R]; 0: the small model as it is."""
    round_steps: int = 60
    """Steps of the optimiser in each round, a tenth of the shared budget [R]."""
    sure: float = 0.9
    """Confidence above which one side may decide against the other [R]."""
    soft: float = 0.5
    """Share of the agreed probability in what is learned; the rest is the class that it means [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_router(self)
        require_teacher(self)
        if min(self.rounds, self.round_steps) < 0:
            raise ValueError("rounds and round_steps must not be negative")
        if not 0.5 <= self.sure <= 1 or not 0 <= self.soft <= 1:
            raise ValueError(f"sure {self.sure} must be in 0.5 to 1 and soft {self.soft} in 0 to 1")


_NOBODY = "[R] nobody published it: as the sheet proposes"

ORIGINAL: Published = {
    **SMALL_MODEL,
    **TEACHER,
    **ROUTER,
    "rounds": (3, _NOBODY),
    "round_steps": (60, "[R] nobody published it: a tenth of the shared budget"),
    "sure": (0.9, _NOBODY),
    "soft": (0.5, _NOBODY),
}


class FusionLog(SmallModelDetector):
    """Log-odds of "abnormal" by a small model that was taught pseudo-labels of the target."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "labels", "target": "unlabelled"}, uses=frozenset({"texts"}), teacher=True
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: as the sheet proposes, since hardly a value is published."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn the small model, then what it and the teacher make of the target; no label of the target is read."""
        small = self._learn_small(train, labels, evidence)
        config: Config = self.config
        self.facts_: dict[str, Any] = {}
        if not config.rounds:
            return self
        is_source = of_role(train, evidence.roles, "source")
        source, known = train.select(is_source), np.asarray(labels)[is_source]
        router = Router.learn(source, tau=config.tau, quantile=config.tau_quantile, seed=self.seed)
        target = np.flatnonzero(of_role(train, evidence.roles, "target"))
        proprietary = target[~router.is_general(train.select(target))]
        memory = Memory.of(source.select(known >= 0), known[known >= 0], config.memory, self.seed)
        tutor = Tutor(config, None if evidence.teacher is None else evidence.teacher.ask, memory)
        asked = Distinct.of(train.select(proprietary))
        subject = _Subject(*small, asked, small.reading.inverse[proprietary[asked.first]])
        rounds = [self._round(subject, tutor, number) for number in range(config.rounds)] if len(proprietary) else []
        share = 1 - len(proprietary) / len(target) if len(target) else 0.0
        self.facts_ = {
            "tau": router.tau,
            "pool_general_share": share,
            "rounds": rounds,
            "rounds_learned": sum(found["learned"] for found in rounds),
            "rounds_of_one_class": sum(found["one_class"] for found in rounds),
            **tutor.facts(),
        }
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, the router, what came of each round, what was asked and what had no answer."""
        return {**super().monitor(), **self.facts_} if hasattr(self, "facts_") else {}

    def _round(self, subject: _Subject, tutor: Tutor, number: int) -> dict[str, Any]:
        """Judge, agree, learn and remember once; labels of one class are remembered only."""
        config: Config = self.config
        said = tutor.judge(subject.asked, config.max_teacher_calls // config.rounds)
        logits = self._apply(self.net_, subject.reading, subject.bag)
        found = agree(said, expit(logits[:, 1] - logits[:, 0]), config.sure)
        one_class = found.has_one_class
        learned = bool((found.weight > 0).any()) and not one_class
        if learned:
            self._learn(subject, found, number)
        tutor.remember(subject.asked, found.p)
        return {**found.facts(subject.asked.counts), "learned": learned, "one_class": one_class}

    def _learn(self, subject: _Subject, found: Agreement, number: int) -> None:
        config: Config = self.config
        lessons = lessons_of(subject.source, subject.bag, subject.asked.counts, found, config.soft)
        with seeded(self.seed + number + 1, self.device):
            net = self.net_.float()
            learn(net, subject.reading, lessons, budget_of(config, config.round_steps), self.seed + number + 1)
        self.net_ = net.double().eval()


class _Subject(NamedTuple):
    """What all rounds are about."""

    reading: Reading
    source: Pool
    asked: Distinct
    """The proprietary sequences of the target."""
    bag: Integers
    """(n,) which distinct sequence of the reading each of them is."""
