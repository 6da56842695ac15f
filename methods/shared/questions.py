"""A question to a decoder about sequences of vectors, with its answer: rows of one table of tokens and vectors."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from methods.shared.decoders import Prompt
from methods.shared.layers import Bags, Integers

NO_TARGET: Final = -100
"""Stands where no token is asked for."""


class Lesson(NamedTuple):
    """Questions on the device, each with its answer, padded in front."""

    messages: Integers
    """(n_messages,) the distinct messages that are read."""
    places: Tensor
    """int64 (B, T): rows of the tokens of the prompt, behind them the messages."""
    seen: Tensor
    """Bool (B, T): True behind the padding."""
    targets: Tensor
    """int64 (B, n): the token that should follow each of the last n, NO_TARGET where none is asked for."""


def lesson_of(bags: Bags, bag_of: Integers, class_of: Integers | None, prompt: Prompt, device: str) -> Lesson:
    """The question about each of these sequences with the answer of its class, or with what both answers share."""
    messages = np.unique(np.concatenate([bags.ids[:0], *(_ids(bags, bag) for bag in bag_of)]))
    before, after, *answers = _rows_of(prompt)
    first = len(prompt.tokens)
    shared = answers[0][: prompt.n_shared]
    said = [shared] * len(bag_of) if class_of is None else [answers[kind] for kind in class_of]
    rows = [
        np.concatenate([before, first + np.searchsorted(messages, _ids(bags, bag)), after, answer])
        for bag, answer in zip(bag_of, said, strict=True)
    ]
    longest = max(map(len, rows))
    n_last = 1 if class_of is None else max(map(len, answers)) + 1
    places, seen = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), bool)
    targets = np.full((len(rows), n_last), NO_TARGET, np.int64)
    for i, row in enumerate(rows):
        places[i, longest - len(row) :] = row
        seen[i, longest - len(row) :] = True
        if class_of is not None:
            tokens = (*prompt.answers[class_of[i]], prompt.end)
            targets[i, n_last - len(tokens) :] = tokens
    return Lesson(messages, *(torch.as_tensor(array, device=device) for array in (places, seen, targets)))


def _ids(bags: Bags, bag: int) -> Integers:
    return bags.ids[bags.offsets[bag] : bags.offsets[bag + 1]]


def _rows_of(prompt: Prompt) -> list[Integers]:
    """Rows of the prompt's parts among its tokens."""
    parts = (prompt.before, prompt.after, *prompt.answers)
    ends = np.cumsum([len(part) for part in parts])
    return [np.arange(end - len(part), end) for part, end in zip(parts, ends, strict=True)]


def objective(logits: Tensor, lesson: Lesson, weights: Tensor) -> dict[str, Tensor]:
    """Cross-entropy of the answer's tokens, the mean of each answer; weights: (B,) summing to 1."""
    found = logits.float() if logits.dtype == torch.bfloat16 else logits
    each = F.cross_entropy(found.flatten(0, 1), lesson.targets.flatten(), reduction="none", ignore_index=NO_TARGET)
    asked = lesson.targets != NO_TARGET
    return {"loss": (weights * each.view_as(lesson.targets).sum(1) / asked.sum(1)).sum()}
