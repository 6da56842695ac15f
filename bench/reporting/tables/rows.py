"""What a table is made of: its key, its rows, and what a row's records say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from bench.data.sequences.protocols import DRAWN, RETROSPECTIVE
from bench.evaluation.measures import Measure, measure_of
from bench.evaluation.stats import Interval, combine
from bench.experiment.grades import asks_a_model
from bench.experiment.groups import row_group
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.record import Record, split_in_file, standing
from bench.reporting.markdown import plain

NATIVE: Final = "native"
_WORDS: Final = {0: "normal", 1: "abnormal"}


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
        version = "" if self.protocol_version == PROTOCOL_VERSION else f"--protocol{self.protocol_version}"
        sample = f"--sample{self.sample}" if self.sample else ""
        return f"{self.scenario}--{split_in_file(self.split)}{window}{sample}{version}.md"


@dataclass(frozen=True)
class Row:
    """One method of one table, over its seeds."""

    method: str
    group: str
    """What it is told, in words; rows of different groups are never ranked against each other."""
    records: tuple[Record, ...]
    n_older: int = 0
    """Records of earlier versions of its file, which are not among these."""

    @property
    def label(self) -> str:
        """Its name as it stands in markdown."""
        return plain(self.method)

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
    def is_drawn(self) -> bool:
        """Whether each seed has a test set of its own."""
        return any(is_drawn(record) for record in self.records)

    @property
    def records(self) -> list[Record]:
        """All records of all rows."""
        return [record for row in self.rows for record in row.records]


def division_of(record: Record) -> str:
    """The group of a record's row; what ran elsewhere has groups of its own: `scores only, told source normals`."""
    division = record["detector"].get("division")
    return f"{division}, told {row_group(record)}" if division else row_group(record)


def is_drawn(record: Record) -> bool:
    """Whether another seed would have tested other sequences."""
    spec, parts = record["spec"], record["counts"].get("split", {})
    return spec["split"] in DRAWN or any("drawn" in parts.get(side["edition"], {}) for side in spec["test"])


def aggregate(row: Row, block: str, key: str, rule: str) -> Interval | None:
    """Mean and interval of a metric over the finished seeds that have it.

    block: `all` or a system;  key: of the metric;  rule: the threshold rule, for a metric that needs one
    """
    measure = measure_of(key)
    found = _with_value(row, block, measure, rule)
    if not found:
        return None
    quantiles = [measure.quantiles(metrics, rule) for _, metrics in found]
    return combine([value for value, _ in found], quantiles)


def mean_of(row: Row, block: str, key: str, rule: str) -> float | None:
    """The mean of `aggregate`, without the cost of its interval."""
    found = _with_value(row, block, measure_of(key), rule)
    return float(np.mean([value for value, _ in found])) if found else None


def _with_value(row: Row, block: str, measure: Measure, rule: str) -> list[tuple[float, Any]]:
    """The value of each finished seed that has one, and its metric block."""
    found = []
    for record in row.finished:
        metrics = record["metrics"].get(block)
        value = None if metrics is None else measure.value(metrics, rule)
        if value is not None:
            found.append((value, metrics))
    return found


def shown_rule(row: Row, rule: str) -> str:
    """The rule a row is reported by: its own where that flags everything, or where the validation part was left out."""
    native = any(flags_all(record) or lacks_validation(record, rule) for record in row.finished)
    return NATIVE if native else rule


def steps_of(row: Row) -> str:
    """Optimiser steps that a network of the row was trained for, as its runs counted them; nothing of other rows."""
    monitors = [record.get("monitor") for record in row.finished]
    taken = sorted({m["steps_run"] for m in monitors if isinstance(m, dict) and "steps_run" in m})
    if not taken:
        return ""
    return f"{taken[0]:g}" if len(taken) == 1 else f"{taken[0]:g}-{taken[-1]:g}"


def flags_all(record: Record) -> bool:
    """Whether its detector's own rule flags every sequence."""
    return bool(record["thresholds"].get(NATIVE, {}).get("value") == "-inf")


def times_of(record: Record) -> str:
    """What a run took, as `seconds: fit 2.1; CPU seconds: fit 1.1; 1 run beside it`."""
    kinds = {"seconds": record["seconds"], "CPU seconds": record.get("cpu_seconds", {})}
    parts = [f"{kind}: {_listed(seconds)}" for kind, seconds in kinds.items() if seconds]
    beside = record.get("beside")
    parts += [f"{beside} {'run' if beside == 1 else 'runs'} beside it"] if beside else []
    parts += [f"fitted as {record['fitted_as']}"] if "fitted_as" in record else []
    return "; ".join(parts)


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def heading(key: TableKey, records: Sequence[Record]) -> str:
    """`bgl@simulated, paper (simulated), protocol 2`: what a table is of, as its first line says it."""
    simulated = " (simulated)" if any(standing(record) == "simulated" for record in records) else ""
    return f"{key.scenario}, {key.split}{simulated}{sampled(records)}, protocol {key.protocol_version}"


def sampled(records: Sequence[Record]) -> str:
    """`, sample of 500 of 967 test sequences, weighted`; nothing where all are tested."""
    samples = [record["sample"] for record in records if "sample" in record]
    if not samples:
        return ""
    drawn, of = (_between([sample[name] for sample in samples]) for name in ("drawn", "of"))
    return f", sample of {drawn} of {of} test sequences, weighted"


def sample_lines(records: Sequence[Record]) -> list[str]:
    """How a sample is made up."""
    sample = next((record["sample"] for record in records if "sample" in record), None)
    if sample is None:
        return []
    parts = [f"{s['drawn']} of {s['size']} {_WORDS[s['label']]} of {s['system']}" for s in sample["strata"]]
    return [f"- sample: {', '.join(parts)}; metrics weight each by size / drawn, intervals resample within these"]


def lacks_validation(record: Record, rule: str) -> bool:
    """Whether a rule has no threshold since a sampled run asked a model about no validation sequence.

    Or since all of the log trains and tests, where the detector has a rule of its own.
    """
    if record["thresholds"].get(rule, {}).get("value") is not None:
        return False
    if record["spec"]["split"] == RETROSPECTIVE:
        return record["thresholds"].get(NATIVE, {}).get("value") is not None
    asks = asks_a_model(record) and "sample" in record["spec"]
    return asks and bool(record["validation"]["n"] == 0 and record["counts"]["n_validation"])


def _between(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def base_of(row: Row) -> str:
    """The method of a row, without its settings: `deeplog+nearest`."""
    detector = row.records[0]["spec"]["detector"]
    variant = detector.get("variant")
    name = variant["name"] if isinstance(variant, dict) else variant
    return f"{detector['name']}+{name}" if name else str(detector["name"])
