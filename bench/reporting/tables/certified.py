"""Which rows are scores of third-party code, and of which method here that code is."""

from __future__ import annotations

from typing import NamedTuple

from bench.reporting.tables.rows import Row, Table


class Pair(NamedTuple):
    """A method here, and a row of scores that other code for the same method gave on the same sequences."""

    ours: Row
    theirs: Row

    @property
    def code(self) -> str:
        """Which code theirs is, in the importer's words."""
        return self.theirs.records[0]["detector"]["certifies"]["code"]


def certified_pairs(table: Table) -> list[Pair]:
    """The pairs of a table whose two sides finished, in the order of its rows."""
    rows = {row.method: row for row in table.rows if row.finished}
    found = []
    for theirs in rows.values():
        named = theirs.records[0]["detector"].get("certifies")
        ours = None if named is None else rows.get(named["method"])
        if ours is not None:
            found.append(Pair(ours, theirs))
    return found
