"""One method against the other rows of its tables: paired differences on the same test sequences, as JSON.

Points come from the records; the resamples need the stored scores. What comes out names the runs it was made from and
what their records say, so that it can be kept, printed without scores, and checked against the records.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.protocols import block_of
from bench.errors import BenchError, choose_one
from bench.evaluation.blocks import Resampling
from bench.evaluation.measures import compared
from bench.evaluation.paired import N_DRAWS, Resampled, Scored, difference, draw_seed, resample
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.groups import is_control
from bench.experiment.measure import ALL, resampling_of
from bench.records.record import scores_digest
from bench.records.store import Record, Store
from bench.reporting.tables.ranking import references_of
from bench.reporting.tables.rows import Row, Table, shown_rule
from bench.reporting.tables.series import series_key

Comparison = dict[str, Any]

VERSION: Final = 2
"""Of how differences are resampled and kept; one of another version is outdated."""
CONTROLS, EVERYTHING = "controls", "all"
BEST_CONTROL: Final = "best-control"
"""Stands for the controls that the methods of each table are held against."""

_DECIMALS: Final = 6
_TOLERANCE: Final = 1e-6
_COMMA_OUTSIDE: Final = re.compile(r",(?![^\[]*\])")
_Pair = tuple[Record, Record]
_Measured = Mapping[str, Resampled] | str
"""The metrics of a run, resampled, or why there are none."""


class _Loaded(NamedTuple):
    """The stored scores of a run."""

    scored: Scored
    labels: NDArray[Any]
    resampling: Resampling


class ComparisonRequest(NamedTuple):
    """Whose differences are asked for: a method, its table, and the rows it is compared with."""

    table: Table
    row: Row
    others: tuple[Row, ...]


def comparison_requests(tables: Sequence[Table], method: str, against: str) -> list[ComparisonRequest]:
    """The tables that have a row of the method and others to compare it with.

    method: the name of a row, or `best-control`;  against: `controls`, `all`, or names separated by commas

    Tables of samples are left out: differences are resampled without weights. Raises BenchError for names that no other
    table knows.
    """
    sampled, tables = [t for t in tables if t.key.sample], [t for t in tables if not t.key.sample]
    if method == BEST_CONTROL:
        return _of_best_controls(tables, against)
    if any(row.method == method for t in sampled for row in t.rows) and not any(
        row.method == method for t in tables for row in t.rows
    ):
        raise BenchError(f"'{method}' was run on samples only, which cannot be compared: run it without --sample")
    with_method = [(table, row) for table in tables for row in table.rows if row.method == method]
    if not with_method:
        known = sorted({row.method for table in tables for row in table.rows})
        raise BenchError(f"no table has a row '{method}': {choose_one(method, known, listing='bench table')}")
    names = _COMMA_OUTSIDE.split(against)
    if against not in (CONTROLS, EVERYTHING):
        known_names = {row.method for table, _ in with_method for row in table.rows} - {method}
        unknown = [name for name in names if name not in known_names]
        if unknown:
            meant = choose_one(unknown[0], sorted(known_names), more=", or write controls or all")
            raise BenchError(f"--against {against}: '{unknown[0]}' stands in no table of {method}: {meant}")
    found = []
    for table, row in with_method:
        others = tuple(other for other in table.rows if other is not row and is_asked(against, other))
        if others:
            found.append(ComparisonRequest(table, row, others))
    if not found:
        raise BenchError(f"no table of {method} has a row for --against {against}: run the controls, or write all")
    return found


def _of_best_controls(tables: Sequence[Table], against: str) -> list[ComparisonRequest]:
    """Of each table its best controls, with the methods that are held against them.

    Blocks are no tables of their own, and other cuts than the usual one share most of its test: they are left out,
    cuts only where there are others.
    """
    whole = [table for table in tables if block_of(table.key.split) is None]
    found = []
    for table in [table for table in whole if series_key(table.key) is None or _is_usual(table)] or whole:
        for control, methods in references_of(table):
            asked = tuple(row for row in methods if is_asked(against, row))
            if control is not None and asked:
                found.append(ComparisonRequest(table, control, asked))
    if not found:
        raise BenchError(f"no table has a control beside a method of --against {against}: name some, or write all")
    return found


def _is_usual(table: Table) -> bool:
    """Whether a table is of the cut in time that is taken where none is named."""
    return table.key.split == "chronological"


def against_of(method: str, against: str | None) -> str:
    """What is compared with a method where nobody says so: the controls; with best controls all that they stand for."""
    if against is not None:
        return against
    return EVERYTHING if method == BEST_CONTROL else CONTROLS


def is_asked(against: str, other: Row | dict[str, Any]) -> bool:
    """Whether `--against` means this row of a table, or of a kept comparison."""
    name, group = (other.method, other.group) if isinstance(other, Row) else (other["method"], other["told"])
    if against in (CONTROLS, EVERYTHING):
        return against == EVERYTHING or is_control(group)
    return name in _COMMA_OUTSIDE.split(against)


def require_scores(asked: Iterable[ComparisonRequest], store: Store) -> None:
    """Raise BenchError, before anything is resampled, where scores of a run that is needed are not here."""
    needed = {
        record["run_id"]: record
        for request in asked
        for other in request.others
        for pair in _pairs(request.row, other, drawn=request.table.is_drawn)
        for record in pair
    }
    missing = [record for run_id, record in needed.items() if not store.has_scores(run_id)]
    if not missing:
        return
    first = missing[0]
    raise BenchError(
        f"the scores of {len(missing)} of {len(needed)} runs are not in {store.root}, as of {first['method']} on "
        f"{first['scenario']}, {first['spec']['split']}, seed {first['spec']['seed']}: run these again with another "
        "--out, where no record says that they are finished, and compare there, or print what is kept with --stored"
    )


def compare_rows(request: ComparisonRequest, store: Store) -> Comparison:
    """The differences of a method to other rows of its table.

    The scores of all runs that are needed must be there (`require_scores`). A row that cannot be compared has a
    `failure` and no metrics.
    """
    table, row = request.table, request.row
    pairs = {other.method: _pairs(row, other, drawn=table.is_drawn) for other in request.others}
    runs = _runs(request, pairs)
    measured = _measure(request, runs, store)
    first = table.records[0]
    return {
        "version": VERSION,
        **table.key._asdict(),
        "data": list(table.key.data),
        "tiers": first["tiers"],
        "simulated": first["simulated"],
        "method": row.method,
        "told": row.group,
        "n_test": first["counts"]["n_test"],
        "n_test_abnormal": first["counts"]["n_test_abnormal"],
        "n_draws": N_DRAWS,
        "rows": [_compared(row, other, pairs[other.method], measured, table.is_drawn) for other in request.others],
        "runs": {run_id: facts(record, rule) for run_id, (record, rule) in sorted(runs.items())},
    }


def facts(record: Record, rule: str) -> dict[str, Any]:
    """What a comparison keeps of a run's record, of metrics that need a threshold those by the rule."""
    block = record["metrics"][ALL]
    return {"seed": record["spec"]["seed"], "rule": rule} | {m.key: m.value(block, rule) for m in compared()}


def paired_run_ids(table: Table, row: Row, other: Row) -> list[list[str]]:
    """The runs whose differences a comparison of two rows takes."""
    return [[record["run_id"] for record in pair] for pair in _pairs(row, other, drawn=table.is_drawn)]


def _pairs(row: Row, other: Row, *, drawn: bool) -> list[_Pair]:
    """Runs of equal seeds; on one test set the only seed of a row also stands beside all seeds of the other."""
    ours, theirs = ({r["spec"]["seed"]: r for r in side.finished} for side in (row, other))
    if not drawn and 1 in (len(ours), len(theirs)):
        return [(a, b) for a in ours.values() for b in theirs.values()]
    return [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def _runs(request: ComparisonRequest, pairs: Mapping[str, Sequence[_Pair]]) -> dict[str, tuple[Record, str]]:
    """The run_ids of all pairs, with record and threshold rule."""
    runs: dict[str, tuple[Record, str]] = {}
    for other in request.others:
        rules = [shown_rule(side, DEFAULT_RULE) for side in (request.row, other)]
        for pair in pairs[other.method]:
            runs |= {record["run_id"]: (record, rule) for record, rule in zip(pair, rules, strict=True)}
    return runs


def _measure(request: ComparisonRequest, runs: Mapping[str, tuple[Record, str]], store: Store) -> dict[str, _Measured]:
    """Resampled metrics of all runs, those on one test set under the same resamples."""
    drawn = request.table.is_drawn
    test_sets: dict[int | None, list[str]] = defaultdict(list)
    for run_id, (record, _) in runs.items():
        test_sets[record["spec"]["seed"] if drawn else None].append(run_id)
    measured: dict[str, _Measured] = {}
    for seed, run_ids in test_sets.items():
        own = next(r["run_id"] for r in request.row.finished if r["run_id"] in run_ids and seed in (None, _seed(r)))
        measured |= _on_one_test_set({run_id: runs[run_id] for run_id in run_ids}, own, request.row.method, store)
    return measured


def _seed(record: Record) -> int:
    return int(record["spec"]["seed"])


def _on_one_test_set(
    runs: Mapping[str, tuple[Record, str]], own: str, method: str, store: Store
) -> dict[str, _Measured]:
    """Resampled metrics of runs; those must have the test labels of the run `own`."""
    loaded = {run_id: _load(store, run_id, *run) for run_id, run in runs.items()}
    measured: dict[str, _Measured] = {run_id: run for run_id, run in loaded.items() if isinstance(run, str)}
    if own in measured:
        return dict.fromkeys(runs, measured[own])
    ours = {run_id: run for run_id, run in loaded.items() if not isinstance(run, str)}
    labels = ours[own].labels
    if len(np.unique(labels)) < 2:
        return dict.fromkeys(runs, "its test set has only one kind of sequences")
    same = {run_id: run.scored for run_id, run in ours.items() if np.array_equal(run.labels, labels)}
    others = ours.keys() - same.keys()
    measured |= dict.fromkeys(others, f"its test labels are not those of {method}: run both again")
    resampled = resample(list(same.values()), labels, seed=draw_seed(labels), resampling=ours[own].resampling)
    for run_id, metrics in zip(same, resampled, strict=True):
        expected = facts(*runs[run_id])
        wrong = [name for name, found in metrics.items() if abs(found.point - expected[name]) > _TOLERANCE]
        measured[run_id] = (
            f"the stored scores of {run_id} give another {wrong[0]} than its record" if wrong else metrics
        )
    return measured


def _load(store: Store, run_id: str, record: Record, rule: str) -> _Loaded | str:
    """The scores of a run, or that they are not its own, by the digest where the record has one."""
    scores = store.read_scores(run_id)
    if scores is None:
        raise BenchError(f"the scores of run {run_id} are not in {store.root}: run it again with another --out")
    known = record.get("scores_sha256")
    if known is not None and scores_digest(scores) != known:
        return f"the stored scores of {run_id} are not those of its record: delete both and run it again"
    value = record["thresholds"].get(rule, {}).get("value")
    scored = Scored(scores["test"], None if value is None else float(value))
    return _Loaded(scored, scores["test_labels"], resampling_of(scores, record["spec"]["split"]))


def _compared(
    row: Row, other: Row, pairs: Sequence[_Pair], measured: Mapping[str, _Measured], drawn: bool
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "method": other.method,
        "told": other.group,
        "rule": shown_rule(other, DEFAULT_RULE),
        "run_ids": [[record["run_id"] for record in pair] for pair in pairs],
        "failure": _no_pairs(row, other) if not pairs else None,
        "metrics": None,
    }
    found = [tuple(measured[record["run_id"]] for record in pair) for pair in pairs]
    made["failure"] = made["failure"] or next((each for pair in found for each in pair if isinstance(each, str)), None)
    if made["failure"] is None:
        made["metrics"] = {m.key: _difference(m.key, found, drawn) for m in compared()}
    return made


def _difference(name: str, found: Sequence[Any], drawn: bool) -> dict[str, Any] | None:
    """None where no pair has the metric, as the F1 of a threshold that is not estimable."""
    pairs = [(a[name], b[name]) for a, b in found if name in a and name in b]
    if not pairs:
        return None
    made = difference(pairs, same_test=not drawn)
    values = {
        "value": float(np.mean([a.point for a, _ in pairs])),
        "other_value": float(np.mean([b.point for _, b in pairs])),
        "difference": made.mean,
        "low": made.low,
        "high": made.high,
    }
    return {
        **{key: round(value, _DECIMALS) for key, value in values.items()},
        "p": float(f"{made.p:.3g}"),
        "verdict": made.verdict,
        "n_seeds": made.n_seeds,
    }


def _no_pairs(row: Row, other: Row) -> str:
    for side in (row, other):
        if not side.finished:
            return f"{side.method}: {side.failure}"
    seeds = [", ".join(str(_seed(record)) for record in side.finished) for side in (row, other)]
    return f"no seed in common: {row.method} has {seeds[0]}, {other.method} {seeds[1]}"
