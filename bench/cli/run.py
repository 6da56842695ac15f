"""`bench run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from bench.api.asked import Asked, suites_of
from bench.api.chat import LlmOptions
from bench.api.running import Means, executor_options, limit_threads, require_means
from bench.cli._frozen import Freeze, FrozenOption, frozen_suites, together, write_plan
from bench.cli._options import RESULTS, AllowEndpoint, AsJson, Data, Out, Set, Suite, say
from bench.cli._run_options import (
    Address,
    Auxiliary,
    Compile,
    Device,
    Editions,
    ExecutorName,
    FailFast,
    GpusPerCell,
    IncidentsOption,
    Jobs,
    Methods,
    Pack,
    Precision,
    Profile,
    Retry,
    SampleSize,
    ScenarioOption,
    Seeds,
    SplitOption,
    Test,
    Threads,
    Threshold,
    Timeout,
    Train,
    WindowSize,
    WindowStep,
)
from bench.cli._running import Request, execute_all
from bench.cli.llm import Batch, DryRun, Llm, MaxCalls, MaxCost, Price
from bench.cli.plan import PlanOption
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.experiment.suites import Suite as LoadedSuite


class Source(NamedTuple):
    """Where it stands what is run, beside the options that say it one by one."""

    suite: str | None
    freeze: Path | None
    frozen: Path | None
    allow_endpoint: bool


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("run")(run)


def run(
    methods: Methods = None,
    scenario: ScenarioOption = None,
    editions: Editions = None,
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
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    address: Address = None,
    gpus_per_cell: GpusPerCell = None,
    timeout: Timeout = None,
    retry: Retry = None,
    fail_fast: FailFast = False,
    llm: Llm = None,
    dry_run: DryRun = False,
    price: Price = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    allow_endpoint: AllowEndpoint = False,
    data: Data = None,
    out: Out = RESULTS,
    pack: Pack = True,
    plan: PlanOption = False,
    freeze: Freeze = None,
    frozen: FrozenOption = None,
    as_json: AsJson = False,
    batch: Batch = None,
) -> None:
    """Run methods on scenarios and print the table; what is already recorded is not run again."""
    asked = Asked(methods, scenario, train, test, seeds, settings, split, profile, window_size, window_step, sample,
                  auxiliary, incidents, editions)  # fmt: skip
    source = Source(suite, freeze, frozen, allow_endpoint)
    means = Means(
        device, precision, compile_, threads, timeout, tuple(threshold or ()), data, out, pack, jobs, retry, fail_fast,
        executor, address, gpus_per_cell,
    )  # fmt: skip
    request = Request(means, as_json, dry_run, plan)
    _run(asked, source, request, LlmOptions(llm, dry_run, price, max_cost, max_calls, batch))


def _run(asked: Asked, source: Source, request: Request, llm: LlmOptions) -> None:
    means = request.means
    limit_threads(means.threads)
    _require_one_source(asked, source)
    chosen = _suites(asked, source, means)
    if source.freeze:
        write_plan(source.freeze, chosen, means.data, means.out)
        return
    _require(means)
    chosen = [together(chosen)] if request.only_plan and len(chosen) > 1 else chosen
    execute_all(chosen, request, llm)


def _require_one_source(asked: Asked, source: Source) -> None:
    """What is run is named by options, by suites or by a plan."""
    suite, freeze, frozen, _ = source
    if freeze and not suite:
        raise BenchError("--freeze writes down what suites run: name them with --suite")
    if frozen and (suite or freeze or asked.says_something):
        raise BenchError("--frozen names all that is run: leave out --suite, --freeze and what a suite names itself")


def _suites(asked: Asked, source: Source, means: Means) -> list[LoadedSuite]:
    trusts = {"allow_endpoint": source.allow_endpoint}
    if source.frozen:
        return frozen_suites(source.frozen, means.data, means.out, **trusts)
    return suites_of(source.suite, asked, means.data, **trusts)


def _require(means: Means) -> None:
    executor_options(means)
    require_means(means)
    if means.compile:
        say("--compile: each fit waits until its network is translated, half a minute or more", err=True)
