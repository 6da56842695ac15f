"""`bench gate`: whether anything that was recorded has become worse."""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Data, Out, Suite, say
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.reporting.gate import Finding, Written

WIDTH: Final = 80
MAX_NAMED: Final = 10
"""Rows without a baseline that are named one by one."""


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("gate")(gate)


def gate(
    baseline: Annotated[
        Path, typer.Option("--baseline", help="File of expected values; the scores they are of lie beside it.")
    ] = RESULTS / "baseline.json",
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the records instead.")] = False,
    keep_values: Annotated[
        bool, typer.Option("--keep-values", help="With --update: only add rows, and scores that the values are of.")
    ] = False,
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Take records too that other code made than is installed.")
    ] = False,
    suite: Suite = None,
    data: Data = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Exit 1 when a recorded F1, AUROC or AP has fallen, is missing, or its row is stale.

    It has fallen when the paired 95 % interval on the same test sequences lies below 0, by the scores that the baseline
    keeps; without scores, when it is below the baseline by more than the tolerance.
    """
    from bench.experiment.code import InstalledCode
    from bench.records.store import Store
    from bench.reporting.gate import (
        compare_with_baseline,
        load_baseline,
        require_trusted,
        unlisted,
        untrusted,
        write_baseline,
    )
    from bench.reporting.gate_scores import DIGEST, load_scores, scores_path

    if keep_values and not update:
        raise BenchError("--keep-values says what --update leaves: give both, or neither")
    scenarios = _suite_scenarios(suite, data) if suite else None
    store = Store(out)
    records, code = list(store.records()), InstalledCode(store.cache)
    store.require_unchanged(records)
    if update:
        if not accept_stale:
            require_trusted(records, code, scenarios)
        _update(baseline, write_baseline(baseline, records, store, scenarios, keep_values=keep_values))
        return
    expected = load_baseline(baseline)
    scores = scores_path(baseline)
    kept = load_scores(scores, expected)
    if DIGEST in expected and not scores.is_file():
        say(f"the scores '{scores}' of the baseline are not there", err=True)
    findings = compare_with_baseline(records, expected, scenarios, kept=kept, store=store)
    new = unlisted(records, expected, scenarios)
    stale, n_unknown = untrusted(records, expected, code, scenarios)
    if n_unknown:
        say(f"{n_unknown} rows hold records made before they named their code", err=True)
    _name("not in the baseline, so nothing holds it", new)
    _tell_tolerances({finding.row: finding.why for finding in findings if finding.found is not None})
    if accept_stale:
        stale = {}
    if as_json:
        say(json.dumps(_for_programs(findings, new, stale), indent=1))
    else:
        _print(findings, stale)
    if stale or any(finding.failed for finding in findings):
        raise typer.Exit(EXIT_GATE)


def _update(baseline: Path, written: Written) -> None:
    say(f"{baseline}: {written.n_rows} rows written")
    scores = baseline.with_suffix(".npz")
    if written.n_scores:
        kib = scores.stat().st_size / 1024
        say(f"{scores}: scores of {written.n_scores} rows kept ({kib:.0f} KiB)", err=True)
    _tell_tolerances(written.by_tolerance)


def _tell_tolerances(reasons: Mapping[str, str]) -> None:
    """Say on stderr which rows are held by the tolerance alone, and why."""
    rows = defaultdict(list)
    for name, why in reasons.items():
        if why:
            rows[why].append(name)
    for why, names in rows.items():
        _name(f"held by the tolerance alone, as {why}", names)


def _name(what: str, rows: Sequence[str]) -> None:
    """Name rows on stderr, so many that they can be read."""
    if rows:
        say(f"{what}:", err=True)
    for name in rows[:MAX_NAMED]:
        say(_wrapped(f"  {name}"), err=True)
    if len(rows) > MAX_NAMED:
        say(f"  and {len(rows) - MAX_NAMED} more (--json names all)", err=True)


def _print(findings: Sequence[Finding], stale: Mapping[str, str]) -> None:
    """What is wrong, a row at a time."""
    wrong: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.failed:
            wrong[finding.row].append(finding)
    for name, why in stale.items():
        say(f"STALE {name}: {why}")
    for name, failed in wrong.items():
        if all(finding.found is None for finding in failed):
            say(_wrapped(f"MISSING {name}: {failed[0].why}"))
            continue
        say(_wrapped(f"FAILED {name}"))
        for finding in failed:
            say(_wrapped(f"  {finding}"))
    n_failed = sum(map(len, wrong.values()))
    say(f"gate: {len(findings) - n_failed} of {len(findings)} values hold")
    if stale:
        say(f"{len(stale)} rows are stale: run them again, or give --accept-stale")


def _wrapped(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _for_programs(findings: Sequence[Finding], new: Sequence[str], stale: Mapping[str, str]) -> dict[str, Any]:
    there = {finding.row for finding in findings if finding.found is not None}
    missing = {finding.row: finding.why for finding in findings if finding.row not in there}
    return {
        "holds": not stale and not any(finding.failed for finding in findings),
        "values": [_value(finding, stale) for finding in findings],
        "missing": missing,
        "unlisted": list(new),
        "stale": dict(stale),
    }


def _value(finding: Finding, stale: Mapping[str, str]) -> dict[str, Any]:
    change = finding.change
    return {
        "row": finding.row,
        "metric": finding.metric,
        "expected": finding.expected,
        "found": finding.found,
        "tolerance": finding.tolerance,
        "held_by": "tolerance" if change is None else "interval",
        "why": finding.why or None,
        "fall": None if finding.found is None else finding.fall,
        "interval": None if change is None else [0.0 - change.high, 0.0 - change.low],
        "n_seeds": None if change is None else change.n_seeds,
        "failed": finding.failed,
        "stale": stale.get(finding.row),
    }


def _suite_scenarios(suite: str, data: Path | None) -> set[str]:
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.scenario import parse_scenario
    from bench.experiment.suites import load_suite

    known = catalogue(data)
    return {parse_scenario(text, known).key for part in load_suite(suite).parts for text in part.scenarios}
