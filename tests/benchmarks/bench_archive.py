"""Loading records: the archive against one pretty file a run, and one table of a store of 100,000.

    python tests/benchmarks/bench_archive.py [--store results] [--records 100000] [--scenarios 150]

Copies the store's records as schema version 1 had them (a pretty JSON file a run) and loads both in this process,
several times in turn; then replicates its records over many scenarios, with run_ids and digests of their own, and times
`bench results show RUN_ID` without and with the cached index, and `bench table --scenario X`, each in a fresh process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.records.record import Record, record_digest, record_text, run_id_of
from bench.records.store import Store

N_ROUNDS = 5


def cpu_of(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def load_files(folder: Path) -> list[Any]:
    """How records of schema version 1 were read."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def compare_loading(store: Store, folder: Path) -> None:
    """Print the ratio of CPU times, archive against files."""
    records = [found for record in store.records() if (found := store.read(record["run_id"])) is not None]
    for record in records:
        (folder / f"{record['run_id']}.json").write_text(record_text(record), encoding="utf-8")
    seconds: dict[str, list[float]] = {"files": [], "archive": []}
    for _ in range(N_ROUNDS):
        seconds["files"].append(cpu_of(lambda: load_files(folder)))
        seconds["archive"].append(cpu_of(lambda: list(Store(store.root).records())))
    files, archive = (statistics.median(seconds[name]) for name in ("files", "archive"))
    print(f"{len(records)} records: files {files:.3f} s, archive {archive:.3f} s, ratio {files / archive:.1f}")  # noqa: T201


def replicate(store: Store, target: Store, n_records: int, n_scenarios: int) -> tuple[str, str]:
    """Fill a store with copies whose specs differ; returns a scenario of it and the run_id of one of its records."""
    originals = itertools.cycle(max((records for _, records in store.by_table()), key=len))
    scenario, run_id = "", ""
    for number in range(n_scenarios):
        scenario = f"bgl@copy{number:03d}"
        copies = [_copy(next(originals), scenario, copy) for copy in range(n_records // n_scenarios)]
        target.archive.add(copies)
        run_id = copies[0]["run_id"]
    return scenario, run_id


def _copy(record: Record, scenario: str, number: int) -> Record:
    """The record as of another scenario and seed."""
    spec = record["spec"]
    editions = [part | {"edition": scenario} for part in spec["train"]]
    changed: Any = record | {
        "spec": spec | {"train": editions, "test": editions, "seed": spec["seed"] + 100 * number},
        "scenario": scenario,
        "tiers": {scenario: "development"},
        "simulated": [],
    }
    changed["run_id"] = run_id_of(changed["spec"])
    changed["digest"] = record_digest(changed)
    copy: Record = changed
    return copy


def time_command(*arguments: str) -> str:
    """Wall and CPU seconds of a command in a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, "-m", "bench", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{cpu:.2f} s CPU, {wall:.2f} s wall"


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("results"))
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--scenarios", type=int, default=150)
    options = parser.parse_args()
    store = Store(options.store)
    with tempfile.TemporaryDirectory() as folder:
        pretty = Path(folder) / "runs"
        pretty.mkdir()
        compare_loading(store, pretty)
        target = Store(Path(folder) / "large")
        scenario, run_id = replicate(store, target, options.records, options.scenarios)
        size = sum(path.stat().st_size for path in target.archive.folder.iterdir())
        print(f"{options.records} records in {options.scenarios} scenarios: {size / 1e6:.0f} MB")  # noqa: T201
        out = ("--out", str(target.root))
        print(f"show, no index: {time_command('results', 'show', run_id, *out)}")  # noqa: T201
        print(f"show, index: {time_command('results', 'show', run_id, *out)}")  # noqa: T201
        print(f"table --scenario: {time_command('table', '--scenario', scenario, *out)}")  # noqa: T201
        print(f"--help: {time_command('--help')}")  # noqa: T201


if __name__ == "__main__":
    main()
