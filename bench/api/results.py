"""`bench.Results`: the records of runs as tables, frames, comparisons, errors and a picture."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.errors import BenchError, choose_one

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.records.record import Record
    from bench.records.store import Store
    from bench.reporting.tables.rows import Row, Table

_SHOWN: Final = ("f1", "ap", "auroc", "fpr")
"""Metrics of the table in a notebook."""
_NONE: Final = "n/e"


def load_results(
    out: str | Path = "results",
    *,
    scenario: str | None = None,
    split: str | None = None,
    threshold: str = "conformal:0.01",
    protocol: int | None = None,
) -> Results:
    """What a results folder holds, as `bench table` shows it.

    scenario: part of its name;  protocol: the newest if not given
    """
    from bench.data.sequences.protocols import expanded
    from bench.experiment.settings import read_rule
    from bench.records.store import Store
    from bench.reporting.tables.choose import nothing_fits
    from bench.reporting.tables.protocols import of_one_protocol
    from bench.reporting.tables.table import make_tables

    store = Store(Path(out))
    splits = None if split is None else expanded([split])
    tables = make_tables(
        store.table_records(
            lambda name, cut: (scenario is None or scenario in name) and (splits is None or cut in splits)
        )
    )
    if not tables:
        raise nothing_fits(store, scenario, "scenario, split or out")
    shown = of_one_protocol(tables, protocol).tables
    records = [record for table in shown for record in table.records]
    return Results(records, store, rule=str(read_rule(threshold)))


class Results:
    """Records of runs; a notebook shows them as tables."""

    def __init__(self, records: Sequence[Record], store: Store, *, rule: str) -> None:
        from bench.reporting.tables.table import make_tables

        self.records: list[Record] = list(records)
        self.rule = rule
        """The threshold rule of F1, precision, recall and the false positive rate."""
        self.tables: list[Table] = make_tables(self.records)
        self._store = store

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        """The tables as `bench table` prints them."""
        from bench.reporting.tables.series import render_all

        return render_all(self.tables, self.rule)

    def _repr_html_(self) -> str:
        """A short table for each scenario and split; `print(results)` says all."""
        return "\n".join(_html_of(table, self.rule) for table in self.tables)

    def to_polars(self, *, each_run: bool = False) -> Any:
        """A polars frame with a row for each method of each table: metrics averaged over seeds, `_low` and `_high`.

        each_run: a row for each run, system and threshold rule instead, as `bench results export` writes
        """
        import polars as pl

        from bench.reporting.tables.export import rows

        found = [row for record in self.records for row in rows(record)] if each_run else list(self._rows())
        return pl.DataFrame(found, infer_schema_length=None)

    def to_pandas(self, *, each_run: bool = False) -> Any:
        """The same as a pandas frame."""
        try:
            import pandas as pd
        except ImportError:
            raise BenchError("pandas is not installed: pip install pandas, or use to_polars()") from None
        return pd.DataFrame(self.to_polars(each_run=each_run).to_dict(as_series=False))

    def compare(self, method: str | None = None, against: str | None = None, *, metric: str | None = None) -> Any:
        """Paired differences on the same test sequences, as `bench compare`: a polars frame with a row for each.

        method: a row of the tables, or `best-control`: that of each table; every row that is no control if not given
        against: `controls` (what is taken if not given; with `best-control` it is all), `all`, or names separated by
            commas;  metric: such as `ap,f1`
        """
        import polars as pl

        from bench.reporting.comparisons.differences import (
            against_of,
            compare_rows,
            comparison_requests,
            require_scores,
        )
        from bench.reporting.comparisons.kept import parse_metrics

        metrics = parse_metrics(metric)
        names = [method] if method is not None else self.methods
        asked = [
            request for name in names for request in comparison_requests(self.tables, name, against_of(name, against))
        ]
        self._store.require_unchanged(self.records)
        require_scores(asked, self._store)
        found = [row for request in asked for row in _differences(compare_rows(request, self._store), metrics)]
        return pl.DataFrame(found, infer_schema_length=None)

    def errors(
        self, method: str, *, scenario: str | None = None, split: str | None = None, seed: int | None = None
    ) -> Any:
        """False positives and negatives of a method by score, the worst first, with time and lines: a polars frame.

        seed: the first that finished if not given
        """
        from bench.reporting.errors.frame import mistakes
        from bench.reporting.tables.choose import scores_of_record

        record = self._record_of(method, scenario, split, seed)
        return mistakes(record, scores_of_record(record, self._store), self.rule)

    def plot(self, metric: str = "f1") -> Figure:
        """A picture with a panel for each table: the metric of each method with its 95 % interval."""
        from bench.api.picture import draw

        return draw(self.tables, metric, self.rule)

    @property
    def methods(self) -> list[str]:
        """The rows of the tables that are no controls."""
        from bench.experiment.grades import CONTROL

        return list(dict.fromkeys(row.method for table in self.tables for row in table.rows if row.group != CONTROL))

    def _rows(self) -> Iterator[dict[str, Any]]:
        from bench.reporting.tables.table import summary

        for table in self.tables:
            for row in summary(table, self.rule):
                yield {**_flat_facts(row), **_flat_metrics(row["metrics"])}

    def _record_of(self, method: str, scenario: str | None, split: str | None, seed: int | None) -> Record:
        """The one run that is meant; BenchError where there is none, or several tables have the method."""
        from bench.reporting.tables.choose import run_of

        found = [
            (table, row)
            for table in self.tables
            for row in table.rows
            if row.method == method
            and (scenario is None or scenario in table.key.scenario)
            and (split is None or split == table.key.split)
        ]
        if not found:
            known = dict.fromkeys(row.method for table in self.tables for row in table.rows)
            raise BenchError(f"no table that fits has a row '{method}': {choose_one(method, known)}")
        if len(found) > 1:
            places = ", ".join(f"{table.key.scenario} {table.key.split}" for table, _ in found)
            raise BenchError(f"'{method}' stands in {len(found)} tables ({places}): say which by scenario= and split=")
        return run_of(found[0][1], seed)


def _flat_facts(row: dict[str, Any]) -> dict[str, Any]:
    """The plain facts of a row of `summary`."""
    left_out = ("metrics", "calls", "run_ids")
    return {name: value for name, value in row.items() if name not in left_out} | {"run_ids": row["run_ids"]}


def _flat_metrics(metrics: dict[str, dict[str, Any] | None]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for key, interval in metrics.items():
        values = interval or {}
        found |= {key: values.get("mean"), f"{key}_low": values.get("low"), f"{key}_high": values.get("high")}
    return found


def _differences(comparison: dict[str, Any], metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A flat row for each metric of each other row; one with a `failure` where two cannot be compared."""
    for other in comparison["rows"]:
        facts = {
            "scenario": comparison["scenario"],
            "split": comparison["split"],
            "method": comparison["method"],
            "against": other["method"],
            "told": other["told"],
            "failure": other["failure"],
        }
        for name in metrics:
            values = (other["metrics"] or {}).get(name)
            if values is not None or other["failure"]:
                yield {**facts, "metric": name, **(values or {})}


def _html_of(table: Table, rule: str) -> str:
    from tabulate import tabulate

    from bench.evaluation.measures import measure_of
    from bench.reporting.tables.rows import heading

    headers = ["method", "told", *(measure_of(key).heading for key in _SHOWN), "seeds"]
    lines = [
        [row.method, row.group, *(_shown(row, key, rule) for key in _SHOWN), str(len(row.finished))]
        for row in table.rows
    ]
    grid = tabulate(lines, headers, tablefmt="html", disable_numparse=True)
    return f"<p><b>{html.escape(heading(table.key, table.records))}</b>, threshold rule {html.escape(rule)}</p>\n{grid}"


def _shown(row: Row, key: str, rule: str) -> str:
    from bench.experiment.measure import ALL
    from bench.reporting.tables.rows import aggregate, shown_rule

    if row.failure and not row.finished:
        return row.failure.partition(",")[0]
    found = aggregate(row, ALL, key, shown_rule(row, rule))
    return _NONE if found is None else f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
