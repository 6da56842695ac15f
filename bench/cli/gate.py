"""`bench gate`: whether anything that was recorded has become worse."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Data, Out, Suite, complete_methods, say
from bench.cli._wrapping import wrapped
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.records.store import Record, Store
    from bench.reporting.gate import Finding
    from bench.reporting.gate_part import Part
    from bench.reporting.gate_report import Verdict

SUMMARY: Final = "GITHUB_STEP_SUMMARY"
"""The variable by which GitHub names the file of a step's page."""
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
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", "-m", help="Only rows of these methods; commas for several.", autocompletion=complete_methods
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too, for the report of a CI.")
    ] = None,
    github: Annotated[
        bool,
        typer.Option("--github", help="Annotate the run of a GitHub workflow, and add a page to its step summary."),
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
    from bench.reporting.gate_part import Part
    from bench.reporting.tables.choose import row_names

    if keep_values and not update:
        raise BenchError("--keep-values says what --update leaves: give both, or neither")
    if update and (junit or github):
        raise BenchError("--junit and --github tell what a gate found, and --update looks for nothing: leave one out")
    part = Part(
        frozenset(_suite_scenarios(suite, data)) if suite else None,
        None if methods is None else frozenset(row_names(methods)),
    )
    if update:
        _update(baseline, out, part, accept_stale=accept_stale, keep_values=keep_values)
        return
    verdict, new = _judged(baseline, out, part, accept_stale=accept_stale)
    if as_json:
        say(json.dumps(_for_programs(verdict, new), indent=1))
    else:
        _print(verdict)
    _tell_ci(verdict, junit, github=github)
    if not verdict.holds:
        raise typer.Exit(EXIT_GATE)


def _judged(baseline: Path, out: Path, part: Part, *, accept_stale: bool) -> tuple[Verdict, list[str]]:
    """What the gate finds, and rows that nothing holds; what else is to be known goes to stderr."""
    from bench.experiment.code import InstalledCode
    from bench.reporting.gate import compare_with_baseline, load_baseline, rows_by_name, unlisted, untrusted
    from bench.reporting.gate_report import Verdict
    from bench.reporting.gate_scores import DIGEST, load_scores, scores_path

    store, records = _recorded(out)
    expected = load_baseline(baseline)
    part.require_known([*expected["rows"], *rows_by_name(records)])
    scores = scores_path(baseline)
    kept = load_scores(scores, expected)
    if DIGEST in expected and not scores.is_file():
        say(f"the scores '{scores}' of the baseline are not there", err=True)
    findings = compare_with_baseline(records, expected, part, kept=kept, store=store)
    new = unlisted(records, expected, part)
    stale, n_unknown = untrusted(records, expected, InstalledCode(store.cache), part)
    if n_unknown:
        say(f"{n_unknown} rows hold records made before they named their code", err=True)
    _name("not in the baseline, so nothing holds it", new)
    _tell_tolerances({finding.row: finding.why for finding in findings if finding.found is not None})
    return Verdict(findings, {} if accept_stale else stale), new


def _recorded(out: Path) -> tuple[Store, list[Record]]:
    """The store and its records, none of which was changed after its run."""
    from bench.records.store import Store

    store = Store(out)
    records = list(store.records())
    store.require_unchanged(records)
    return store, records


def _tell_ci(verdict: Verdict, file: Path | None, *, github: bool) -> None:
    """Write what a CI reads: a file of test cases; annotations on stderr, and the page that GitHub named."""
    from bench._files import replace_text
    from bench.reporting.gate_report import annotation_lines, junit, step_summary

    if file is not None:
        replace_text(file, junit(verdict))
    if not github:
        return
    for line in annotation_lines(verdict):
        say(line, err=True)
    place = os.environ.get(SUMMARY)
    if not place:
        say(f"no step summary: {SUMMARY} is not set, as in a workflow of GitHub", err=True)
        return
    try:
        with Path(place).open("a", encoding="utf-8") as stream:
            stream.write(step_summary(verdict))
    except OSError as error:
        raise BenchError(
            f"the step summary '{place}' cannot be written ({error.strerror}): correct {SUMMARY}"
        ) from None


def _update(baseline: Path, out: Path, part: Part, *, accept_stale: bool, keep_values: bool) -> None:
    """Write the baseline from the records."""
    from bench.experiment.code import InstalledCode
    from bench.reporting.gate import require_trusted, rows_by_name, write_baseline

    store, records = _recorded(out)
    if not accept_stale:
        require_trusted(records, InstalledCode(store.cache), part)
    part.require_known(rows_by_name(records))
    written = write_baseline(baseline, records, store, part, keep_values=keep_values)
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
        say(wrapped(f"  {name}"), err=True)
    if len(rows) > MAX_NAMED:
        say(f"  and {len(rows) - MAX_NAMED} more (--json names all)", err=True)


def _print(verdict: Verdict) -> None:
    """What is wrong, a row at a time."""
    for row, word, said in verdict.wrong_rows():
        if word == "worse":
            say(wrapped(f"FAILED {row}"))
            for sentence in said:
                say(wrapped(f"  {sentence}"))
        else:
            text = f"{word.upper()} {row}: {said[0]}"
            say(text if word == "stale" else wrapped(text))
    say(verdict.sentence)
    if verdict.stale:
        say(f"{len(verdict.stale)} rows are stale: run them again, or give --accept-stale")


def _for_programs(verdict: Verdict, new: Sequence[str]) -> dict[str, Any]:
    findings, stale = verdict.findings, verdict.stale
    there = {finding.row for finding in findings if finding.found is not None}
    missing = {finding.row: finding.why for finding in findings if finding.row not in there}
    return {
        "holds": verdict.holds,
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
