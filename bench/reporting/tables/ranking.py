"""Which row of a table ranks first, and how its values are printed in sentences and matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.grades import CONTROL
from bench.experiment.groups import is_control, may_stand_beside
from bench.experiment.measure import ALL
from bench.reporting.tables.rows import Row, Table, mean_of, shown_rule

RANKED_BY: Final = "ap"
"""The metric of headroom, verdicts and ranks: no threshold stands in it."""
_NO_THRESHOLD: Final = "n/e"


def value_of(row: Row, metric: str, rule: str = DEFAULT_RULE) -> float | None:
    """The mean over seeds by the rule that tables show; None of a row that did not finish."""
    return mean_of(row, ALL, metric, shown_rule(row, rule)) if row.finished else None


def best_of(rows: Sequence[Row]) -> Row | None:
    """The row that ranks first; None where none has a value. Of equals the first."""
    known = [(value, row) for row in rows if (value := value_of(row, RANKED_BY)) is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def controls_of(table: Table, method: Row | None = None) -> list[Row]:
    """The controls of a table that are told normals; for a method also those that are told no more than it."""
    if method is None:
        return [row for row in table.rows if row.group == CONTROL]
    controls = [row for row in table.rows if is_control(row.group)]
    return [row for row in controls if may_stand_beside(row.records[0], method.records[0])]


class Reference(NamedTuple):
    """Methods, and the best of the controls that are told no more than these."""

    control: Row | None
    """None where no such control finished."""
    methods: tuple[Row, ...]

    @property
    def told(self) -> str:
        """What its methods are told, as headings say it."""
        return " or ".join(dict.fromkeys(row.group for row in self.methods))


def references_of(table: Table) -> list[Reference]:
    """The methods of a table by the control that each is held against, in the order of the rows.

    Beside methods that are told labels stand controls that are told them too, so a table may have several best ones.
    Without any method it is the best control that every table has.
    """
    found: dict[int, tuple[Row | None, list[Row]]] = {}
    for row in table.rows:
        if not is_control(row.group):
            control = best_of(controls_of(table, row))
            found.setdefault(id(control), (control, []))[1].append(row)
    references = [Reference(control, tuple(methods)) for control, methods in found.values()]
    return references or [Reference(best_of(controls_of(table)), ())]


def best_controls(table: Table) -> list[Row]:
    """The controls that methods of a table are held against."""
    return [found.control for found in references_of(table) if found.control is not None]


def short(value: float | None) -> str:
    """`.598`, `1.00`; a threshold that could not be estimated gives no F1."""
    if value is None:
        return _NO_THRESHOLD
    text = f"{value:.3f}"
    return "1.00" if text == "1.000" else text.replace("0.", ".", 1)
