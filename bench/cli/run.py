"""`bench run`, `bench sweep`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bench._files import as_typed
from bench.cli._options import (
    EXIT_FAILED_CELL,
    EXIT_INTERRUPTED,
    RESULTS,
    AllowEndpoint,
    AsJson,
    Data,
    Out,
    Set,
    Suite,
    complete_methods,
    complete_scenarios,
)
from bench.cli.llm import DryRun, Llm, LlmOptions, MaxCalls, MaxCost, Price, llm_service, show_calls, tell_calls
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.experiment.cell import Settings
    from bench.experiment.code import Outdated
    from bench.experiment.runner import Outcome
    from bench.experiment.spec import Cell
    from bench.experiment.suites import Suite as LoadedSuite
    from bench.records.record import Record
    from bench.records.store import Store

Methods = Annotated[
    str | None,
    typer.Option("--methods", "-m", help="mlad,deeplog+nearest,mine.py:Mine", autocompletion=complete_methods),
]
ScenarioOption = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        "-s",
        help="bgl, bgl2tbird (train on bgl, test on tbird), bgl+tbird (combined), hdfs@simulated; commas for several.",
        autocompletion=complete_scenarios,
    ),
]
Train = Annotated[str | None, typer.Option("--train", help="Data sets to train on, e.g. bgl+tbird.")]
Test = Annotated[str | None, typer.Option("--test", help="Data sets to test on, with --train.")]
Seeds = Annotated[
    str | None, typer.Option("--seeds", help="5 means seeds 0 to 4; 3,7 means those two.", show_default="5")
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="chronological, paper or given; several with commas.", show_default="chronological"),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile", help="paper: the common budget; original: each method's own settings.", show_default="paper"
    ),
]
Threshold = Annotated[
    list[str] | None,
    typer.Option("--threshold", help="Rule to add to the records; the table is made by the first one given."),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")]
Precision = Annotated[str, typer.Option("--precision", help="float32, or bf16 where a method can; never of scores.")]
Compile = Annotated[bool, typer.Option("--compile", help="Translate networks with torch.compile where a method can.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of torch, BLAS and polars.")]
WindowSize = Annotated[
    int | None,
    typer.Option("--window-size", help="Lines per window, where a log has no sessions.", show_default="20"),
]
WindowStep = Annotated[
    int | None, typer.Option("--window-step", help="Lines between window starts; the window size if not given.")
]
SampleSize = Annotated[
    int | None,
    typer.Option("--sample", min=2, help="Score only so many test sequences, stratified; metrics weight them."),
]
Auxiliary = Annotated[
    str | None,
    typer.Option(
        "--auxiliary", help="Data sets that help methods which are told of them; never tested. Several with commas."
    ),
]
IncidentsOption = Annotated[
    str | None,
    typer.Option("--incidents", help="Known failures: a file of start,end lines, or 35s around abnormal lines."),
]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0.1, help="Seconds a single run may take.")]
Pack = Annotated[
    bool, typer.Option("--pack/--no-pack", help="Move the records from the inbox into the archive at the end.")
]
PRECISIONS: Final = ("float32", "bf16")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("run")(run)
    app.command("sweep")(sweep)


def run(
    methods: Methods = None,
    scenario: ScenarioOption = None,
    train: Train = None,
    test: Test = None,
    suite: Suite = None,
    seeds: Seeds = None,
    settings: Set = None,
    split: SplitOption = None,
    profile: Profile = None,
    threshold: Threshold = None,
    window_size: WindowSize = None,
    window_step: WindowStep = None,
    sample: SampleSize = None,
    auxiliary: Auxiliary = None,
    incidents: IncidentsOption = None,
    device: Device = "cpu",
    precision: Precision = "float32",
    compile_: Compile = False,
    threads: Threads = 1,
    timeout: Timeout = None,
    llm: Llm = None,
    dry_run: DryRun = False,
    price: Price = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    allow_endpoint: AllowEndpoint = False,
    data: Data = None,
    out: Out = RESULTS,
    pack: Pack = True,
    as_json: AsJson = False,
) -> None:
    """Run methods on scenarios and print the table; what is already recorded is not run again."""
    what = _What(methods, scenario, train, test, seeds, settings, split, profile, window_size, window_step, sample,
                 auxiliary, incidents)  # fmt: skip
    chosen = _suite(suite, what, allow_endpoint=allow_endpoint)
    _limit_threads(threads)
    if precision not in PRECISIONS:
        raise BenchError(f"the precision '{precision}' is not known: choose one of {', '.join(PRECISIONS)}")
    if compile_:
        typer.echo("--compile: each fit waits until its network is translated, half a minute or more", err=True)
    options = {"device": _device(device), "precision": precision, "compile": compile_, "threads": threads}
    with llm_service(LlmOptions(llm or chosen.llm, dry_run, price, max_cost, max_calls), out):
        _execute(chosen, options, timeout, threshold or [], data, out, as_json, dry_run, pack)


@dataclass(frozen=True)
class _What:
    """The options that say what to run, as typed; a suite names all of it itself."""

    methods: str | None
    scenario: str | None
    train: str | None
    test: str | None
    seeds: str | None
    settings: list[str] | None
    split: str | None
    profile: str | None
    window_size: int | None
    window_step: int | None
    sample: int | None
    auxiliary: str | None
    incidents: str | None


def _suite(name: str | None, what: _What, *, allow_endpoint: bool) -> LoadedSuite:
    from bench.experiment.suites import Suite as LoadedSuite
    from bench.experiment.suites import SuitePart, load_suite, require_no_places

    if name:
        if any(value is not None for value in vars(what).values()):
            raise BenchError(
                "--suite names its own methods, scenarios, seeds, splits, settings, profile, windows, sample, "
                "auxiliary and incidents: leave these options out, or copy its TOML file and change that"
            )
        named = load_suite(name)
        if not allow_endpoint:
            require_no_places(named)
        return named
    part = SuitePart(
        scenarios=tuple(_scenarios(what.scenario, what.train, what.test)),
        methods=tuple(_split_list(what.methods, "--methods", "mlad,deeplog")),
        splits=tuple(_split_list("chronological" if what.split is None else what.split, "--split", "chronological")),
        seeds="5" if what.seeds is None else what.seeds,
        settings=tuple(what.settings or ()),
        window_size=20 if what.window_size is None else what.window_size,
        window_step=what.window_step,
        profile=what.profile or "paper",
        sample=what.sample or 0,
        auxiliary=tuple(_split_list(what.auxiliary, "--auxiliary", "spirit") if what.auxiliary else ()),
        incidents=_incidents(what.incidents) if what.incidents else (),
    )
    return LoadedSuite("", "", (part,))


def _incidents(text: str) -> str | tuple[tuple[float, float], ...]:
    """Ranges of a file in Unix seconds, or `35s`."""
    import re

    from bench.data.own.labels import read_incidents

    if re.fullmatch(r"[0-9]+(\.[0-9]+)?s", text):
        return text
    return tuple(read_incidents(Path(text)))


def sweep(
    settings: Set = None,
    methods: Methods = None,
    scenario: ScenarioOption = None,
    seeds: Seeds = None,
    split: SplitOption = None,
    threshold: Threshold = None,
    sample: SampleSize = None,
    device: Device = "cpu",
    precision: Precision = "float32",
    compile_: Compile = False,
    threads: Threads = 1,
    data: Data = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Run one method with several values of a setting: --set mlad.alpha=1.0:1.6:0.1 (the end is included)."""
    from bench.experiment.settings import parse_settings

    grids = parse_settings(settings or [])
    if not any(len(values) > 1 for grid in grids.values() for values in grid.values()):
        raise BenchError("nothing to sweep: give a range or a list, e.g. --set mlad.alpha=1.0:1.6:0.1")
    named = methods or ",".join(grids)
    run(named, scenario, seeds=seeds, settings=settings, split=split, threshold=threshold, sample=sample, device=device,
        precision=precision, compile_=compile_, threads=threads, data=data, out=out, as_json=as_json)  # fmt: skip


def _scenarios(scenario: str | None, train: str | None, test: str | None) -> list[str]:
    if scenario and not (train or test):
        return _split_list(scenario, "--scenario", "bgl2tbird")
    if train and not scenario:
        return [f"{train}2{test}" if test else train]
    raise BenchError("say what to run on: either --scenario bgl2tbird, or --train bgl --test tbird")


def _split_list(text: str | None, option: str, example: str) -> list[str]:
    items = [item.strip() for item in (text or "").split(",") if item.strip()]
    if not items:
        raise BenchError(f"{option} is empty: give at least one, e.g. {option} {example}")
    return list(dict.fromkeys(items))


def _limit_threads(threads: int) -> None:
    """Must come before numpy, polars and torch are imported: they read these once."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = str(threads)


def _execute(
    suite: LoadedSuite,
    options: dict[str, Any],
    timeout: float | None,
    rules: list[str],
    data: Path | None,
    out: Path,
    as_json: bool,
    dry_run: bool,
    pack: bool,
) -> None:
    from bench.data.cards.catalogue import catalogue as make_catalogue
    from bench.evaluation.thresholds import DEFAULT_RULE, parse_rule
    from bench.experiment.cell import Settings
    from bench.experiment.planning import plan_parts
    from bench.records.store import Store
    from bench.records.upkeep import pack as pack_records

    catalogue, store = make_catalogue(data), Store(out)
    if suite.figure:
        from bench.reporting.figures.write import check

        check(suite)  # before hours of work, not after them
    extra = tuple(parse_rule(rule) for rule in rules)
    added = tuple(parse_rule(rule) for rule in suite.thresholds)
    settings = Settings(timeout_s=timeout, extra_rules=extra + added, **options)
    plan = plan_parts(suite.parts, catalogue, store.cache)
    _announce(list(plan.cells))
    for note in plan.notes if suite.name else ():
        typer.echo(as_typed(note), err=True)
    if dry_run:
        show_calls(list(plan.cells), catalogue, settings, as_json=as_json)
        return
    outcome = _run_watched(list(plan.cells), store, catalogue, settings)
    rule = str(extra[0]) if extra else DEFAULT_RULE
    _report(outcome, store, rule, as_json)
    tell_calls(outcome.records)
    if pack:
        pack_records(store, tidy=False)
    if suite.figure:
        from bench.cli.plot import make_figures
        from bench.reporting.figures.figure import FigureRequest

        make_figures(FigureRequest(suite, plan, store, catalogue, rule, settings), as_json=as_json)
    idle = _skipped_everywhere(plan.cells, outcome.records, suite)
    for name, reason in idle.items():
        typer.echo(f"{name} was skipped everywhere: {reason}", err=True)
    if outcome.n_failed or idle:
        raise typer.Exit(EXIT_FAILED_CELL)


def _skipped_everywhere(cells: Sequence[Cell], records: Sequence[Record], suite: LoadedSuite) -> dict[str, str]:
    """The methods that were asked for and have no run at all, with the reason of the last; controls were not."""
    asked = {name for part in suite.parts for name in part.methods}
    found = {record["run_id"]: record for record in records}
    reasons: dict[str, list[str | None]] = {}
    for cell in cells:
        name = "+".join(filter(None, [cell.method.ref.name, cell.method.variant]))
        if name in asked and not cell.method.ref.is_control:
            record = found[cell.run_id]
            reasons.setdefault(name, []).append(record["reason"] if record["status"] == "skipped" else None)
    return {name: str(told[-1]) for name, told in reasons.items() if None not in told}


def _device(name: str) -> str:
    """Check a device other than the CPU before anything runs on it."""
    if name == "cpu":
        return name
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise BenchError(
            f"the device '{name}' cannot be used ({str(error).splitlines()[0]}): use --device cpu"
        ) from None
    return name


def _announce(cells: list[Cell]) -> None:
    """The first line of output: which editions are used."""
    for key in dict.fromkeys(cell.scenario.key for cell in cells):
        scenario = next(cell.scenario for cell in cells if cell.scenario.key == key)
        words = [f"{card.key} ({card.standing})" for card in scenario.cards]
        train, test = " and ".join(words[: len(scenario.train)]), " and ".join(words[len(scenario.train) :])
        typer.echo(f"training on {train}, testing on {test}" if test else f"using {train}", err=True)


def _run_watched(cells: list[Cell], store: Store, catalogue: Catalogue, settings: Settings) -> Outcome:
    from bench.cli._progress import Watcher
    from bench.experiment.runner import run as run_cells

    with Watcher() as watcher:
        try:
            return run_cells(cells, store, catalogue, settings, watcher, on_resume=_tell_resumed, on_stale=_tell_stale)
        except KeyboardInterrupt:
            watcher.stop()
            typer.echo(
                f"interrupted: {watcher.done} of {watcher.total} runs finished and were kept; "
                "the same command goes on from there",
                err=True,
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _tell_resumed(n_resumed: int, total: int) -> None:
    if n_resumed:
        typer.echo(f"resumed {n_resumed} of {total} runs from their records", err=True)


def _tell_stale(found: Sequence[Outdated]) -> None:
    if found:
        reasons = Counter(f"{record.method} ({record.why})" for record in found)
        shown = ", ".join(reason if n == 1 else f"{n} of {reason}" for reason, n in sorted(reasons.items()))
        typer.echo(f"doing {len(found)} runs again whose records another code made: {shown}", err=True)


def _report(outcome: Outcome, store: Store, rule: str, as_json: bool) -> None:
    import json

    from bench.reporting.tables.files import write_tables
    from bench.reporting.tables.table import make_tables, render, summary

    tables = make_tables(outcome.records)
    if as_json:
        typer.echo(json.dumps([row for table in tables for row in summary(table, rule)], indent=1))
    elif tables:
        typer.echo("\n".join(render(table, rule) for table in tables))
    for path in write_tables(store, {table.key for table in tables}):
        typer.echo(as_typed(f"written: {path}"), err=True)
