"""The pictures of the page: ranks, curves, AP over optimiser steps, from what the figures of suites gather."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.errors import BenchError
from bench.evaluation.measures import measure_of
from bench.experiment.grades import CONTROL
from bench.experiment.groups import is_control
from bench.records.store import Store
from bench.reporting.figures import curves, ranks, steps
from bench.reporting.report.boards import Line, Sheet
from bench.reporting.report.plots import Diagram, Plot, curve_plots, rank_diagram, step_plot
from bench.reporting.tables.choose import trusted_scores
from bench.reporting.tables.ranking import RANKED_BY, best_of, references_of
from bench.reporting.tables.rows import Row, Table

_FEWEST: Final = 3
"""Methods with a value that an edition needs to count for ranks."""
_Rows = dict[str, dict[str, Row]]


@dataclass(frozen=True)
class Drawing:
    """Pictures with what is read beside them."""

    title: str
    plots: tuple[Plot, ...] = ()
    diagram: Diagram | None = None
    notes: tuple[str, ...] = ()
    sheet: Sheet | None = None
    """The numbers of the pictures."""


# ------------------------------------------------------------------------------------------------------------ ranks


def rank_drawings(tables: Sequence[Table], rule: str) -> list[Drawing]:
    """Mean ranks over evaluation editions: a diagram for each split and each thing that methods are told."""
    drawings, missing = [], []
    for (split, told), editions in sorted(_rankable(tables).items()):
        title = f"{split}, told {told}, controls beside them"
        found = _complete(editions)
        panel = ranks.ranking_of(found, measure_of(RANKED_BY), rule, with_pairs=False)
        if isinstance(panel, str):
            missing.append(f"{split}, told {told}: {panel}.")
        else:
            drawings.append(_ranked(title, panel, [key for key in editions if key not in found]))
    if missing:
        title = f"Not ranked, since {_FEWEST} methods on {_FEWEST} editions are needed"
        drawings.append(Drawing(title, notes=tuple(missing)))
    return drawings


def _complete(editions: _Rows) -> _Rows:
    """The editions on which the most values of the same methods stand: a method counts where it ran on all of them.

    So an edition that few methods ran on does not leave all others out. No value decides, only whether there is one.
    """
    finished = {key: {name for name, row in rows.items() if row.finished} for key, rows in editions.items()}
    order = sorted(editions, key=lambda key: (-len(finished[key]), key))
    parts = [order[:n] for n in range(_FEWEST, len(order) + 1)]
    best = max(parts, key=lambda part: (_n_values(part, finished), len(part)), default=order)
    return {key: rows for key, rows in editions.items() if key in best}


def _n_values(part: Sequence[str], finished: Mapping[str, set[str]]) -> int:
    n_methods = len(set.intersection(*(finished[key] for key in part)))
    return len(part) * n_methods if n_methods >= _FEWEST else 0


def _rankable(tables: Sequence[Table]) -> dict[tuple[str, str], _Rows]:
    """By split and what is told: the rows of each evaluation edition, with the controls that every table has."""
    groups: dict[tuple[str, str], _Rows] = defaultdict(dict)
    for table in tables:
        if table.key.sample or not ranks.is_evaluation_edition(table.records[0]):
            continue
        for group in {row.group for row in table.rows if not is_control(row.group)}:
            rows = {row.method: row for row in table.rows if row.group in (group, CONTROL)}
            groups[table.key.split, group].setdefault(table.key.scenario, rows)
    return groups


def _ranked(title: str, panel: Mapping[str, Any], dropped: Sequence[str]) -> Drawing:
    order = sorted(range(len(panel["methods"])), key=lambda i: panel["ranks"][i])
    lines = tuple(
        Line(panel["methods"][i], "", (f"{panel['ranks'][i]:.2f}", *(f"{row[i]:.3f}" for row in panel["values"])))
        for i in order
    )
    headers = ("mean rank", *panel["editions"])
    sheet = Sheet("AP on each edition", headers, (False, *[True] * len(panel["editions"])), lines)
    diagram = rank_diagram(panel, f"Critical-difference diagram: {title}")
    return Drawing(title, diagram=diagram, notes=tuple(_rank_notes(panel, dropped)), sheet=sheet)


def _rank_notes(panel: Mapping[str, Any], dropped: Sequence[str]) -> list[str]:
    p = panel["friedman_p"]
    friedman = "all are equal everywhere" if p is None else f"Friedman's p is {p:.3g}"
    notes = [
        f"{len(panel['editions'])} editions; {friedman}; mean ranks by AP that differ by less than the critical "
        f"difference, {panel['critical_difference']:.2f}, are joined by a bar and cannot be told apart."
    ]
    systems = Counter(key.partition("@")[0] for key in panel["editions"])
    twice = [f"{n} of {name}" for name, n in systems.items() if n > 1]
    notes += [f"Editions of one system are no evidence of their own: {', '.join(twice)}."] if twice else []
    left_out = [f"{name} ({len(where)})" for name, where in panel["left_out"].items()]
    n = len(panel["editions"])
    notes += [f"Left out, since missing on so many of the {n} editions: {', '.join(left_out)}."] if left_out else []
    notes += [f"Editions left out, on which too few of these methods ran: {', '.join(dropped)}."] if dropped else []
    return notes


# ----------------------------------------------------------------------------------------------------------- curves


def curve_drawings(tables: Sequence[Table], rule: str, store: Store) -> tuple[list[Drawing], list[str]]:
    """Curves of the best method and the best control of each table, and why some have none."""
    found: list[Drawing] = []
    notes: list[str] = []
    for table in tables:
        place = f"{table.key.scenario}, {table.key.split}"
        try:
            drawn = _curves(table, rule, store)
        except BenchError as error:
            notes.append(f"No curves of {place}: {error}.")
            continue
        if drawn is not None:
            found.append(drawn)
        elif _telling_rows(table):
            notes.append(f"No curves of {place}: the scores of its best rows are not in this folder.")
    return found, notes


def _telling_rows(table: Table) -> list[Row]:
    """The best method and the control it is held against."""
    held = references_of(table)
    best = best_of([row for each in held for row in each.methods])
    control = next((each.control for each in held if best is None or best in each.methods), None)
    return [row for row in (best, control) if row is not None]


def _curves(table: Table, rule: str, store: Store) -> Drawing | None:
    made, notes = [], []
    for row in _telling_rows(table):
        record = row.finished[0]
        scores = trusted_scores(record, store)
        if scores is None:
            notes.append(f"{row.method} is left out: its scores are not in this folder.")
            continue
        drawn = curves.curves_of(row.method, record, scores, rule)
        notes += [f"{row.method}: {drawn['no_point']}"] if drawn["no_point"] else []
        made.append(drawn)
    if not made:
        return None
    title = f"{table.key.scenario}, {table.key.split}: {' and '.join(row['method'] for row in made)}"
    plots = tuple(plot for row in made for plot in curve_plots(row, rule))
    values = tuple(_curve_line(row) for row in made)
    headers = ("seed", "AP", "AUROC", "prevalence")
    sheet = Sheet("Of the runs drawn", headers, (True,) * len(headers), values)
    return Drawing(title, plots, notes=tuple(notes), sheet=sheet)


def _curve_line(row: Mapping[str, Any]) -> Line:
    numbers = (f"{row[name]:.3f}" for name in ("ap", "auroc", "prevalence"))
    return Line(row["method"], "", (str(row["seed"]), *numbers))


# ------------------------------------------------------------------------------------------------------------ steps


def step_drawings(tables: Sequence[Table]) -> list[Drawing]:
    """AP of the test part over optimiser steps, of networks that ran under several budgets."""
    budget = _budget(tables)
    panels = [_step_panel(table) for table in tables]
    return [_stepped(panel, budget) for panel in panels if panel is not None]


def _budget(tables: Sequence[Table]) -> int:
    """The number of optimiser steps that most rows were given; 0 where none was trained in steps."""
    counted = Counter(_steps(row) or 0 for table in tables for row in table.rows)
    del counted[0]
    return max(counted, key=lambda n: (counted[n], n), default=0)


def _step_panel(table: Table) -> dict[str, Any] | None:
    place = (table.key.scenario, table.key.split)
    rows = {(*place, row.method): row for row in table.rows if row.finished}
    given = {row.method: _steps(row) for row in table.rows}
    return steps.panel_of(place, rows, given, "test") if rows else None


def _steps(row: Row) -> int | None:
    found = row.records[0]["detector"]["config"].get("steps")
    return found if isinstance(found, int) else None


def _stepped(panel: Mapping[str, Any], budget: int) -> Drawing:
    every = sorted({point["x"] for curve in panel["curves"] for point in curve["points"]})
    lines = tuple(_step_line(curve, every) for curve in panel["curves"])
    sheet = Sheet("Mean AP after", tuple(f"{n:,} steps" for n in every), (True,) * len(every), lines)
    notes = [f"The dotted line stands at the budget of {budget:,} steps."]
    control = panel["control"]
    notes += [f"The dashed line is the best control, {control['method']}, AP {control['ap']:.3f}."] if control else []
    title = f"{panel['scenario']}, {panel['split']}"
    return Drawing(title, (step_plot(panel, budget),), notes=tuple(notes), sheet=sheet)


def _step_line(curve: Mapping[str, Any], every: Sequence[int]) -> Line:
    means = {point["x"]: f"{point['mean']:.3f}" for point in curve["points"]}
    return Line(curve["method"], "", tuple(means.get(n, "-") for n in every))
