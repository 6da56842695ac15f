"""What a method reads of each line where it wants messages and no parser: masked by expressions, the first of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.types import Sequences, ranges
from methods.shared.line_tokens import Lines

_UNITS: Final = "zero one two three four five six seven eight nine ten eleven twelve"
_TEENS: Final = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_POWERS: Final = "hundred thousand million billion"
_WEEKDAYS: Final = "monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun"
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec"


def _any_of(words: str) -> str:
    return "(?:" + "|".join(words.split()) + ")"


_VARIABLES: Final = {
    "path": r"[\w.:-]*(?:[/\\]+[^\s/\\\[\]]+)+[/\\]*",
    "mail": r"\b[\w.+-]+@[\w.-]+",
    "address of the net": r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b",
    "address of hardware": r"\b[[:xdigit:]]{2}(?:[:-][[:xdigit:]]{2}){5,}\b",
    "hexadecimal number of 8 or 10 digits": r"\b[[:xdigit:]]{8}(?:[[:xdigit:]]{2})?\b",
    "month and day": rf"(?i:\b{_any_of(_MONTHS)}[a-z]*\s+\d{{1,2}}\b)",
    "weekday": rf"(?i:\b{_any_of(_WEEKDAYS)}\b)",
    "number in words": rf"(?i:\b{_any_of(' '.join((_TEENS, _TENS, _UNITS, _POWERS)))}\b)",
    "truth value": r"(?i:\b(?:true|false)\b)",
    "word with a digit": r"[\w.:-]*\d[\w.:-]*",
}
"""What the sheet calls variable, by its kind: the first that matches at a place takes it, so wide ones stand first."""
_MASKED: Final = "|".join(_VARIABLES.values())


def masked(lines: pl.Series) -> pl.Series:
    """Lines with <*> for what varies, and one space between words."""
    return lines.str.replace_all(_MASKED, "<*>").str.replace_all(r"\s+", " ").str.strip_chars()


def messages_of(sequences: Sequences, lines: Lines, most: int) -> Sequences:
    """The first lines of each sequence, at most so many, with their distinct masked messages as texts.

    lines: `line` as it was written, `masked` the text of its event. Nothing but texts, their places and the borders of
    sequences has a meaning in it.
    """
    kept = np.minimum(sequences.lengths, most)
    events = ranges(sequences.offsets[:-1], kept)
    if lines == "line":
        if sequences.raw is None:
            raise ValueError("it reads raw lines, and these sequences have none: set lines to masked")
        messages = masked(sequences.raw.gather(events).values)
    else:
        texts = masked(pl.Series(sequences.texts, dtype=pl.String))
        messages = texts.gather(sequences.text_ids[events])
    return with_messages(sequences, messages, kept)


def with_messages(sequences: Sequences, messages: pl.Series, lengths: NDArray[np.int64]) -> Sequences:
    """The sequences with these messages as their events, one after another, whose distinct ones are the texts.

    lengths: (n_sequences,) how many each has. Log keys, times and places have no meaning in it.
    """
    distinct = messages.unique().sort()
    ids = messages.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32)
    return replace(
        sequences.without_parameters(),
        log_keys=np.zeros(len(ids), np.int32),
        text_ids=ids,
        texts=tuple(distinct.to_list()),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        elapsed_s=np.zeros(len(ids)),
        lines=np.zeros(len(ids), np.int64),
        raw=None,
    )
