"""Markdown that every page shares: its tables."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import harmless


def plain(text: str) -> str:
    """A name from elsewhere as one piece of a row or a line: no cell, code or line ends in it, no terminal obeys it."""
    return harmless(text).replace("|", r"\|").replace("`", r"\`")


def table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    """A pipe table of these cells, as they are; no line break at its end."""
    import tabulate

    # Two more spaces in every header would not fit a terminal, and tabulate takes no argument for it.
    before, tabulate.MIN_PADDING = tabulate.MIN_PADDING, 0
    try:
        return tabulate.tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    finally:
        tabulate.MIN_PADDING = before
