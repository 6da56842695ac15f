"""Which rows and columns of tables are wanted, and in which order; what is unknown is a BenchError."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.errors import BenchError, unknown_name
from bench.experiment.groups import is_control
from bench.reporting.tables.columns import NAME, Column, find_column, sort_key
from bench.reporting.tables.ranking import RANKED_BY, best_controls
from bench.reporting.tables.rows import Row, Table, base_of

_COMMA: Final = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class Choice:
    """What a user asked for; without anything all is shown as it stands."""

    methods: tuple[str, ...] = ()
    columns: tuple[Column, ...] | None = None
    sort: Column | None = None
    top: int | None = None

    @classmethod
    def of(
        cls,
        methods: str | None = None,
        columns: str | None = None,
        sort: str | None = None,
        top: int | None = None,
        *,
        sort_of_top: str = RANKED_BY,
    ) -> Choice:
        """What options say.

        methods: names of rows, or of methods with all their rows; commas outside brackets part them
        columns, sort: keys or headings of columns;  top: rows of each group
        sort_of_top: what the top is of where no order is given
        """
        if top is not None and top < 1:
            raise BenchError(f"--top {top} leaves nothing: give a whole number from 1")
        order = sort_of_top if sort is None and top is not None else sort
        return cls(
            tuple(_parts(methods)),
            tuple(find_column(name, "--columns") for name in _parts(columns)) or None,
            None if order is None or order == NAME else find_column(order, "--sort"),
            top,
        )

    def apply(self, tables: Sequence[Table], rule: str) -> list[Table]:
        """The tables that have what is wanted, without the rest; controls stay, for they stand in every table.

        Rows are sorted within their group, since groups are told different things. Raises BenchError for a name that no
        table has.
        """
        self._require_methods(tables)
        found = []
        for table in tables:
            if any(self._wants(row) and not is_control(row.group) for row in table.rows) or not self.methods:
                found.append(replace(table, rows=self._rows(table, rule)))
        return found

    def _require_methods(self, tables: Sequence[Table]) -> None:
        known = {name for table in tables for row in table.rows for name in _names_of(row)}
        controls = {name for table in tables for row in table.rows if is_control(row.group) for name in _names_of(row)}
        for name in self.methods:
            if name not in known:
                raise unknown_name("method", name, sorted(known - controls), where="--methods")
        if self.methods and controls.issuperset(self.methods):
            raise BenchError("--methods names controls alone, which stand in every table: name a method too")

    def _rows(self, table: Table, rule: str) -> tuple[Row, ...]:
        best = best_controls(table)
        found: list[Row] = []
        for group in dict.fromkeys(row.group for row in table.rows):
            rows = [row for row in table.rows if row.group == group and (is_control(group) or self._wants(row))]
            if self.sort is not None:
                rows.sort(key=sort_key(self.sort, rule))
            shown = rows if self.top is None else rows[: self.top]
            found += [*shown, *(row for row in rows if row in best and row not in shown)]
        return tuple(found)

    def _wants(self, row: Row) -> bool:
        return not self.methods or any(name in self.methods for name in _names_of(row))


def _names_of(row: Row) -> tuple[str, str]:
    """`deeplog+nearest[alpha=1]` is wanted by this name, and by `deeplog+nearest`."""
    return row.method, base_of(row)


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in _COMMA.split(text or "") if part.strip()]
