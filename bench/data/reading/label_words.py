"""What a word of a label file means: normal in any spelling, no label at all, or abnormal."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from bench.types import ABNORMAL, NORMAL, UNLABELLED

NORMAL_WORDS: Final = frozenset((
    "normal", "-", "0", "false", "no", "none", "n", "f", "ok", "okay", "good", "fine", "benign", "healthy", "clean",
    "negative", "success", "successful", "succeeded", "pass", "passed", "inlier",
))  # fmt: skip
"""Usual words for normal, folded."""
ABNORMAL_WORDS: Final = frozenset((
    "abnormal", "anomaly", "anomalous", "anomalies", "1", "true", "yes", "y", "t", "bad", "fail", "failed", "failure",
    "fault", "faulty", "error", "fatal", "critical", "attack", "malicious", "positive", "outlier", "broken", "wrong",
))  # fmt: skip
"""Usual words for abnormal, folded; any other that is not the normal one is abnormal too."""
EMPTY_WORDS: Final = frozenset(
    ("", "nan", "null", "none", "nil", "nat", "na", "n/a", "#n/a", "<na>", "?", "unlabelled", "unlabeled")
)
"""Spellings of "no value" and "no label", folded; a card's normal word is never one of them."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?")


def folded(word: str) -> str:
    """One spelling for all of a word: ` Normal` is `normal`, `0.0` is `0`."""
    text = word.strip().lower()
    if _NUMBER.fullmatch(text) and float(text).is_integer():
        return str(int(float(text)))
    return text


def meaning(word: str, normal: str) -> int:
    """NORMAL, ABNORMAL or UNLABELLED.

    normal: the word that means normal, in any spelling
    """
    text = folded(word)
    if text == folded(normal):
        return NORMAL
    return UNLABELLED if text in EMPTY_WORDS else ABNORMAL


def has_spellings(normal: str) -> bool:
    """Whether a word can be written in several ways; `-` cannot."""
    return normal.lower() != normal.upper() or bool(_NUMBER.fullmatch(normal))


def is_normal(words: pl.Expr, normal: str) -> pl.Expr:
    """Whether each word of a column without white space is a spelling of `normal`."""
    if _NUMBER.fullmatch(normal):
        return (words == normal) | (words.cast(pl.Float64, strict=False) == float(normal)).fill_null(False)
    if not has_spellings(normal):
        return words == normal
    return words.str.to_lowercase() == normal.lower()
