"""ChatGPT, asked once: the row `ChatGPT w/o CoT` of MLAD's Table 4, after its section 5.4.

The model sees the lines of one sequence and one sentence, and answers Yes (anomaly) or No. The score is log p(yes) -
log p(no) at the answer position where the server reports probabilities, else +1 or -1; the native threshold is 0.

Told: nothing, it asks a model; with `k` source normals, of which `k` are shown as examples. It reads texts.

Works badly where the wording decides: "any anomaly?" invites Yes, and what a model finds alarming is not what the
operators of a system labelled. Public logs may be in a model's training data. A row says nothing but of the model that
the server reported, which stands in the record. More: docs/methods/chatgpt.md

The sentence is the paper's. Reconstructions [R]: the model and its sampling (temperature 0); lines are the masked
messages, as all detectors see them, unless `lines` says otherwise; the label column is out of reach; they stand between
delimiters, which are neutralised inside; the question comes last; at most 50 lines; long lines are shortened to the
prompt budget. An empty sequence scores -1 and is not asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.llm.client import Ask
from bench.llm.config import ChatConfig, Message
from methods.shared.asking import ChatDetector, Lines, Verdict, log_blocks, user


@dataclass(frozen=True, kw_only=True)
class Config(ChatConfig):
    """The paper's wording."""

    question: str = "Please determine if there are any anomaly in logs, and directly give the answer: Yes or No."
    """Section 5.4, as printed."""


class ChatGPT(ChatDetector):
    """One call per distinct sequence: is there any anomaly in these lines?"""

    Config: ClassVar[type] = Config

    async def judge(self, lines: Lines, examples: Sequence[Lines], ask: Ask) -> Verdict:
        """Ask the one question."""
        question = self.config.question

        def build(budget: int) -> list[Message]:
            return [user(f"{log_blocks(lines, examples, question, budget)}\n{question}")]

        return await self.decide(build, ask)
