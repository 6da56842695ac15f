"""Paired resampling against measuring each resample anew: seconds of both on the same draws, and their ratio.

python tests/benchmarks/bench_compare.py [n_sequences] [n_draws]
"""

import sys
import time

import numpy as np

from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.paired import Scored, resample

LOOP_DRAWS = 20


def loop(runs, labels, n):
    """The plain way: draw sequences, take their scores, sort them."""
    rng = np.random.default_rng(0)
    abnormal, normal = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    for _ in range(n):
        chosen = np.concatenate([rng.choice(part, len(part)) for part in (abnormal, normal)])
        for run in runs:
            ranking_metrics(run.scores[chosen], labels[chosen])
            metrics_at(run.scores[chosen], labels[chosen], run.threshold)


def main():
    n, draws = (int(text) for text in (sys.argv[1:] or ("59000", "1000")))
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < 0.1).astype(np.int8)
    shared = rng.normal(size=n) + 1.5 * labels
    runs = [Scored(shared + 0.5 * rng.normal(size=n), 1.5) for _ in range(2)]
    resample(runs, labels, n=2, seed=0)
    seconds = []
    for work in (lambda: resample(runs, labels, n=draws, seed=0), lambda: loop(runs, labels, LOOP_DRAWS)):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    plain = seconds[1] / LOOP_DRAWS * draws
    what = f"{n} sequences, {draws} draws, one pair"
    sys.stdout.write(f"{what}: {seconds[0]:.2f} s CPU; plain loop {plain:.1f} s (from {LOOP_DRAWS} draws)\n")
    sys.stdout.write(f"ratio {plain / seconds[0]:.1f}\n")


if __name__ == "__main__":
    main()
