"""EnrichLog: training-free anomaly detection of single log lines by enrichment (Peng, Chathoth, Lee, arXiv 2512.11997).

Each line is judged by a language model that reads it beside two kinds of knowledge: what is typical of the corpus, told
once by the model from its commonest lines, and the past lines nearest to it, with their count, label and the reason for
it. The score of a line is log p(anomalous) - log p(normal); the more probable class is taken (`native_threshold_` 0). A
line of the past itself is not asked about. A sequence has the score of its highest line.

Told: source normals; with `labelled` source labels, of lines where these have some. `teacher=embedding` is the stand-in
without a model, and its rows say so: one minus the largest cosine to a past line, or the labels' vote. It reads raw
lines, their numbers masked, or with `lines=masked` the texts that all methods read.

Works badly where a failure shows in order or number, for lines stand alone, and where normal lines change with time:
each is unlike the past. With labels a line known to be abnormal is looked up, which is no detection.

Reconstructed [R]: all but the idea; only the abstract could be read. More: docs/methods/enrichlog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(EnrichLog.tags.told)
    >>> detector = EnrichLog(Config(teacher="embedding")).fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bench.data.embedding import DIMENSION
from bench.detector import Detector, DetectorTags, Evidence, NotFittedError, SequencePart
from bench.llm.teacher import ChatTeacher
from bench.types import Sequences
from methods.shared import enriching
from methods.shared.enriching import Desk, DistinctLines, Floats, Integers, Known, Neighbour
from methods.shared.published import Published, original, sources_of
from methods.shared.teachers import Memory, log_odds
from methods.shared.text_inputs import TextInputs, TextSettings, array_to_texts, texts_to_array

_DECIMALS: Final = 6
_SPREAD: Final = 0.05
"""What cosines are divided by before the softmax of the vote (sheet) [R]."""


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings):
    """No value is published; those of the sheet, which are all [R]."""

    lines: Literal["line", "masked"] = "line"
    """What is read of a line: all of it with masked numbers (sheet: mask digits), or the masked
    message that all methods read, which editions of event ids have too [R]."""
    labelled: bool = False
    """Past lines are told with their labels, those of abnormal sequences too (abstract: historical
    entries with labels)."""
    enrich: Literal["lines", "templates"] = "lines"
    """`lines`: the model judges each line. `templates`: it explains each line in five fields, once,
    and the vector of line and explanation takes the place of the line's; then nobody judges, and
    lines are compared (addendum)."""
    teacher: Literal["model", "embedding"] = "model"
    """A language model, or offline the declared stand-in: likeness to past lines (sheet: control without LLM)."""
    model: str = "gpt-3.5-turbo"
    """The language model, by the name that the endpoint knows [R]; only `teacher=model` asks it."""
    temperature: float | None = 0.0
    """0 = the most probable answer [R]; none = not sent."""
    max_tokens: int = 256
    """Tokens of an answer at most: a summary, a sentence, or the JSON of a verdict [R]."""
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Under which name that limit is sent."""
    extra: dict[str, Any] = field(default_factory=dict, metadata={"identity": "where used"})
    """Further fields of the request, as JSON."""
    redact: Literal["auto", "on", "off"] = "auto"
    """Mask addresses, users, hosts, paths and secrets; `auto`: for endpoints that are not on this machine."""
    retrieved: int = 5
    """Past lines beside a question, and voters of the stand-in (sheet: k)."""
    reasons: bool = True
    """Ask once for the reason of each past line that stands beside a question (sheet: a cached one-sentence reason)."""
    corpus_lines: int = 200
    """Distinct past lines that the summary of the corpus is made from, the commonest (sheet: at most 200); 0: none."""
    memory: int = 4000
    """Distinct past lines that can be retrieved, the commonest; half of them abnormal where there are so many [R]."""
    prompt_tokens: int = 2000
    """Estimated tokens of a prompt at most [R]."""
    max_teacher_calls: int = 1000
    """Questions about lines at most in one fit or for one scored part, the commonest first; the
    stand-in then orders the others below 0, and `monitor` counts them [R]."""

    def __post_init__(self) -> None:
        if min(self.retrieved, self.memory, self.max_tokens) < 1 or min(self.corpus_lines, self.max_teacher_calls) < 0:
            raise ValueError(
                "retrieved, memory and max_tokens must be at least 1, corpus_lines and max_teacher_calls not negative"
            )
        for name, known in (("lines", ("line", "masked")), ("teacher", ("model", "embedding"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} '{getattr(self, name)}' is unknown: use {known[0]} or {known[1]}")
        if self.enrich not in ("lines", "templates"):
            raise ValueError(f"enrich '{self.enrich}' is unknown: use lines or templates")
        if self.enrich == "templates" and self.teacher == "embedding":
            raise ValueError("enrich=templates asks a model what a line means: leave teacher=model, or enrich=lines")
        if self.prompt_tokens < 200:
            raise ValueError(f"prompt_tokens {self.prompt_tokens} must be at least 200")


_NOBODY: Final = "[R] nobody published it: as the sheet proposes"

ORIGINAL: Published = {
    "centred": (False, "[R] no such step is known"),
    "lines": ("line", "paper: single entries (abstract); that numbers are masked is [R]"),
    "labelled": (True, "paper: historical entries with their labels (abstract)"),
    "enrich": ("lines", "paper: each entry is enriched (abstract)"),
    "teacher": ("model", "paper: a large language model (abstract)"),
    "model": ("gpt-3.5-turbo", "[R] only the abstract could be read, which names none"),
    "temperature": (0.0, _NOBODY),
    "max_tokens": (256, _NOBODY),
    "token_field": ("max_tokens", _NOBODY),
    "extra": ({}, _NOBODY),
    "redact": ("auto", _NOBODY),
    "retrieved": (5, _NOBODY),
    "reasons": (True, "paper: retrieved entries with their reasoning (abstract)"),
    "corpus_lines": (200, _NOBODY),
    "memory": (4000, _NOBODY),
    "prompt_tokens": (2000, _NOBODY),
    "max_teacher_calls": (1000, _NOBODY),
}


class EnrichLog(Detector):
    """Log-odds of each distinct line by a language model with knowledge of the corpus and of its nearest past lines."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "normals"},
        told_with={"labelled": {"source": "labels"}},
        unit="line",
        uses=frozenset({"raw", "texts"}),
        teacher=True,
        seeded=False,
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the abstract's idea, told labels; hardly a value of it is published."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    memory_: Memory
    """Past lines as sequences of one line."""
    counts_: Integers
    summary_: str
    inputs_: TextInputs
    desk_: Desk

    def uses(self) -> frozenset[SequencePart]:
        """Raw lines, or texts."""
        return frozenset({"raw"} if self.config.lines == "line" else {"texts"})

    def skip(self, train: Sequences) -> str | None:
        """It needs lines, and somebody to ask."""
        if not train.n_events:
            return "no training sequence has an event"
        if self.config.lines == "line" and train.raw is None:
            return "it reads raw lines, and these data have none: set lines=masked"
        teacher = self._own_teacher()
        return None if teacher is None else teacher.blocked()

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Keep the commonest past lines, and let the model say what is typical of them."""
        if reason := self.skip(train):
            raise ValueError(f"EnrichLog cannot be fitted: {reason}")
        config: Config = self.config
        told = labels if config.labelled else None
        found = DistinctLines.of(train, config.lines)
        known = Known.of(found, train, told, evidence.event_labels if config.labelled else None)
        kept = enriching.commonest(known, config.memory)
        texts = [found.texts[i] for i in kept.tolist()]
        known = Known(known.counts[kept], known.p[kept])
        self._open()
        self.summary_ = self._summary(texts, known)
        enriched = self._enriched(texts, known.counts)
        self.inputs_ = TextInputs.sentence(enriched, DIMENSION, centred=config.centred, projection="learned", scale=1.0)
        self.counts_ = known.counts
        self.memory_ = Memory([(text,) for text in texts], self._vectors(enriched), known.p)
        return self

    def score_lines(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_events,): log-odds of "anomalous"; of the stand-in one minus a cosine, or a share of 1."""
        if not hasattr(self, "memory_"):
            raise NotFittedError("EnrichLog: call fit before score")
        if not sequences.n_events:
            return np.zeros(0)
        found = DistinctLines.of(sequences, self.config.lines)
        place = {lines[0]: i for i, lines in enumerate(self.memory_.lines)}
        own = np.array([place.get(text, -1) for text in found.texts], np.int64)
        counts = np.bincount(found.inverse, minlength=len(own)).astype(np.int64)
        for name, n in (("events", sequences.n_events), ("lines", len(own)), ("known", int((own >= 0).sum()))):
            self.desk_.counts[name] += n
        scores = np.zeros(len(own))
        new = np.flatnonzero(own < 0)
        scores[new] = self._scores_of_new([found.texts[i] for i in new.tolist()], counts[new])
        known_p = self.memory_.p[own[own >= 0]]
        scores[own >= 0] = log_odds(known_p) if self._judges else known_p
        return scores[found.inverse]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): the score of each line."""
        return self.score_lines(sequences).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """The past lines with their vectors, counts and shares, and what the model said of them."""
        if not hasattr(self, "memory_"):
            raise NotFittedError("EnrichLog: call fit before state")
        summary = texts_to_array([self.summary_])
        own: dict[str, NDArray[Any]] = {"counts": self.counts_.copy(), "summary": summary}
        return {**self.memory_.state(), **self.inputs_.state(), **own}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned."""
        self._open()
        self.memory_, self.inputs_ = Memory.from_state(state), TextInputs.from_state(state)
        self.counts_, (self.summary_,) = state["counts"].copy(), array_to_texts(state["summary"])
        return self

    def monitor(self) -> dict[str, Any]:
        """Lines scored, known and asked about, answers that could not be read, calls and their cost."""
        if not hasattr(self, "desk_"):
            return {}
        asked = {} if self.teacher_ is None else self.teacher_.facts()
        return {"teacher": self.config.teacher, "memory_lines": len(self.memory_.lines), **asked, **self.desk_.facts()}

    @property
    def _judges(self) -> bool:
        """Whether the model judges lines, so that scores are log-odds."""
        return bool(self.config.teacher == "model" and self.config.enrich == "lines")

    def _open(self) -> None:
        self.teacher_ = self._own_teacher()
        self.desk_ = Desk(None if self.teacher_ is None else self.teacher_.ask, self.config.max_teacher_calls)
        self.native_threshold_ = 0.0 if self._judges else None

    def _own_teacher(self) -> ChatTeacher | None:
        """Scores ask, and a loaded detector too, which no evidence is given."""
        return ChatTeacher.of(self.config) if self.config.teacher == "model" else None

    def _summary(self, texts: list[str], known: Known) -> str:
        config: Config = self.config
        if not self._judges or not config.corpus_lines:
            return ""
        shown = np.argsort(-known.counts, kind="stable")[: config.corpus_lines]
        part = Known(known.counts[shown], known.p[shown])
        lines = [texts[i] for i in shown.tolist()]
        prompt = enriching.summary_prompt(lines, part, labelled=config.labelled, budget=config.prompt_tokens)
        return self.desk_.ask([prompt], "questions", leads=True)[0]

    def _enriched(self, texts: list[str], counts: Integers) -> list[str]:
        """The lines, under `enrich=templates` with what the model says of the commonest of them."""
        if self.config.enrich == "lines":
            return texts
        chosen = self._chosen(counts).tolist()
        prompts = [enriching.fields_prompt(texts[i], self.config.prompt_tokens) for i in chosen]
        said = dict(zip(chosen, self.desk_.ask(prompts, "questions", leads=True), strict=True))
        return [f"{text}\n{said[i]}" if i in said else text for i, text in enumerate(texts)]

    def _chosen(self, counts: Integers) -> Integers:
        """Places of the lines that are asked about; the others are counted."""
        order = np.argsort(-counts, kind="stable")
        self.desk_.counts["unasked"] += max(0, len(order) - self.desk_.most)
        return order[: self.desk_.most]

    def _scores_of_new(self, texts: list[str], counts: Integers) -> Floats:
        vectors = self._vectors(self._enriched(texts, counts))
        near = self.memory_.nearest(vectors, self.config.retrieved)
        cosines = np.round(np.einsum("id,ikd->ik", vectors, self.memory_.means[near]), _DECIMALS)
        standing = self._standing(near, cosines)
        if not self._judges or not len(texts):
            return standing
        chosen = self._chosen(counts)
        p = np.full(len(texts), np.nan)
        p[chosen] = self._judged([texts[i] for i in chosen.tolist()], near[chosen])
        self.desk_.counts["unread"] += int(np.isnan(p[chosen]).sum())
        # Who is not judged is not called anomalous, and keeps its place among such.
        return log_odds(np.where(np.isnan(p), np.minimum(standing, 0.5), p))

    def _standing(self, near: Integers, cosines: Floats) -> Floats:
        """float64 (n,): what the past says of each line without a model, in [0, 2], or in [0, 1] by labels."""
        if not near.shape[1]:
            return np.ones(len(near))
        if not self.config.labelled:
            return np.asarray(np.maximum(1 - cosines[:, 0], 0.0))
        weights = np.exp((cosines - cosines[:, :1]) / _SPREAD)
        return np.asarray((weights * self.memory_.p[near]).sum(axis=1) / weights.sum(axis=1))

    def _judged(self, texts: list[str], near: Integers) -> Floats:
        """float64 (n,): probability of "anomalous" by the model; NaN where its answer cannot be read."""
        reasons = self._reasons(np.unique(near))
        prompts = [
            enriching.verdict_prompt(
                text, [self._neighbour(i, reasons) for i in row], self.summary_, self.config.prompt_tokens
            )
            for text, row in zip(texts, near.tolist(), strict=True)
        ]
        answers = self.desk_.ask(prompts, "questions", leads=False)
        return np.array([enriching.read_judgement(answer) for answer in answers], np.float64)

    def _reasons(self, places: Integers) -> dict[int, str]:
        if not self.config.reasons:
            return {}
        asked = places.tolist()
        prompts = [
            enriching.reason_prompt(self.memory_.lines[i][0], self.memory_.p[i], self.config.prompt_tokens)
            for i in asked
        ]
        return dict(zip(asked, self.desk_.ask(prompts, "reasons", leads=True), strict=True))

    def _neighbour(self, place: int, reasons: Mapping[int, str]) -> Neighbour:
        memory = self.memory_
        return Neighbour(
            memory.lines[place][0], float(memory.p[place]), int(self.counts_[place]), reasons.get(place, "")
        )

    def _vectors(self, texts: list[str]) -> Floats:
        """float64 (n, 384) of norm 1, rounded, so that what stands beside a line never decides."""
        vectors = self.inputs_.features(texts).reshape(len(texts), DIMENSION)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(np.round(vectors / np.where(norms > 0, norms, 1.0), _DECIMALS))
