"""How often 95 % intervals hold the truth, and how often verdicts of true zeros are wrong: three printed tables.

python tests/benchmarks/bench_coverage.py [trials]

1. Table intervals (`stats.combine`), by seeds and by how much larger the spread between seeds is than the error of
   the test set.
2. Intervals of one record, by kind of scores, AUROC and numbers of sequences; AP and F1 at a fixed threshold as well;
   and of windows that come in bursts, resampled as sequences and in blocks.
3. Family-wise error: any of 20 true zeros left after Holm's correction (`paired.difference`).
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from bench.evaluation.blocks import ONE_BY_ONE, time_blocks
from bench.evaluation.paired import Resampled, difference, holm
from bench.evaluation.stats import LEVELS, combine, spread

RATIOS = (0.0, 0.3, 1.0, 3.0, np.inf)
LOW, HIGH = LEVELS.index(0.025), LEVELS.index(0.975)
METRICS = ("auroc", "ap", "f1")
THRESHOLD = 2.0


class Drawn(NamedTuple):
    """A test set and what its metrics estimate."""

    scores: np.ndarray
    labels: np.ndarray
    truth: dict[str, float]


def seed_coverage(ratio: float, n_seeds: int, trials: int, *, centre: float = 0.9, error: float = 0.02) -> float:
    """Share of table intervals that hold the mean over all seeds and test sets."""
    rng = np.random.default_rng([n_seeds, int(min(ratio, 9) * 10)])
    test, own = (0.0, error) if np.isinf(ratio) else (error, error * ratio)
    test, own = (size / (centre * (1 - centre)) for size in (test, own))
    truth = float(np.mean(expit(logit(centre) + own * rng.normal(size=100_000)))) if own else centre
    held = 0
    for _ in range(trials):
        shared, seeds = test * rng.normal(), own * rng.normal(size=n_seeds)
        points = logit(centre) + shared + seeds
        rows = expit(points[:, None] + test * norm.ppf(LEVELS))
        found = combine(expit(points).tolist(), rows.tolist())
        held += found.low <= truth <= found.high
    return held / trials


def record_coverage(kind: str, auroc: float, sizes: tuple[int, int], trials: int) -> dict[str, float]:
    """Share of a record's intervals that hold the truth, by metric; sizes: abnormal and normal sequences."""
    rng = np.random.default_rng(7)
    held = dict.fromkeys(METRICS, 0)
    for _ in range(trials):
        drawn = _drawn(kind, auroc, sizes, rng)
        found = spread(drawn.scores, drawn.labels, {"rule": THRESHOLD})
        for name, truth in drawn.truth.items():
            row = found["rules"]["rule"][name] if name == "f1" else found[name]
            held[name] += row[LOW] <= truth <= row[HIGH]
    return {name: count / trials for name, count in held.items()}


def burst_coverage(length: int, trials: int, *, blocks: bool) -> float:
    """As `record_coverage`, of AUROC where runs of so many windows share label and most of their score."""
    rng, held, n_runs = np.random.default_rng(5), 0, 4000 // length
    for _ in range(trials):
        is_abnormal = rng.permutation(n_runs) < n_runs // 10
        common = np.repeat(rng.normal(size=n_runs), length) * 0.8**0.5
        labels = np.repeat(is_abnormal, length).astype(np.int8)
        scores = common + 0.2**0.5 * rng.normal(size=len(labels)) + 1.5 * labels
        unit = time_blocks(labels, np.arange(len(labels)), np.zeros(len(labels))) if blocks else ONE_BY_ONE
        row = spread(scores, labels, {}, resampling=unit)["auroc"]
        held += row[LOW] <= norm.cdf(1.5 / 2**0.5) <= row[HIGH]
    return held / trials


def family_error(ratio: float, n_seeds: int, trials: int, *, n_zeros: int = 20, n_draws: int = 400) -> float:
    """Share of families of true zeros of which any is left after Holm's correction."""
    rng = np.random.default_rng([3, n_seeds, int(min(ratio, 9) * 10)])
    test, own = (0.0, 0.03) if np.isinf(ratio) else (0.03, 0.03 * ratio)
    none = Resampled(0.0, np.zeros(n_draws))
    draws = test * norm.ppf((np.arange(n_draws) + 0.5) / n_draws)
    wrong = 0
    for _ in range(trials):
        p = []
        for _ in range(n_zeros):
            points = test * rng.normal() + own * rng.normal(size=n_seeds)
            p.append(difference([(Resampled(v, v + draws), none) for v in points]).p)
        wrong += any(holm(p))
    return wrong / trials


def _drawn(kind: str, auroc: float, sizes: tuple[int, int], rng: np.random.Generator) -> Drawn:
    spread_of = {"normal": 1.0, "wide": 2.0, "narrow": 0.5}.get(kind, 1.0)
    shift = norm.ppf(auroc) * np.hypot(1, spread_of)
    n_abnormal, n_normal = sizes
    at = norm.ppf((np.arange(20_000) + 0.5) / 20_000) * spread_of + shift
    hits = 1 - (np.arange(20_000) + 0.5) / 20_000
    prevalence = n_abnormal / (n_abnormal + n_normal)
    ap = float(np.mean(prevalence * hits / (prevalence * hits + (1 - prevalence) * norm.sf(at))))
    recall, alarms = norm.sf((THRESHOLD - shift) / spread_of), norm.sf(THRESHOLD)
    f1 = 2 * n_abnormal * recall / (n_abnormal * recall + n_normal * alarms + n_abnormal)
    scores = np.concatenate([rng.normal(shift, spread_of, n_abnormal), rng.normal(size=n_normal)])
    labels = np.repeat([1, 0], sizes).astype(np.int8)
    return Drawn(scores, labels, {"auroc": auroc, "ap": ap, "f1": f1})


def main() -> None:
    """Print the three tables."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    say("table intervals: seeds, spread of seeds / test error, coverage")
    for n_seeds in (3, 5):
        for ratio in RATIOS:
            say(f"  {n_seeds}  {ratio:4}  {seed_coverage(ratio, n_seeds, trials):.3f}")
    say("\none record: scores, AUROC, abnormal and normal sequences, coverage of AUROC, AP, F1")
    for kind in ("normal", "wide", "narrow"):
        for auroc in (0.7, 0.95, 0.998):
            for sizes in ((15, 200), (15, 2000), (50, 1000), (300, 3000)):
                found = record_coverage(kind, auroc, sizes, trials)
                say(f"  {kind:7} {auroc:5} {sizes!s:11}  " + "  ".join(f"{found[name]:.3f}" for name in METRICS))
    say("\nbursts: windows in each, coverage of AUROC as sequences, in blocks")
    for length in (1, 5, 20):
        found = [burst_coverage(length, trials, blocks=blocks) for blocks in (False, True)]
        say(f"  {length:3}  {found[0]:.3f}  {found[1]:.3f}")
    say("\nany of 20 true zeros left by Holm's correction: seeds, spread of seeds / test error, share of families")
    for n_seeds in (3, 5):
        for ratio in RATIOS:
            say(f"  {n_seeds}  {ratio:4}  {family_error(ratio, n_seeds, trials):.3f}")


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
