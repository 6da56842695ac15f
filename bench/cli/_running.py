"""How `bench run` runs: what is said before, while and after its cells run."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from bench.api.chat import LlmOptions
from bench.api.running import Job, Means, editions_used, prepare, skipped_everywhere
from bench.cli._options import EXIT_FAILED_CELL, EXIT_INTERRUPTED, say
from bench.cli.llm import llm_service, show_calls, tell_calls
from bench.cli.plan import shipped, show_plan
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.experiment.code import Outdated
    from bench.experiment.executors import Executor
    from bench.experiment.runner import Outcome
    from bench.experiment.spec import Cell
    from bench.experiment.suites import Suite as LoadedSuite


@dataclass(frozen=True)
class Request:
    """What a user asked for, beside the suite."""

    means: Means
    as_json: bool = False
    dry_run: bool = False
    only_plan: bool = False


def execute_all(suites: Sequence[LoadedSuite], request: Request, llm: LlmOptions) -> None:
    """Run suites one after the other; one whose cells fail keeps no other from its turn."""
    if llm.batch and not llm.dry_run:
        raise BenchError("--batch writes what a dry run would ask: add --dry-run, or use `bench llm batch write`")
    if len(suites) > 1:
        from bench.cli._frozen import require_planned

        if llm.dry_run or llm.max_cost is not None or llm.max_calls is not None:
            raise BenchError("--dry-run, --max-cost and --max-calls count what one suite asks: name one suite")
        require_planned(suites, request.means.data, request.means.out)
    codes = []
    for suite in suites:
        try:
            with llm_service(dataclasses.replace(llm, mode=llm.mode or suite.llm), request.means.out):
                execute(suite, request)
        except typer.Exit as ended:
            if ended.exit_code != EXIT_FAILED_CELL or len(suites) == 1:
                raise
            codes.append(ended.exit_code)
    if codes:
        raise typer.Exit(max(codes))


def execute(suite: LoadedSuite, request: Request) -> None:
    """Run what a suite names and print its tables; exits with another code than 0 where a cell failed."""
    job = prepare(suite, request.means)
    if suite.study is not None:
        _execute_study(job, request)
        return
    plan = job.plan()
    _announce(plan.cells)
    for note in plan.notes if suite.name else ():
        say(note, err=True)
    if suite.parts and not plan.cells:
        raise BenchError(f"nothing of the suite '{suite.name}' can run here: the lines above say what is missing")
    if request.only_plan:
        jobs = job.executor.jobs or 1
        show_plan(plan, job.store, job.catalogue, job.settings, jobs=jobs, as_json=request.as_json)
        return
    if request.dry_run:
        show_calls(list(plan.cells), job.catalogue, job.settings, as_json=request.as_json)
        return
    with contextlib.closing(job.executor):
        outcome = _run_watched(list(plan.cells), job)
    _report(outcome, job, request.as_json)
    tell_calls(outcome.records)
    job.pack()
    if suite.figure:
        from bench.cli.plot import make_figures
        from bench.reporting.figures.figure import FigureRequest

        wanted = FigureRequest(suite, plan, job.store, job.catalogue, job.rule, job.settings)
        make_figures(wanted, as_json=request.as_json)
    idle = skipped_everywhere(plan.cells, outcome.records, suite)
    for name, reason in idle.items():
        say(f"{name} was skipped everywhere: {reason}", err=True)
    if outcome.n_failed or idle:
        raise typer.Exit(EXIT_FAILED_CELL)


def _execute_study(job: Job, request: Request) -> None:
    from bench.cli._study import plan_study, run_study

    if request.dry_run:
        raise BenchError(
            f"--dry-run counts questions to chat models, and the study '{job.suite.name}' asks none: use --plan"
        )
    if request.only_plan:
        plan_study(
            job.suite, job.store, job.catalogue, job.settings, as_json=request.as_json, jobs=job.executor.jobs or 1
        )
        return

    def run(cells: list[Cell]) -> Outcome:
        _announce(cells)
        return _run_watched(cells, job)

    with contextlib.closing(job.executor):
        code = run_study(job.suite, job.store, job.catalogue, run, as_json=request.as_json)
    job.pack()
    if code:
        raise typer.Exit(code)


def _run_watched(cells: list[Cell], job: Job) -> Outcome:
    from bench.cli._progress import Watcher
    from bench.experiment.estimates import Estimates
    from bench.experiment.runner import Listeners

    executor = job.executor
    estimates = Estimates(job.store, *shipped(), device=job.settings.device)
    with Watcher(estimates, executor.jobs) as watcher:
        listeners = Listeners(watcher.on_step, watcher.on_print, watcher.on_begin, watcher.left_s)
        try:
            with _first_interrupt_stops(executor, watcher.say):
                outcome = job.run(
                    cells,
                    watcher,
                    on_resume=_tell_resumed,
                    on_stale=_tell_stale,
                    listeners=listeners,
                    estimates=estimates,
                )
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


def _announce(cells: Sequence[Cell]) -> None:
    """The first line of output: which editions are used."""
    for line in editions_used(cells):
        say(line, err=True)


def _tell_resumed(n_resumed: int, total: int) -> None:
    if n_resumed:
        say(f"resumed {n_resumed} of {total} runs from their records", err=True)


def _tell_stale(found: Sequence[Outdated]) -> None:
    if found:
        reasons = Counter(f"{record.method} ({record.why})" for record in found)
        shown = ", ".join(reason if n == 1 else f"{n} of {reason}" for reason, n in sorted(reasons.items()))
        say(f"doing {len(found)} runs again whose records another code made: {shown}", err=True)


def _report(outcome: Outcome, job: Job, as_json: bool) -> None:
    from bench.cli._tables import chosen_format, print_tables
    from bench.reporting.tables.choice import Choice

    tables, written = job.tables(outcome.records)
    form = chosen_format(None, as_json=as_json)
    choice = Choice.of(sort="ap" if form == "text" else None)
    if tables or as_json:
        print_tables(choice.apply(tables, job.rule), job.rule, job.store, choice, form)
    for path in written:
        say(f"written: {path}", err=True)
