"""Lines that share nothing to log keys: leaves as arrays against drain3's own loops, in CPU seconds, in turn.

    python tests/benchmarks/bench_templates.py --lines 2000 4000 20000 --longest 4000

Prints the ratio for each number of lines, and whether the clusters are equal; above `--longest` drain3 is left out.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from drain3.drain import Drain

from bench.data.sequences.leaves import FastDrain

SETTINGS: dict[str, Any] = {"depth": 4, "sim_th": 0.4, "max_children": 100, "param_str": "<*>"}


def lines(n: int) -> list[str]:
    """Ten words of six letters each."""
    rng = random.Random(0)
    return [" ".join("".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(10)) for _ in range(n)]


def seconds(drain: Drain, messages: list[str]) -> tuple[float, list[str]]:
    """CPU time of learning, and the templates."""
    start = time.process_time()
    for message in messages:
        drain.add_log_message(message)
    return time.process_time() - start, [cluster.get_template() for cluster in drain.clusters]


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[2000, 4000])
    parser.add_argument("--longest", type=int, default=4000)
    given = parser.parse_args()
    for n in given.lines:
        messages = lines(n)
        ours, found = seconds(FastDrain(**SETTINGS), messages)
        if n > given.longest:
            print(f"{n:,} lines: {ours:.2f} s, {len(found):,} templates")  # noqa: T201
            continue
        theirs, expected = seconds(Drain(**SETTINGS), messages)
        equal = "equal" if found == expected else "DIFFERENT"
        print(f"{n:,} lines: {ours:.2f} s, drain3 {theirs:.2f} s: {theirs / ours:.1f} times, {equal}")  # noqa: T201


if __name__ == "__main__":
    main()
