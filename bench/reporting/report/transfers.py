"""The heat map of transfers: methods by pairs of source and target, each cell shaded by its AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.experiment.grades import group_rank
from bench.records.record import standing
from bench.reporting.report.boards import told_words
from bench.reporting.tables.ranking import RANKED_BY, short, value_of
from bench.reporting.tables.rows import Table

SHADES: Final = 10


@dataclass(frozen=True)
class HeatLine:
    """A method of the heat map."""

    name: str
    cells: tuple[tuple[str, int | None], ...]
    """Text and shade, from 0 to 9; no shade where there is no number."""


@dataclass(frozen=True)
class Heat:
    """The transfers of one split, for methods that are told the same."""

    title: str
    pairs: tuple[str, ...]
    """`bgl@full → tbird@full`."""
    lines: tuple[HeatLine, ...]


def heats_of(tables: Sequence[Table]) -> list[Heat]:
    """A map for each split and each thing that methods are told."""
    across = [table for table in tables if table.records[0]["spec"]["train"] != table.records[0]["spec"]["test"]]
    found = []
    for split in sorted({table.key.split for table in across}):
        same = [table for table in across if table.key.split == split]
        groups = {row.group for table in same for row in table.rows}
        found += [_heat(split, told, same) for told in sorted(groups, key=group_rank)]
    return found


def _heat(split: str, told: str, tables: Sequence[Table]) -> Heat:
    names = sorted({row.method for table in tables for row in table.rows if row.group == told})
    lines = tuple(HeatLine(name, tuple(_cell(table, told, name) for table in tables)) for name in names)
    return Heat(f"{split}, {told_words(told)}", tuple(map(_pair, tables)), lines)


def _pair(table: Table) -> str:
    spec = table.records[0]["spec"]
    source, target = ("+".join(part["edition"] for part in spec[side]) for side in ("train", "test"))
    worth = standing(table.records[0])
    return f"{source} \N{RIGHTWARDS ARROW} {target}" + ("" if worth == "evaluation" else f" ({worth})")


def _cell(table: Table, told: str, name: str) -> tuple[str, int | None]:
    row = next((row for row in table.rows if (row.group, row.method) == (told, name)), None)
    if row is None:
        return "", None
    value = value_of(row, RANKED_BY)
    if value is None:
        return row.records[0]["status"].replace("_", " "), None
    return short(value), min(int(value * SHADES), SHADES - 1)
