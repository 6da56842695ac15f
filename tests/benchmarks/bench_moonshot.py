"""A full comparison in half an hour on two cores? BGL at full size, 15 methods, 5 seeds, two splits, at a scale.

    python tests/benchmarks/bench_moonshot.py --folder DIR [--scale 0.02 0.1] [--jobs 2] [-- --device cuda]

Simulates 4.75 million lines times each scale and drives `bench run` over all cells, from raw lines to two tables. Stop
it when you like: the log and the records lie in the folder, and the same command goes on from there. Prints CPU seconds
of each stage, of fit and score of each method (those of the records; of records that have none, seconds on the clock),
peak memory of the method's process and of the driver, and what the seconds become at full size: from two scales by the
power of the size that lies between them, from one in proportion to it. Whatever follows -- is given to `bench run`.

--steps 10 trains every network so many optimiser steps, each as costly at every size; two numbers of steps at one size
and two sizes then tell apart what training costs and what grows with the lines. --json writes what was measured for
`scaling.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import registry
from bench.isolation.lodging import describe
from bench.records.record import Record
from bench.records.store import Store

LINES = 4_750_000
METHODS = (
    "pca,isolation-forest,invariants,logcluster,ngram,ocsvm,knn-embedding,"
    "deeplog,loganomaly,mlad,logbert,logrobust,plelog,cat,dagmm"
)
N_SEEDS = 5
SPLITS = "chronological,paper"
GOAL_S = 3600.0
"""Half an hour on two cores."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
Costs = dict[str, float]
"""CPU seconds by method or stage."""


class Session(NamedTuple):
    """One `bench run` at one size."""

    lines: int
    records: list[Record]
    cpu_s: float | None
    """Of all its processes; None where part of the cells was there before."""
    driver_mib: float
    """Highest resident memory of the process that measures and writes."""


def main() -> None:
    """Run all scales and print what they took and what full size would."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parsed(arguments[:cut])
    sessions: list[Session] = []
    for scale in sorted(options.scale):
        lines = max(2000, round(LINES * scale))
        folder = options.folder / str(lines)
        simulate(lines, folder)
        sessions.append(run(lines, folder, options, arguments[cut + 1 :]))
        tell_run(sessions[-1])
        if options.json:
            keep(options.json, sessions[-1], options)
    if options.steps is None:
        tell_full_size([session.lines for session in sessions], [session.records for session in sessions])


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, nargs="+", default=[0.1])
    parser.add_argument("--folder", type=Path, required=True, help="where logs and records are kept")
    parser.add_argument("--methods", default=METHODS, help="the controls come by themselves (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--split", default=SPLITS)
    parser.add_argument("--jobs", type=int, default=2, help="cells at the same time (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of every network, instead of the common budget")
    parser.add_argument("--json", type=Path, help="add what was measured to this file")
    return parser.parse_args(arguments)


def simulate(lines: int, folder: Path) -> None:
    """Make the log unless it is there whole: its card is written last."""
    if not (folder / "bgl" / "moonshot.toml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        make = ("data", "simulate", "bgl", f"--lines={lines}", "--edition=moonshot", "--force")
        seconds, _ = cpu_and_memory_of(*make, data=folder)
        tell(f"{lines:,} lines simulated in {seconds:.1f} CPU s")


def run(lines: int, folder: Path, options: argparse.Namespace, more: Sequence[str]) -> Session:
    """All cells that are not finished yet; a failed one is a row, and no end of the rest."""
    out = folder / ("results" if options.steps is None else f"results-{options.steps}")
    known = len(list(Store(out).records())) if out.is_dir() else 0
    command = [
        "run", f"--methods={options.methods}", "--scenario=bgl@moonshot", f"--split={options.split}",
        f"--seeds={options.seeds}", f"--out={out}", f"--jobs={options.jobs}", *shorter(options), *more,
    ]  # fmt: skip
    tell(f"bench {' '.join(command)}")
    cpu, driver = cpu_and_memory_of(*command, data=folder)
    tell(f"{cpu:.1f} CPU s in this session, {known} cells were there before; driver {driver:.0f} MiB")
    return Session(lines, list(Store(out).records()), None if known else cpu, driver)


def shorter(options: argparse.Namespace) -> list[str]:
    """`--set` of the steps of each network."""
    if options.steps is None:
        return []
    networks = [name for name in options.methods.split(",") if "steps" in describe(registry.find(name)).fields]
    return [f"--set={name}.steps={options.steps}" for name in networks]


def cpu_and_memory_of(*arguments: str, data: Path) -> tuple[float, float]:
    """CPU seconds of a command in a fresh process, those it starts included, and MiB of that process alone.

    Exit codes 0 and 3 are results.
    """
    environment = os.environ | dict.fromkeys(THREADS, "1")
    environment |= {"BENCH_DATA": str(data), "BENCH_CACHE": str(data / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "bench", *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, peak_mib_of(process.pid))
            time.sleep(0.2)
    if process.returncode not in (0, 3):
        sys.exit(f"bench {arguments[0]} ended with {process.returncode}: the same command goes on from here")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


def peak_mib_of(pid: int) -> float:
    """Highest resident memory of a process until now, where the kernel tells (Linux); else 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def seconds_of(record: Record, stage: str) -> float:
    """CPU seconds of a stage; of records that have none, those on the clock."""
    return float((record.get("cpu_seconds") or record["seconds"]).get(stage, 0.0))


def stages_of(records: Sequence[Record]) -> Costs:
    """Seconds of preparing, once for each split and seed, of fitting and of scoring."""
    prepared: Costs = {}
    for record in records:
        data = f"{record['spec']['split']} {record['spec']['seed']}"
        prepared[data] = min(seconds_of(record, "prepare"), prepared.get(data, math.inf))
    sums = {stage: sum(seconds_of(record, stage) for record in records) for stage in ("fit", "score")}
    return {"prepare": sum(prepared.values()), **sums}


def methods_of(records: Sequence[Record], *stages: str) -> Costs:
    """Seconds of fitting and scoring (or one of them) of each method, all seeds and splits together."""
    found: Costs = defaultdict(float)
    for record in records:
        found[name_of(record)] += sum(seconds_of(record, stage) for stage in stages or ("fit", "score"))
    return dict(found)


def name_of(record: Record) -> str:
    """The method without its settings."""
    return str(record["method"]).partition("[")[0]


def tell_run(session: Session) -> None:
    """Print stages and methods of one size, and what failed."""
    records = session.records
    tell(f"\n{session.lines:,} lines, {len(records)} cells:")
    for name, seconds in stages_of(records).items():
        tell(f"  {name:22} {seconds:9.1f} s")
    tell(f"    {'':20} {'fit, s':>9} {'score, s':>9} {'peak MiB':>9}")
    fits, scores, peaks = methods_of(records, "fit"), methods_of(records, "score"), peaks_of(records)
    for name in sorted(fits, key=lambda name: -fits[name] - scores[name]):
        tell(f"    {name:20} {fits[name]:9.2f} {scores[name]:9.2f} {peaks[name]:9.0f}")
    for record in records:
        if record["status"] != "ok":
            tell(f"  {record['method']}, {record['spec']['split']}, {record['status']}: {record['reason']}")


def peaks_of(records: Sequence[Record]) -> Costs:
    """Highest resident memory of each method's process, MiB."""
    found: Costs = defaultdict(float)
    for record in records:
        found[name_of(record)] = max(found[name_of(record)], record["memory_mib"].get("peak_rss") or 0.0)
    return dict(found)


def keep(file: Path, session: Session, options: argparse.Namespace) -> None:
    """Add a run to the file of measurements, in the place of an earlier one like it."""
    records = session.records
    fits, scores, peaks = methods_of(records, "fit"), methods_of(records, "score"), peaks_of(records)
    run_like = {"lines": session.lines, "steps": options.steps}
    measured: dict[str, Any] = run_like | {
        "cells": len(records),
        "cpu_s": session.cpu_s and round(session.cpu_s, 1),
        "driver_mib": round(session.driver_mib),
        "prepare_s": round(stages_of(records)["prepare"], 3),
        "methods": {
            name: {"fit_s": round(fits[name], 3), "score_s": round(scores[name], 3), "peak_mib": round(peaks[name])}
            for name in sorted(fits)
        },
    }
    runs = json.loads(file.read_text()) if file.exists() else []
    runs = [run for run in runs if any(run[name] != value for name, value in run_like.items())]
    file.write_text(json.dumps([*runs, measured], indent=1) + "\n")


def tell_full_size(sizes: Sequence[int], runs: Sequence[Sequence[Record]]) -> None:
    """Print what each method, and all of it, would take at full size."""
    tell(f"\nat full size, {LINES:,} lines:")
    costs = [methods_of(records) | {"prepare": stages_of(records)["prepare"]} for records in runs]
    total = 0.0
    for name in costs[-1]:
        power = power_between(sizes, [found.get(name, 0.0) for found in costs])
        seconds = costs[-1][name] * (LINES / sizes[-1]) ** power
        total += seconds
        tell(f"    {name:20} {seconds:9.1f} s, as the size to the power of {power:.2f}")
    tell(f"  all: {total:,.0f} CPU s, {total / GOAL_S:.2f} times half an hour on two cores")


def power_between(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """How the last two sizes grow, between 0 and 2; 1 where there is one only, or nothing to be measured."""
    if len(sizes) < 2 or min(seconds[-2:]) < 0.05 or sizes[-1] == sizes[-2]:
        return 1.0
    power = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
    return min(2.0, max(0.0, power))


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
