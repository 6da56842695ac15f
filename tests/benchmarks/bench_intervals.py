"""Intervals by influence against the multinomial draws they replace: CPU seconds of both on the same scores, ratio.

python tests/benchmarks/bench_intervals.py [n_sequences] [share_abnormal]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from bench.evaluation.stats import LEVELS, spread

DRAWS, REPEATS, CHUNK_CELLS = 400, 5, 1_000_000


def by_draws(scores: np.ndarray, labels: np.ndarray, thresholds: dict[str, float]) -> None:
    """Quantiles of 400 resamples: counts of groups of scores for AUROC and AP, binomial ones for each rule."""
    rng = np.random.default_rng(0)
    distinct, position = np.unique(-scores, return_inverse=True)
    has_abnormal = np.bincount(position, weights=labels, minlength=len(distinct)) > 0
    starts = np.concatenate([[False], has_abnormal[1:] | has_abnormal[:-1]])
    group = np.cumsum(starts)[position]
    counts = [np.bincount(group[labels == kind], minlength=int(group.max()) + 1) for kind in (1, 0)]
    sizes = [int(count.sum()) for count in counts]
    auroc, ap = [], []
    chunk = max(1, CHUNK_CELLS // len(counts[0]))
    for start in range(0, DRAWS, chunk):
        n = min(chunk, DRAWS - start)
        hits, alarms = (_multinomial(count, n, rng) for count in counts)
        tp, fp = hits.cumsum(axis=1), alarms.cumsum(axis=1)
        auroc.append((alarms * (tp - 0.5 * hits)).sum(axis=1) / (sizes[0] * sizes[1]))
        ap.append((hits * (tp / np.maximum(tp + fp, 1))).sum(axis=1) / sizes[0])
    for values in (np.concatenate(auroc), np.concatenate(ap)):
        np.quantile(values, LEVELS)
    for threshold in thresholds.values():
        shares = [(scores[labels == kind] > threshold).mean() for kind in (1, 0)]
        tp, fp = (rng.binomial(size, share, DRAWS) for size, share in zip(sizes, shares, strict=True))
        for values in (2 * tp / (tp + fp + sizes[0]), tp / np.maximum(tp + fp, 1), tp / sizes[0], fp / sizes[1]):
            np.quantile(values, LEVELS)


def _multinomial(counts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    filled = np.flatnonzero(counts)
    drawn = np.zeros((n, len(counts)), dtype=np.int64)
    drawn[:, filled] = rng.multinomial(int(counts.sum()), counts[filled] / counts.sum(), size=n)
    return drawn


def main() -> None:
    """Time both."""
    n, share = int((sys.argv[1:] or ["47500"])[0]), float((sys.argv[2:] or ["0.1"])[0])
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < share).astype(np.int8)
    scores = rng.normal(size=n) + 2.0 * labels
    thresholds = {"native": 1.0, "conformal": 2.3, "oracle": 1.5}
    seconds = []
    for work in (by_draws, spread):
        work(scores, labels, thresholds)
        start = time.process_time()
        for _ in range(REPEATS):
            work(scores, labels, thresholds)
        seconds.append((time.process_time() - start) / REPEATS)
    sys.stdout.write(f"{n} sequences, {labels.sum()} abnormal, 3 rules: draws {seconds[0]:.4f} s CPU, ")
    sys.stdout.write(f"influence {seconds[1]:.4f}, ratio {seconds[0] / seconds[1]:.1f}\n")


if __name__ == "__main__":
    main()
