"""Sentences in lines that fit a terminal."""

from __future__ import annotations

import textwrap
from typing import Final

WIDTH: Final = 80


def wrapped(line: str) -> str:
    """A sentence in lines that fit, those behind the first two spaces further in; no word is cut."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
