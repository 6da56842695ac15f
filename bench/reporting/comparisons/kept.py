"""Comparisons that are kept, `comparisons/*.json` of a results folder, and what is printed of them."""

from __future__ import annotations

import contextlib
import glob
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._files import replace_text
from bench.errors import BenchError, choose_one
from bench.evaluation.measures import compared, measure_of
from bench.evaluation.paired import holm
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.grades import group_before, group_rank
from bench.records.record import record_text, standing, standings
from bench.records.store import Store
from bench.reporting.comparisons.differences import (
    BEST_CONTROL,
    CONTROLS,
    EVERYTHING,
    VERSION,
    Comparison,
    comparison_requests,
    facts,
    is_asked,
    paired_run_ids,
)
from bench.reporting.comparisons.verdicts import Paired
from bench.reporting.tables.rows import NATIVE, Row, Table, TableKey, shown_rule
from bench.reporting.tables.table import make_tables

_UNSAFE: Final = re.compile(r"[^\w+=.,@\[\]-]+")


class Line(NamedTuple):
    """A line of a printed comparison."""

    against: str
    metric: str
    value: str
    other: str
    difference: str
    seeds: str
    verdict: str


def parse_metrics(text: str | None) -> list[str]:
    """Names of metrics in the order they are printed, all where none is given; BenchError for one not compared."""
    known = [measure.key for measure in compared()]
    names = known if text is None else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"--metric {text}: '{unknown[0]}' is not compared: {choose_one(unknown[0], known)}")
    return [name for name in known if name in names]


def keep(comparison: Comparison, store: Store, tables: Sequence[Table]) -> Path:
    """Write a comparison; rows that are kept already and still hold stay beside the new ones.

    tables: all of the store
    """
    path = _path(comparison, store, [table.key for table in tables])
    old = _load(path) if path.is_file() else None
    if old and _key(old) == _key(comparison) and old.get("version") == VERSION:
        comparison = _merged(comparison, old, _row_checks(old, tables))
    text = record_text(comparison)
    replace_text(path, text)
    return path


def stored(store: Store, method: str, *, scenario: str | None, split: str | None) -> list[Comparison]:
    """The kept comparisons that a name asks for, which must hold; BenchError where there is none or one is outdated.

    method: a row, also where it stands in the comparison of another, which is then turned round;
        `best-control`: the controls that methods are held against, each with these methods alone
    """
    tables, kept = make_tables(store.records()), {}
    for path in sorted((store.root / "comparisons").glob("*.json")):
        comparison = _load(path)
        if split in (None, comparison.get("split")) and (scenario or "") in comparison.get("scenario", ""):
            kept[path] = comparison
    found = _of_best_controls(kept, tables) if method == BEST_CONTROL else _of_row(kept, method, tables)
    if not found:
        raise BenchError(
            f"no comparison of '{method}' that fits is kept in {store.root}: leave --stored out to make it"
        )
    return found


def _of_best_controls(kept: Mapping[Path, Comparison], tables: Sequence[Table]) -> list[Comparison]:
    """Those of the controls that methods are held against now: a file bears the name of the control."""
    held = {
        (request.table.key, request.row.method): {row.method for row in request.others}
        for request in comparison_requests(tables, BEST_CONTROL, EVERYTHING)
    }
    found = []
    for path, comparison in kept.items():
        if comparison.get("version") != VERSION:
            continue
        methods = held.get((_key(comparison), comparison["method"]), set())
        rows = [row for row in comparison["rows"] if row["method"] in methods]
        if rows:
            found.append(_require_holding(path, comparison | {"rows": rows}, tables))
    return found


def _of_row(kept: Mapping[Path, Comparison], method: str, tables: Sequence[Table]) -> list[Comparison]:
    """A row's own comparisons, and what those of other rows say of it, as far as they hold, turned round."""
    found: dict[TableKey, Comparison] = {}
    for path, comparison in kept.items():
        if comparison.get("method") == method:
            found[_key(comparison)] = _require_holding(path, comparison, tables)
    for comparison in kept.values():
        turned = _turned_round(comparison, method, tables)
        if turned is not None:
            key = _key(turned)
            found[key] = _with_rows(found[key], turned) if key in found else turned
    return [found[key] for key in sorted(found)]


def _require_holding(path: Path, comparison: Comparison, tables: Sequence[Table]) -> Comparison:
    if wrong := _what_is_wrong(comparison, tables):
        raise BenchError(f"{path} {wrong}")
    return comparison


def _turned_round(comparison: Comparison, method: str, tables: Sequence[Table]) -> Comparison | None:
    """A comparison as that of one of its rows, with the one row that it then has; None where it says nothing of it."""
    row = next((row for row in comparison["rows"] if row["method"] == method), None)
    if row is None or comparison.get("version") != VERSION:
        return None
    if _row_checks(comparison | {"rows": [row]}, tables)[method]:
        return None
    first = next((pair[0] for pair in row["run_ids"]), None)
    metrics = row["metrics"] and {name: values and _turned(values) for name, values in row["metrics"].items()}
    other = row | {
        "method": comparison["method"],
        "told": comparison["told"],
        "rule": row["rule"] if first is None else comparison["runs"][first]["rule"],
        "run_ids": [pair[::-1] for pair in row["run_ids"]],
        "metrics": metrics,
    }
    return comparison | {"method": method, "told": row["told"], "rows": [other]}


def _turned(values: Mapping[str, Any]) -> dict[str, Any]:
    """A difference as the other row has it."""
    paired = Paired(*(values[name] for name in Paired._fields)).inverse
    return {**values, "value": values["other_value"], "other_value": values["value"], **paired._asdict()}


def _with_rows(one: Comparison, other: Comparison) -> Comparison:
    """A comparison and the rows of another of the same method that it does not have."""
    known = {row["method"] for row in one["rows"]}
    rows = [*one["rows"], *(row for row in other["rows"] if row["method"] not in known)]
    return one | {"rows": _in_order(rows), "runs": other["runs"] | one["runs"]}


def _in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (group_rank(row["told"]), row["method"]))


def every_kept(store: Store) -> list[Comparison]:
    """All comparisons that are kept, as they are; whether they hold, `outdated_comparisons` says."""
    return [_load(path) for path in sorted((store.root / "comparisons").glob("*.json"))]


def holding(store: Store, table: Table) -> list[Comparison]:
    """What is kept on a table, without the rows that are not what its records say; a damaged file says nothing."""
    stem = table.key.file_name.removesuffix(".md")
    found = []
    for path in sorted((store.root / "comparisons").glob(f"{glob.escape(stem)}--*.json")):
        with contextlib.suppress(BenchError):
            comparison = _load(path)
            if _key(comparison) == table.key and comparison.get("version") == VERSION:
                checks = _row_checks(comparison, [table])
                rows = [row for row in comparison["rows"] if checks[row["method"]] is None]
                found.append(comparison | {"rows": rows})
    return found


def outdated_comparisons(store: Store) -> dict[Path, str]:
    """Kept comparisons that are not what the records say, and what is wrong with each."""
    tables = make_tables(store.records())
    wrong = {}
    for path in sorted((store.root / "comparisons").glob("*.json")):
        try:
            if what := _what_is_wrong(_load(path), tables):
                wrong[path] = what
        except BenchError as error:
            wrong[path] = str(error)
    return wrong


def chosen(comparisons: Iterable[Comparison], against: str, metrics: Sequence[str]) -> list[Comparison]:
    """Those rows and metrics of comparisons that were asked for; BenchError where no row is left."""
    kept = []
    for comparison in comparisons:
        rows = [
            row | {"metrics": row["metrics"] and {name: row["metrics"][name] for name in metrics}}
            for row in comparison["rows"]
            if is_asked(against, row)
        ]
        if rows:
            kept.append(comparison | {"rows": rows})
    if not kept:
        hint = "write all or names" if against == CONTROLS else "write controls or names"
        raise BenchError(f"--against {against} leaves no row: {'write controls' if against == EVERYTHING else hint}")
    return kept


def heading(comparison: Comparison) -> str:
    """What is compared on what."""
    simulated = " (simulated)" if standing(comparison) == "simulated" else ""
    smoke = ", put together from pieces" if "smoke" in standings(comparison).values() else ""
    return (
        f"{comparison['method']} on {comparison['scenario']}, {comparison['split']}{simulated}, "
        f"protocol {comparison['protocol_version']}: "
        f"{comparison['n_test']} test sequences, {comparison['n_test_abnormal']} abnormal{smoke}"
    )


def lines(comparison: Comparison) -> list[Line]:
    """One line for each row and metric; a row that cannot be compared has one with its reason."""
    found = []
    for row in comparison["rows"]:
        if row["failure"]:
            found.append(Line(row["method"], "-", "-", "-", "-", "-", row["failure"]))
            continue
        for name, values in row["metrics"].items():
            title = measure_of(name).title
            found.append(
                Line(
                    row["method"],
                    title,
                    f"{values['value']:.3f}",
                    f"{values['other_value']:.3f}",
                    f"{values['difference']:+.3f} [{values['low']:+.3f}, {values['high']:+.3f}]",
                    str(values["n_seeds"]),
                    values["verdict"],
                )
                if values
                else Line(row["method"], title, "-", "-", "-", "-", "threshold not estimable")
            )
    return found


def notes(comparison: Comparison) -> list[str]:
    """Rows whose thresholds have another rule, and rows that show nothing of the spread between seeds."""
    found = []
    for measure in compared():
        if not measure.is_by_rule:
            continue
        with_value = [row for row in comparison["rows"] if (row["metrics"] or {}).get(measure.key)]
        native = [row["method"] for row in with_value if row["rule"] == NATIVE]
        if native:
            found.append(f"{measure.title} of {', '.join(native)}: by its native rule, which flags everything")
    single = [row["method"] for row in comparison["rows"] if len(row["run_ids"]) == 1]
    if single:
        found.append(f"one seed, spread between seeds unseen: {', '.join(single)}")
    return found


def totals(comparisons: Iterable[Comparison]) -> dict[str, int]:
    """Differences of each verdict, and how many of those on one side of 0 Holm's correction over all of them leaves."""
    values = [
        metric
        for comparison in comparisons
        for row in comparison["rows"]
        for metric in (row["metrics"] or {}).values()
        if metric
    ]
    remaining = holm([value["p"] for value in values])
    verdicts = Counter(value["verdict"] for value in values)
    return {
        "differences": len(values),
        "better": verdicts["better"],
        "worse": verdicts["worse"],
        "not_separable": verdicts["not separable"],
        "after_holm": sum(
            left and value["verdict"] != "not separable" for left, value in zip(remaining, values, strict=True)
        ),
    }


def footer(comparisons: Sequence[Comparison]) -> str:
    """The totals in words."""
    found = totals(comparisons)
    separable = found["better"] + found["worse"]
    return (
        f"{found['differences']} differences, 95 % each: {found['better']} better, {found['worse']} worse, "
        f"{found['not_separable']} not separable; after Holm's correction for all of them "
        f"{found['after_holm']} of the {separable} remain"
    )


def _key(comparison: Mapping[str, Any]) -> TableKey:
    try:
        values = {name: comparison[name] for name in TableKey._fields}
        return TableKey(**values | {"data": tuple(values["data"])})
    except (KeyError, TypeError):
        raise BenchError("is damaged (no comparison): delete it") from None


def _path(comparison: Comparison, store: Store, keys: Sequence[TableKey]) -> Path:
    key = _key(comparison)
    stem = f"{key.file_name.removesuffix('.md')}--{_UNSAFE.sub('_', comparison['method'])}"
    if sum(other.file_name == key.file_name for other in keys) > 1:
        stem += "--" + "-".join(entry.split(" ")[-1] for entry in key.data)
    return store.root / "comparisons" / f"{stem}.json"


def _load(path: Path) -> Comparison:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"the comparison {path} is damaged ({error}): delete it and compare again") from None
    if not isinstance(found, dict) or not found.keys() >= _needed(found.get("version")):
        raise BenchError(f"the comparison {path} is damaged (not what is kept): delete it and compare again")
    for row in (found, *found["rows"]):
        if "supervision" in row:  # kept before contract 0.2
            row["told"] = group_before(row.pop("supervision"))
    return found


def _needed(version: Any) -> set[str]:
    """What a file holds; of other versions what all of them do."""
    both = {"rows", "runs"}
    return {*both, "method", "told", *TableKey._fields} if version == VERSION else both


def _what_is_wrong(comparison: Comparison, tables: Sequence[Table]) -> str | None:
    again = f"run `bench compare {comparison.get('method')} --against all`"
    if comparison.get("version") != VERSION:
        return f"is of another version of the program: {again}"
    wrong = next((what for what in _row_checks(comparison, tables).values() if what), None)
    return f"differs from the records ({wrong}): {again}" if wrong else None


def _row_checks(comparison: Comparison, tables: Sequence[Table]) -> dict[str, str | None]:
    """What is wrong with each row, by method, or None."""
    table = next((table for table in tables if table.key == _key(comparison)), None)
    rows = {row.method: row for row in table.rows} if table else {}
    own = rows.get(comparison["method"])
    checks: dict[str, str | None] = {}
    for kept in comparison["rows"]:
        other = rows.get(kept["method"])
        if table is None or own is None or other is None:
            gone = comparison["method"] if own is None else kept["method"]
            checks[kept["method"]] = f"{gone} has no record"
        elif paired_run_ids(table, own, other) != kept["run_ids"]:
            checks[kept["method"]] = f"{kept['method']}: other runs"
        elif any(comparison["runs"].get(run_id) != found for run_id, found in _runs_of(own, other, kept).items()):
            checks[kept["method"]] = f"{kept['method']}: other values"
        else:
            checks[kept["method"]] = None
    return checks


def _runs_of(own: Row, other: Row, kept: Mapping[str, Any]) -> dict[str, Any]:
    paired = {run_id for pair in kept["run_ids"] for run_id in pair}
    return {
        record["run_id"]: facts(record, shown_rule(row, DEFAULT_RULE))
        for row in (own, other)
        for record in row.finished
        if record["run_id"] in paired
    }


def _merged(new: Comparison, old: Comparison, checks: Mapping[str, str | None]) -> Comparison:
    made = {row["method"] for row in new["rows"]}
    kept = [row for row in old["rows"] if row["method"] not in made and checks[row["method"]] is None]
    used = {run_id for row in kept for pair in row["run_ids"] for run_id in pair}
    rows = _in_order([*kept, *new["rows"]])
    runs = {run_id: facts for run_id, facts in old["runs"].items() if run_id in used} | new["runs"]
    return new | {"rows": rows, "runs": dict(sorted(runs.items()))}
