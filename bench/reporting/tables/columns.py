"""The columns of tables: how each is called, what stands in its cells, and by what value rows are sorted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.errors import unknown_name
from bench.evaluation.measures import Measure, all_measures, measure_of
from bench.evaluation.thresholds import parse_rule
from bench.experiment.grades import told_of
from bench.experiment.measure import ALL
from bench.records.record import own_seconds
from bench.reporting.tables.answers import CALL_HEADERS, call_cells, calls_of
from bench.reporting.tables.rows import Row, Table, aggregate, mean_of, shown_rule, steps_of

NAME: Final = "method"
"""What rows are sorted by where it is by name."""
NARROW: Final = ("f1", "ap", "auroc", "fpr")
"""What fits a terminal of 80 columns, beside a name."""
BROAD: Final = ("f1", "ap", "auroc", "fpr", "recall_at_fpr_0.01", "oracle_f1", "seeds")
"""What fits 120 columns, AP and AUROC with their intervals."""

BESIDE: Final = "F1 @pool"
"""Heading of the F1 of the same rule, fitted on the unlabelled pool of the target."""

_WHERE_HELD: Final = {"recall_incident": "R inc"}
"""Columns of the tables whose records hold the metric, and their headings."""
_CALLS: Final = ("calls", "tokens", "cost", "seconds_per_sequence")

Cell = Callable[[Row, str, str], str]
"""Row, block and the rule that the row is reported by -> what stands in the cell."""


@dataclass(frozen=True)
class Column:
    """One column; its cells are of rows that finished."""

    key: str
    heading: str
    cell: Cell
    value: Callable[[Row, str], float | None]
    """Row and threshold rule -> what it is sorted by."""
    higher_is_better: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """What a user may call it."""
        return self.key, self.heading.partition(" [")[0].lower()


def of_measure(measure: Measure, *, interval: bool = True) -> Column:
    """The column of a metric; without its interval, also of one that has one."""
    has_interval = interval and measure.has_interval
    plain = measure.column or measure.title
    heading = _WHERE_HELD.get(measure.key, measure.heading if has_interval and measure.column else plain)

    def cell(row: Row, block: str, rule: str) -> str:
        return _measured(row, block, measure, rule, interval=has_interval)

    def value(row: Row, rule: str) -> float | None:
        return mean_of(row, ALL, measure.key, shown_rule(row, rule))

    return Column(measure.key, heading, cell, value, measure.higher_is_better)


def _measured(row: Row, block: str, measure: Measure, rule: str, *, interval: bool) -> str:
    """A metric of a row, as its column prints it."""
    missing = "n/e" if measure.is_by_rule else "-"
    if not interval:
        mean = mean_of(row, block, measure.key, rule)
        return missing if mean is None else f"{mean:.3f}"
    found = aggregate(row, block, measure.key, rule)
    if found is None:
        return missing
    # Without leading zeros, else a table would not fit a terminal.
    low, high = (f"{bound:.3f}".removeprefix("0") for bound in (found.low, found.high))
    return f"{found.mean:.3f} [{low},{high}]"


def _of_call(key: str, heading: str, place: int) -> Column:
    """Of what a chat model took."""

    def value(row: Row, rule: str) -> float | None:
        return (calls_of(row) or {}).get(key)

    return Column(key, heading, lambda row, block, rule: call_cells(row)[place], value, higher_is_better=False)


def _of_seconds(name: str, heading: str) -> Column:
    """Of the runs that say what they took by themselves; `-` where none does."""

    def value(row: Row, rule: str) -> float | None:
        return _mean([taken[name] for taken in map(own_seconds, row.finished) if name in taken])

    return Column(name, heading, lambda row, block, rule: _text(value(row, rule), ".2f"), value, higher_is_better=False)


def _added_memory(row: Row, rule: str = "") -> float | None:
    # What ran elsewhere tells no memory.
    return _mean([record["memory_mib"]["added"] for record in row.finished if "added" in record["memory_mib"]])


def _mean(values: Sequence[float]) -> float | None:
    return float(sum(values) / len(values)) if values else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _steps(row: Row, rule: str) -> float | None:
    text = steps_of(row).partition("-")[0]
    return float(text) if text else None


STEPS: Final = Column("steps", "steps", lambda row, block, rule: steps_of(row) or "-", _steps)
TIMES: Final = (
    _of_seconds("fit", "fit s"),
    _of_seconds("score", "score"),
    Column(
        "memory", "+MiB", lambda row, block, rule: _text(_added_memory(row), ".0f"), _added_memory,
        higher_is_better=False,
    ),
)  # fmt: skip
SEEDS: Final = Column(
    "seeds", "seeds", lambda row, block, rule: seeds_of(row), lambda row, rule: float(len(row.finished))
)
CALLS: Final = tuple(_of_call(key, CALL_HEADERS[place], place) for place, key in enumerate(_CALLS))


def seeds_of(row: Row) -> str:
    """`3`, or `2/3` where one did not finish."""
    return f"{len(row.finished)}/{len(row.records)}" if row.failure else str(len(row.records))


def every_column() -> dict[str, Column]:
    """All columns by key, in the order in which they are listed."""
    found = [*(of_measure(measure) for measure in all_measures()), *CALLS, STEPS, *TIMES, SEEDS]
    return {column.key: column for column in found}


def find_column(name: str, option: str) -> Column:
    """The column of that key or heading, upper or lower case; BenchError where there is none."""
    wanted = name.strip().lower()
    for column in every_column().values():
        if wanted in column.names:
            return column
    known = list(every_column())
    raise unknown_name("column", name.strip(), known, where=option, spelled=_spellings())


def _spellings() -> Mapping[str, str]:
    return {name: column.key for column in every_column().values() for name in column.names}


def all_columns(rows: Sequence[Row], table: Table, rule: str) -> list[Column]:
    """Those of the files: all metrics that have one, then what rows of this group have to show."""
    chosen = [measure for measure in all_measures() if measure.column or is_held(measure, table)]
    measures = sorted(chosen, key=lambda measure: not measure.is_by_rule)
    return [
        *(of_measure(measure) for measure in measures),
        *beside_columns(table, rows, rule),
        *(CALLS if any(calls_of(row) for row in rows) else ()),
        *([STEPS] if any(steps_of(row) for row in rows) else []),
        *TIMES,
        SEEDS,
    ]


def rule_beside(table: Table, rows: Sequence[Row], rule: str) -> str:
    """Under `transfer` the same rule on the target's unlabelled pool, for methods that are told of it."""
    parsed = parse_rule(rule)
    is_told = table.key.split == "transfer" and any("target" in told_of(r).roles for row in rows for r in row.records)
    if not is_told or parsed.kind not in ("conformal", "quantile") or parsed.population is not None:
        return ""
    return str(replace(parsed, population="target-unlabelled"))


def beside_columns(table: Table, rows: Sequence[Row], rule: str) -> list[Column]:
    """The column of the rule beside, where it has a value for some row; a note says why where it has none."""
    beside = rule_beside(table, rows, rule)
    has_one = beside and any(mean_of(row, ALL, "f1", beside) is not None for row in rows if row.finished)
    return [_of_beside(beside)] if has_one else []


def _of_beside(beside: str) -> Column:
    def cell(row: Row, block: str, rule: str) -> str:
        value = mean_of(row, block, "f1", beside)
        return "n/e" if value is None else f"{value:.3f}"

    return Column("f1_pool", BESIDE, cell, lambda row, rule: mean_of(row, ALL, "f1", beside))


def narrow_columns() -> list[Column]:
    """What fits 80 columns: an interval only of F1."""
    return [of_measure(measure_of(key), interval=key == "f1") for key in NARROW]


def broad_columns() -> list[Column]:
    """What fits 120 columns."""
    return [every_column()[key] for key in BROAD]


def is_held(measure: Measure, table: Table) -> bool:
    """Whether it is a metric that only some tables have, and a record of this one holds it."""
    if measure.key not in _WHERE_HELD:
        return False
    blocks = [block for row in table.rows for r in row.finished for block in r["metrics"].values()]
    return any(rule.get(measure.key) is not None for block in blocks for rule in block["rules"].values())


def cells_of(row: Row, columns: Sequence[Column], block: str, rule: str) -> list[str]:
    """The cells of a row; of one that did not finish only how many seeds did.

    rule: the threshold rule of the table
    """
    if not row.finished:
        return [seeds_of(row) if column.key == SEEDS.key else "-" for column in columns]
    shown = shown_rule(row, rule)
    return [column.cell(row, block, shown) for column in columns]


def sort_key(column: Column, rule: str) -> Callable[[Row], Any]:
    """The best first, rows without a value last, equals by name."""
    sign = -1 if column.higher_is_better else 1

    def key(row: Row) -> Any:
        value = column.value(row, rule) if row.finished else None
        return value is None, 0.0 if value is None else sign * value, row.method

    return key
