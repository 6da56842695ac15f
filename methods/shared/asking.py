"""What the chat detectors share: each distinct sequence is asked once, examples of normal sequences, the score."""

from __future__ import annotations

import asyncio
import functools
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from bench.data.embedding import embed
from bench.detector import Detector, DetectorTags, Evidence, NotFittedError, SequencePart
from bench.llm.client import Ask, Chat
from bench.llm.config import ChatConfig, Message
from bench.llm.text import Parsed, answer_score, estimate_tokens, fenced, parse_answer, share_score
from bench.types import Sequences

_POOL = 500
"""Distinct training sequences among which similar examples are looked for, at most."""

_WILDCARD: Final = "<*>"
_READS: Final[Mapping[str, frozenset[SequencePart]]] = {
    "masked": frozenset({"texts"}),
    "message": frozenset({"texts", "words"}),
    "line": frozenset({"raw"}),
}
"""Parts of sequences by the setting `lines`."""

Lines = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model said of a sequence; `score` is None where it could not be read."""

    score: float | None


class ChatDetector(Detector):
    """Asks a chat model about each distinct sequence; a subclass says how."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={}, told_with={"k": {"source": "normals"}}, uses=frozenset({"texts", "raw", "words"}), teacher=True
    )
    Config: ClassVar[type] = ChatConfig

    @abstractmethod
    async def judge(self, lines: Lines, examples: Sequence[Lines], ask: Ask) -> Verdict:
        """Decide on the lines of one sequence, which are clean and never empty."""

    async def decide(self, build: Callable[[int], list[Message]], ask: Ask) -> Verdict:
        """Ask a question of Yes or No, and again where the config wants several answers."""
        n = self.config.samples
        if n == 1:
            answer = await ask(build, decides=True)
            return verdict_of(answer.text, answer.logprobs)
        answers = await asyncio.gather(*(ask(build, decides=True, sample=i) for i in range(n)))
        return Verdict(share_score([parse_answer(answer.text) for answer in answers]))

    def uses(self) -> frozenset[SequencePart]:
        """What the lines that are shown are made of."""
        return _READS[self.config.lines]

    def skip(self, train: Sequences) -> str | None:
        """Without an endpoint and without recorded answers there is nobody to ask."""
        return Chat(self.config).blocked()

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Keep training sequences as examples where the config wants some; nothing is learned, labels are not read."""
        self.native_threshold_ = 0.0
        self.examples_ = self._pool(train) if self.config.k else []
        self.chat_ = Chat(self.config)
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): log p(yes) - log p(no), or +1 and -1; -1 for an empty sequence."""
        if not hasattr(self, "chat_"):
            raise NotFittedError(f"{type(self).__name__}: call fit before score")
        windows, window_of = self._windows(sequences)
        asked = list(dict.fromkeys(lines for lines in windows if lines))
        chosen = self._examples_for(asked)
        jobs = [functools.partial(self.judge, lines, chosen[i]) for i, lines in enumerate(asked)]
        verdicts = dict(zip(asked, self.chat_.run(jobs), strict=True)) if jobs else {}
        self.chat_.ledger.asked += len(verdicts)
        unread = {lines for lines, verdict in verdicts.items() if verdict.score is None}
        self.chat_.ledger.unparsable += len(unread)
        self.chat_.unread |= unread
        otherwise = 1.0 if self.config.unparsable == "as-anomalous" else -1.0
        scores = [otherwise if (s := verdicts[lines].score) is None else s for lines in asked]
        by_lines = dict(zip(asked, scores, strict=True))
        return np.array([by_lines.get(lines, -1.0) for lines in windows], np.float64)[window_of]

    def abstained(self, sequences: Sequences) -> NDArray[np.bool_] | None:
        """Where the answer could not be read, if such sequences are to be left out."""
        if self.config.unparsable != "exclude":
            return None
        windows, window_of = self._windows(sequences)
        return np.array([lines in self.chat_.unread for lines in windows], np.bool_)[window_of]

    def state(self) -> dict[str, NDArray[Any]]:
        """The examples, as the bytes of a JSON text."""
        if not hasattr(self, "examples_"):
            raise NotFittedError(f"{type(self).__name__}: call fit before state")
        return {"examples": np.frombuffer(json.dumps(self.examples_).encode(), np.uint8).copy()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned."""
        self.native_threshold_ = 0.0
        self.examples_ = [tuple(lines) for lines in json.loads(state["examples"].tobytes())]
        self.chat_ = Chat(self.config)
        return self

    def monitor(self) -> dict[str, Any]:
        """Calls, tokens, cost, the model's name as the server reports it, the share of unparsable answers."""
        return self.chat_.facts() if hasattr(self, "chat_") else {}

    def _windows(self, sequences: Sequences) -> tuple[list[Lines], NDArray[np.int64]]:
        """The distinct sequences as clean lines, and for every sequence which one it is."""
        if self.config.lines != "masked":
            shown = (self._lines(sequences, i) for i in range(len(sequences)))
            return [tuple(map(self.chat_.clean, lines)) for lines in shown], np.arange(len(sequences))
        unique, _, inverse = sequences.unique()
        limit = self.config.max_lines
        clean = functools.cache(lambda text_id: self.chat_.clean(sequences.texts[text_id]))
        bounds = zip(unique.offsets[:-1].tolist(), unique.offsets[1:].tolist(), strict=True)
        return [tuple(map(clean, unique.text_ids[a : min(b, a + limit)].tolist())) for a, b in bounds], inverse

    def _pool(self, train: Sequences) -> list[Lines]:
        """K training sequences, or the pool among which the similar ones are looked for."""
        if self.config.lines != "masked":
            return self._pool_of_lines(train)
        unique, counts, _ = train.unique()
        filled = np.flatnonzero(unique.lengths > 0)
        if not len(filled):
            return []
        size = min(len(filled), self.config.k if self.config.examples == "random" else max(_POOL, self.config.k))
        # Without replacement by how often each occurs: what is common is what is typical.
        weights = counts[filled] / counts[filled].sum()
        drawn = np.random.default_rng(self.seed).choice(filled, size, replace=False, p=weights)
        limit = self.config.max_lines
        parts = (
            unique.text_ids[unique.offsets[i] : min(unique.offsets[i + 1], unique.offsets[i] + limit)] for i in drawn
        )
        return [tuple(train.texts[text_id] for text_id in part.tolist()) for part in parts]

    def _pool_of_lines(self, train: Sequences) -> list[Lines]:
        """The same of lines with their values: the first distinct ones in a random order of all."""
        size = self.config.k if self.config.examples == "random" else max(_POOL, self.config.k)
        pool: dict[Lines, None] = {}
        for i in np.random.default_rng(self.seed).permutation(np.flatnonzero(train.lengths > 0)).tolist():
            pool[self._lines(train, i)] = None
            if len(pool) == size:
                break
        return list(pool)

    def _lines(self, sequences: Sequences, i: int) -> Lines:
        """The first lines of a sequence with their values, not clean yet."""
        begin, end = int(sequences.offsets[i]), int(sequences.offsets[i + 1])
        events = range(begin, min(end, begin + self.config.max_lines))
        return tuple(self._line(sequences, event) for event in events)

    def _line(self, sequences: Sequences, event: int) -> str:
        """A line as `lines` wants it, not clean yet."""
        if self.config.lines == "line":
            assert sequences.raw is not None
            return sequences.raw[event]
        text: str = sequences.texts[sequences.text_ids[event]]
        if self.config.lines == "masked":
            return text
        assert sequences.words is not None
        return with_values(text, sequences.words[event])

    def _examples_for(self, windows: Sequence[Lines]) -> list[list[Lines]]:
        pool = [tuple(map(self.chat_.clean, lines)) for lines in self.examples_]
        if self.config.examples == "random" or not pool or not windows:
            return [pool] * len(windows)
        cosines = _means(windows) @ _means(pool).T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : self.config.k]
        return [[pool[i] for i in row] for row in nearest.tolist()]


def with_values(text: str, values: Sequence[str]) -> str:
    """A masked message with what stood behind each `<*>`; one whose value is not known stays."""
    first, *others = text.split(_WILDCARD)
    padded = (*values, *[""] * len(others))
    return first + "".join((value or _WILDCARD) + other for value, other in zip(padded, others, strict=False))


def _means(windows: Sequence[Lines]) -> NDArray[np.float32]:
    """float32 (n_windows, 384): unit vectors of the mean sentence vectors; each distinct line is embedded once."""
    lines = list(dict.fromkeys(line for window in windows for line in window))
    place = {line: i for i, line in enumerate(lines)}
    vectors = embed(lines)
    means = np.stack([vectors[[place[line] for line in window]].mean(0) for window in windows])
    # Rounded, so that the last bit of a matrix product does not decide between two equally near examples.
    unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return np.asarray(np.round(unit, 5), np.float32)


def user(text: str) -> Message:
    """A turn of the user."""
    return {"role": "user", "content": text}


def log_blocks(lines: Lines, examples: Sequence[Lines], question: str, budget: int) -> str:
    """Examples and lines, fenced, so short that they and the question fit the budget; the question is not included."""
    heads = len(examples) * 16 + 16
    each = max(60, (budget - estimate_tokens(question) - heads) // (len(examples) + 1))
    shown = [f"Example of normal log contents:\n{fenced(example, each)}\nAnswer: No\n" for example in examples]
    return "\n".join([*shown, f"log contents:\n{fenced(lines, each)}"])


def verdict_of(text: str, logprobs: Any) -> Verdict:
    """The score of an answer that was asked to be Yes or No."""
    parsed: Parsed | None = parse_answer(text)
    return Verdict(None if parsed is None else answer_score(parsed, logprobs))
