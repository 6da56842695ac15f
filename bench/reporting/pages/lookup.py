"""What the records say to the query of a claim: `METRIC METHOD SCENARIO SPLIT`, then any `name=value`.

A name may be several, separated by commas: then there are as many answers, in that order. A split with a comma is
written with a slash (`chronological:50/70`). `cuts` stands for all cuts in time and `prequential:50` for all its
blocks: the answer is the mean over those that have one, or the least or the greatest (`of=min`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from bench.data.sequences.protocols import block_of, family_of, is_cut
from bench.errors import BenchError, choose_one
from bench.evaluation.measures import all_measures, measure_of
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.measure import ALL
from bench.records.record import Record
from bench.records.store import Store
from bench.reporting.tables.rows import Row, Table, shown_rule
from bench.reporting.tables.series import CUTS
from bench.reporting.tables.table import make_tables

COUNTS: Final = ("n_train", "n_train_abnormal", "n_validation", "n_validation_abnormal", "n_test", "n_test_abnormal")
"""What is not measured but counted; the same for all methods of a table."""
SEEDS: Final = "seeds"
_OPTIONS: Final[Mapping[str, str]] = {
    "seed": "only these seeds, as 0 or 0+1",
    "rule": "the threshold rule, if not that of the tables",
    "system": "one system of a combined run",
    "of": "min, max or range over the seeds in place of their mean",
    "minus": "another method, whose value is taken off",
    "window": "as 10/10, where there are several",
    "sample": "the size of a sample, where there are several",
    "protocol": "where records of several are here",
}
_OVER_SEEDS: Final[Mapping[str, Any]] = {
    "mean": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
    "range": lambda values: max(values) - min(values),
}
_COMMA: Final = re.compile(r",(?![^\[]*\])")
_BLOCKS: Final = re.compile(r"prequential:\d+")
"""All blocks of one number of them."""
_SPACE: Final = re.compile(r"\s+")


class Query(NamedTuple):
    """A question to the records."""

    metric: str
    method: str
    scenario: str
    split: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        words = (self.metric, self.method, self.scenario, self.split, *("=".join(pair) for pair in self.options))
        return " ".join(words)


def parse_queries(text: str) -> list[Query]:
    """The queries of an entry; a BenchError says what is wrong with it."""
    words = _SPACE.split(text.strip())
    plain = [word for word in words if not _is_option(word)]
    if len(plain) != 4:
        raise BenchError(f"'{text}' is not METRIC METHOD SCENARIO SPLIT: write `f1 mlad hdfs@blocks-a paper`")
    pairs = [word.split("=", 1) for word in words if _is_option(word)]
    many = [_COMMA.split(word) for word in plain]
    values = [[(name, value) for value in _COMMA.split(said)] for name, said in pairs]
    known = {*(measure.key for measure in all_measures()), *COUNTS, SEEDS}
    unknown = [name for name in many[0] if name not in known]
    if unknown:
        raise BenchError(f"'{unknown[0]}' is no metric: {choose_one(unknown[0], sorted(known))}")
    return [
        Query(metric, method, scenario, split.replace("/", ","), options)
        for metric, method, scenario, split in itertools.product(*many)
        for options in itertools.product(*values)
    ]


def _is_option(word: str) -> bool:
    return word.partition("=")[0] in _OPTIONS


class Lookup:
    """Answers queries from the records of a store; only the scenarios and splits that are asked for are read."""

    def __init__(self, store: Store, queries: Collection[Query]) -> None:
        wanted = {(query.scenario, query.split) for query in queries}
        self._root = store.root
        self._tables = make_tables(store.table_records(partial(_is_wanted, wanted))) if wanted else []

    def value(self, query: Query) -> float:
        """What the records say; a BenchError where they do not, or not with one voice."""
        options = dict(query.options)
        found = self._value_of(query, query.method, options)
        return found - self._value_of(query, options["minus"], options) if "minus" in options else found

    def _value_of(self, query: Query, method: str, options: Mapping[str, str]) -> float:
        over = options.get("of", "mean")
        if over not in _OVER_SEEDS:
            raise BenchError(f"of={over} is unknown: {choose_one(over, _OVER_SEEDS)}")
        tables = self._fitting(query, options)
        if _is_series(query.split):
            return float(_OVER_SEEDS[over](_means(tables, method, query, options)))
        if len(tables) > 1:
            raise BenchError(f"{len(tables)} tables fit, of other data or windows: name one by window= or sample=")
        if query.metric in COUNTS:
            return _count(tables[0].records, query.metric)
        row = _row(tables[0], method)
        records = _of_seeds(row, options.get("seed"))
        if query.metric == SEEDS:
            return len(records)
        return float(_OVER_SEEDS[over](_values(row, records, query.metric, options)))

    def _fitting(self, query: Query, options: Mapping[str, str]) -> list[Table]:
        """Those of whole test parts, where no sample is asked for and there are such."""
        tables = [
            table
            for table in self._tables
            if table.key.scenario == query.scenario
            and _is_of(table.key.split, query.split)
            and options.get("window") in (None, table.key.window)
            and options.get("sample") in (None, str(table.key.sample))
            and options.get("protocol") in (None, str(table.key.protocol_version))
        ]
        if "sample" not in options:
            tables = [table for table in tables if not table.key.sample] or tables
        if not tables:
            raise BenchError(f"no record of {query.scenario}, {query.split} fits in {self._root}")
        protocols = sorted({table.key.protocol_version for table in tables})
        if len(protocols) > 1:
            raise BenchError(f"records of protocols {' and '.join(map(str, protocols))} fit: name one by protocol=")
        return tables


def _is_wanted(wanted: Collection[tuple[str, str]], scenario: str, split: str) -> bool:
    return any(scenario == other and _is_of(split, asked) for other, asked in wanted)


def _is_of(split: str, asked: str) -> bool:
    """Whether a split is the one that is asked for, or of its series."""
    if block_of(split) is not None:
        return asked in (split, family_of(split))
    return split == asked or (asked == CUTS and is_cut(split))


def _is_series(asked: str) -> bool:
    return asked == CUTS or _BLOCKS.fullmatch(asked) is not None


def _means(tables: list[Table], method: str, query: Query, options: Mapping[str, str]) -> list[float]:
    """The mean over seeds in each table of a series where the row has finished records; some table must have one."""
    rows = [row for table in tables for row in table.rows if method in (row.method, row.records[0]["method"])]
    if not rows:
        raise BenchError(f"no row of {query.scenario}, {query.split} is called '{method}': see its table")
    found = []
    for row in rows:
        if row.finished:
            values = _values(row, _of_seeds(row, options.get("seed")), query.metric, options)
            found.append(sum(values) / len(values))
    if not found:
        raise BenchError(f"{method} has no finished record of {query.scenario}, {query.split}")
    return found


def _row(table: Table, method: str) -> Row:
    rows = [row for row in table.rows if method in (row.method, row.records[0]["method"])]
    if len(rows) != 1:
        meant = choose_one(method, [row.method for row in table.rows])
        raise BenchError(f"{len(rows) or 'no'} rows are called '{method}': {meant}")
    return rows[0]


def _of_seeds(row: Row, seeds: str | None) -> list[Record]:
    wanted = None if seeds is None else seeds.split("+")
    records = [r for r in row.finished if wanted is None or str(r["spec"]["seed"]) in wanted]
    if not records or (wanted is not None and len(records) != len(wanted)):
        raise BenchError(f"{row.method} has no finished record" + (f" of seed {seeds}" if seeds else ""))
    return records


def _values(row: Row, records: list[Record], metric: str, options: Mapping[str, str]) -> list[float]:
    """The value of each seed; all must have one, or a mean would be of fewer than it seems."""
    block, measure = options.get("system", ALL), measure_of(metric)
    rule = options.get("rule") or shown_rule(row, DEFAULT_RULE)
    values = []
    for record in records:
        metrics = record["metrics"].get(block)
        value = None if metrics is None else measure.value(metrics, rule)
        if value is None:
            raise BenchError(f"{row.method}, seed {record['spec']['seed']}, has no {metric} of {block} by {rule}")
        values.append(value)
    return values


def _count(records: list[Record], name: str) -> int:
    found = {record["counts"][name] for record in records}
    if len(found) != 1:
        raise BenchError(f"{name} is not the same in all records: {', '.join(map(str, sorted(found)))}")
    return int(found.pop())
