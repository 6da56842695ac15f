"""Raw lines to sequences, end to end: seconds and peak memory as the log grows.

    python tests/benchmarks/bench_prepare.py --lines 1000000 3000000 10000000 [--parameters]

Makes simulated BGL logs of these sizes, prepares each in a fresh process with an empty cache (read, parse, group,
split, assemble), opens it again in another, and prints lines per second, peak memory and the slope between the sizes.
With --parameters the message parameters are read too, as for a method that uses them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def work(edition: str, folder: Path, *, parameters: bool) -> None:
    """Prepare an edition here, and print what it took as JSON."""
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.loader import DataSpec, Loader

    cpu, wall = time.process_time(), time.perf_counter()
    known = catalogue(folder)
    card = known.resolve(edition)
    loader = Loader(known)
    log = loader.log(card)
    opened = time.perf_counter() - wall
    made = loader.prepare(DataSpec((card,), (card,)))
    if parameters:
        made = made.with_parameters
    print(  # noqa: T201
        json.dumps(
            {
                "lines": len(log),
                "sequences": sum(len(part.labels) for part in (made.train, made.validation, made.test)),
                "log_s": opened,
                "wall_s": time.perf_counter() - wall,
                "cpu_s": time.process_time() - cpu,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def run(edition: str, folder: Path, threads: int, *, parameters: bool) -> dict[str, float]:
    """The same in a fresh process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"BENCH_CACHE": str(folder / "cache")}
    command = [sys.executable, __file__, "--worker", edition, "--folder", str(folder)]
    command += ["--parameters"] if parameters else []
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Run all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parameters", action="store_true", help="read the message parameters too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.folder, parameters=given.parameters)
        return
    rows = []
    for lines in given.lines:
        with tempfile.TemporaryDirectory() as name:
            make = ["data", "simulate", "bgl", "--lines", str(lines), "--edition", "big", "--data", name]
            subprocess.run([sys.executable, "-m", "bench", *make], check=True, stdout=subprocess.DEVNULL)
            options = {"threads": given.threads, "parameters": given.parameters}
            first, again = (run("bgl@big", Path(name), **options) for _ in range(2))
        rows.append(first)
        print(  # noqa: T201
            f"{first['lines']:>11,.0f} lines  {first['wall_s']:7.2f} s  {first['cpu_s']:7.2f} CPU s  "
            f"{first['lines'] / first['cpu_s']:>9,.0f} lines per CPU s  peak {first['peak_mib']:6.0f} MiB  "
            f"log opened again in {again['log_s']:.3f} s",
            flush=True,
        )
    for small, large in itertools.pairwise(rows):
        more = (large["lines"] - small["lines"]) / 1e6
        cpu, memory = ((large[name] - small[name]) / more for name in ("cpu_s", "peak_mib"))
        sizes = f"from {small['lines']:,.0f} to {large['lines']:,.0f}"
        print(f"{sizes}: {cpu:.2f} CPU s and {memory:.0f} MiB per million lines")  # noqa: T201


if __name__ == "__main__":
    main()
