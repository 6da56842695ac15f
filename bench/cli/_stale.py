"""What the terminal says of records whose code is not the installed one; never a committed file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bench.records.store import Record, Store
    from bench.reporting.tables.rows import Table
    from bench.reporting.tables.versions import StaleRow

_NAMED = 3
"""Rows of one reason that are named each; of more only the number is told, and what to do."""


def tell_stale(tables: Sequence[Table], store: Store, methods: Sequence[str] | None = None) -> None:
    """Name on stderr the rows that the installed code did not make.

    methods: only rows of these names; None: of all
    """
    from bench.experiment.code import InstalledCode
    from bench.reporting.tables.versions import stale_rows

    found = stale_rows(tables, InstalledCode(store.cache))
    found = [row for row in found if methods is None or row.method in methods]
    for why in dict.fromkeys(row.why for row in found):
        for line in _lines([row for row in found if row.why == why]):
            typer.echo(line, err=True)


def _lines(rows: Sequence[StaleRow]) -> list[str]:
    """What is said of rows that are stale for one reason."""
    if len(rows) <= _NAMED:
        return [f"stale: {row}" for row in rows]
    way_out = "" if rows[0].is_gone else ": `bench results restamp` says whether their numbers hold"
    return [f"stale: {len(rows)} rows ({rows[0].why}){way_out}"]


def code_lines(record: Record, store: Store) -> list[str]:
    """What `bench results show` says of the code that made a record, and of a later check."""
    from bench.experiment.code import InstalledCode
    from bench.records.record import ran_elsewhere

    made_by = record.get("code")
    if ran_elsewhere(record):
        certified = record["detector"].get("certifies")
        beside = f": {certified['code']}, for {certified['method']}" if certified else ""
        lines = [f"code: none of this program, only its scores were imported{beside}"]
    elif not made_by:
        lines = ["code: unknown, as the record was made before records named it"]
    else:
        of = InstalledCode(store.cache).standing(record)
        words = {"current": "as installed", "stale": f"stale: {of.why}", "gone": of.why}
        lines = [f"code: method {made_by['method']}, engine {made_by['engine']} ({words[of.state]})"]
    if checked := record.get("verified_with"):
        code = checked["code"]
        steps = checked.get("against", {}).get("steps")
        how = "" if steps is None else f", trained for {steps} steps at most"
        lines.append(f"verified {checked['date']} with method {code['method']}, engine {code['engine']}{how}")
    return lines
