"""A table as data, before it is Markdown, LaTeX, HTML or what a terminal shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Rows of methods that are told the same."""

    headers: tuple[str, ...]
    """The first is what the methods are told."""
    rows: tuple[tuple[str, ...], ...]
    """Cells as text; the first is the name as records have it, escaped for nothing."""
    best: int | None = None
    """The place of the best control."""
    certified: frozenset[int] = frozenset()
    """The places of methods that are what third-party code for them is."""


@dataclass(frozen=True)
class Block:
    """The grids over all systems of a table, or over one of several."""

    grids: tuple[Grid, ...]
    title: str = ""
    """Which system; nothing over all."""
    size: str = ""
    """Its sequences, in words."""


@dataclass(frozen=True)
class View:
    """What is shown of one table, in this order; lines of facts and notes are those of a Markdown list."""

    heading: str
    facts: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    """Sentences for a reader who knows none of the columns."""
    brief: tuple[str, ...] = ()
    """The facts that a terminal shows."""
    brief_notes: tuple[str, ...] = ()
    """The notes that a terminal shows."""
