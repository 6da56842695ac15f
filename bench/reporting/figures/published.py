"""Figures of kind `published`: a page that sets published values, or claims, beside the records of a suite.

A published method that the suite does not run on a cut, and another one did, has its row from there: a line without one
would say that it was never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.reporting.figures.figure import Figure, FigureRequest, Kind, Options, listed
from bench.reporting.published.claims import render_beside, with_claimed_rows
from bench.reporting.published.page import render_published, with_stored_rows
from bench.reporting.tables.rows import Row, Table
from bench.reporting.tables.table import make_tables


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """A page that sets published values beside the records of the suite."""
    notes = (*request.plan.notes, *request.missing)
    own = make_tables(request.records.values())
    stored, cache = _stored(own, request), request.store.cache
    claims, numbers = options.get("claims", ()), options.get("tables", ())
    if claims:
        tables = with_claimed_rows(own, stored, claims)
        page = render_beside(tables, request.rule, claims)
    else:
        tables = with_stored_rows(own, stored, cache, only=numbers)
        page = render_published(tables, request.rule, cache, only=numbers)
    more = [row for of, wide in zip(own, tables, strict=True) for row in wide.rows[len(of.rows) :]]
    notes += _told(more)
    page = "\n\n".join(filter(None, [request.suite.description, listed(notes), page]))
    ids = dict.fromkeys([*request.records, *(record["run_id"] for row in more for record in row.records)])
    return [Figure(request.suite.name, "published", {}, tuple(ids), notes, page)]


def _stored(tables: Sequence[Table], request: FigureRequest) -> list[Table]:
    """The tables of these scenarios and splits with all that is recorded, whoever ran it."""
    places = {(table.key.scenario, table.key.split) for table in tables}
    return make_tables(request.store.table_records(lambda *place: place in places))


def _told(rows: Sequence[Row]) -> tuple[str, ...]:
    names = ", ".join(sorted({row.label for row in rows}))
    return (f"not run by this suite, but stored for the same data and split: {names}",) if names else ()


KIND: Final = Kind("published", ("tables", "claims"), _gather)
