"""Log lines and what a language model is told about them: the distinct lines, the prompts, what is asked and read.

A line is the raw one with its numbers masked, so that it occurs again; equal ones are asked about once. The prompts are
nobody's but ours [R]: of EnrichLog only the abstract could be read. What is asked goes through `bench.llm`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.llm.text import estimate_tokens, fenced, neutralise, shown_part
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences
from methods.shared.router import distinct_texts
from methods.shared.teachers import LEAST, UNSAID, read_verdict

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Shown = Literal["line", "masked"]
"""What of a line is read: the raw line with masked numbers, or the masked message that all methods read."""

_NUMBERS: Final = "0x[0-9A-Fa-f]+|[0-9]+"
_MASK: Final = "<*>"
_WORDS: Final = {"anomalous": True, "abnormal": True, "anomaly": True, "normal": False}
_OBJECT: Final = re.compile(r"\{.*\}", re.DOTALL)

_SUMMARY: Final = (
    "These are the distinct lines of the past log of one system, with the number of times each "
    "occurred{told}.\n{shown}\n"
    "In at most eight sentences, say what kinds of lines are normal for this system and what an "
    "anomaly would look like.\n"
)
_REASON: Final = (
    "A line of a system's past log is known to be {kind}.\n{shown}\nIn one sentence, say what it reports and why it is "
    "{kind}.\n"
)
_FIELDS: Final = (
    "Explain a log line to an operator.\n{shown}\nAnswer with these five fields, one in a line, each in few words:\n"
    "Component:\nEvent:\nSeverity:\nLikely cause:\nEffect on the service:\n"
)
_ROLE: Final = "You watch the log of a system and judge single lines.\n"
_CORPUS: Final = "What is known of this system:\n{summary}\n"
_NEAR: Final = "Past line {number}, {kind}, seen {count} times:\n{shown}\n{reason}"
_QUESTION: Final = (
    "Is this new line anomalous, that is, a sign of a failure?\n{shown}\n"
    'Answer with JSON alone: {{"label": "normal" or "anomalous", "confidence": a number from 50 to 100}}\n'
)


class DistinctLines(NamedTuple):
    """The lines of sequences, each distinct one once."""

    texts: list[str]
    """(n,) in alphabetical order"""
    inverse: Integers
    """(n_events,) so that event e has the line texts[inverse[e]]."""

    @classmethod
    def of(cls, sequences: Sequences, shown: Shown) -> Self:
        """`line` needs `sequences.raw`; one that lacks it was not asked for and is an error of the caller."""
        if shown == "masked":
            texts, inverse = distinct_texts(sequences)
            order = sorted(range(len(texts)), key=texts.__getitem__)
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(len(order))
            return cls([texts[i] for i in order], rank[inverse])
        if sequences.raw is None:
            raise ValueError("lines=line needs raw lines: set lines=masked")
        masked = sequences.raw.values.str.replace_all(_NUMBERS, _MASK)
        names = masked.unique().sort()
        table = pl.DataFrame({"line": names}).with_row_index("place")
        found = pl.DataFrame({"line": masked}).join(table, on="line", maintain_order="left")
        return cls(names.to_list(), found["place"].to_numpy().astype(np.int64))


class Known(NamedTuple):
    """What the past says of each distinct line."""

    counts: Integers
    """(n,) events with a known label; 0 where only abnormal sequences that nobody took apart have it."""
    p: Floats
    """(n,) share of the abnormal ones."""

    @classmethod
    def of(
        cls,
        found: DistinctLines,
        train: Sequences,
        labels: NDArray[np.int8] | None,
        event_labels: NDArray[np.int8] | None,
    ) -> Self:
        """labels: of sequences, None where all are normal;  event_labels: of events, where lines are labelled.

        Without labels of its lines, a line of an abnormal sequence is abnormal if no normal sequence has it [R].
        """
        n = len(found.texts)
        if labels is None:
            return cls(np.bincount(found.inverse, minlength=n).astype(np.int64), np.zeros(n))
        of_sequence = labels[train.sequence_of_event]
        is_normal = of_sequence == NORMAL
        seen_normal = np.bincount(found.inverse, is_normal, n)[found.inverse] > 0
        guessed = np.where(is_normal, NORMAL, np.where(seen_normal, UNLABELLED, ABNORMAL))
        guessed = np.where(of_sequence == UNLABELLED, UNLABELLED, guessed)
        given = np.full(train.n_events, UNLABELLED) if event_labels is None else event_labels
        label = np.where(given != UNLABELLED, given, guessed)
        bad, good = (np.bincount(found.inverse, label == kind, n) for kind in (ABNORMAL, NORMAL))
        return cls((bad + good).astype(np.int64), bad / np.maximum(bad + good, 1))


def commonest(known: Known, most: int) -> Integers:
    """Places of at most so many known lines, the commonest; half of them abnormal, or what there is."""
    order = np.lexsort((np.arange(len(known.counts)), -known.counts))
    order = order[known.counts[order] > 0]
    is_bad = known.p[order] > 0.5
    bad, good = order[is_bad], order[~is_bad]
    n_bad = min(len(bad), max(most // 2, most - len(good)))
    return np.sort(np.concatenate([bad[:n_bad], good[: most - n_bad]]))


class Desk:
    """Asks the language model, at most so often in one go, and counts."""

    def __init__(self, ask: Callable[..., list[str]] | None, most: int) -> None:
        self._ask, self.most = ask, most
        self.counts = dict.fromkeys(("events", "lines", "known", "questions", "reasons", "unread", "unasked"), 0)

    def ask(self, prompts: Sequence[str], what: str, *, leads: bool) -> list[str]:
        """One answer for each prompt; counted as `what`."""
        if self._ask is None:
            raise ValueError("teacher=model needs a language model to ask: set OPENAI_BASE_URL, or teacher=embedding")
        self.counts[what] += len(prompts)
        return self._ask(list(prompts), leads=leads) if prompts else []

    def facts(self) -> dict[str, Any]:
        """For `monitor`: what was scored and asked, and the share of lines of the log that cost no question."""
        counts = self.counts
        reused = 1 - counts["questions"] / counts["events"] if counts["events"] else 0.0
        return {f"line_{name}": value for name, value in counts.items()} | {"line_reused_share": reused}


def summary_prompt(texts: Sequence[str], known: Known, *, labelled: bool, budget: int) -> str:
    """What a corpus is asked about: its commonest lines with their counts."""
    kinds = [f" ({_kind(p)})" if labelled else "" for p in known.p.tolist()]
    rows = [f"{count}x{kind} {text}" for count, kind, text in zip(known.counts.tolist(), kinds, texts, strict=True)]
    return _SUMMARY.format(told="" if labelled else "; all of them are normal", shown=_fenced(rows, budget))


def reason_prompt(text: str, p: float, budget: int) -> str:
    """Why a past line is what it is."""
    return _REASON.format(kind=_kind(p), shown=_fenced([text], budget))


def fields_prompt(text: str, budget: int) -> str:
    """The operational fields of one line."""
    return _FIELDS.format(shown=_fenced([text], budget))


class Neighbour(NamedTuple):
    """A past line beside a question."""

    text: str
    p: float
    times: int
    """How often it occurred."""
    reason: str
    """One sentence, or nothing."""


def verdict_prompt(text: str, near: Sequence[Neighbour], summary: str, budget: int) -> str:
    """The question about one line: role, what is known of the corpus, the nearest past lines, the line."""
    corpus = _CORPUS.format(summary=neutralise(summary)) if summary else ""
    reasons = [neutralise(entry.reason) + "\n" if entry.reason else "" for entry in near]
    spent = sum(map(estimate_tokens, (_ROLE, corpus, _QUESTION, *reasons))) + 24 * len(near)
    each = max(60, (budget - spent) // (len(near) + 1))
    shown = [
        _NEAR.format(number=i, kind=_kind(n.p), count=n.times, shown=_fenced([n.text], each), reason=reason)
        for i, (n, reason) in enumerate(zip(near, reasons, strict=True), start=1)
    ]
    return "".join([_ROLE, corpus, *shown, _QUESTION.format(shown=_fenced([text], each))])


def read_judgement(answer: str) -> float:
    """Probability of "anomalous" by the JSON of an answer, or by a plain Yes or No; NaN where it is neither."""
    found = _OBJECT.search(answer)
    try:
        values = json.loads(found[0]) if found else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or _WORDS.get(str(values.get("label")).strip().lower()) is None:
        return read_verdict(answer)
    sure = min(max(_confidence(values.get("confidence")), 0.5), 1 - LEAST)
    return sure if _WORDS[str(values["label"]).strip().lower()] else 1 - sure


def _confidence(said: Any) -> float:
    try:
        value = float(str(said).strip().rstrip("%"))
    except ValueError:
        return UNSAID
    if not np.isfinite(value):
        return UNSAID
    return value / 100 if value > 1 else value


def _kind(p: float) -> str:
    return "anomalous" if p > 0.5 else "normal"


def _fenced(lines: Sequence[str], budget: int) -> str:
    return fenced([shown_part(line) for line in lines], budget)
