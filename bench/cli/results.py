"""`bench table`, `bench results show`: what is read from records."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Out, Protocol, say
from bench.cli._stale import code_lines, tell_stale
from bench.cli._tables import Columns, Format, Methods, Sort, Top, Wide, chosen_format, print_matrix, print_tables
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.records.store import Store
    from bench.reporting.tables.rows import Table

Scenario = Annotated[str | None, typer.Option("--scenario", "-s", help="Only this scenario (part of its name).")]
Split = Annotated[str | None, typer.Option("--split", help="Only this split.")]
Write = Annotated[bool, typer.Option("--write", help="Write all tables to OUT/tables.")]
Check = Annotated[
    bool, typer.Option("--check", help="Exit 1 when a written table or a kept comparison differs from the records.")
]
Published = Annotated[
    bool, typer.Option("--published", help="Set what papers report beside ours, and say how the protocols differ.")
]
Validation = Annotated[
    bool, typer.Option("--validation", help="Rank configs by the validation part; shows nothing of the test part.")
]
Matrix = Annotated[
    bool, typer.Option("--matrix", help="Methods by data sets in one table; --columns says by which metrics.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("table")(table)


def add_to_results(app: typer.Typer) -> None:
    """Register the commands of this file that belong to `bench results`."""
    app.command("show")(show)


def table(
    scenario: Scenario = None,
    split: Split = None,
    threshold: Annotated[str, typer.Option("--threshold", help="Threshold rule.")] = "conformal:0.01",
    write: Write = False,
    check: Check = False,
    published: Published = False,
    validation: Validation = False,
    methods: Methods = None,
    columns: Columns = None,
    sort: Sort = None,
    top: Top = None,
    matrix: Matrix = False,
    wide: Wide = False,
    form: Format = None,
    protocol: Protocol = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Print the tables of the stored records, and below each what it says; `--write` writes those of every protocol."""
    from bench.experiment.settings import read_rule
    from bench.records.store import Store
    from bench.reporting.files import write_tables
    from bench.reporting.tables.choice import Choice
    from bench.reporting.tables.protocols import of_one_protocol
    from bench.reporting.tables.table import require_rule
    from bench.reporting.tables.validation import render_choices

    store, printed = Store(out), chosen_format(form, as_json=as_json)
    whole = {"--check": check, "--write": write, "--published": published, "--validation": validation}
    _require_whole([name for name, is_given in whole.items() if is_given], [methods, columns, sort, top, matrix, wide])
    if matrix and (sort or top):
        raise BenchError("--matrix sets methods by name: leave --sort and --top out")
    choice = Choice.of(methods, columns, sort or ("ap" if printed == "text" and not matrix else None), top)
    if check:
        _check(store)
        return
    read_rule(threshold)
    everything = _fitting(store, scenario, split)
    tables, note = of_one_protocol(everything, protocol)
    if note and not write:
        say(note, err=True)
    tell_stale(tables, store)
    if validation:
        say("\n".join(render_choices(found) for found in tables))
        return
    require_rule(tables, threshold)
    if write:
        for path in write_tables(store, {found.key for found in (everything if protocol is None else tables)}):
            say(f"written: {path}", err=True)
    if published:
        _print_published(tables, threshold, store, is_read=form is None and not as_json)
    elif matrix:
        print_matrix(choice.apply(tables, threshold), threshold, choice, printed, wide=wide)
    elif not write or as_json or form:
        print_tables(choice.apply(tables, threshold), threshold, store, choice, printed, wide=wide)


def _print_published(tables: Sequence[Table], threshold: str, store: Store, *, is_read: bool) -> None:
    from bench.reporting.published.page import render_published

    if not is_read:
        raise BenchError(
            "--published is a page for readers: leave --json and --format out, or use `bench audit published --json`"
        )
    say(render_published(tables, threshold, store.cache))


def _require_whole(given: Sequence[str], choices: Sequence[Any]) -> None:
    """Raise BenchError where a part of the tables is asked for beside what is about whole ones."""
    if given and any(choices):
        raise BenchError(
            f"{given[0]} is about whole tables: leave --methods, --columns, --sort, --top, --matrix and --wide out"
        )


def _fitting(store: Store, scenario: str | None, split: str | None) -> list[Table]:
    """The tables of all protocols that were asked for; BenchError where there is none."""
    from bench.data.sequences.protocols import expanded
    from bench.reporting.tables.choose import nothing_fits
    from bench.reporting.tables.table import make_tables

    splits = None if split is None else expanded([split])
    tables = make_tables(
        store.table_records(
            lambda name, cut: (scenario is None or scenario in name) and (splits is None or cut in splits)
        )
    )
    if not tables:
        raise nothing_fits(store, scenario, "--scenario, --split or --out")
    return tables


def _check(store: Store) -> None:
    """Exit 1 where a record is not what its run left, or a table or comparison is not what the records say."""
    from bench.experiment.measure import are_scores_of
    from bench.records.verify import problems
    from bench.reporting.comparisons.kept import outdated_comparisons
    from bench.reporting.files import outdated_tables

    wrong = list(problems(store, are_scores_of))
    if not wrong:
        if next(store.by_table(), None) is None:
            raise BenchError(f"there is no record in {store.root} to compare tables with: give another --out")
        outdated = outdated_tables(store) | outdated_comparisons(store)
        wrong = [f"{path} {what}" for path, what in outdated.items()]
    for sentence in wrong:
        say(sentence)
    if wrong:
        raise typer.Exit(EXIT_GATE)
    say("all records are as their runs left them, all tables and comparisons equal their records")


def show(
    run_id: Annotated[str | None, typer.Argument(help="The run_id of a record, or its first digits.")] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Print lines of an archive file that come on stdin, for `git diff`.")
    ] = False,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Print one record, readable."""
    from bench.records.record import parse_object, record_text
    from bench.records.store import Store

    if stdin:
        for line in filter(None, sys.stdin.read().split("\n")):
            say(record_text(parse_object(line, "a line of stdin", "give a file of JSON lines")), nl=False)
        return
    if run_id is None:
        raise BenchError(
            "say which record to show: give the first digits of its run_id, as in `bench results show 5d62`"
        )
    store = Store(out)
    record = store.find(run_id)
    if as_json:
        say(json.dumps(record, indent=1))
    else:
        say("\n".join([*_readable(record), *code_lines(record, store)]))


def _readable(record: Record) -> list[str]:
    from bench.reporting.tables.rows import division_of, times_of

    spec, counts = record["spec"], record["counts"]
    lines = [
        f"run {record['run_id']}: {record['method']} on {record['scenario']}, {spec['split']}, seed {spec['seed']}",
        f"status: {record['status']}" + (f" ({record['reason']})" if record["reason"] else ""),
        f"told: {division_of(record)}",
        f"config: {json.dumps(spec['detector']['config'])}",
        f"sequences: {counts['n_train']} train, {counts['n_validation']} validation, {counts['n_test']} test "
        f"({counts['n_test_abnormal']} abnormal)",
        f"test events with a known log key: {100 * counts['known_keys_share']:.1f} %; "
        f"test sequences seen in training: {100 * counts['seen_in_training_share']:.1f} %",
        f"{times_of(record)}; peak memory: {record['memory_mib'].get('peak_rss', 'unknown')} MiB; "
        f"threads: {record['threads']}, {record['device']}",
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
