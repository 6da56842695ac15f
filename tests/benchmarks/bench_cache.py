"""Opening a prepared edition: what it costs to hash it first.

    python tests/benchmarks/bench_cache.py --mib 100

Writes the arrays of a log of this size, then opens them with and without comparing digests, in turns, each time as a
process does that has seen nothing; prints the median of both, the ratio, and both against one pass over the lines.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import _sealed
from bench.data.reading.columns import DTYPES, FileColumns, open_columns, size_of

_NAMES = ("message_ids", "labels", "times")


def write(folder: Path, mib: float) -> None:
    """The arrays of as many lines as fill `mib` MiB."""
    n_lines = int(mib * 2**20 / sum(np.dtype(DTYPES[name]).itemsize for name in _NAMES))
    rng = np.random.default_rng(0)
    columns = FileColumns(folder)
    columns.add("file_starts", np.zeros(1))
    columns.add("message_ids", rng.integers(0, 1000, n_lines))
    columns.add("labels", rng.integers(0, 2, n_lines))
    columns.add("times", np.sort(rng.random(n_lines)) * 1e6)
    columns.finish({"messages": [f"message {i} <*>" for i in range(1000)]}, {})


def seconds(folder: Path, *, checked: bool) -> tuple[float, float]:
    """Wall time to open the log, and to look at each line once."""
    check = _sealed._check
    if not checked:
        _sealed._check = lambda *given, **options: None
    _sealed._checked.clear()
    try:
        start = time.perf_counter()
        log = open_columns(folder)
        opened = time.perf_counter()
    finally:
        _sealed._check = check
    assert log is not None
    np.bincount(log.message_ids, log.labels)
    np.diff(log.times).min()
    return opened - start, time.perf_counter() - opened


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), given.mib)
        pairs = [[seconds(Path(name), checked=checked) for checked in (False, True)] for _ in range(given.rounds)]
        size = size_of(Path(name)) / 2**20
    plain, checked = (statistics.median(pair[i][0] for pair in pairs) * 1e3 for i in (0, 1))
    used = statistics.median(pair[0][1] for pair in pairs) * 1e3
    print(  # noqa: T201
        f"{size:.0f} MiB: opened in {plain:.1f} ms, with its digests compared in {checked:.1f} ms "
        f"({size / (checked - plain) / 1.048576:.1f} GB/s); one pass over all lines takes {used:.1f} ms: "
        f"open and pass {(checked + used) / (plain + used):.2f} times as long as without digests"
    )


if __name__ == "__main__":
    main()
