"""`bench.run`: what `bench run` does, from Python."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.api.asked import Asked, Texts, suites_of
from bench.api.chat import LlmOptions, llm_service
from bench.api.results import Results
from bench.api.running import Means, editions_used, limited_threads, prepare, require_means, skipped_everywhere
from bench.errors import BenchError, harmless

if TYPE_CHECKING:
    from bench.api.running import Job
    from bench.detector import Detector
    from bench.experiment.runner import Outcome
    from bench.experiment.spec import Cell
    from bench.records.record import Record

_QUIET_S: Final = 2.0
"""Runs that are over sooner need no line each."""


def run(
    methods: str | type[Detector] | Detector | Sequence[str | type[Detector] | Detector] | None = None,
    scenario: Texts | None = None,
    *,
    train: str | None = None,
    test: str | None = None,
    suite: str | None = None,
    seeds: int | str | Sequence[int] | None = None,
    settings: Sequence[str] | Mapping[str, Any] | None = None,
    split: Texts | None = None,
    profile: str | None = None,
    threshold: Texts | None = None,
    window_size: int | None = None,
    window_step: int | None = None,
    sample: int | None = None,
    auxiliary: Texts | None = None,
    incidents: str | None = None,
    editions: Texts | None = None,
    device: str = "cpu",
    precision: str = "float32",
    compile: bool = False,
    threads: int = 1,
    jobs: int | str | None = None,
    timeout: float | None = None,
    retry: str | None = None,
    fail_fast: bool = False,
    llm: str | None = None,
    allow_endpoint: bool = False,
    data: str | Path | None = None,
    out: str | Path = "results",
    progress: bool = True,
) -> Results:
    """Run methods on scenarios, beside the controls; what is already recorded in `out` is not run again.

    methods: names, detector classes, or detectors such as `bench.from_sklearn(estimator)`
    settings: `{"mlad.alpha": 1.3}`, or texts as of `--set`
    seeds: how many (5 if not given), or which
    progress: whether lines on stderr say which editions are used and how far it is
    The others are the options of `bench run`. Raises BenchError for what a user can get wrong; a run that fails is a
    row with a reason, and a warning.
    """
    asked = Asked(
        methods, scenario, train, test, seeds, settings, split, profile, window_size, window_step, sample, auxiliary,
        incidents, editions,
    )  # fmt: skip
    rules = (threshold,) if isinstance(threshold, str) else tuple(threshold or ())
    means = Means(
        device, precision, compile, threads, timeout, rules, None if data is None else Path(data), Path(out),
        jobs=None if jobs is None else str(jobs), retry=retry, fail_fast=fail_fast,
    )  # fmt: skip
    require_means(means)
    (chosen,) = _one(suites_of(suite, asked, means.data, allow_endpoint=allow_endpoint))
    if chosen.study is not None:
        raise BenchError(f"the suite '{chosen.name}' is a study, whose second stage follows from its first: bench run")
    with limited_threads(threads), llm_service(LlmOptions(llm or chosen.llm), means.out):
        job = prepare(chosen, means)
        records = _records(job, progress=progress)
    return Results(records, job.store, rule=job.rule)


def _one(suites: list[Any]) -> list[Any]:
    if len(suites) > 1:
        raise BenchError(f"bench.run runs one suite, and here are {len(suites)}: call it for each")
    return suites


def _records(job: Job, *, progress: bool) -> list[Record]:
    plan = job.plan()
    if not plan.cells:
        raise BenchError(f"nothing of the suite '{job.suite.name}' can run here: {'; '.join(plan.notes)}")
    if progress:
        sys.stderr.writelines(f"{line}\n" for line in editions_used(plan.cells))
    with contextlib.closing(job.executor):
        outcome = job.run(plan.cells, _Lines() if progress else _silent)
    job.tables(outcome.records)
    job.pack()
    _warn(job, plan.cells, outcome)
    return outcome.records


def _warn(job: Job, cells: Sequence[Cell], outcome: Outcome) -> None:
    for name, reason in skipped_everywhere(cells, outcome.records, job.suite).items():
        warnings.warn(f"{name} was skipped everywhere: {harmless(reason)}", stacklevel=4)
    failed = [record for record in outcome.records if record["status"] not in ("ok", "skipped")]
    if failed:
        first = f"{failed[0]['method']} seed {failed[0]['spec']['seed']}: {failed[0]['reason']}"
        warnings.warn(f"{len(failed)} runs failed, the first is {harmless(first)}", stacklevel=4)


def _silent(done: int, total: int, cell: Cell, record: Record | None) -> None:
    """Watch and say nothing."""


class _Lines:
    """A line on stderr for each run that is finished, as `bench run` writes where there is no terminal."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, done: int, total: int, cell: Cell, record: Record | None) -> None:
        if record is None or time.monotonic() - self._start < _QUIET_S:
            return
        name = f"{cell.scenario.key} {record['method']} seed {cell.seed}"
        sys.stderr.write(f"{done} of {total}: {name}: {record['status']}\n")
