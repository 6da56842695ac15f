"""One run of a suite: what it is made with, its plan, its cells, and what is written when they are done.

`bench run` and `bench.run` are this; they differ in what they say meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.errors import BenchError, choose_one

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.experiment.cell import Settings
    from bench.experiment.executors import Executor
    from bench.experiment.planning import Plan
    from bench.experiment.runner import Outcome, Policy, Watch
    from bench.experiment.scenario import Scenario
    from bench.experiment.spec import Cell
    from bench.experiment.suites import Suite
    from bench.records.record import Record
    from bench.records.store import Store
    from bench.reporting.tables.rows import Table

PRECISIONS: Final = ("float32", "bf16")
_RETRIED: Final = ("error", "timeout", "out_of_memory")
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Means:
    """What runs are made with; nothing of it belongs to their identity."""

    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False
    threads: int = 1
    timeout_s: float | None = None
    rules: tuple[str, ...] = ()
    """Threshold rules that records hold besides the default ones; tables show the first."""
    data: Path | None = None
    out: Path = Path("results")
    pack: bool = True
    jobs: str | None = None
    """How many runs go on at the same time: a number, or `auto`."""
    retry: str | None = None
    """Statuses after which a run is tried once more, with commas."""
    fail_fast: bool = False
    executor: str = "local"
    address: str | None = None
    gpus_per_cell: float | None = None


@dataclass(frozen=True)
class Job:
    """A suite, and all that its run needs."""

    suite: Suite
    means: Means
    catalogue: Catalogue
    store: Store
    settings: Settings
    executor: Executor
    policy: Policy

    @property
    def rule(self) -> str:
        """The threshold rule that its tables show."""
        from bench.evaluation.thresholds import DEFAULT_RULE
        from bench.experiment.settings import read_rule

        return str(read_rule(self.means.rules[0])) if self.means.rules else DEFAULT_RULE

    def plan(self) -> Plan:
        """Its cells; BenchError where nothing of it can run here."""
        from bench.experiment.planning import plan_parts

        return plan_parts(self.suite.parts, self.catalogue, self.store.cache)

    def run(self, cells: Sequence[Cell], watch: Watch, **told: Any) -> Outcome:
        """Run what has no current record; told: as `bench.experiment.runner.run`."""
        from bench.experiment.runner import run

        return run(
            cells,
            self.store,
            self.catalogue,
            self.settings,
            watch,
            executor=self.executor,
            policy=self.policy,
            **told,
        )

    def tables(self, records: Sequence[Record]) -> tuple[list[Table], list[Path]]:
        """The tables of these records, and the files of tables that were written from all that are stored."""
        from bench.reporting.files import write_tables
        from bench.reporting.tables.table import make_tables

        found = make_tables(records)
        return found, write_tables(self.store, {table.key for table in found})

    def pack(self) -> None:
        """Move the records from the inbox into the archive, if that is wanted."""
        from bench.records.upkeep import pack

        if self.means.pack:
            pack(self.store, tidy=False)


def prepare(suite: Suite, means: Means) -> Job:
    """What a run of the suite needs; what a user can get wrong is a BenchError here, before hours of work."""
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.cell import Settings
    from bench.experiment.executors import ExecutorOptions, find_executor
    from bench.experiment.runner import Policy
    from bench.experiment.settings import read_rule
    from bench.records.store import Store

    where = executor_options(means)
    policy = Policy(retry=_statuses(means.retry), fail_fast=means.fail_fast)
    jobs = jobs_of(means.jobs, means.threads, own_number=means.executor != "local")
    executor = find_executor(means.executor, ExecutorOptions(jobs, means.threads, **where))
    if suite.figure:
        from bench.reporting.figures.write import check

        check(suite)
    settings = Settings(
        device=means.device,
        precision=means.precision,
        compile=means.compile,
        threads=means.threads,
        timeout_s=means.timeout_s,
        extra_rules=tuple(read_rule(rule) for rule in (*means.rules, *suite.thresholds)),
    )
    return Job(suite, means, catalogue(means.data), Store(means.out), settings, executor, policy)


def editions_used(cells: Sequence[Cell]) -> list[str]:
    """A line for each scenario: its editions and what each is good for, since a bare name takes what is here."""
    scenarios: dict[str, Scenario] = {}
    for cell in cells:
        scenarios.setdefault(cell.scenario.key, cell.scenario)
    lines = []
    for scenario in scenarios.values():
        words = [f"{card.key} ({card.standing})" for card in scenario.cards]
        train, test = " and ".join(words[: len(scenario.train)]), " and ".join(words[len(scenario.train) :])
        lines.append(f"training on {train}, testing on {test}" if test else f"using {train}")
    return lines


def skipped_everywhere(cells: Sequence[Cell], records: Sequence[Record], suite: Suite) -> dict[str, str]:
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


def require_means(means: Means) -> None:
    """Raise BenchError where the precision is not known, or the device of this machine cannot be used."""
    if means.precision not in PRECISIONS:
        raise BenchError(f"the precision '{means.precision}' is not known: {choose_one(means.precision, PRECISIONS)}")
    if means.device == "cpu" or means.executor != "local":
        return
    import torch

    try:
        torch.empty(1, device=means.device)
    except (RuntimeError, AssertionError) as error:
        raise BenchError(
            f"the device '{means.device}' cannot be used ({str(error).splitlines()[0]}): use --device cpu"
        ) from None


def executor_options(means: Means) -> dict[str, Any]:
    """What `ExecutorOptions` says of a cluster; what does not go together is a BenchError."""
    device, gpus_per_cell = means.device, means.gpus_per_cell
    given = {"--address": means.address, "--gpus-per-cell": gpus_per_cell}
    if means.executor == "local":
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
    return {"address": means.address, "gpus_per_cell": gpus}


def jobs_of(text: str | None, threads: int, *, own_number: bool) -> int | None:
    """How many runs go on at the same time; None where the executor has a number of its own and none was asked for."""
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
    found = [item.strip() for item in (text or "").split(",") if item.strip()]
    for status in found:
        if status not in _RETRIED:
            raise BenchError(f"--retry does not know '{status}': {choose_one(status, _RETRIED)}")
    return frozenset(found)


def limit_threads(threads: int) -> None:
    """Must come before numpy, polars and torch are imported: they read these once; so do processes of methods."""
    os.environ |= dict.fromkeys(_THREADS, str(threads))


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """As `limit_threads`, for the processes that methods get meanwhile."""
    before = {name: os.environ.get(name) for name in _THREADS}
    limit_threads(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
