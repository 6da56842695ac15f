"""What a table is made of: its key, its rows, and what a row's records say together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.evaluation.stats import Interval, combine
from bench.records.store import Record
from bench.reporting.tables.samples import lacks_validation

NATIVE: Final = "native"


class TableKey(NamedTuple):
    """What records must share to stand in one table."""

    scenario: str
    split: str
    window: str
    protocol_version: int
    data: tuple[str, ...]
    """The edition and the digest of what it is made of, for each edition taking part."""
    sample: int = 0
    """Test sequences that were drawn at most; 0 = all are tested."""

    @property
    def file_name(self) -> str:
        """`bgl@raw12k2tbird@raw29k--paper.md`."""
        window = "" if self.window in ("sessions", "20/20") else f"--{self.window.replace('/', 's')}"
        version = "" if self.protocol_version == 1 else f"--protocol{self.protocol_version}"
        sample = f"--sample{self.sample}" if self.sample else ""
        return f"{self.scenario}--{self.split}{window}{sample}{version}.md"


@dataclass(frozen=True)
class Row:
    """One method of one table, over its seeds."""

    method: str
    group: str
    """What it is told, in words; rows of different groups are never ranked against each other."""
    records: tuple[Record, ...]

    @property
    def finished(self) -> list[Record]:
        """Its records with scores."""
        return [record for record in self.records if record["status"] == "ok"]

    @property
    def failure(self) -> str:
        """Status and reason of what did not finish, or nothing."""
        seeds: dict[str, list[str]] = defaultdict(list)
        for record in self.records:
            if record["status"] != "ok":
                seeds[f"{record['status']}, {record['reason']}"].append(str(record["spec"]["seed"]))
        return "; ".join(f"{text} (seed {', '.join(found)})" for text, found in sorted(seeds.items()))


@dataclass(frozen=True)
class Table:
    """Rows that may stand beside each other."""

    key: TableKey
    rows: tuple[Row, ...]

    @property
    def records(self) -> list[Record]:
        """All records of all rows."""
        return [record for row in self.rows for record in row.records]


def aggregate(row: Row, block: str, section: str, name: str, rule: str = "") -> Interval | None:
    """Mean and interval of a metric over the finished seeds that have it.

    block: `all` or a system;  section: `ranking` or `rules`;  rule: the threshold rule, for `rules`
    """
    points, quantiles = [], []
    for record in row.finished:
        metrics = record["metrics"].get(block)
        values = metrics and (metrics[section].get(rule) if section == "rules" else metrics[section])
        if not values or values.get(name) is None:
            continue
        spread = metrics["bootstrap"]["rules"][rule] if section == "rules" else metrics["bootstrap"]
        points.append(values[name])
        quantiles.append(spread.get(name) or [values[name]] * len(metrics["bootstrap"]["levels"]))
    return combine(points, quantiles) if points else None


def shown_rule(row: Row, rule: str) -> str:
    """The rule a row is reported by: its own where that flags everything, or where the validation part was left out."""
    native = any(flags_all(record) or lacks_validation(record, rule) for record in row.finished)
    return NATIVE if native else rule


def flags_all(record: Record) -> bool:
    """Whether its detector's own rule flags every sequence."""
    return bool(record["thresholds"].get(NATIVE, {}).get("value") == "-inf")
