"""What a table says of its data before a reader ranks anything: room above the controls, incidents, licences."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bench.experiment.grades import CONTROL
from bench.experiment.measure import ALL
from bench.records.record import Record
from bench.reporting.tables.rows import Row, Table, mean_of, shown_rule


class Headroom(NamedTuple):
    """What is left between the best control and what no detector on event sequences can exceed, as F1."""

    control: str
    best: float
    ceiling: float

    @property
    def room(self) -> float:
        """0 where the best control is at the ceiling, or above it by what event sequences do not show."""
        return max(self.ceiling - self.best, 0.0)


def headroom_of(table: Table, rule: str) -> Headroom | None:
    """By F1 at the rule; None where no control has one, or where records were made before they held the ceiling."""
    ceilings = {record["spec"]["seed"]: record["counts"].get("ceiling_f1") for record in table.records}
    known = [value for value in ceilings.values() if value is not None]
    controls = [row for row in table.rows if row.group == CONTROL]
    found = [(value, row.label) for row in controls if (value := _f1(row, rule)) is not None]
    if not known or not found:
        return None
    best, name = max(found)
    return Headroom(name, best, statistics.fmean(known))


def data_lines(table: Table, rule: str) -> list[str]:
    """Headroom, and what stands behind the abnormal sequences, as far as the records know."""
    lines = []
    found = headroom_of(table, rule)
    if found is not None:
        lines.append(
            f"- headroom: best control {found.control}, F1 {found.best:.3f}; no function of the event sequence exceeds "
            f"{found.ceiling:.3f}; room {found.room:.3f}"
        )
    behind = [*_incidents(table.records), *_alert_types(table.records[0])]
    return [*lines, *([f"- behind the abnormal: {'; '.join(behind)}"] if behind else [])]


def pool_lines(table: Table) -> list[str]:
    """How many test sequences equal one of the target's pool; nothing of records made before they held it."""
    counts = [record["counts"] for record in table.records]
    found = sorted({(c["n_test_in_pool"], c["n_test"]) for c in counts if "n_test_in_pool" in c})
    if not found:
        return []
    some = " or ".join(f"{n:,} of {of:,}" for n, of in found)
    return [f"- {some} test sequences also lie in the pool, the part of the target in front of its test"]


def bound_lines(table: Table) -> list[str]:
    """What no score can exceed by the labels of an edition, whether it trains or tests."""
    found: dict[str, str] = {}
    for record in table.records:
        found |= record["counts"].get("bounds", {})
    tested = {part["edition"] for part in table.records[0]["spec"]["test"]}
    words = {key: "tested here" if key in tested else "trained on" for key in found}
    return [f"- labels of {key} ({words[key]}): {' '.join(text.split())}" for key, text in found.items()]


def licence_lines(records: Sequence[Record]) -> list[str]:
    """The licence of each real edition; nothing of records made before they held it."""
    found: dict[str, str] = {}
    for record in records:
        found |= record["counts"].get("licences", {})
    return [f"- licence of {key}: {licence}" for key, licence in found.items()]


def _f1(row: Row, rule: str) -> float | None:
    return mean_of(row, ALL, "f1", shown_rule(row, rule))


def _incidents(records: Sequence[Record]) -> list[str]:
    found = sorted({r["counts"]["n_test_incidents"] for r in records if "n_test_incidents" in r["counts"]})
    if not found:
        return []
    span = str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return [f"{span} {'incident' if span == '1' else 'incidents'} in the test part"]


def _alert_types(record: Record) -> list[str]:
    tested = {part["edition"] for part in record["spec"]["test"]}
    found = {key: n for key, n in record["counts"].get("n_alert_types", {}).items() if key in tested}
    named = [f"{n} {'type' if n == 1 else 'types'} of alert in all of {key}" for key, n in found.items()]
    return [", ".join(named)] if named else []
