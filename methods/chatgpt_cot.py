"""ChatGPT with chain of thought: the row `ChatGPT` of MLAD's tables, after its section 5.4.

Two calls per sequence. The first lets the model extract the templates of the lines; the second shows it the lines and
its own templates and asks whether there are exceptions in templates and variables: Yes or No. The score is log p(yes) -
log p(no) at the answer position of the second, else +1 or -1; the native threshold is 0.

Told: nothing, it asks a model; with `k` source normals, of which `k` are shown as examples in the second call. It reads
texts.

Works badly where the first answer loses what matters: in the paper's own example the template replaces the word that
names the failure. It costs twice the calls of `chatgpt`. More: docs/methods/chatgpt-cot.md

Both sentences are the paper's; its layout was lost in print [R]. Other reconstructions [R]: as in `chatgpt`, above all
that the lines are masked messages unless `lines` says otherwise, so that most variables are wildcards before the first
call; templates are the model's verbatim answer, at most 512 tokens, never those of the parser; the second call is a
question of its own (`second_call="turn"` makes it the second turn of one chat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.llm.client import Ask
from bench.llm.config import ChatConfig, Message
from bench.llm.text import fenced
from methods.shared.asking import ChatDetector, Lines, Verdict, log_blocks, user


@dataclass(frozen=True, kw_only=True)
class Config(ChatConfig):
    """The paper's wording."""

    extract: str = "Extract the templates of log sequences while replacing the variables with <*>"
    """First question (section 5.4, as printed)."""
    question: str = (
        "According to the log sequences, Templates:, the relationship between Templates: and variables, determine if "
        "there are any exceptions in templates and variables, and directly give the answer: Yes or No."
    )
    """Second question (section 5.4, as printed)."""
    template_tokens: int = 512
    """Tokens of the first answer at most [R]."""
    second_call: Literal["alone", "turn"] = "alone"
    """Whether the second call repeats the lines, or continues the first as a chat [R]."""


class ChatGPTCoT(ChatDetector):
    """Two calls per distinct sequence: its templates, then whether there are exceptions in them."""

    Config: ClassVar[type] = Config

    async def judge(self, lines: Lines, examples: Sequence[Lines], ask: Ask) -> Verdict:
        """Ask for the templates, then for the decision."""
        config: Config = self.config

        def first(budget: int) -> list[Message]:
            return [user(f"{log_blocks(lines, (), config.extract, budget)}\n{config.extract}\nTemplates:")]

        templates = (await ask(first, max_tokens=config.template_tokens)).text.strip()

        def second(budget: int) -> list[Message]:
            question = f"{config.question}\nAnswer:"
            room = budget * 2 // 3
            if config.second_call == "turn":
                shown = "\n".join(templates.splitlines())
                return [*first(room), {"role": "assistant", "content": shown}, user(question)]
            # The model may repeat what the lines say, so its answer is fenced like them.
            own = fenced(templates.splitlines(), budget - room)
            return [user(f"{log_blocks(lines, examples, question, room)}\nTemplates:\n{own}\n{question}")]

        return await self.decide(second, ask)
