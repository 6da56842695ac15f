"""LogPrompt: interpretable online log analysis by prompt strategies (Liu et al., ICPC 2024; not the IJCNN 2023 paper).

The distinct lines of a sequence are numbered and packed into prompts; the model gives each number a category and, under
`cot`, a reason. A sequence's score is the share of its events on lines called abnormal, or -1 where there is none, so
that the native threshold 0 means: any abnormal line.

Told: nothing, it asks a model; with `k` source normals, with `labelled` source labels. It reads texts. Strategies:
`cot` (rules that keep the model from alarm at odd values), `in-context` (0 or 1 by likeness to examples, of both kinds
with `labelled`), `self` (the model proposes tasks; the one right most often on labelled lines is put), `plain`.

Works badly where a line is abnormal by its company only: lines are judged one by one, though in the same prompt. Long
sequences have more lines to be called abnormal. More: docs/methods/logprompt.md

The prompts of `cot` and `in-context` are quoted from the authors' code with its slip ("an abnormal"), the task before
the logs; runs of blanks are one. Reconstructions [R]: a prompt holds lines of one sequence (published: any), so that
no score depends on the neighbours; a bracketed number within a line gets a blank, so that no line can pose as another;
a labelled line is abnormal if no normal sequence has its text; `self` was published for parsing alone, so what asks
for its tasks is ours; lines without a category are asked for again at most `reprompts` times, each 0.4 warmer as
published, then follow the rule for unparsable answers. Source: github.com/lunyiliu/LogPrompt at c886223.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bench.detector import DetectorTags, Evidence
from bench.llm.client import Ask
from bench.llm.config import ChatConfig, Message
from bench.llm.text import shorten
from bench.types import ABNORMAL, NORMAL, Sequences
from methods.shared.asking import ChatDetector, Lines, Verdict, user

_WARMER: Final = 0.4
_TOKENS_PER_LINE: Final = 48
_TOKENS_PER_TASK: Final = 96
_N_TASKS: Final = 5
"""Tasks among which `self` chooses, as many as the published list of candidates holds."""

_STEPS: Final = (
    "Classify the given log entries into normal an abnormal categories. Do it with these steps: "
    "(a) Mark it normal when values (such as memory address, floating number and register value) in a log are "
    "invalid. (b) Mark it normal when lack of information. (c) Never consider <*> and missing values as abnormal "
    "patterns. (d) Mark it abnormal when and only when the alert is explicitly expressed in textual content (such as "
    "keywords like error or interrupt). Concisely explain your reason for each log."
)
_LIKENESS: Final = (
    "Classify the given log entries into 0 and 1 categories based on semantic similarity to the following labelled "
    "example logs: "
)
_PLAIN: Final = "Classify the given log entries into normal and abnormal categories."
_ASK_FOR_TASKS: Final = (
    f"Propose {_N_TASKS} different prompts that ask a language model to classify log entries into normal and abnormal "
    "categories. Organize your answer to be the following format: "
    + "".join(f"({i})x\n" for i in range(1, _N_TASKS + 1))
    + ", where x is a prompt of one or two sentences."
)
_FORM: Final = "Organize your answer to be the following format: {slots}, where x is {choice}. "
_LOGS: Final = "There are {n} logs, the logs begin: "
_CHOICE: Final = "a binary choice between {} and {}"
_ITEM = re.compile(r"\(?\b(\d{1,6})\s*[).:]\s*[-:\"'*\[]*\s*(abnormal|normal|0|1)\b", re.IGNORECASE)
_TASK = re.compile(r"^\s*\(?\d{1,2}[).:]\s*(.{20,400}?)\s*$", re.MULTILINE)
_NUMBER = re.compile(r"\((?=\d{1,6}\))")


@dataclass(frozen=True, kw_only=True)
class Config(ChatConfig):
    """Defaults of the published code where it states a value."""

    strategy: Literal["cot", "in-context", "self", "plain"] = "cot"
    """How the task is put (published: cot, in-context, self)."""
    instruction: str = ""
    """A task of one's own in the place of the strategy's; the form of the answer is asked for behind it."""
    labelled: int = 0
    """Training lines that are told with their labels, half of them abnormal where there are so many: the examples of
    `in-context`, and what `self` chooses its task by (published: 100)."""
    prompt_chars: int = 3000
    """Characters of a prompt, examples included (published); a line that exceeds them stands alone."""
    reprompts: int = 2
    """How often lines without a category are asked for again [R] (published: until they have one)."""
    max_tokens: int = 2048
    """Tokens of an answer at most; 48 per line where that is less [R]."""
    logprobs: bool = False
    """Not used: many decisions share an answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples > 1:
            raise ValueError(f"samples {self.samples}: an answer here decides on many lines, so leave it at 1")
        if self.labelled < 0:
            raise ValueError(f"labelled {self.labelled} must be at least 0")
        if self.strategy == "in-context" and not (self.k or self.labelled):
            raise ValueError("strategy in-context needs examples: set labelled, or k for normal ones alone")
        if self.strategy == "self" and not self.labelled:
            raise ValueError("strategy self chooses its task by labelled lines: set labelled, as in labelled=100")


class LogPrompt(ChatDetector):
    """A category for every distinct line of a sequence; any abnormal line makes it abnormal."""

    tags: ClassVar[DetectorTags] = replace(
        ChatDetector.tags, told_with={"k": {"source": "normals"}, "labelled": {"source": "labels"}}
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"original": {"temperature": 0.5, "request_seed": None}}

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Keep examples; under `self` ask for tasks and choose one by the labelled lines."""
        super().fit(train if labels is None else train.select(labels == NORMAL))
        self.labelled_ = [] if labels is None else self._both_kinds(train, labels)
        self.task_ = self.config.instruction
        if self.config.strategy == "self" and not self.task_:
            (self.task_,) = self.chat_.run([self._choose], leads=True)
        return self

    def state(self) -> dict[str, NDArray[Any]]:
        """The examples and the chosen task, as the bytes of JSON texts."""
        own = json.dumps([self.labelled_, self.task_]).encode() if hasattr(self, "labelled_") else b""
        return super().state() | {"prompt": np.frombuffer(own, np.uint8).copy()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned."""
        super().load_state(state)
        labelled, self.task_ = json.loads(state["prompt"].tobytes())
        self.labelled_ = [(line, bool(is_abnormal)) for line, is_abnormal in labelled]
        return self

    def monitor(self) -> dict[str, Any]:
        """As of all chat methods, and the chosen task and how many labelled lines of either kind there were."""
        if not getattr(self, "labelled_", []):
            return super().monitor()
        n_abnormal = sum(is_abnormal for _, is_abnormal in self.labelled_)
        kinds = {"labelled_normal": len(self.labelled_) - n_abnormal, "labelled_abnormal": n_abnormal}
        return super().monitor() | kinds | ({"task": self.task_} if self.config.strategy == "self" else {})

    async def judge(self, lines: Lines, examples: Sequence[Lines], ask: Ask) -> Verdict:
        """Classify the distinct lines, prompt by prompt."""
        counts = Counter(lines)
        task = self._task(examples)
        abnormal = await self._classify_all(list(counts), task, ask)
        if not abnormal:
            return Verdict(None)
        otherwise = self.config.unparsable == "as-anomalous"
        n_abnormal = sum(n for line, n in counts.items() if abnormal.get(line, otherwise))
        return Verdict(n_abnormal / len(lines) if n_abnormal else -1.0)

    def _both_kinds(self, train: Sequences, labels: NDArray[np.int8]) -> list[tuple[str, bool]]:
        """Labelled lines in a drawn order; an abnormal one has a text that no normal sequence has."""
        rng = np.random.default_rng(self.seed)
        normal, abnormal = (train.select(labels == kind) for kind in (NORMAL, ABNORMAL))
        half = self.config.labelled // 2
        bad = self._lines_drawn(abnormal, ~np.isin(abnormal.text_ids, normal.text_ids), half, rng)
        good = self._lines_drawn(normal, np.ones(normal.n_events, bool), self.config.labelled - len(bad), rng)
        both = [(line, False) for line in good] + [(line, True) for line in bad]
        return [both[i] for i in rng.permutation(len(both)).tolist()]

    def _lines_drawn(
        self, sequences: Sequences, is_wanted: NDArray[np.bool_], n: int, rng: np.random.Generator
    ) -> list[str]:
        """One line of each of n texts, drawn by how often they occur."""
        events = np.flatnonzero(is_wanted)
        texts, first, counts = np.unique(sequences.text_ids[events], return_index=True, return_counts=True)
        size = min(n, len(texts))
        if not size:
            return []
        drawn = rng.choice(len(texts), size, replace=False, p=counts / counts.sum())
        return [self._line(sequences, event) for event in events[first[drawn]].tolist()]

    async def _choose(self, ask: Ask) -> str:
        """The task of those that the model proposes that is right on most labelled lines; the first of equal ones."""
        answer = await ask(lambda _: [user(_ASK_FOR_TASKS)], max_tokens=_TOKENS_PER_TASK * _N_TASKS)
        tasks = list(dict.fromkeys(found[1] for found in _TASK.finditer(answer.text)))[:_N_TASKS] or [_PLAIN]
        truth = {self.chat_.clean(line): is_abnormal for line, is_abnormal in self.labelled_}
        found = await asyncio.gather(*(self._classify_all(list(truth), task, ask) for task in tasks))
        right = [sum(said.get(line) == known for line, known in truth.items()) for said in found]
        return tasks[int(np.argmax(right))]

    def _task(self, examples: Sequence[Lines]) -> str:
        """What stands before the form of the answer."""
        if self.task_:
            return str(self.task_)
        if self.config.strategy != "in-context":
            return _STEPS if self.config.strategy == "cot" else _PLAIN
        shots = {line: False for example in examples for line in example}
        shots |= {self.chat_.clean(line): is_abnormal for line, is_abnormal in self.labelled_}
        width = max(40, self.config.budget * 2 // (len(shots) or 1))
        shown = (
            f"({i}) Log: {_one_line(line, width)}. Category: {int(is_abnormal)}"
            for i, (line, is_abnormal) in enumerate(shots.items(), 1)
        )
        return f"{_LIKENESS}{' '.join(shown)}."

    async def _classify_all(self, lines: list[str], task: str, ask: Ask) -> dict[str, bool]:
        """Which lines are abnormal, of those that got a category."""
        abnormal: dict[str, bool] = {}
        for pack in packs(lines, self.config.prompt_chars - len(self._head(task, 0))):
            abnormal |= await self._classify(pack, task, ask)
        return abnormal

    async def _classify(self, pack: list[str], task: str, ask: Ask) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for attempt in range(self.config.reprompts + 1):
            open_lines = [line for line in pack if line not in found]
            if not open_lines:
                break
            answer = await ask(
                lambda budget, shown=tuple(open_lines): self._prompt(shown, task, budget),
                temperature=self._temperature(attempt),
                max_tokens=min(self.config.max_tokens, 32 + _TOKENS_PER_LINE * len(open_lines)),
            )
            found |= {
                open_lines[i]: is_abnormal for i, is_abnormal in parse_items(answer.text, len(open_lines)).items()
            }
        return found

    def _temperature(self, attempt: int) -> float | None:
        """Warmer each time; None where none is sent."""
        first: float | None = self.config.temperature
        return None if first is None else round(min(2.0, first + _WARMER * attempt), 2)

    def _prompt(self, lines: Sequence[str], task: str, budget: int) -> list[Message]:
        width = max(40, budget * 3 // (len(lines) + 1))
        numbered = (f" ({i}) {_one_line(line, width)}" for i, line in enumerate(lines, 1))
        return [user(self._head(task, len(lines)) + "".join(numbered))]

    def _head(self, task: str, n: int) -> str:
        """The task and the form of the answer for n lines."""
        reasons = self.config.strategy == "cot" and not self.config.instruction
        slots = "".join(f"({i}){'x-y' if reasons else 'x'}\n" for i in range(1, n + 1))
        kinds = ("0", "1") if task.startswith(_LIKENESS) else ("normal", "abnormal")
        choice = _CHOICE.format(*kinds) + " and y is the reason" * reasons
        return f"{task} {_FORM.format(slots=slots, choice=choice)}{_LOGS.format(n=n)}"


def packs(lines: Sequence[str], limit: int) -> Iterator[list[str]]:
    """Lines in order, at most `limit` characters together; a longer line stands alone."""
    pack: list[str] = []
    size = 0
    for line in lines:
        if pack and size + len(line) > limit:
            yield pack
            pack, size = [], 0
        pack.append(line)
        size += len(line)
    if pack:
        yield pack


def parse_items(text: str, n: int) -> dict[int, bool]:
    """Index from 0 -> abnormal; numbers that were not asked for, and two answers that differ, are left out."""
    found: dict[int, set[bool]] = {}
    for item in _ITEM.finditer(text):
        index = int(item[1]) - 1
        if 0 <= index < n:
            found.setdefault(index, set()).add(item[2].lower() in ("abnormal", "1"))
    return {index: values.pop() for index, values in found.items() if len(values) == 1}


def _one_line(line: str, width: int) -> str:
    """A line short enough, in which no bracketed number looks like that of another."""
    line = _NUMBER.sub("( ", line)
    return line if len(line) <= width else shorten([line], max(8, width // 4))[0]
