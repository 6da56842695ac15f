"""A chat model as the teacher of a method that learns with its help: `Evidence.teacher`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Self

from bench.detector import Detector
from bench.llm.client import Ask, Chat
from bench.llm.config import ChatConfig
from bench.llm.text import redact

_OF_DETECTORS: Final = frozenset(("k", "examples", "lines", "samples", "max_lines", "budget", "unparsable"))
"""What a teacher does not read: a method's own setting may have such a name."""


class ChatTeacher:
    """Asks the model of a config by the service of the command: its answers, modes and limits."""

    def __init__(self, config: ChatConfig) -> None:
        self._chat = Chat(config)

    @classmethod
    def of(cls, config: object) -> Self:
        """The teacher that a method's config chooses by fields named as those of `ChatConfig` (`model` at least)."""
        names = [field.name for field in fields(ChatConfig) if hasattr(config, field.name)]
        names = [name for name in names if name not in _OF_DETECTORS]
        return cls(ChatConfig(**{name: getattr(config, name) for name in names}))

    def blocked(self) -> str | None:
        """The reason why nobody can be asked, or None."""
        return self._chat.blocked()

    def ask(self, prompts: Sequence[str], *, leads: bool = True) -> list[str]:
        """One answer for each prompt, in their order; of equal prompts one is sent.

        leads: whether what is asked later may follow from these answers, so that a dry run only counts it

        Prompts for an endpoint that is not on this machine are redacted as lines are. A BenchError where a call fails.
        """
        jobs = [functools.partial(self._answer, redact(prompt) if self._chat.redacts else prompt) for prompt in prompts]
        self._chat.ledger.asked += len(prompts)
        return self._chat.run(jobs, leads=leads)

    def facts(self) -> dict[str, Any]:
        """Calls, tokens, cost and the model's name as the server reports it, for the record."""
        return self._chat.facts()

    async def _answer(self, prompt: str, ask: Ask) -> str:
        answer = await ask(lambda budget: [{"role": "user", "content": prompt}])
        return answer.text.strip() if answer.text[:1].isspace() else answer.text


def asks_a_model(tag: bool, config: object) -> bool:
    """Whether a method with this tag `teacher` asks a language model under a config, an object or a mapping.

    Not where a setting `teacher` names somebody else, as "embedding": the row then needs no endpoint, and stands with
    those that ask nobody.
    """
    said = config.get("teacher") if isinstance(config, Mapping) else getattr(config, "teacher", None)
    return tag and said in (None, "model")


def teacher_of(detector: Detector) -> ChatTeacher | None:
    """Whom a method may ask under its config; one whose config names no model, or is a `ChatConfig`, asks by itself."""
    config = detector.config
    if (
        not asks_a_model(detector.tags.teacher, config)
        or isinstance(config, ChatConfig)
        or not hasattr(config, "model")
    ):
        return None
    return ChatTeacher.of(config)
