"""How much sooner several jobs are done than one, and what two identical commands cost together.

    python tests/benchmarks/bench_jobs.py [--what methods|smoke|twice] [--seeds 1]

methods: all methods that need no chat model on hdfs@blocks-a (BENCH_DATA); smoke: the suite smoke; twice: the suite
smoke by one command and by two at once on one store. Each way runs in an empty folder with a warm cache of detectors;
wall seconds want idle cores, CPU seconds are those of all processes of a command. In brackets stand those of fits and
scores alone: cells cost more where they share the machine, and beyond them lies start-up, measuring and tables.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMOKE = ("--suite", "smoke")


def main() -> None:
    """Print seconds each way, and their ratio."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--what", default="smoke", choices=("methods", "smoke", "twice"))
    arguments.add_argument("--seeds", default="1")
    asked = arguments.parse_args()
    what = SMOKE if asked.what != "methods" else _all_methods(asked.seeds)
    with tempfile.TemporaryDirectory() as folder:
        _run([(*what, "--plan")], Path(folder) / "warm")
        if asked.what == "twice":
            _, one = _run([what], Path(folder) / "one")
            _, two = _run([what, what], Path(folder) / "two")
            cells = [_cpu_of_cells(Path(folder) / way) for way in ("one", "two")]
            beyond = two - cells[1] - (one - cells[0])
            _say(f"one command {one:.1f} CPU s ({cells[0]:.1f} in cells), two at once {two:.1f} ({cells[1]:.1f})")
            _say(f"{two / one:.2f} times; beyond cells {beyond:.1f} s more")
            return
        one, cpu_one = _run([(*what, "--jobs", "1")], Path(folder) / "one")
        two, cpu_two = _run([(*what, "--jobs", "2")], Path(folder) / "two")
        _say(
            f"1 job {one:.1f} s ({cpu_one:.1f} CPU s), 2 jobs {two:.1f} s ({cpu_two:.1f} CPU s): {one / two:.2f} times"
        )


def _all_methods(seeds: str) -> tuple[str, ...]:
    from bench import registry
    from bench.isolation.lodging import describe

    refs = [ref for ref in registry.available().values() if not ref.is_control]
    names = [ref.name for ref in refs if not describe(ref).teacher]
    return ("-m", ",".join(names), "-s", "hdfs@blocks-a", "--seeds", seeds)


def _run(commands: list[tuple[str, ...]], out: Path) -> tuple[float, float]:
    """Wall and CPU seconds of these commands at once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before, start = _cpu_of_children(), time.perf_counter()
    running = [_start(command, out, environment) for command in commands]
    codes = [process.wait() for process in running]
    # 3 says that a method, one that learns from several systems, is skipped in every cell, or that a cell failed.
    assert set(codes) <= {0, 3}, codes
    assert not _failed(out), _failed(out)
    return time.perf_counter() - start, _cpu_of_children() - before


def _failed(out: Path) -> list[str]:
    from bench.records.store import Store

    return [record["method"] for record in Store(out).records() if record["status"] not in ("ok", "skipped")]


def _cpu_of_cells(out: Path) -> float:
    """CPU seconds of fits and scores of the records there, a fit that several share once."""
    from bench.records.store import Store

    fits: dict[str, float] = {}
    scores = 0.0
    for record in Store(out).records():
        if "fitted_as" not in record:
            spec = record["spec"]
            fit = [spec["detector"]["class"], spec["detector"]["config"]]
            fit += [spec.get(name) for name in ("train", "test", "split", "seed", "grouping")]
            fits[json.dumps(fit, sort_keys=True)] = record["cpu_seconds"].get("fit", 0.0)
            scores += record["cpu_seconds"].get("score", 0.0)
    return sum(fits.values()) + scores


def _start(command: tuple[str, ...], out: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "bench", "run", *command, "--out", str(out), "--no-pack"]
    return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _cpu_of_children() -> float:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def _say(line: str) -> None:
    print(line)  # noqa: T201


if __name__ == "__main__":
    main()
