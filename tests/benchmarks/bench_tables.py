"""Tables of a store and a resumed suite: CPU seconds of the commands, here and in another checkout.

    python tests/benchmarks/bench_tables.py [--other CHECKOUT] [--rounds 5] [--data DIR]

Copies the store of each checkout, runs a small suite in it once (classical methods on simulated editions) and then
times in turn, in fresh processes: `bench table`, `bench table --check` and the suite again, all of whose runs are then
resumed. A checkout is a folder with an environment, `.venv/bin/python`, and a store, `results`. Prints medians, and how
many times as fast this checkout is as the other; the tables of both must be the same text.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = (
    "--methods=pca,invariants,logcluster,ngram,ocsvm",
    "--scenario=bgl@simulated,hdfs@simulated",
    "--split=chronological,paper",
    "--seeds=3",
)
HERE = Path(__file__).parents[2]


def main() -> None:
    """Time all commands and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="data folder (default: an empty one)")
    options = parser.parse_args()
    checkouts = [HERE, *([options.other.resolve()] if options.other else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = options.data or folder / "data"
        data.mkdir(exist_ok=True)
        stores = [folder / str(number) for number in range(len(checkouts))]
        for checkout, store in zip(checkouts, stores, strict=True):
            shutil.copytree(checkout / "results", store)
            cpu_of(checkout, data, "run", *SUITE, f"--out={store}")
        commands = {"table": ["table"], "table --check": ["table", "--check"], "resumed suite": ["run", *SUITE]}
        for title, command in commands.items():
            seconds: list[list[float]] = [[] for _ in checkouts]
            for _ in range(options.rounds):
                for found, checkout, store in zip(seconds, checkouts, stores, strict=True):
                    # Only the store as it was shipped has pages that --check can compare.
                    out = [] if "--check" in command else [f"--out={store}"]
                    found.append(cpu_of(checkout, data, *command, *out))
            tell(title, [statistics.median(found) for found in seconds])


def cpu_of(checkout: Path, data: Path, *arguments: str) -> float:
    """CPU seconds of a command in a fresh process."""
    # The project's own packages come from the checkout, whatever the environment's entry points name.
    env = os.environ | {"OMP_NUM_THREADS": "1", "BENCH_DATA": str(data), "PYTHONPATH": str(checkout)}
    command = [checkout / ".venv/bin/python", "-m", "bench", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=env, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{arguments[0]} in {checkout} ended with {done.returncode}: {done.stderr[-400:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tell(title: str, seconds: list[float]) -> None:
    """Print the seconds of this checkout, those of the other, and their ratio."""
    text = f"{title:15} {seconds[0]:.2f} CPU s"
    if len(seconds) > 1:
        text += f", other {seconds[1]:.2f} CPU s, {seconds[1] / seconds[0]:.2f} times as fast"
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
