"""Who judges the sequences that a source does not know: a language model, or the nearest judged sequences.

A sequence is what its texts are, in order; equal ones are judged once, the commonest first. Before a
language model they stand with the judged sequences whose mean sentence vectors are nearest. What it
asks goes through `bench.llm`, so it is recorded, replayed, priced and limited as a chat method is. The
stand-in without a model, `teacher="embedding"`, is the share of abnormal ones among these neighbours.
The prompt is nobody's but ours [R]: no paper of the family prints one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.data.embedding import embed
from bench.llm.text import estimate_tokens, fenced, parse_answer, shown_part
from bench.types import Sequences
from methods.shared.published import Published
from methods.shared.router import distinct_texts
from methods.shared.text_inputs import array_to_texts, texts_to_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Lines = tuple[str, ...]
Ask = Callable[[Sequence[str]], list[str]]
"""Prompts -> one answer for each."""

UNSAID: Final = 0.75
"""Confidence of an answer that says none [R]: more likely so than not, but no ground to overrule anybody."""
LEAST: Final = 0.01
"""Probabilities are kept so far from 0 and 1."""

_ROWS: Final = 1024
_DECIMALS: Final = 6
_ASK: Final = (
    "A monitor collects sequences of log messages. Some that were judged before resemble the one in question; they may "
    "come from another system.\n"
)
_QUESTION: Final = (
    "Is the following sequence anomalous, that is, a sign of a failure of its system?\n{shown}\n"
    "Answer in two lines:\nAnswer: Yes or No\nConfidence: a number from 50 to 100\n"
)
_CONFIDENCE: Final = re.compile(
    r"confiden\w*\D{0,12}(\d{1,3}(?:\.\d+)?)|(\d{1,3}(?:\.\d+)?)\s*%|^\W*(?:yes|no)[ ,:]{1,3}(\d{1,3}(?:\.\d+)?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Whom a method asks about sequences that the source does not know; its Config extends this."""

    teacher: Literal["model", "embedding"] = "model"
    """A language model, or offline the declared stand-in: the nearest judged sequences [R]."""
    model: str = "gpt-3.5-turbo"
    """The language model, by the name that the endpoint knows [R]; only `teacher=model` asks it."""
    temperature: float | None = 0.0
    """0 = the most probable answer [R] (CollaborLog's code: 0.01); none = not sent."""
    max_tokens: int = 24
    """Tokens of an answer at most [R]."""
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Under which name that limit is sent."""
    extra: dict[str, Any] = field(default_factory=dict, metadata={"identity": "where used"})
    """Further fields of the request, as JSON."""
    redact: Literal["auto", "on", "off"] = "auto"
    """Mask addresses, users, hosts, paths and secrets; `auto`: for endpoints that are not on this machine."""
    retrieved: int = 5
    """Judged sequences that stand beside a question, and neighbours of the stand-in [R]."""
    memory: int = 2000
    """Distinct source sequences that can be retrieved, half of them abnormal where there are so many [R]."""
    prompt_tokens: int = 2000
    """Estimated tokens of a prompt at most [R]."""
    prompt_lines: int = 50
    """First lines of a sequence that are shown, as to chat methods [R]."""
    max_teacher_calls: int = 1000
    """Questions to the model at most, in one fit or for one scored part; the commonest sequences first, and `monitor`
    says how many were not asked [R]."""
    reuse_cosine: float | None = None
    """From which cosine of mean vectors on the verdict of a commoner sequence is taken over, as CollaborLog does; none:
    only equal sequences share one."""


_NOBODY: Final = "[R] nobody published it"

TEACHER: Final[Published] = {
    "teacher": ("model", "paper: a large language model (abstract)"),
    "model": ("gpt-3.5-turbo", "[R] nobody published which"),
    "temperature": (0.01, "[R] nobody published it: CollaborLog's code"),
    "max_tokens": (24, _NOBODY),
    "token_field": ("max_tokens", _NOBODY),
    "extra": ({}, _NOBODY),
    "redact": ("auto", _NOBODY),
    "retrieved": (5, _NOBODY),
    "memory": (2000, _NOBODY),
    "prompt_tokens": (2000, _NOBODY),
    "prompt_lines": (50, _NOBODY),
    "max_teacher_calls": (1000, _NOBODY),
    "reuse_cosine": (None, _NOBODY),
}
"""What is known of the language model's part."""


def require_teacher(settings: TeacherSettings) -> None:
    """Refuse values that cannot work."""
    least = (settings.retrieved, settings.memory, settings.prompt_lines, settings.max_tokens)
    if min(least) < 1 or settings.max_teacher_calls < 0:
        raise ValueError(
            "retrieved, memory, prompt_lines and max_tokens must be at least 1, max_teacher_calls not negative"
        )
    if settings.teacher not in ("model", "embedding"):
        raise ValueError(f"teacher '{settings.teacher}' is unknown: use model or embedding")
    if settings.prompt_tokens < 200:
        raise ValueError(f"prompt_tokens {settings.prompt_tokens} must be at least 200")
    if settings.reuse_cosine is not None and not 0 < settings.reuse_cosine <= 1:
        raise ValueError(f"reuse_cosine {settings.reuse_cosine} must be above 0 and at most 1, or none")


class Distinct(NamedTuple):
    """Sequences that differ in their texts, the commonest first and equally common ones by their texts."""

    lines: list[Lines]
    counts: Integers
    """(n,) sequences of each."""
    first: Integers
    """(n,) the place of one of each."""
    inverse: Integers
    """(n_sequences,) so that sequence i equals distinct sequence inverse[i]."""
    means: Floats
    """(n, 384) mean sentence vectors of norm 1; zeros for an empty sequence."""

    @classmethod
    def of(cls, sequences: Sequences) -> Self:
        """Equal texts in equal order are one, whatever system and log keys they have."""
        texts, text_of_event = distinct_texts(sequences)
        plain = replace(
            sequences.without_parameters(),
            log_keys=np.zeros_like(sequences.log_keys),
            text_ids=text_of_event.astype(np.int32),
            system=np.zeros_like(sequences.system),
        )
        found, counts, inverse = plain.unique()
        bounds = zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist(), strict=True)
        lines = [tuple(texts[i] for i in found.text_ids[a:b].tolist()) for a, b in bounds]
        order = sorted(range(len(lines)), key=lambda i: (-counts[i], lines[i]))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        first = np.empty(len(order), np.int64)
        first[rank[inverse[::-1]]] = np.arange(len(inverse))[::-1]
        means = _means(found, texts)[order]
        return cls([lines[i] for i in order], counts[order], first, rank[inverse], means)


class Memory(NamedTuple):
    """Judged sequences."""

    lines: list[Lines]
    means: Floats
    """(n, 384) of norm 1"""
    p: Floats
    """(n,) probability that each is abnormal: 0 or 1 by the source's labels, else what was agreed on."""

    @classmethod
    def of(cls, source: Sequences, labels: NDArray[np.int8], size: int, seed: int) -> Self:
        """Distinct labelled sequences; equal ones with both labels have the share of the abnormal ones."""
        found = Distinct.of(source)
        p = np.bincount(found.inverse, labels, len(found.lines)) / np.maximum(found.counts, 1)
        kept = _half_of_each(p > 0.5, np.asarray(found.means.any(axis=1)), size, np.random.default_rng([seed, 6]))
        return cls([found.lines[i] for i in kept.tolist()], found.means[kept], p[kept])

    def grown(self, lines: Sequence[Lines], means: Floats, p: Floats) -> Self:
        """The same with further ones, in front of those that are as near."""
        return self._replace(
            lines=[*lines, *self.lines], means=np.concatenate([means, self.means]), p=np.concatenate([p, self.p])
        )

    def nearest(self, means: Floats, k: int) -> Integers:
        """int64 (n, at most k): the judged sequences of largest cosine, the first of equal ones first."""
        size, k = len(self.lines), min(k, len(self.lines))
        found = np.zeros((len(means), k), np.int64)
        for start in range(0, len(means) if k else 0, _ROWS):
            cosines = np.round(means[start : start + _ROWS] @ self.means.T, _DECIMALS)
            # Whole numbers that no two columns share, so that rounding decides between none.
            keys = np.rint(cosines * 10**_DECIMALS).astype(np.int64) * size - np.arange(size)
            top = np.argpartition(-keys, k - 1, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1)
            found[start : start + _ROWS] = np.take_along_axis(top, order, axis=1)
        return found

    def state(self) -> dict[str, NDArray[Any]]:
        """As arrays; the texts as the bytes of a JSON list, each once."""
        texts = list(dict.fromkeys(line for lines in self.lines for line in lines))
        place = {text: i for i, text in enumerate(texts)}
        ids = [place[line] for lines in self.lines for line in lines]
        return {
            "memory.texts": texts_to_array(texts),
            "memory.ids": np.array(ids, np.int64),
            "memory.offsets": np.cumsum([0, *map(len, self.lines)]).astype(np.int64),
            "memory.means": self.means.copy(),
            "memory.p": self.p.copy(),
        }

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Self:
        """The reverse of `state`."""
        texts, ids = array_to_texts(state["memory.texts"]), state["memory.ids"].tolist()
        bounds = zip(state["memory.offsets"][:-1].tolist(), state["memory.offsets"][1:].tolist(), strict=True)
        lines = [tuple(texts[i] for i in ids[a:b]) for a, b in bounds]
        return cls(lines, state["memory.means"].copy(), state["memory.p"].copy())


@dataclass
class Tally:
    """What was judged so far."""

    sequences: int = 0
    distinct: int = 0
    questions: int = 0
    unread: int = 0
    """Questions whose answer was neither Yes nor No: a refusal, or nonsense."""
    unasked: int = 0
    """Distinct sequences beyond `max_teacher_calls`."""
    unasked_sequences: int = 0


class Tutor:
    """Judges distinct sequences by a language model or its stand-in, and counts what it was asked."""

    def __init__(self, settings: TeacherSettings, ask: Ask | None, memory: Memory) -> None:
        self.settings, self.memory, self.tally = settings, memory, Tally()
        self._given, self._ask = memory, ask
        self._learned: dict[Lines, int] = {}
        if settings.teacher == "model" and ask is None:
            raise ValueError("teacher=model needs a language model to ask: set OPENAI_BASE_URL, or teacher=embedding")

    def judge(self, asked: Distinct, most: int) -> Floats:
        """float64 (n,): probability that each is abnormal; NaN where no verdict could be had.

        most: questions to a language model at most; the stand-in answers all.
        """
        leader = leaders(asked.means, self.settings.reuse_cosine)
        chosen = np.flatnonzero(leader == np.arange(len(leader)))
        if self.settings.teacher == "model":
            chosen = chosen[:most]
        verdicts = np.full(len(asked.lines), np.nan)
        verdicts[chosen] = self._verdicts(asked, chosen)
        self._count(asked, chosen, leader, verdicts)
        return verdicts[leader]

    def remember(self, judged: Distinct, p: Floats) -> None:
        """Let later questions retrieve these too, in place of what was remembered before; NaN: not known."""
        known = np.flatnonzero(~np.isnan(p) & judged.means.any(axis=1))
        lines = [judged.lines[i] for i in known.tolist()]
        self.memory = self._given.grown(lines, judged.means[known], p[known])
        self._learned = {line: place for place, line in enumerate(lines)}

    def facts(self) -> dict[str, Any]:
        """For `monitor`: what was judged, how often a verdict served again, and what had none."""
        tally = self.tally
        reused = 1 - (tally.questions + tally.unasked) / tally.sequences if tally.sequences else 0.0
        said = f"{tally.unread} answers were neither Yes nor No" if tally.unread else ""
        capped = (
            f"max_teacher_calls {self.settings.max_teacher_calls} left {tally.unasked} distinct sequences "
            f"({tally.unasked_sequences} in all) without a verdict"
            if tally.unasked
            else ""
        )
        return {
            "teacher": self.settings.teacher,
            "teacher_sequences": tally.sequences,
            "teacher_distinct": tally.distinct,
            "teacher_questions": tally.questions,
            "teacher_reused_share": reused,
            "teacher_unread": tally.unread,
            "teacher_unasked": tally.unasked,
            "teacher_said": "; ".join(filter(None, (capped, said))),
        }

    def _verdicts(self, asked: Distinct, chosen: Integers) -> Floats:
        near = self._near(asked, chosen)
        if self.settings.teacher == "embedding" or self._ask is None:
            return neighbours_share(self.memory.p[near])
        prompts = [self._prompt(asked.lines[i], row) for i, row in zip(chosen.tolist(), near.tolist(), strict=True)]
        answers = self._ask(prompts) if prompts else []
        return np.array([read_verdict(answer) for answer in answers], np.float64)

    def _near(self, asked: Distinct, chosen: Integers) -> Integers:
        """What is retrieved for each; never what was once agreed on of itself, which would only be repeated."""
        k = self.settings.retrieved
        if not self._learned:
            return self.memory.nearest(asked.means[chosen], k)
        near = self.memory.nearest(asked.means[chosen], k + 1)
        own = np.array([self._learned.get(asked.lines[i], -1) for i in chosen.tolist()], np.int64)
        last = np.argsort(near == own[:, None], axis=1, kind="stable")
        return np.take_along_axis(near, last, axis=1)[:, : min(k, max(0, near.shape[1] - 1))]

    def _prompt(self, lines: Lines, near: Sequence[int]) -> str:
        shown = [(self.memory.lines[i], self.memory.p[i]) for i in near]
        return prompt_of(lines, shown, self.settings.prompt_lines, self.settings.prompt_tokens)

    def _count(self, asked: Distinct, chosen: Integers, leader: Integers, verdicts: Floats) -> None:
        was_asked = np.isin(leader, chosen)
        tally = self.tally
        tally.sequences += int(asked.counts.sum())
        tally.distinct += len(asked.lines)
        tally.questions += len(chosen)
        tally.unread += int(np.isnan(verdicts[chosen]).sum())
        tally.unasked += int((~was_asked).sum())
        tally.unasked_sequences += int(asked.counts[~was_asked].sum())


def prompt_of(lines: Lines, judged: Sequence[tuple[Lines, float]], most_lines: int, budget: int) -> str:
    """The question about a sequence, behind judged ones with p(abnormal), within an estimated number of tokens."""
    heads = estimate_tokens(_ASK) + estimate_tokens(_QUESTION) + 16 * len(judged)
    each = max(60, (budget - heads) // (len(judged) + 1))
    shown = [
        f"Sequence {i}, {'anomalous' if p > 0.5 else 'normal'}:\n{_shown(example, most_lines, each)}\n"
        for i, (example, p) in enumerate(judged, start=1)
    ]
    return "".join([_ASK, *shown, _QUESTION.format(shown=_shown(lines, most_lines, each))])


def read_verdict(answer: str) -> float:
    """Probability of "abnormal" by an answer with its confidence; NaN where it is neither Yes nor No."""
    parsed = parse_answer(answer)
    if parsed is None:
        return float("nan")
    sure = min(max(_confidence(answer), 0.5), 1 - LEAST)
    return sure if parsed.anomalous else 1 - sure


def neighbours_share(p: Floats) -> Floats:
    """float64 (n,): the mean probability of each row's neighbours (n, k), half a one added to either side."""
    return np.asarray((p.sum(axis=1) + 0.5) / (p.shape[1] + 1))


def leaders(means: Floats, cosine: float | None) -> Integers:
    """int64 (n,): for each the first one, itself or before it, to which it has at least this cosine; None: itself."""
    n = len(means)
    leader = np.arange(n) if cosine is None else np.full(n, -1)
    for i in range(n if cosine is not None else 0):
        if leader[i] < 0:
            near = np.round(means[i:] @ means[i], _DECIMALS) >= cosine
            near[0] = True
            leader[i:][near & (leader[i:] < 0)] = i
    return leader


def log_odds(p: Floats) -> Floats:
    """Log p - log(1 - p), p kept within [LEAST, 1 - LEAST]."""
    kept = np.clip(p, LEAST, 1 - LEAST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def _shown(lines: Lines, most: int, budget: int) -> str:
    return fenced([shown_part(line) for line in lines[:most]], budget)


def _confidence(answer: str) -> float:
    """What an answer says of its confidence, from 0 to 1."""
    found = _CONFIDENCE.search(answer)
    if found is None:
        return UNSAID
    value = float(next(filter(None, found.groups())))
    return value / 100 if value > 1 else value


def _means(sequences: Sequences, texts: list[str]) -> Floats:
    """Unit mean vectors; in float64, and rounded, so that what stands beside a sequence never decides."""
    vectors = embed(texts).astype(np.float64)
    shape = (len(sequences), len(texts))
    ones = np.ones(sequences.n_events)
    sums = np.asarray(csr_matrix((ones, sequences.text_ids, sequences.offsets), shape=shape) @ vectors)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(np.round(sums / np.where(norms > 0, norms, 1.0), _DECIMALS))


def _half_of_each(
    abnormal: NDArray[np.bool_], filled: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> Integers:
    """Places of at most `size` sequences with an event, half of them abnormal as far as there are, in order."""
    bad, good = np.flatnonzero(abnormal & filled), np.flatnonzero(~abnormal & filled)
    n_bad = min(len(bad), max(size // 2, size - len(good)))
    chosen = [rng.permutation(bad)[:n_bad], rng.permutation(good)[: size - n_bad]]
    return np.sort(np.concatenate(chosen))
