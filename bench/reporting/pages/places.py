"""A block on mean places over editions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bench.evaluation.agreement import kendall_tau, ranks
from bench.evaluation.measures import measure_of
from bench.experiment.grades import CONTROL
from bench.reporting import markdown
from bench.reporting.pages.gather import Results, kind_of, methods_of, standing_of
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.tables.matrix import column
from bench.reporting.tables.ranking import RANKED_BY, value_of
from bench.reporting.tables.rows import Table


def mean_ranks(results: Results) -> str:
    """The mean place by AP over the editions that are good for a finding, for methods told the same."""
    parts = []
    for family, split in (("within", "chronological"), ("paper", "paper")):
        tables = [
            t
            for t in results.of(family)  # type: ignore[arg-type]  # both are families
            if t.key.split == split and standing_of(t) in ("evaluation", "development")
        ]
        for group in sorted({row.group for table in tables for row in methods_of(table)}):
            parts += _rank_parts(tables, group, split)
    return "\n\n".join(parts) or f"({NOTHING})"


def _rank_parts(tables: Sequence[Table], group: str, split: str) -> list[str]:
    """A table of places; only rows that every one of the editions has are ranked."""
    per_table = [_ranked_rows(table, group) for table in tables]
    names = sorted(set.intersection(*(set(found) for found in per_table))) if per_table else []
    if len(names) < 2 or len(tables) < 2:
        return []
    places = np.array([ranks([found[name] for name in names]) for found in per_table])
    order = np.argsort(places.mean(axis=0), kind="stable")
    lines = [
        [markdown.plain(names[i]), f"{places[:, i].mean():.2f}", *(f"{place:g}" for place in places[:, i])]
        for i in order
    ]
    pairs = [kendall_tau(-places[i], -places[j]) for i, j in itertools.combinations(range(len(tables)), 2)]
    known = [tau for tau in pairs if tau is not None]
    words = f"{len(names)} rows, {len(tables)} editions; Kendall's tau of two editions' rankings is "
    words += f"{np.mean(known):+.2f} in the mean, {min(known):+.2f} at the least." if known else "not defined."
    title = f"**{split}, {group}, controls beside them** (places by {measure_of(RANKED_BY).title}, 1 is the best)"
    return [title, markdown.table(lines, ["", "mean place", *(column(table) for table in tables)]), words]


def _ranked_rows(table: Table, group: str) -> dict[str, float]:
    rows = [row for row in table.rows if row.group in (group, CONTROL) and kind_of(row) == "plain"]
    values = {row.method: value_of(row, RANKED_BY) for row in rows}
    return {name: value for name, value in values.items() if value is not None}
