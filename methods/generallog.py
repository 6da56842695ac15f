"""GeneralLog: zero-label cross-system log anomaly detection by a training-free router (arXiv 2511.05882).

A router tells what the source knows: a sequence all of whose events resemble some event of the source is general, any
other is proprietary to its system. General sequences are scored by a small model, the network of ZeroLog; proprietary
ones are judged by a language model that is shown the source sequences nearest to each (retrieval). The score is log
p(abnormal) - log p(normal) of whoever judges; the more probable class is taken (`native_threshold_` 0).

Told: source labels + target unlabelled; asks a model. `teacher=embedding` is the stand-in without one, and its rows
say so. It reads texts, never log keys.

Works badly where one odd line of a parser makes every window proprietary, and with a model near chance. Beyond
`max_teacher_calls`, and where an answer cannot be read, the small model scores.

Reconstructed [R]: the published abstract and formula of the router apart, all of it. More: docs/methods/generallog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(GeneralLog.tags.told)
    >>> detector = GeneralLog(Config(teacher="embedding", steps=60)).fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.detector import DetectorTags, Evidence
from bench.llm.teacher import ChatTeacher
from bench.types import Sequences
from methods.shared.meta import of_role
from methods.shared.published import Published, original, sources_of
from methods.shared.router import ROUTER, Router, RouterSettings, require_router
from methods.shared.system_agnostic import SMALL_MODEL, SmallModelDetector, SmallModelSettings
from methods.shared.teachers import TEACHER, Ask, Distinct, Memory, TeacherSettings, Tutor, log_odds, require_teacher


@dataclass(frozen=True, kw_only=True)
class Config(RouterSettings, TeacherSettings, SmallModelSettings):
    """The shared budget, and the sheet's proposals."""

    routed_by: Literal["knowledge", "uncertainty"] = "knowledge"
    """What leaves a sequence to the language model: an event unlike all of the source's, or, as an ablation, a small
    model less sure of it than of the source's own, `tau` being the confidence then, by the same quantile [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_router(self)
        require_teacher(self)


ORIGINAL: Published = {
    **SMALL_MODEL,
    **TEACHER,
    **ROUTER,
    "routed_by": ("knowledge", "paper: a training-free router by semantic similarity (abstract)"),
}


class GeneralLog(SmallModelDetector):
    """Log-odds by a small model where the source knows the events, else by a language model with retrieval."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "labels", "target": "unlabelled"}, uses=frozenset({"texts"}), teacher=True
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: as the sheet proposes, since hardly a value is published."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    router_: Router
    tutor_: Tutor

    def skip(self, train: Sequences) -> str | None:
        """It needs two systems, and somebody to ask."""
        teacher = self._own_teacher()
        return super().skip(train) or (None if teacher is None else teacher.blocked())

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn the small model, the bound of the router and what can be retrieved; nobody is asked yet."""
        super().fit(train, labels, evidence=evidence)
        config: Config = self.config
        is_source = of_role(train, evidence.roles, "source")
        source, known = train.select(is_source), np.asarray(labels)[is_source]
        self.router_ = Router.learn(source, tau=config.tau, quantile=config.tau_quantile, seed=self.seed)
        if config.routed_by == "uncertainty" and config.tau is None:
            sure = confidence(super().score(source))
            self.router_ = self.router_._replace(tau=float(np.quantile(sure, config.tau_quantile, method="lower")))
        memory = Memory.of(source.select(known >= 0), known[known >= 0], config.memory, self.seed)
        self.tutor_ = Tutor(config, self._ask(), memory)
        pool = train.select(of_role(train, evidence.roles, "target"))
        self.facts_ = {"tau": self.router_.tau, "pool_general_share": share_of(self._is_general(pool))}
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): log-odds of "abnormal"; above 0 it is the more probable class."""
        scores = super().score(sequences)
        if not len(sequences):
            return scores
        places = np.flatnonzero(~self._is_general(sequences, scores))
        asked = Distinct.of(sequences.select(places))
        said = log_odds(self.tutor_.judge(asked, self.config.max_teacher_calls))[asked.inverse]
        scores[places] = np.where(np.isnan(said), scores[places], said)
        return scores

    def state(self) -> dict[str, NDArray[Any]]:
        """The small model, the router, and the judged sequences as the bytes of a JSON list."""
        return {**super().state(), **self.router_.state(), **self.tutor_.memory.state()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the facts of the fit are not part of it."""
        super().load_state(state)
        self.router_ = Router.from_state(state)
        self.tutor_ = Tutor(self.config, self._ask(), Memory.from_state(state))
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, the router, what was asked and what had no answer, calls and their cost."""
        if not hasattr(self, "tutor_"):
            return super().monitor()
        facts = self.facts_ if hasattr(self, "facts_") else {}
        asked = {} if self.teacher_ is None else self.teacher_.facts()
        return {**super().monitor(), **facts, **asked, **self.tutor_.facts()}

    def _is_general(self, sequences: Sequences, scores: NDArray[np.float64] | None = None) -> NDArray[np.bool_]:
        """Bool (n_sequences,); scores: those of the small model, where they are known."""
        if self.config.routed_by == "knowledge":
            return self.router_.is_general(sequences)
        return confidence(super().score(sequences) if scores is None else scores) >= self.router_.tau

    def _ask(self) -> Ask | None:
        self.teacher_ = self._own_teacher()
        # One part's questions do not follow from the answers of another.
        return None if self.teacher_ is None else partial(self.teacher_.ask, leads=False)

    def _own_teacher(self) -> ChatTeacher | None:
        """Scores ask, and a loaded detector too, which no evidence is given."""
        return ChatTeacher.of(self.config) if self.config.teacher == "model" else None


def confidence(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of log-odds: the probability of the more probable class."""
    return np.asarray(expit(np.abs(scores)), np.float64)


def share_of(mask: NDArray[np.bool_]) -> float:
    """How much of it is true; 0 of nothing."""
    return float(mask.mean()) if len(mask) else 0.0
