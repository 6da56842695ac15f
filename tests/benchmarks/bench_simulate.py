"""Speed and memory of the simulator: lines per CPU second and peak memory, each in a fresh process with one thread.

    python tests/benchmarks/bench_simulate.py [LINES ...]      default: 1000000 3000000

Prints one row for each system and number of lines: generation alone, and the whole command `bench data simulate` with
its files. The ratio of the two numbers of lines says whether cost grows linearly; memory must not grow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

NAMES = ("bgl", "hdfs", "tbird")
ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def generate(name: str, n_lines: int) -> None:
    """Make the chunks of a log and throw them away."""
    from bench.data.cards.catalogue import catalogue
    from bench.data.simulation.simulate import iter_chunks

    card = next(card for card in catalogue().cards if card.key == f"{name}@simulated")
    for _ in iter_chunks(card.simulate, seed=1, n_lines=n_lines):
        pass


def command(name: str, n_lines: int) -> None:
    """Make an edition on disk."""
    from pathlib import Path

    from bench.data.cards.catalogue import catalogue
    from bench.data.simulation.edition import simulated_card, write_edition

    with tempfile.TemporaryDirectory() as folder:
        known = catalogue(Path(folder))
        write_edition(simulated_card(known, name), known, seed=1, n_lines=n_lines)


def child(what: str, name: str, n_lines: int) -> None:
    """Run one of them and print CPU seconds, without those of the imports, and peak memory in MB."""
    import resource
    import time

    import bench.data.simulation.edition  # noqa: F401

    before = time.process_time()
    {"generate": generate, "command": command}[what](name, n_lines)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.process_time() - before, peak_mb)  # noqa: T201


def main(sizes: list[int]) -> None:
    """Print the table."""
    print(f"{'':18}{'lines':>12}{'CPU s':>9}{'lines per CPU s':>17}{'peak MB':>9}")  # noqa: T201
    for name in NAMES:
        for what in ("generate", "command"):
            seconds = []
            for n_lines in sizes:
                call = [sys.executable, __file__, "child", what, name, str(n_lines)]
                done = subprocess.run(call, env=os.environ | ONE_THREAD, check=True, capture_output=True, text=True)
                cpu_s, peak_mb = map(float, done.stdout.split())
                seconds.append(cpu_s)
                row = f"{name + ' ' + what:18}{n_lines:12,}{cpu_s:9.2f}{n_lines / cpu_s:17,.0f}{peak_mb:9.0f}"
                print(row, flush=True)  # noqa: T201
            print(f"  {sizes[-1] / sizes[0]:.1f} times the lines cost {seconds[-1] / seconds[0]:.1f} times")  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main([int(size) for size in sys.argv[1:]] or [1_000_000, 3_000_000])
