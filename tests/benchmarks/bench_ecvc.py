"""How much faster is ECVC than its definition, pair by pair? Run: python tests/benchmarks/bench_ecvc.py

Both score the same sequences in one process on one thread; times are medians of 3. The loop scores a sample of the
test vectors, and its time is scaled up.
"""

import argparse
import statistics
import sys
import time

import numpy as np

from bench.types import Sequences
from methods.controls import ECVC


def sequences(n, n_keys, most_keys, seed):
    """Sequences of `2..most_keys` distinct keys, repeated 1..9 times each; nearly all count vectors are distinct."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        keys = rng.choice(n_keys, rng.integers(2, most_keys + 1), replace=False)
        rows.append(np.repeat(keys, rng.integers(1, 10, len(keys))).tolist())
    return Sequences.from_lists(rows, tuple(map(str, range(n_keys))))


def frequencies(log):
    """One dict per sequence: share of each log key."""
    result = []
    for start, stop in zip(log.offsets[:-1], log.offsets[1:], strict=True):
        keys, counts = np.unique(log.log_keys[start:stop], return_counts=True)
        result.append(dict(zip(keys.tolist(), (counts / (stop - start)).tolist(), strict=True)))
    return result


def loop(train, tested):
    """The definition: smallest sum |a - b| / sum max(a, b)."""
    scores = []
    for a in tested:
        best = 1.0
        for b in train:
            pairs = [(a.get(key, 0.0), b.get(key, 0.0)) for key in a.keys() | b.keys()]
            best = min(best, sum(abs(x - y) for x, y in pairs) / sum(max(x, y) for x, y in pairs))
        scores.append(best)
    return scores


def median_seconds(function):
    """Median of 3 runs, and what the last one returned."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=2000, help="training sequences (default: %(default)s)")
    parser.add_argument("--test", type=int, default=2000, help="test sequences (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=300, help="size of the vocabulary (default: %(default)s)")
    parser.add_argument("--most-keys", type=int, default=20, help="distinct keys per sequence (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=20, help="test sequences the loop scores (default: %(default)s)")
    args = parser.parse_args()

    train, tested = (sequences(n, args.keys, args.most_keys, i) for i, n in enumerate((args.train, args.test)))
    detector = ECVC().fit(train)
    fast, scores = median_seconds(lambda: detector.score(tested))
    trained, sample = frequencies(train), frequencies(tested)[: args.sample]
    slow, expected = median_seconds(lambda: loop(trained, sample))
    slow *= len(tested) / len(sample)
    if not np.allclose(scores[: len(sample)], expected, atol=1e-6):
        sys.exit("ECVC and the loop disagree")
    sys.stdout.write(f"ECVC {fast:.2f} s, loop {slow:.1f} s (from {len(sample)} sequences), ratio {slow / fast:.0f}\n")


if __name__ == "__main__":
    main()
