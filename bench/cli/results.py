"""`bench table`, `bench show`, `bench gate`: what is read from records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Data, Out, Suite
from bench.errors import BenchError


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("table")(table)
    app.command("show")(show)
    app.command("gate")(gate)


def table(
    scenario: Annotated[
        str | None, typer.Option("--scenario", "-s", help="Only this scenario (part of its name).")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
    threshold: Annotated[str, typer.Option("--threshold", help="Threshold rule.")] = "conformal:0.01",
    write: Annotated[bool, typer.Option("--write", help="Write all tables to OUT/tables.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 when a written table or a kept comparison differs from the records.")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Set what papers report beside ours, and say how the protocols differ.")
    ] = False,
    validation: Annotated[
        bool, typer.Option("--validation", help="Rank configs by the validation part; shows nothing of the test part.")
    ] = False,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Print the tables of the stored records."""
    from bench.evaluation.thresholds import parse_rule
    from bench.records.store import Store
    from bench.reporting.comparisons.kept import outdated_comparisons
    from bench.reporting.tables.files import outdated_tables, write_tables
    from bench.reporting.tables.table import make_tables, render, require_rule, summary
    from bench.reporting.tables.validation import render_choices

    store = Store(out)
    if check:
        if next(store.records(), None) is None:
            raise BenchError(f"there is no record in {out} to compare tables with: give another --out")
        _fail_if_outdated(outdated_tables(store) | outdated_comparisons(store))
        return
    parse_rule(threshold)
    tables = [
        found
        for found in make_tables(store.records())
        if (scenario is None or scenario in found.key.scenario) and split in (None, found.key.split)
    ]
    if not tables:
        raise BenchError(f"no record in {out} fits: run something first, or give another --scenario, --split or --out")
    if validation:
        typer.echo("\n".join(render_choices(found) for found in tables))
        return
    require_rule(tables, threshold)
    if write:
        for path in write_tables(store, {found.key for found in tables}):
            typer.echo(f"written: {path}", err=True)
    if published:
        from bench.reporting.published.page import render_published

        if as_json:
            raise BenchError(
                "--published is a page for readers: leave --json out, or use `bench audit published --json`"
            )
        typer.echo(render_published(tables, threshold, store.cache))
    elif as_json:
        typer.echo(json.dumps([row for found in tables for row in summary(found, threshold)], indent=1))
    elif not write:
        typer.echo("\n".join(render(found, threshold) for found in tables))


def show(
    run_id: Annotated[str, typer.Argument(help="The run_id of a record, or its first digits.")],
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Print one record, readable."""
    from bench.records.store import Store

    record = Store(out).find(run_id)
    typer.echo(json.dumps(record, indent=1) if as_json else "\n".join(_readable(record)))


def gate(
    baseline: Annotated[Path, typer.Option("--baseline", help="File of expected values.")] = RESULTS / "baseline.json",
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the records instead.")] = False,
    suite: Suite = None,
    data: Data = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Exit 1 when a recorded F1, AUROC or AP is below the baseline by more than its tolerance."""
    from bench.records.store import Store
    from bench.reporting.gate import compare, load_baseline, write_baseline

    scenarios = _suite_scenarios(suite, data) if suite else None
    records = list(Store(out).records())
    if update:
        typer.echo(f"{baseline}: {write_baseline(baseline, records, scenarios)} rows written")
        return
    findings = compare(records, load_baseline(baseline), scenarios)
    failed = [finding for finding in findings if finding.failed]
    if as_json:
        typer.echo(json.dumps([vars(finding) | {"failed": finding.failed} for finding in findings], indent=1))
    else:
        for finding in failed:
            typer.echo(f"FAILED {finding}")
        typer.echo(f"gate: {len(findings) - len(failed)} of {len(findings)} values hold")
    if failed:
        raise typer.Exit(EXIT_GATE)


def _suite_scenarios(suite: str, data: Path | None) -> set[str]:
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.scenario import parse_scenario
    from bench.experiment.suites import load_suite

    known = catalogue(data)
    return {parse_scenario(text, known).key for part in load_suite(suite).parts for text in part.scenarios}


def _fail_if_outdated(wrong: dict[Path, str]) -> None:
    for path, what in wrong.items():
        typer.echo(f"{path} {what}")
    if wrong:
        raise typer.Exit(EXIT_GATE)
    typer.echo("all tables and comparisons equal their records")


def _readable(record: dict[str, Any]) -> list[str]:
    from bench.experiment.grades import group_of

    spec, counts = record["spec"], record["counts"]
    lines = [
        f"run {record['run_id']}: {record['method']} on {record['scenario']}, {spec['split']}, seed {spec['seed']}",
        f"status: {record['status']}" + (f" ({record['reason']})" if record["reason"] else ""),
        f"told: {group_of(record)}",
        f"config: {json.dumps(spec['detector']['config'])}",
        f"sequences: {counts['n_train']} train, {counts['n_validation']} validation, {counts['n_test']} test "
        f"({counts['n_test_abnormal']} abnormal)",
        f"test events with a known log key: {100 * counts['known_keys_share']:.1f} %; "
        f"test sequences seen in training: {100 * counts['seen_in_training_share']:.1f} %",
        "seconds: " + ", ".join(f"{name} {value}" for name, value in record["seconds"].items()) + "; "
        f"peak memory: {record['memory_mib']['peak_rss']} MiB; threads: {record['threads']}, {record['device']}",
        f"started: {record['started_at']}",
        f"environment: {json.dumps(record['environment'])}",
    ]
    for rule, threshold in record.get("thresholds", {}).items():
        origin = (
            f"from {threshold['n']} {threshold['fitted_on']}" if threshold["n"] else f"from {threshold['fitted_on']}"
        )
        value = "not estimable" if threshold["value"] is None else threshold["value"]
        if "systems" in threshold:
            value = ", ".join(f"{system} {own['value']}" for system, own in threshold["systems"].items())
        lines.append(f"threshold {rule}: {value}, {threshold['reason'] or origin}")
    for block, metrics in record.get("metrics", {}).items():
        lines.append(f"{block}: {_numbers(metrics['ranking'])}")
        lines += [f"{block}, {rule}: {_numbers(values)}" for rule, values in metrics["rules"].items()]
    lines += [f"  at {frame}" for frame in record.get("traceback", [])]
    return lines


def _numbers(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )
