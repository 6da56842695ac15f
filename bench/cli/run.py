"""`bench run`, `bench sweep`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench.cli._frozen import Freeze, FrozenOption, frozen_suites, together, write_plan
from bench.cli._options import RESULTS, AllowEndpoint, AsJson, Data, Out, Set, Suite, say
from bench.cli._run_options import (
    PRECISIONS,
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
from bench.cli._running import Request, execute_all, executor_options
from bench.cli.llm import Batch, DryRun, Llm, LlmOptions, MaxCalls, MaxCost, Price
from bench.cli.plan import PlanOption
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.experiment.suites import Suite as LoadedSuite


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("run")(run)
    app.command("sweep")(sweep)


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
    what = _What(methods, scenario, train, test, seeds, settings, split, profile, window_size, window_step, sample,
                 auxiliary, incidents, editions)  # fmt: skip
    _limit_threads(threads)
    _require_one_source(what, suite, freeze, frozen)
    trusts = {"allow_endpoint": allow_endpoint}
    chosen = frozen_suites(frozen, data, out, **trusts) if frozen else _suites(suite, what, data, **trusts)
    if freeze:
        write_plan(freeze, chosen, data, out)
        return
    where = executor_options(executor, address=address, gpus_per_cell=gpus_per_cell, device=device)
    options = _options(device, precision, compile_, threads, is_here=executor == "local")
    request = Request(
        options, timeout, threshold or [], data, out, as_json, dry_run, pack, jobs, retry, fail_fast, plan,
        executor, where,
    )  # fmt: skip
    chosen = [together(chosen)] if plan and len(chosen) > 1 else chosen
    execute_all(chosen, request, LlmOptions(llm, dry_run, price, max_cost, max_calls, batch))


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
    editions: str | None = None


def _suites(names: str | None, what: _What, data: Path | None, *, allow_endpoint: bool) -> list[LoadedSuite]:
    from bench.experiment.suites import load_suite, require_no_places

    if not names:
        return [_typed_suite(what, data)]
    if any(value is not None for value in vars(what).values()):
        raise BenchError(
            "--suite names its own methods, scenarios, seeds, splits, settings, profile, windows, sample, "
            "auxiliary and incidents: leave these options out, or copy its TOML file and change that"
        )
    found = [load_suite(name) for name in _split_list(names, "--suite", "smoke")]
    for suite in found if not allow_endpoint else ():
        require_no_places(suite)
    return found


def _typed_suite(what: _What, data: Path | None) -> LoadedSuite:
    from bench.experiment.suites import Suite as LoadedSuite
    from bench.experiment.suites import SuitePart

    part = SuitePart(
        scenarios=tuple(_scenarios(what, data)),
        methods=tuple(_split_list(what.methods, "--methods", "mlad,deeplog")),
        splits=tuple(_splits("chronological" if what.split is None else what.split)),
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


def _require_one_source(what: _What, suite: str | None, freeze: Path | None, frozen: Path | None) -> None:
    """What is run is named by options, by suites or by a plan."""
    if freeze and not suite:
        raise BenchError("--freeze writes down what suites run: name them with --suite")
    if frozen and (suite or freeze or any(value is not None for value in vars(what).values())):
        raise BenchError("--frozen names all that is run: leave out --suite, --freeze and what a suite names itself")


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
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    address: Address = None,
    gpus_per_cell: GpusPerCell = None,
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
    run(
        named, scenario, seeds=seeds, settings=settings, split=split, threshold=threshold, sample=sample, device=device,
        precision=precision, compile_=compile_, threads=threads, jobs=jobs, executor=executor, address=address,
        gpus_per_cell=gpus_per_cell, data=data, out=out, as_json=as_json,
    )  # fmt: skip


def _scenarios(what: _What, data: Path | None) -> list[str]:
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.scenario import ALL_PAIRS, every_pair

    scenario, train, test = what.scenario, what.train, what.test
    if (scenario == ALL_PAIRS) != bool(what.editions):
        raise BenchError(
            f"--scenario {ALL_PAIRS} and --editions belong together: give --scenario {ALL_PAIRS} --editions bgl,tbird"
        )
    if what.editions and not (train or test):
        return every_pair(_split_list(what.editions, "--editions", "bgl,tbird"), catalogue(data))
    if scenario and not (train or test):
        return _split_list(scenario, "--scenario", "bgl2tbird")
    if train and not scenario:
        return [f"{train}2{test}" if test else train]
    raise BenchError("say what to run on: either --scenario bgl2tbird, or --train bgl --test tbird")


def _splits(text: str) -> list[str]:
    from bench.data.sequences.protocols import separated

    found = separated(text)
    if not found:
        raise BenchError("--split is empty: give at least one, e.g. --split chronological")
    return list(dict.fromkeys(found))


def _split_list(text: str | None, option: str, example: str) -> list[str]:
    items = [item.strip() for item in (text or "").split(",") if item.strip()]
    if not items:
        raise BenchError(f"{option} is empty: give at least one, e.g. {option} {example}")
    return list(dict.fromkeys(items))


def _limit_threads(threads: int) -> None:
    """Must come before numpy, polars and torch are imported: they read these once."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = str(threads)


def _options(device: str, precision: str, compile_: bool, threads: int, *, is_here: bool) -> dict[str, Any]:
    """What `Settings` takes; is_here: the device is of this machine, and is tried."""
    if precision not in PRECISIONS:
        raise BenchError(f"the precision '{precision}' is not known: choose one of {', '.join(PRECISIONS)}")
    if compile_:
        say("--compile: each fit waits until its network is translated, half a minute or more", err=True)
    chosen = _device(device) if is_here else device
    return {"device": chosen, "precision": precision, "compile": compile_, "threads": threads}


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
