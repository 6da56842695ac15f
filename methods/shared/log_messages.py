"""What a method reads of each line where it wants messages and no parser: masked by expressions, the first of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from bench.types import Sequences, ranges
from methods.shared.line_tokens import Lines

_NUMBERS: Final = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion"
)
_DAYS: Final = "(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTHS: Final = "(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*"
_KINDS: Final = (
    r"[Tt]rue|[Ff]alse",
    rf"\b(?:{_NUMBERS})\b",
    rf"\b{_DAYS}\b",
    rf"\b{_MONTHS}\s+\d{{1,2}}\b",
    r"\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?",
    r"(?:[0-9A-Fa-f]{2}:){5,11}[0-9A-Fa-f]{2}",
    r"[a-zA-Z0-9]*[:.]*(?:[/\\]+[^/\\\s\[\]]+)+[/\\]*",
    r"\b(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{10})\b",
    r"\w[\w.]*@\w[\w.]*(?:-\w[\w.]*)?",
    r"[a-zA-Z.:\-_]*\d[a-zA-Z0-9.:\-_]*",
)
"""Booleans, words of numbers, days, months with a day, addresses of the net and of hardware, paths, hexadecimal numbers
of 8 or 10 digits, names with an at sign, words with a digit."""
_MASKED: Final = "|".join(_KINDS)


def masked(lines: pl.Series) -> pl.Series:
    """Lines with <*> for what varies, and one space between words."""
    text = lines.str.replace_all(_MASKED, "<*>")
    return text.str.replace_all(r"\.{3,}", ".. ").str.replace_all(r"\s+", " ").str.strip_chars()


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
    distinct = messages.unique().sort()
    ids = messages.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32)
    return replace(
        sequences.without_parameters(),
        log_keys=np.zeros(len(ids), np.int32),
        text_ids=ids,
        texts=tuple(distinct.to_list()),
        offsets=np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
        elapsed_s=np.zeros(len(ids)),
        lines=np.zeros(len(ids), np.int64),
        raw=None,
    )
