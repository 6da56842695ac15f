"""How `bench run` runs: what is said before, while and after its cells run."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from bench.cli._options import EXIT_FAILED_CELL, EXIT_INTERRUPTED, say
from bench.cli.llm import LlmOptions, llm_service, show_calls, tell_calls
from bench.cli.plan import shipped, show_plan
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.experiment.cell import Settings
    from bench.experiment.code import Outdated
    from bench.experiment.executors import Executor
    from bench.experiment.runner import Outcome, Policy
    from bench.experiment.spec import Cell
    from bench.experiment.suites import Suite as LoadedSuite
    from bench.records.record import Record
    from bench.records.store import Store


@dataclass(frozen=True)
class Request:
    """What a user asked for, beside the suite."""

    options: dict[str, Any]
    """device, precision, compile and threads of `Settings`."""
    timeout: float | None
    rules: list[str]
    data: Path | None
    out: Path
    as_json: bool
    dry_run: bool
    pack: bool
    jobs: str | None = None
    retry: str | None = None
    fail_fast: bool = False
    only_plan: bool = False
    executor: str = "local"
    executor_options: dict[str, Any] = field(default_factory=dict)


def execute_all(suites: Sequence[LoadedSuite], request: Request, llm: LlmOptions) -> None:
    """Run suites one after the other; one whose cells fail keeps no other from its turn."""
    if llm.batch and not llm.dry_run:
        raise BenchError("--batch writes what a dry run would ask: add --dry-run, or use `bench llm batch write`")
    if len(suites) > 1:
        from bench.cli._frozen import require_planned

        if llm.dry_run or llm.max_cost is not None or llm.max_calls is not None:
            raise BenchError("--dry-run, --max-cost and --max-calls count what one suite asks: name one suite")
        require_planned(suites, request.data, request.out)
    codes = []
    for suite in suites:
        try:
            with llm_service(dataclasses.replace(llm, mode=llm.mode or suite.llm), request.out):
                execute(suite, request)
        except typer.Exit as ended:
            if ended.exit_code != EXIT_FAILED_CELL or len(suites) == 1:
                raise
            codes.append(ended.exit_code)
    if codes:
        raise typer.Exit(max(codes))


def execute(suite: LoadedSuite, request: Request) -> None:
    """Run what a suite names and print its tables; exits with another code than 0 where a cell failed."""
    from bench.data.cards.catalogue import catalogue as make_catalogue
    from bench.evaluation.thresholds import DEFAULT_RULE, parse_rule
    from bench.experiment.cell import Settings
    from bench.experiment.executors import ExecutorOptions, find_executor
    from bench.experiment.planning import plan_parts
    from bench.experiment.runner import Policy
    from bench.records.store import Store
    from bench.records.upkeep import pack as pack_records

    policy = Policy(retry=_statuses(request.retry), fail_fast=request.fail_fast)
    threads = request.options["threads"]
    jobs = _jobs(request.jobs, threads, own_number=request.executor != "local")
    executor = find_executor(request.executor, ExecutorOptions(jobs, threads, **request.executor_options))
    catalogue, store = make_catalogue(request.data), Store(request.out)
    if suite.figure:
        from bench.reporting.figures.write import check

        check(suite)  # before hours of work, not after them
    extra = tuple(parse_rule(rule) for rule in request.rules)
    added = tuple(parse_rule(rule) for rule in suite.thresholds)
    settings = Settings(timeout_s=request.timeout, extra_rules=extra + added, **request.options)
    if suite.study is not None:
        _execute_study(suite, request, store, catalogue, settings, executor, policy)
        return
    plan = plan_parts(suite.parts, catalogue, store.cache)
    _announce(list(plan.cells))
    for note in plan.notes if suite.name else ():
        say(note, err=True)
    if suite.parts and not plan.cells:
        raise BenchError(f"nothing of the suite '{suite.name}' can run here: the lines above say what is missing")
    if request.only_plan:
        show_plan(plan, store, catalogue, settings, jobs=jobs or 1, as_json=request.as_json)
        return
    if request.dry_run:
        show_calls(list(plan.cells), catalogue, settings, as_json=request.as_json)
        return
    with contextlib.closing(executor):
        outcome = _run_watched(list(plan.cells), store, catalogue, settings, executor, policy)
    rule = str(extra[0]) if extra else DEFAULT_RULE
    _report(outcome, store, rule, request.as_json)
    tell_calls(outcome.records)
    if request.pack:
        pack_records(store, tidy=False)
    if suite.figure:
        from bench.cli.plot import make_figures
        from bench.reporting.figures.figure import FigureRequest

        make_figures(FigureRequest(suite, plan, store, catalogue, rule, settings), as_json=request.as_json)
    idle = _skipped_everywhere(plan.cells, outcome.records, suite)
    for name, reason in idle.items():
        say(f"{name} was skipped everywhere: {reason}", err=True)
    if outcome.n_failed or idle:
        raise typer.Exit(EXIT_FAILED_CELL)


def _execute_study(
    suite: LoadedSuite,
    request: Request,
    store: Store,
    catalogue: Catalogue,
    settings: Settings,
    executor: Executor,
    policy: Policy,
) -> None:
    from bench.cli._study import plan_study, run_study
    from bench.records.upkeep import pack as pack_records

    if request.dry_run:
        raise BenchError(
            f"--dry-run counts questions to chat models, and the study '{suite.name}' asks none: use --plan"
        )
    if request.only_plan:
        plan_study(suite, store, catalogue, settings, as_json=request.as_json, jobs=executor.jobs or 1)
        return

    def run(cells: list[Cell]) -> Outcome:
        _announce(cells)
        return _run_watched(cells, store, catalogue, settings, executor, policy)

    with contextlib.closing(executor):
        code = run_study(suite, store, catalogue, run, as_json=request.as_json)
    if request.pack:
        pack_records(store, tidy=False)
    if code:
        raise typer.Exit(code)


def executor_options(executor: str, *, address: str | None, gpus_per_cell: float | None, device: str) -> dict[str, Any]:
    """What `ExecutorOptions` says of a cluster; what does not go together is a BenchError."""
    given = {"--address": address, "--gpus-per-cell": gpus_per_cell}
    if executor == "local":
        for name, value in given.items():
            if value is not None:
                raise BenchError(f"{name} is {value}, which only a cluster knows: add --executor ray, or leave it out")
        return {}
    if ":" in device:
        raise BenchError(f"--device is {device}, and the cluster chooses which GPU: write {device.partition(':')[0]}")
    gpus = (1.0 if device == "cuda" else 0.0) if gpus_per_cell is None else gpus_per_cell
    if gpus > 1 and not gpus.is_integer():
        raise BenchError(f"--gpus-per-cell is {gpus:g}: give a share below 1, or a whole number")
    if device == "cuda" and not gpus:
        raise BenchError("--gpus-per-cell is 0 with --device cuda: give a share such as 0.25, or leave it out")
    return {"address": address, "gpus_per_cell": gpus}


def _jobs(text: str | None, threads: int, *, own_number: bool) -> int | None:
    """How many runs go on at the same time; None where the executor has a number of its own and none was asked for."""
    import os

    if text is None or (text == "auto" and own_number):
        return None if own_number else 1
    if text == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(cores // threads, 1)
    if not text.isdecimal() or int(text) < 1:
        raise BenchError(f"--jobs is '{text}': give a whole number from 1, or auto")
    return int(text)


def _statuses(text: str | None) -> frozenset[str]:
    """The statuses after which a run is tried once more."""
    known = ("error", "timeout", "out_of_memory")
    found = [item.strip() for item in (text or "").split(",") if item.strip()]
    for status in found:
        if status not in known:
            raise BenchError(f"--retry does not know '{status}': choose from {', '.join(known)}")
    return frozenset(found)


def _run_watched(
    cells: list[Cell],
    store: Store,
    catalogue: Catalogue,
    settings: Settings,
    executor: Executor,
    policy: Policy,
) -> Outcome:
    from bench.cli._progress import Watcher
    from bench.experiment.estimates import Estimates
    from bench.experiment.runner import Listeners
    from bench.experiment.runner import run as run_cells

    estimates = Estimates(store, *shipped(), device=settings.device)
    with Watcher(estimates, executor.jobs) as watcher:
        try:
            with _first_interrupt_stops(executor, watcher.say):
                listeners = Listeners(watcher.on_step, watcher.on_print, watcher.on_begin, watcher.left_s)
                outcome = run_cells(
                    cells, store, catalogue, settings, watcher, on_resume=_tell_resumed, on_stale=_tell_stale,
                    listeners=listeners, executor=executor, policy=policy, estimates=estimates,
                )  # fmt: skip
        except KeyboardInterrupt:
            outcome = None
        if outcome is not None and not outcome.was_interrupted:
            return outcome
        watcher.stop()
        say(
            f"interrupted: {watcher.done} of {watcher.total} runs finished and were kept; "
            "the same command goes on from there",
            err=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED)


@contextlib.contextmanager
def _first_interrupt_stops(executor: Executor, say: Any) -> Iterator[None]:
    """Ctrl-C once lets the cells that run finish, twice stops now."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    n_interrupts = 0

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal n_interrupts
        n_interrupts += 1
        if n_interrupts > 1:
            raise KeyboardInterrupt
        executor.stop()
        say("finishing the runs that have begun; Ctrl-C again stops now")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


def _announce(cells: list[Cell]) -> None:
    """The first line of output: which editions are used."""
    for key in dict.fromkeys(cell.scenario.key for cell in cells):
        scenario = next(cell.scenario for cell in cells if cell.scenario.key == key)
        words = [f"{card.key} ({card.standing})" for card in scenario.cards]
        train, test = " and ".join(words[: len(scenario.train)]), " and ".join(words[len(scenario.train) :])
        say(f"training on {train}, testing on {test}" if test else f"using {train}", err=True)


def _tell_resumed(n_resumed: int, total: int) -> None:
    if n_resumed:
        say(f"resumed {n_resumed} of {total} runs from their records", err=True)


def _tell_stale(found: Sequence[Outdated]) -> None:
    if found:
        reasons = Counter(f"{record.method} ({record.why})" for record in found)
        shown = ", ".join(reason if n == 1 else f"{n} of {reason}" for reason, n in sorted(reasons.items()))
        say(f"doing {len(found)} runs again whose records another code made: {shown}", err=True)


def _report(outcome: Outcome, store: Store, rule: str, as_json: bool) -> None:
    from bench.cli._tables import chosen_format, print_tables
    from bench.reporting.files import write_tables
    from bench.reporting.tables.choice import Choice
    from bench.reporting.tables.table import make_tables

    tables, form = make_tables(outcome.records), chosen_format(None, as_json=as_json)
    choice = Choice.of(sort="ap" if form == "text" else None)
    if tables or as_json:
        print_tables(choice.apply(tables, rule), rule, store, choice, form)
    for path in write_tables(store, {table.key for table in tables}):
        say(f"written: {path}", err=True)
