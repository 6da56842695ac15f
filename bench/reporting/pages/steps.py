"""Blocks on the budget in optimiser steps: curves, what a budget would be fixed by, and untrained selves."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from bench.evaluation.agreement import kendall_tau
from bench.reporting import markdown
from bench.reporting.pages.gather import Results, kind_of, standing_of, steps_of
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.tables.matrix import column
from bench.reporting.tables.ranking import RANKED_BY, short, value_of
from bench.reporting.tables.rows import Row, Table, base_of

FACTORS: Final = (0.25, 1, 4)
"""Of the budget, at which rankings are compared."""
NEAR: Final = 0.01
"""AP below the best of a curve that is as good as it."""
_SHORT: Final = 4
"""So few points of steps are no curve of a budget."""

Curve = dict[int, Row]
"""Rows of one method by their steps."""


def steps(results: Results) -> str:
    """AP against optimiser steps on each edition, and how far the ranking depends on them."""
    parts = []
    for table in results.of("within", "paper", "transfers", "combined", simulated=True):
        curves = {name: curve for name, curve in _curves(table).items() if len(curve) > 1}
        if curves:
            parts += [f"**{column(table)}, {table.key.split}** (AP)", _curve_table(curves), _curve_words(table, curves)]
    return "\n\n".join(parts) or f"({NOTHING})"


def budget_rule(results: Results) -> str:
    """At which steps how many networks are as good as they get, over the systems on which settings are chosen."""
    values: dict[str, dict[str, dict[int, float]]] = defaultdict(dict)
    for table in results.of("within", "combined", simulated=True):
        if standing_of(table) in ("development", "simulated") and table.key.split == "chronological":
            for name, curve in _curves(table).items():
                known = {count: value for count, row in curve.items() if (value := _validation_ap(row)) is not None}
                if known.get(0) is not None and len(known) > _SHORT:
                    values[name][table.key.scenario] = known
    if not values:
        return f"({NOTHING})"
    means = {name: _mean_curve(list(curves.values())) for name, curves in sorted(values.items())}
    counts = sorted(set.intersection(*(set(curve) for curve in means.values())))
    lines = [
        [name, str(len(values[name])), *(short(means[name][count]) for count in counts), _best_at(means[name], counts)]
        for name in means
    ]
    within = [sum(_is_near_best(curve, count, counts) for curve in means.values()) for count in counts]
    last = [f"within {NEAR} of its best", "", *(f"{n} of {len(means)}" for n in within), ""]
    headers = ["validation AP", "systems", *(f"{count:,}" for count in counts), "best at"]
    return markdown.table([*lines, last], headers)


def _validation_ap(row: Row) -> float | None:
    found = [record.get("validation", {}).get("ranking", {}).get("ap") for record in row.finished]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def _mean_curve(curves: Sequence[dict[int, float]]) -> dict[int, float]:
    """The mean over systems, at the steps that all of them have."""
    counts = set.intersection(*(set(curve) for curve in curves))
    return {count: float(np.mean([curve[count] for curve in curves])) for count in sorted(counts)}


def _is_near_best(curve: dict[int, float], count: int, counts: Sequence[int]) -> bool:
    return curve[count] >= max(curve[other] for other in counts) - NEAR


def _best_at(curve: dict[int, float], counts: Sequence[int]) -> str:
    return f"{max(counts, key=lambda count: curve[count]):,}"


def untrained(results: Results, name: str) -> str:
    """Where a network was also scored without training: its AP then and at the budget, edition by edition."""
    lines = []
    for table in results.of("within", "paper", "transfers", "combined", simulated=True):
        curve = _curves(table).get(name, {})
        plain = next((row for row in curve.values() if kind_of(row) == "plain"), None)
        first = value_of(curve[0], RANKED_BY) if 0 in curve else None
        last = None if plain is None else value_of(plain, RANKED_BY)
        if first is not None and last is not None:
            words = ": **below its untrained self**" if last < first else ""
            lines.append(
                f"- {column(table)}, {table.key.split}: {short(first)} untrained, {short(last)} trained{words}"
            )
    return "\n".join(["AP without and with training:", "", *lines]) if lines else ""


def _curves(table: Table) -> dict[str, Curve]:
    """Each method's rows by their steps, of the seeds that all of them have: one seed's luck is no curve."""
    found: dict[str, Curve] = defaultdict(dict)
    for row in table.rows:
        count = steps_of(row)
        if count is not None and kind_of(row) in ("plain", "steps") and row.finished:
            found[base_of(row)][count] = row
    return {name: of_common_seeds(curve) for name, curve in sorted(found.items())}


def of_common_seeds(curve: Curve) -> Curve:
    """The rows with no other seeds than all of them have."""
    seeds = [{record["spec"]["seed"] for record in row.finished} for row in curve.values()]
    common = set.intersection(*seeds)
    return {
        count: dataclasses.replace(
            row, records=tuple(record for record in row.finished if record["spec"]["seed"] in common)
        )
        for count, row in curve.items()
        if common
    }


def _seeds_words(curves: dict[str, Curve]) -> str:
    """How many seeds stand behind each value."""
    counts = [len(row.records) for curve in curves.values() for row in curve.values()]
    fewest, most = min(counts), max(counts)
    shown = str(most) if fewest == most else f"{fewest} to {most}"
    return f"- Seeds behind a value, the same ones at all steps of a method: {shown}."


def _curve_table(curves: dict[str, Curve]) -> str:
    counts = sorted({count for curve in curves.values() for count in curve})
    lines = [
        [name, *(short(value_of(curve[count], RANKED_BY)) if count in curve else "" for count in counts)]
        for name, curve in curves.items()
    ]
    return markdown.table(lines, ["steps", *(f"{count:,}" for count in counts)])


def _curve_words(table: Table, curves: dict[str, Curve]) -> str:
    budgets = {count for curve in curves.values() for count, row in curve.items() if kind_of(row) == "plain"}
    lines = [_seeds_words(curves)]
    for budget in sorted(budgets):
        at = {factor: _at(curves, round(factor * budget)) for factor in FACTORS}
        for one, other in itertools.combinations(FACTORS, 2):
            both = sorted(at[one].keys() & at[other].keys())
            tau = kendall_tau([at[one][name] for name in both], [at[other][name] for name in both])
            if tau is not None and len(both) > 2:
                lines.append(
                    f"- Rankings at {one:g} and {other:g} times the budget of {budget:,} steps: "
                    f"Kendall's tau {tau:+.2f} ({len(both)} methods)."
                )
        below = sorted(name for name, value in at[1].items() if value < _at(curves, 0).get(name, -1.0))
        if _at(curves, 0):
            lines.append(f"- Below its untrained self at {budget:,} steps: {', '.join(below) or 'no method'}.")
    return "\n".join(lines)


def _at(curves: dict[str, Curve], count: int) -> dict[str, float]:
    values = {name: value_of(curve[count], RANKED_BY) for name, curve in curves.items() if count in curve}
    return {name: value for name, value in values.items() if value is not None}
