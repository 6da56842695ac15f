"""Records -> markdown tables. Metrics come from the records; here they are only averaged over seeds and laid out.

A table is one scenario with its editions under one split, one grouping and one threshold rule. Methods that are told
different things stand in groups of their own and are never ranked against each other; controls stand in every table.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from bench.errors import BenchError
from bench.evaluation.measures import Measure, all_measures
from bench.evaluation.thresholds import parse_rule
from bench.experiment.grades import group_rank, told_of
from bench.experiment.groups import is_control
from bench.experiment.measure import ALL, LINES
from bench.records.record import Record, own_seconds, standings
from bench.reporting import markdown
from bench.reporting.tables.answers import CALL_HEADERS, answered_by, call_cells, calls_of, legend
from bench.reporting.tables.headroom import bound_lines, data_lines, licence_lines, pool_lines
from bench.reporting.tables.notes import table_notes
from bench.reporting.tables.rows import (
    Row,
    Table,
    TableKey,
    aggregate,
    division_of,
    heading,
    mean_of,
    sample_lines,
    shown_rule,
    steps_of,
)
from bench.reporting.tables.split_words import split_words
from bench.reporting.tables.versions import newest_versions

_WHERE_HELD: Final = {"recall_incident": "R inc"}
"""Columns of the tables whose records hold the metric, and their headings."""
_BESIDE: Final = "F1 @pool"
"""Heading of the F1 of the same rule, fitted on the unlabelled pool of the target."""
_TIMES: Final = ("fit s", "score", "+MiB")


def make_tables(records: Iterable[Record]) -> list[Table]:
    """Sort records into tables; controls stand last, everything else by what it is told and name.

    A row is what shares everything but the seed; how its settings were typed (`1.3`, `1.30`, or left out) is not that.
    Of a local file only the version that ran last is a row.
    """
    tables: dict[TableKey, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        spec = record["spec"]
        identity = {name: spec[name] for name in spec.keys() - {"seed"}}
        tables[table_key(record)][json.dumps(identity, sort_keys=True)].append(record)
    return [Table(key, tuple(_rows(*newest_versions(groups)))) for key, groups in sorted(tables.items())]


def table_key(record: Record) -> TableKey:
    """The table a record belongs to."""
    spec = record["spec"]
    grouping = spec.get("grouping")
    window = f"{grouping['window_size']}/{grouping['window_step']}" if grouping else "sessions"
    data = tuple(dict.fromkeys(f"{part['edition']} {_digest(part)}" for part in (*spec["train"], *spec["test"])))
    return TableKey(record["scenario"], spec["split"], window, spec["protocol_version"], data, spec.get("sample", 0))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def render(table: Table, rule: str) -> str:
    """One table as markdown, with what a reader must know of it; combined runs show each system by itself too."""
    rule = str(parse_rule(rule))
    parts = [f"### {heading(table.key, table.records)}", "\n".join(_facts(table, rule))]
    blocks = [ALL, *_system_blocks(table)]
    for block in blocks:
        if block != ALL:
            parts.append(f"**{block} by itself, at the shared threshold** ({_block_size(table, block)})")
        parts += _groups(table, rule, block)
    notes = [*pool_lines(table), *bound_lines(table), *table_notes(table, rule), *licence_lines(table.records)]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def summary(table: Table, rule: str) -> list[dict[str, Any]]:
    """The rows of a table for programs."""
    rule = str(parse_rule(rule))
    return [
        {
            "scenario": table.key.scenario,
            "split": table.key.split,
            "window": table.key.window,
            "sample": table.key.sample or None,
            "protocol_version": table.key.protocol_version,
            "method": row.method,
            "told": row.group,
            "rule": shown_rule(row, rule),
            "seeds": sorted(record["spec"]["seed"] for record in row.finished),
            "run_ids": [record["run_id"] for record in row.records],
            "failure": row.failure or None,
            "calls": calls_of(row),
            "steps_run": steps_of(row) or None,
            "metrics": _metrics(row, shown_rule(row, rule)),
        }
        for row in table.rows
    ]


def _metrics(row: Row, rule: str) -> dict[str, dict[str, Any] | None]:
    """Every metric of a row, with its interval."""
    found = {measure.key: aggregate(row, ALL, measure.key, rule) for measure in all_measures()}
    return {key: interval and interval._asdict() for key, interval in found.items()}


def _cell(row: Row, block: str, measure: Measure, rule: str) -> str:
    """A metric of a row, as its column prints it."""
    missing = "n/e" if measure.is_by_rule else "-"
    if not measure.has_interval:
        mean = mean_of(row, block, measure.key, rule)
        return missing if mean is None else f"{mean:.3f}"
    interval = aggregate(row, block, measure.key, rule)
    if interval is None:
        return missing
    # Without leading zeros, else a table would not fit a terminal.
    low, high = (f"{bound:.3f}".removeprefix("0") for bound in (interval.low, interval.high))
    return f"{interval.mean:.3f} [{low},{high}]"


def _rows(groups: Mapping[str, list[Record]], n_older: Mapping[str, int]) -> list[Row]:
    # The longest name, and of two the last, so that the row is called the same whatever the order of the records.
    names = {
        key: answered_by(max((len(r["method"]), r["method"]) for r in records)[1], records)
        for key, records in groups.items()
    }
    repeated = {name for name, times in Counter(names.values()).items() if times > 1}
    rows = [
        Row(
            f"{names[key]} #{_digest(key)[:4]}" if names[key] in repeated else names[key],
            division_of(records[0]),
            tuple(sorted(records, key=lambda r: r["spec"]["seed"])),
            n_older.get(key, 0),
        )
        for key, records in groups.items()
    ]
    return sorted(rows, key=lambda row: (group_rank(row.group), row.method))


def _protocol(table: Table, rule: str) -> list[str]:
    key = table.key
    unit = "sessions" if key.window == "sessions" else "windows of {} lines, step {}".format(*key.window.split("/"))
    split = split_words(key.split, table.records[0]["counts"]["split"])
    return [f"- split: {key.split}, {split}", f"- {unit}; threshold rule {rule}"]


def _facts(table: Table, rule: str) -> list[str]:
    """Protocol, editions with tier, sizes, and what makes the numbers easy or hard."""
    records = table.records
    first = records[0]
    digests = dict(entry.split(" ") for entry in table.key.data)
    editions = ", ".join(
        f"{key} ({name}, data {digests[key]})" for key, name in standings(first).items() if key in digests
    )
    lines = [*_protocol(table, rule), f"- editions: {editions}"]
    if "smoke" in standings(first).values():
        lines.append("- put together from pieces (tier smoke): never part of a finding")
    if torn := [key for key in first["tiers"] if ".lines-" in key and table.key.window == "sessions"]:
        lines.append(f"- cut by lines, so sessions at its ends are not whole: {', '.join(torn)}")

    def span(name: str, form: Callable[[Any], str] = str) -> str:
        values = sorted({record["counts"][name] for record in records})
        return form(values[0]) if len(values) == 1 else f"{form(values[0])} to {form(values[-1])}"

    lines.append(
        f"- sequences: {span('n_train')} train ({span('n_train_abnormal')} abnormal), "
        f"{span('n_validation')} validation ({span('n_validation_abnormal')}), "
        f"{span('n_test')} test ({span('n_test_abnormal')}); {span('n_log_keys')} log keys"
    )
    lines.append(
        f"- test events with a log key known from training: {span('known_keys_share', _percent)}; "
        f"test sequences seen in training: {span('seen_in_training_share', _percent)}"
    )
    lines += _repairs(first)
    ranking = next((r["metrics"][ALL]["ranking"] for r in records if r["status"] == "ok" and "excluded" not in r), None)
    if ranking and ranking["prevalence"]:
        lines.append(
            f"- prevalence in test: {ranking['prevalence']:.3f}; F1 of flagging everything: "
            f"{ranking['all_positive_f1']:.3f}"
        )
    lines += data_lines(table, rule)
    lines += sample_lines(table.records)
    lines.append(
        "- R@1%, R@.1%: recall at that false positive rate; oracle: best F1 of any threshold on the test labels"
    )
    lines += _legend_of_some(table, rule)
    lines += legend(table.rows)
    lines.append(f"- fit s, score: {_time_words(table.records)}; +MiB: memory the run added; n/e: not estimable")
    return lines


def _legend_of_some(table: Table, rule: str) -> list[str]:
    """What the columns mean that only some tables have."""
    has_beside = bool(_rule_beside(table, table.rows, rule))
    words = [
        ("R inc: share of incidents with a flagged sequence", any(_is_held(m, table) for m in all_measures())),
        ("steps: optimiser steps of a network's training", any(steps_of(row) for row in table.rows)),
        (f"{_BESIDE}: F1 of the same rule fitted on the target's unlabelled validation sequences", has_beside),
    ]
    return [f"- {text}" for text, is_shown in words if is_shown]


def _repairs(record: Record) -> list[str]:
    """What had to be done to lines that could not be read as their card says."""
    words = {
        "n_replaced_lines": "lines with bytes that are no UTF-8, replaced",
        "n_headerless_lines": "lines without the card's header, kept whole",
    }
    return [
        f"- {text}: " + ", ".join(f"{n} of {key}" for key, n in record["counts"][name].items())
        for name, text in words.items()
        if record["counts"].get(name)
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _system_blocks(table: Table) -> list[str]:
    blocks = {block for row in table.rows for record in row.finished for block in record["metrics"]}
    return sorted(blocks - {ALL, LINES})


def _block_size(table: Table, block: str) -> str:
    metrics = next(r["metrics"][block] for r in table.records if r["status"] == "ok" and block in r["metrics"])
    return f"{metrics['n']} test sequences, {metrics['n_abnormal']} abnormal"


def _groups(table: Table, rule: str, block: str) -> list[str]:
    extra = " + threshold from target normals" if parse_rule(rule).uses_target_normals else ""
    chosen = [measure for measure in all_measures() if measure.column or _is_held(measure, table)]
    measures = sorted(chosen, key=lambda measure: not measure.is_by_rule)
    parts = []
    for group in dict.fromkeys(row.group for row in table.rows):
        rows = [row for row in table.rows if row.group == group]
        shown = _Columns(
            tuple(measures),
            asks=any(calls_of(row) for row in rows),
            steps=any(steps_of(row) for row in rows),
            beside=_rule_beside(table, rows, rule),
        )
        headers = [group if is_control(group) else group + extra, *shown.headers, "seeds"]
        lines = [_line(row, rule, block, shown) for row in rows]
        parts.append(markdown.table(lines, headers))
    return parts


class _Columns(NamedTuple):
    """The columns of one group of rows, between their names and their seeds."""

    measures: tuple[Measure, ...]
    asks: bool
    """Whether a row asked a chat model."""
    steps: bool
    """Whether a row was trained by optimiser steps."""
    beside: str = ""
    """A second rule whose F1 stands behind the metrics; empty where there is none."""

    @property
    def headers(self) -> list[str]:
        """Their headings."""
        metrics = [_WHERE_HELD.get(measure.key, measure.heading) for measure in self.measures]
        beside = [_BESIDE] if self.beside else []
        calls = CALL_HEADERS if self.asks else ()
        return [*metrics, *beside, *calls, *(["steps"] if self.steps else []), *_TIMES]


def _rule_beside(table: Table, rows: Sequence[Row], rule: str) -> str:
    """Under `transfer` the same rule on the target's unlabelled pool, for methods that are told of it."""
    parsed = parse_rule(rule)
    is_told = table.key.split == "transfer" and any("target" in told_of(r).roles for row in rows for r in row.records)
    if not is_told or parsed.kind not in ("conformal", "quantile") or parsed.population is not None:
        return ""
    return str(replace(parsed, population="target-unlabelled"))


def _f1_beside(row: Row, block: str, rule: str) -> str:
    value = mean_of(row, block, "f1", rule)
    return "n/e" if value is None else f"{value:.3f}"


def _is_held(measure: Measure, table: Table) -> bool:
    """Whether it is a metric that only some tables have, and a record of this one holds it."""
    blocks = [block for row in table.rows for r in row.finished for block in r["metrics"].values()]
    return measure.key in _WHERE_HELD and any(
        rule.get(measure.key) is not None for block in blocks for rule in block["rules"].values()
    )


def _line(row: Row, rule: str, block: str, columns: _Columns) -> list[str]:
    seeds = f"{len(row.finished)}/{len(row.records)}" if row.failure else str(len(row.records))
    if not row.finished:
        return [row.label, *["-"] * len(columns.headers), seeds]
    shown = shown_rule(row, rule)
    return [
        row.label,
        *(_cell(row, block, measure, shown) for measure in columns.measures),
        *([_f1_beside(row, block, columns.beside)] if columns.beside else []),
        *(call_cells(row) if columns.asks else ()),
        *([steps_of(row) or "-"] if columns.steps else []),
        _mean_seconds(row, "fit"),
        _mean_seconds(row, "score"),
        _added_memory(row),
        seeds,
    ]


def _mean_seconds(row: Row, name: str) -> str:
    """Of the runs that say what they took by themselves; `-` where none does."""
    taken = [own_seconds(record) for record in row.finished]
    values = [seconds[name] for seconds in taken if name in seconds]
    return f"{_mean(values):.2f}" if values else "-"


def _added_memory(row: Row) -> str:
    """MiB; `-` where it ran elsewhere."""
    found = [record["memory_mib"]["added"] for record in row.finished if "added" in record["memory_mib"]]
    return f"{_mean(found):.0f}" if found else "-"


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))


def _time_words(records: Sequence[Record]) -> str:
    """What the columns of times are, in words."""
    finished = [record for record in records if record["status"] == "ok" and "fitted_as" not in record]
    known = ["cpu_seconds" in record for record in finished]
    words = "seconds" if not any(known) else "CPU seconds" if all(known) else "CPU seconds, of older runs wall seconds"
    is_short = any(not own_seconds(record) for record in finished)
    return f"{words}, without runs that shared the machine" if is_short else words


def require_rule(tables: Sequence[Table], rule: str) -> None:
    """Raise BenchError where no record of the tables knows the rule."""
    canonical = str(parse_rule(rule))
    if tables and not any(canonical in r.get("thresholds", {}) for table in tables for r in table.records):
        known = sorted({name for table in tables for r in table.records for name in r.get("thresholds", {})})
        raise BenchError(
            f"no record holds the threshold rule '{canonical}': choose one of {', '.join(known)}, "
            "or run again with --threshold to add it"
        )
