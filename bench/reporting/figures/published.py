"""Figures of kind `published`: a page that sets published values, or claims, beside the records of a suite."""

from __future__ import annotations

from typing import Final

from bench.reporting.figures.figure import Figure, FigureRequest, Kind, Options, listed
from bench.reporting.published.claims import render_beside
from bench.reporting.published.page import render_published
from bench.reporting.tables.table import make_tables


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """A page that sets published values beside the records of the suite."""
    notes = (*request.plan.notes, *request.missing)
    tables = make_tables(request.records.values())
    claims = options.get("claims", ())
    if claims:
        page = render_beside(tables, request.rule, claims)
    else:
        page = render_published(tables, request.rule, request.store.cache, only=options.get("tables", ()))
    page = "\n\n".join(filter(None, [request.suite.description, listed(notes), page]))
    return [Figure(request.suite.name, "published", {}, tuple(request.records), notes, page)]


KIND: Final = Kind("published", ("tables", "claims"), _gather)
