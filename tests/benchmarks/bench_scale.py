"""Raw lines to two tables: CPU seconds of classical methods and controls on a simulated BGL log, stage by stage.

    python tests/benchmarks/bench_scale.py [--lines 4750000] [--folder DIR] [--other CHECKOUT]

Simulates the log (not timed; kept in the folder), then runs `bench run` with six classical methods and the six
controls, one seed, chronological and paper, from an empty cache and store in a fresh process on one thread. Stages:
preparation, fits and scores are the seconds of the records; measuring is timed again, from the stored scores; the rest
is start-up, imports, writing, sealing and tables. With --other the same is done by another checkout (a folder with
`.venv/bin/python`), and scores and metrics are compared.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.experiment.measure import default_rules, measure
from bench.records.record import Record
from bench.records.store import Store

METHODS = "pca,isolation-forest,invariants,logcluster,ngram,ocsvm"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
EDITION = "bgl@scale"
HERE = Path(__file__).parents[2]


def main() -> None:
    """Run here and in the other checkout, and print the stages of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=475_000)
    parser.add_argument("--methods", default=METHODS, help="the controls come by themselves (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the log is kept (default: a temporary folder)")
    parser.add_argument("--other", type=Path, help="the checkout to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        data = (options.folder or temporary) / str(options.lines)
        simulate(options.lines, data)
        seconds = [run(HERE, options.methods, data, temporary / "here")]
        if options.other:
            seconds.append(run(options.other.resolve(), options.methods, data, temporary / "other"))
            tell(f"ratio {seconds[1] / seconds[0]:.2f}, {compare(temporary / 'here', temporary / 'other')}")


def simulate(lines: int, data: Path) -> None:
    """Make the log unless it is there."""
    if not (data / "bgl" / "scale.log").exists():
        data.mkdir(parents=True, exist_ok=True)
        make = ["data", "simulate", "bgl", f"--lines={lines}", "--edition=scale", f"--data={data}", "--force"]
        subprocess.run([sys.executable, "-m", "bench", *make], check=True, stdout=subprocess.DEVNULL)


def run(checkout: Path, methods: str, data: Path, out: Path) -> float:
    """Run both splits in a fresh process of a checkout; prints the stages, returns the CPU seconds of all."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    environment |= {"BENCH_CACHE": str(out / "cache"), "PYTHONPATH": str(checkout)}
    command = ["run", f"--methods={methods}", f"--scenario={EDITION}", "--split=chronological,paper", "--seeds=1"]
    shutil.rmtree(out, ignore_errors=True)
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [checkout / ".venv/bin/python", "-m", "bench", *command, f"--data={data}", f"--out={out}"],
        cwd=checkout, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"the run of {checkout} ended with {done.returncode}: {done.stderr[-400:]}")
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    tell(f"{checkout.name}: {total:.1f} CPU s, {wall:.1f} s wall, peak {after.ru_maxrss / 1024:.0f} MiB")
    tell_stages(Store(out), total)
    return total


def tell_stages(store: Store, total: float) -> None:
    """Print where the CPU seconds went."""
    records = list(store.records())
    prepared: dict[str, float] = {}
    for record in records:
        split = record["spec"]["split"]
        prepared[split] = min(seconds_of(record, "prepare"), prepared.get(split, np.inf))
    handed = sum(seconds_of(record, "prepare") for record in records) - sum(
        prepared[record["spec"]["split"]] for record in records
    )
    measuring = {record["run_id"]: measuring_again(store, record) for record in records}
    stages = {f"prepare {split}": found for split, found in prepared.items()}
    stages |= {"hand out": handed}
    stages |= {name: sum(seconds_of(record, name) for record in records) for name in ("fit", "score")}
    stages |= {"measure": sum(measuring.values())}
    stages |= {"rest": total - sum(stages.values())}
    for name, found in stages.items():
        tell(f"  {name:22} {found:6.2f}")
    for record in sorted(records, key=lambda record: -seconds_of(record, "fit") - seconds_of(record, "score"))[:6]:
        costs = ", ".join(f"{name} {seconds_of(record, name):.2f}" for name in ("fit", "score"))
        tell(f"    {record['method']}, {record['spec']['split']}: {costs}, measure {measuring[record['run_id']]:.2f}")


def seconds_of(record: Record, stage: str) -> float:
    """CPU seconds of a stage; of records that have none, those on the clock."""
    return float((record.get("cpu_seconds") or record["seconds"]).get(stage, 0.0))


def measuring_again(store: Store, record: Record) -> float:
    """CPU seconds of thresholds and metrics, computed once more from the stored scores."""
    scores = store.read_scores(record["run_id"])
    if scores is None:
        return 0.0
    start = time.process_time()
    measure(scores, record["systems"], default_rules(is_transfer=False), split=record["spec"]["split"])
    return time.process_time() - start


def compare(here: Path, other: Path) -> str:
    """How the scores and metric blocks of both differ, in words."""
    one, two = Store(here), Store(other)
    records = list(one.records())
    furthest, n_other = 0.0, 0
    for record in records:
        run_id = record["run_id"]
        found, scores, others = two.read(run_id), one.read_scores(run_id), two.read_scores(run_id)
        if found is None or scores is None or others is None:
            return f"{record['method']} has no scores in both"
        furthest = max(furthest, float(np.abs(scores["test"] - others["test"]).max()))
        n_other += record["metrics"] != found["metrics"]
    return f"scores differ by {furthest:g} at most, metrics of {n_other} of {len(records)} records differ"


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
