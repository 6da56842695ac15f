"""The first tokens of lines as labels: which of them means normal, and when they are none."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from bench.data.own.label_columns import looks_like_a_time
from bench.data.reading.label_words import ABNORMAL_WORDS, EMPTY_WORDS, NORMAL_WORDS, folded
from bench.errors import BenchError

_MAX_LABELS: Final = 100


def normal_token(lines: list[str]) -> tuple[str, tuple[str, ...]]:
    """The first token that means normal, and notes; a BenchError where first tokens are no labels."""
    tokens = _tokens(lines)
    if "-" in tokens:
        return "-", _notes(tokens, "-")
    common, n = tokens.most_common(1)[0]
    if looks_like_a_time(common):
        raise BenchError(
            f"--label first-token takes '{common}' of the first line for a label, which is a time: where lines begin "
            "with no label, give --label none, or --labels or --incidents"
        )
    if len(tokens) > _MAX_LABELS:
        raise BenchError(
            f"--label first-token finds {len(tokens):,} different first tokens, such as '{common}', and these are no "
            "labels: where lines begin with none, give --label none, or --labels or --incidents"
        )
    usual = {folded(token) for token in tokens if folded(token) in NORMAL_WORDS}
    if len(usual) > 1:
        raise BenchError(
            f"lines begin with several words for normal ({', '.join(sorted(usual))}), and a card has one: give "
            "--normal WORD, and the others are abnormal"
        )
    if usual:
        word = next(token for token, _ in tokens.most_common() if folded(token) in usual)
        note = f"No first token is '-', so the usual word for normal, '{word}', is taken as normal."
        return word, (note, *_notes(tokens, *usual))
    if folded(common) in ABNORMAL_WORDS:
        raise BenchError(
            f"'{common}' is the most frequent first token ({n:,} lines) and no word for normal: give --normal WORD"
        )
    note = f"No first token is '-', so the most frequent one, '{common}', is taken as normal."
    return common, (note, *_notes(tokens, common))


def require_token(lines: list[str], normal: str) -> None:
    """Refuse a --normal that begins no line, by which all of them would be abnormal."""
    tokens = _tokens(lines)
    if folded(normal) not in map(folded, tokens):
        known = ", ".join(f"'{token}'" for token, _ in tokens.most_common(5))
        raise BenchError(
            f"none of the first {len(lines):,} lines begins with '{normal}' of --normal: they begin with {known}"
        )


def _tokens(lines: list[str]) -> Counter[str]:
    found = (re.match(r"\S*", line) for line in lines)
    return Counter(match[0] for match in found if match is not None and match[0])


def _notes(tokens: Counter[str], normal: str) -> tuple[str, ...]:
    empty = [token for token in tokens if folded(token) in EMPTY_WORDS - {"", folded(normal)}]
    if not empty:
        return ()
    n = sum(tokens[token] for token in empty)
    return (f"{n:,} lines begin with '{empty[0]}', which reads like no label and counts as abnormal: correct them.",)
