"""What stands above a table: its protocol, its editions, sizes, what makes the numbers easy or hard, and legends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

from bench.evaluation.measures import all_measures
from bench.experiment.measure import ALL
from bench.records.record import Record, own_seconds, standings
from bench.reporting.tables.answers import legend
from bench.reporting.tables.columns import BESIDE, beside_columns, is_held
from bench.reporting.tables.headroom import data_lines
from bench.reporting.tables.rows import Table, sample_lines, steps_of
from bench.reporting.tables.split_words import split_words

_WORTH: Final = {
    "simulated": "made up: no finding",
    "smoke": "put together from pieces: no finding",
    "development": "what settings were chosen on",
}


def _protocol(table: Table, rule: str) -> list[str]:
    key = table.key
    unit = "sessions" if key.window == "sessions" else "windows of {} lines, step {}".format(*key.window.split("/"))
    split = split_words(key.split, table.records[0]["counts"]["split"])
    return [f"- split: {key.split}, {split}", f"- {unit}; threshold rule {rule}"]


def fact_lines(table: Table, rule: str) -> list[str]:
    """Protocol, editions with tier, sizes, and what makes the numbers easy or hard."""
    records = table.records
    first = records[0]
    digests = dict(entry.rsplit(" ", 1) for entry in table.key.data)
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


def brief_lines(table: Table, rule: str) -> list[str]:
    """What of it a terminal shows: the protocol and the sizes."""
    key, counts = table.key, table.records[0]["counts"]
    protocol = "; ".join(line.removeprefix("- ") for line in _protocol(table, rule))
    named: dict[str, list[str]] = defaultdict(list)
    for name, worth in standings(table.records[0]).items():
        named[worth].append(name)
    notices = [
        f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} {_WORTH[worth]}"
        for worth, names in named.items()
        if worth in _WORTH
    ]
    notice = f"; {', '.join(notices)}" if notices else ""
    sizes = f"{counts['n_train']} sequences train, {counts['n_test']} test ({counts['n_test_abnormal']} abnormal)"
    return [f"- {protocol.removeprefix(f'split: {key.split}, ')}", f"- {sizes}{notice}"]


def _legend_of_some(table: Table, rule: str) -> list[str]:
    """What the columns mean that only some tables have."""
    has_beside = bool(beside_columns(table, table.rows, rule))
    words = [
        ("R inc: share of incidents with a flagged sequence", any(is_held(m, table) for m in all_measures())),
        ("steps: optimiser steps of a network's training", any(steps_of(row) for row in table.rows)),
        (f"{BESIDE}: F1 of the same rule fitted on the target's unlabelled validation sequences", has_beside),
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


def _time_words(records: Sequence[Record]) -> str:
    """What the columns of times are, in words."""
    finished = [record for record in records if record["status"] == "ok" and "fitted_as" not in record]
    known = ["cpu_seconds" in record for record in finished]
    words = "seconds" if not any(known) else "CPU seconds" if all(known) else "CPU seconds, of older runs wall seconds"
    is_short = any(not own_seconds(record) for record in finished)
    return f"{words}, without runs that shared the machine" if is_short else words
