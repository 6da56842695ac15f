"""A full comparison in half an hour on two cores? BGL at full size, 15 methods, 5 seeds, two splits, at a scale.

    python tests/benchmarks/bench_moonshot.py --folder DIR [--scale 0.02 0.1] [--jobs 2] [-- --set deeplog.max_epochs=2]

Simulates 4.75 million lines times each scale and drives `bench run` over all cells, from raw lines to two tables. Stop
it when you like: the log and the records lie in the folder, and the same command goes on from there. Prints CPU seconds
of each stage and method (those of the records; of records that have none, seconds on the clock) and what they become at
full size: from two scales by the power of the size that lies between them, from one in proportion to it. Whatever
follows -- is given to `bench run`.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

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


def main() -> None:
    """Run all scales and print what they took and what full size would."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, nargs="+", default=[0.1])
    parser.add_argument("--folder", type=Path, required=True, help="where logs and records are kept")
    parser.add_argument("--methods", default=METHODS, help="the controls come by themselves (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="where `bench run` has this option (default: %(default)s)")
    options = parser.parse_args(arguments[:cut])
    runs: list[list[Record]] = []
    for scale in sorted(options.scale):
        lines = max(2000, round(LINES * scale))
        folder = options.folder / str(lines)
        simulate(lines, folder)
        run(folder, options, arguments[cut + 1 :])
        runs.append(list(Store(folder / "results").records()))
        tell_run(lines, runs[-1])
    sizes = [max(2000, round(LINES * scale)) for scale in sorted(options.scale)]
    tell_full_size(sizes, runs)


def simulate(lines: int, folder: Path) -> None:
    """Make the log unless it is there whole: its card is written last."""
    if not (folder / "bgl" / "moonshot.toml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        seconds = cpu_of("data", "simulate", "bgl", f"--lines={lines}", "--edition=moonshot", "--force", data=folder)
        tell(f"{lines:,} lines simulated in {seconds:.1f} CPU s")


def run(folder: Path, options: argparse.Namespace, more: Sequence[str]) -> None:
    """All cells that are not finished yet; a failed one is a row, and no end of the rest."""
    command = [
        "run", f"--methods={options.methods}", "--scenario=bgl@moonshot", f"--split={SPLITS}",
        f"--seeds={options.seeds}", f"--out={folder / 'results'}", *more,
    ]  # fmt: skip
    if "--jobs" in help_of("run"):
        command.append(f"--jobs={options.jobs}")
    tell(f"bench {' '.join(command)}")
    tell(f"{cpu_of(*command, data=folder):.1f} CPU s in this session")


def help_of(command: str) -> str:
    """What `bench COMMAND --help` says."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", command, "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


def cpu_of(*arguments: str, data: Path) -> float:
    """CPU seconds of a command in a fresh process, those it starts included; exit codes 0 and 3 are results."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    environment |= {"BENCH_DATA": str(data), "BENCH_CACHE": str(data / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], env=environment, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode not in (0, 3):
        sys.exit(f"bench {arguments[0]} ended with {done.returncode}: the same command goes on from here")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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


def methods_of(records: Sequence[Record]) -> Costs:
    """Seconds of fitting and scoring of each method, all seeds and splits together."""
    found: Costs = defaultdict(float)
    for record in records:
        found[record["method"]] += seconds_of(record, "fit") + seconds_of(record, "score")
    return dict(found)


def tell_run(lines: int, records: Sequence[Record]) -> None:
    """Print stages and methods of one size, and what failed."""
    tell(f"\n{lines:,} lines, {len(records)} cells:")
    for name, seconds in stages_of(records).items():
        tell(f"  {name:22} {seconds:9.1f} s")
    for name, seconds in sorted(methods_of(records).items(), key=lambda item: -item[1]):
        tell(f"    {name:20} {seconds:9.1f} s")
    for record in records:
        if record["status"] != "ok":
            tell(f"  {record['method']}, {record['spec']['split']}, {record['status']}: {record['reason']}")


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
