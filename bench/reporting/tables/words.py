"""How sentences below tables list names and write shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NAMED: Final = 6
"""Methods that a sentence names; of more the number is told."""


def listed(texts: Sequence[str]) -> str:
    """`a, b and 3 more`."""
    more = len(texts) - NAMED
    return ", ".join(texts[:NAMED]) + (f" and {more} more" if more > 0 else "")


def percent(share: float) -> str:
    """`12 %`, `0.3 %`, `8 %`: a digit behind the point at both ends, and neither 0 nor 100 where it is not that."""
    value = 100 * share
    text = f"{value:.0f}" if 9.95 <= value <= 99.5 else f"{value:.1f}"
    if text in ("0.0", "100.0") and value not in (0, 100):
        return "under 0.1 %" if value < 1 else "over 99.9 %"
    return f"{text.removesuffix('.0')} %"


def capital(text: str) -> str:
    """With its first letter upper case."""
    return text[:1].upper() + text[1:]
