"""LogPrompt: interpretable online log analysis by prompt strategies (Liu et al., ICPC 2024; not the IJCNN 2023 paper).

The distinct lines of a sequence are numbered and packed into prompts of at most 3000 characters; the model gives each
number a category and, under the strategy `cot`, a reason. A sequence's score is the share of its events on lines called
abnormal, or -1 where there is none, so that the native threshold 0 means: any abnormal line.

Told: nothing, it asks a model; with `k` source normals. It reads texts. Strategies: `cot` (four rules that keep the
model from alarm at odd values, and a reason per line), `in-context` (0 or 1 by likeness to examples: here `k` lines'
worth of normal training sequences, since it is told no anomalies), `plain` (neither).

Works badly where a line is abnormal by its company only: lines are judged one by one, though in the same prompt. Long
sequences have more lines to be called abnormal. More: docs/methods/logprompt.md

The published third strategy lets the model propose prompts and picks the best on labelled lines, which it
is not told; `instruction` takes a prompt of one's own. Reconstructions [R]: rules and format are worded after
their description, not quoted; prompts hold lines of one sequence only (published: consecutive lines), so that a score
does not depend on the neighbours; temperature 0 (profile `original`: 0.5); lines that got no category are asked for
again at most `reprompts` times, each 0.4 warmer as published; then they follow the rule for unparsable answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from bench.llm.client import Ask
from bench.llm.config import ChatConfig, Message
from bench.llm.text import LOG_BEGIN, LOG_END, shorten
from methods.shared.asking import ChatDetector, Lines, Verdict, user

_WARMER: Final = 0.4
_TOKENS_PER_LINE: Final = 48
_RULES: Final = (
    "Classify the log entries below into normal and abnormal. Rules: (a) values that look invalid, such as addresses, "
    "floating point numbers and register contents, are normal; (b) an entry that lacks information is normal; (c) <*> "
    "and missing values are never abnormal; (d) an entry is abnormal only if its text itself states an alert, such as "
    "an error or an interrupt. Give a short reason for each entry. Write one line per entry in the form (i)x-y, where "
    "i is its number, x is normal or abnormal and y the reason."
)
_LIKENESS: Final = (
    "Classify the log entries below into 0 (normal) and 1 (abnormal) by the likeness of their meaning to the examples. "
    "Write one line per entry in the form (i)x, where i is its number and x is 0 or 1."
)
_PLAIN: Final = (
    "Classify the log entries below into normal and abnormal. Write one line per entry in the form (i)x, where i is "
    "its number and x is normal or abnormal."
)
_INSTRUCTIONS: Final[Mapping[str, str]] = {"cot": _RULES, "in-context": _LIKENESS, "plain": _PLAIN}
_ITEM = re.compile(r"\(?\b(\d{1,6})\s*[).:]\s*[-:\"'*\[]*\s*(abnormal|normal|0|1)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Config(ChatConfig):
    """Defaults of the published code where it states a value."""

    strategy: Literal["cot", "in-context", "plain"] = "cot"
    """How the task is put."""
    instruction: str = ""
    """A task description of one's own; it must ask for the form (i)x."""
    prompt_chars: int = 3000
    """Characters of numbered lines per prompt (published)."""
    reprompts: int = 2
    """How often lines without a category are asked for again [R]."""
    max_tokens: int = 2048
    """Tokens of an answer at most; 48 per line where that is less [R]."""
    logprobs: bool = False
    """Not used: many decisions share an answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples > 1:
            raise ValueError(f"samples {self.samples}: an answer here decides on many lines, so leave it at 1")


class LogPrompt(ChatDetector):
    """A category for every distinct line of a sequence; any abnormal line makes it abnormal."""

    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"original": {"temperature": 0.5}}

    async def judge(self, lines: Lines, examples: Sequence[Lines], ask: Ask) -> Verdict:
        """Classify the distinct lines, prompt by prompt."""
        counts = Counter(lines)
        abnormal: dict[str, bool] = {}
        for pack in packs(list(counts), self.config.prompt_chars):
            abnormal |= await self._classify(pack, examples, ask)
        if not abnormal:
            return Verdict(None)
        otherwise = self.config.unparsable == "as-anomalous"
        n_abnormal = sum(n for line, n in counts.items() if abnormal.get(line, otherwise))
        return Verdict(n_abnormal / len(lines) if n_abnormal else -1.0)

    async def _classify(self, pack: list[str], examples: Sequence[Lines], ask: Ask) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for attempt in range(self.config.reprompts + 1):
            open_lines = [line for line in pack if line not in found]
            if not open_lines:
                break
            answer = await ask(
                lambda budget, shown=tuple(open_lines): self._prompt(shown, examples, budget),
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

    def _prompt(self, lines: Sequence[str], examples: Sequence[Lines], budget: int) -> list[Message]:
        task = self.config.instruction or _INSTRUCTIONS[self.config.strategy]
        shots = list(dict.fromkeys(line for example in examples for line in example))
        width = max(40, budget * 3 // (len(lines) + len(shots) + 1))
        shown = [f"({i}) Log: {_within(line, width)} Category: 0" for i, line in enumerate(shots, 1)]
        numbered = [f"({i}) {_within(line, width)}" for i, line in enumerate(lines, 1)]
        parts = ["Examples:", LOG_BEGIN, *shown, LOG_END] if shown else []
        parts += [f"There are {len(lines)} logs, the logs begin:", LOG_BEGIN, *numbered, LOG_END, task]
        return [user("\n".join(parts))]


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


def _within(line: str, width: int) -> str:
    return line if len(line) <= width else shorten([line], max(8, width // 4))[0]
