"""Differences between detectors on the same test sequences: a paired stratified bootstrap, intervals and p-values.

Every detector is measured on the same resampled test sequences, so what makes a test set easy or hard for both drops
out of their difference. Abnormal and normal sequences are resampled apart, or blocks of time with and without abnormal
ones; thresholds stay as estimated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.blocks import ONE_BY_ONE, Resampling
from bench.evaluation.seeds import half_width
from bench.evaluation.thresholds import as_abnormal, flag

N_DRAWS: Final = 1000

Verdict = Literal["better", "worse", "not separable"]

_CHUNK_CELLS: Final = 1_000_000
"""Weights (sequences x draws) held at once, 4 bytes each."""
_RESOLVED: Final = 0.02
"""p-values below this lie in tails of so few draws that they are extrapolated."""
_LEAST_P: Final = 1e-100
"""A smaller p is 0."""


class Scored(NamedTuple):
    """What one run says of the test sequences."""

    scores: NDArray[np.float64]
    """(n_sequences,), finite; higher is more anomalous."""
    threshold: float | None
    """Sequences with a higher score are flagged; -inf flags all; None: not estimable, so no F1."""


class Resampled(NamedTuple):
    """A metric on the test sequences and on resamples of them."""

    point: float
    draws: NDArray[np.float64]
    """(n,); entry i of two runs on one test set stems from the same resample."""
    units: int | None = None
    """Independent units of the rarer kind; few of them vary less in resamples than they should. None: many."""


class Difference(NamedTuple):
    """A mean difference over seeds, its interval and its p-value; low <= mean <= high."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, for a true difference of 0."""
    n_seeds: int

    @property
    def verdict(self) -> Verdict:
        """On which side of 0 the interval lies."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not separable"


def resample(
    runs: Sequence[Scored], labels: NDArray[Any], *, n: int = N_DRAWS, seed: int, resampling: Resampling = ONE_BY_ONE
) -> list[dict[str, Resampled]]:
    """AP, AUROC and F1 of runs on the same resamples of one test set.

    labels: 0 normal, 1 abnormal (int or bool), (n_sequences,), both present;  n: resamples;  seed: of the resamples
    resampling: what is drawn again: sequences, or blocks of them

    Returns for each run {"ap", "auroc", "f1"}, without "f1" where it has no threshold. Equal runs are measured once.
    Raises ValueError for other labels, other shapes, scores that are not finite, and labels of one kind only.
    """
    if not runs:
        return []
    abnormal = as_abnormal(runs[0].scores, labels)
    if abnormal.all() or not abnormal.any():
        raise ValueError("a paired comparison needs abnormal and normal test sequences")
    keys = [(run.scores.tobytes(), run.threshold) for run in runs]
    units = _Units.of(abnormal, resampling)
    resamplers = {
        key: _Resampler(run, as_abnormal(run.scores, labels), units)
        for key, run in dict(zip(keys, runs, strict=True)).items()
    }
    points = {key: resampler.of(*units.ones()) for key, resampler in resamplers.items()}
    chunks: dict[Any, list[dict[str, NDArray[np.float64]]]] = {key: [] for key in resamplers}
    for weights in units.draws(n, np.random.default_rng(seed)):
        for key, resampler in resamplers.items():
            chunks[key].append(resampler.of(*weights))
    made = {
        key: {
            name: Resampled(float(point[0]), np.concatenate([chunk[name] for chunk in chunks[key]]), units.rarer)
            for name, point in points[key].items()
        }
        for key in resamplers
    }
    return [made[key] for key in keys]


def difference(
    pairs: Sequence[tuple[Resampled, Resampled]], *, same_test: bool = True, level: float = 0.95
) -> Difference:
    """The mean difference, first less second, over pairs of runs with one seed each.

    pairs: of one metric;  same_test: whether all pairs share their test set and resamples;  level: coverage asked for

    The error of the test set is the distribution of the mean difference over resamples, wider by Student's distribution
    where its units are few. Pairs with test sets of their own are taken to err together (their draws are sorted), as in
    `stats.combine`: too wide, never too narrow. The error of the seeds is added as there, by `seeds.half_width`. Of one
    pair it cannot be seen. p is that of the interval that ends at 0; below 0.02 the test set's error is taken to go on
    as a normal one, the wider of that of the quantile there and of the standard deviation. Where one unit alone is
    abnormal (or normal) its error cannot be seen: the interval is all that a difference can be. Deterministic. Raises
    ValueError without pairs.
    """
    if not pairs:
        raise ValueError("need at least one pair of runs")
    points = np.array([first.point - second.point for first, second in pairs])
    draws = np.stack([first.draws - second.draws for first, second in pairs], axis=1)
    centre = (draws if same_test else np.sort(draws, axis=0)).mean(axis=1)
    mean = float(points.mean())
    seed_error = float(points.std(ddof=1) / np.sqrt(len(points))) if len(points) > 1 else 0.0
    known = [side.units for pair in pairs for side in pair if side.units is not None]
    units = min(known) if known else None
    if units == 1:
        return Difference(mean, -1.0, 1.0, 1.0, len(points))
    error = _Error(mean, np.sort(centre), float(centre.std(ddof=1)), seed_error, len(points), units)
    low, high = mean - error.width(1 - level, down=True), mean + error.width(1 - level, down=False)
    return Difference(mean, max(low, -1.0), min(high, 1.0), error.p(), len(points))


def draw_seed(labels: NDArray[Any]) -> int:
    """One resampling per test set, so that a difference does not depend on what else is compared.

    labels: 0 normal, 1 abnormal, (n_sequences,)
    """
    return int.from_bytes(hashlib.sha256(labels.astype(np.int8).tobytes()).digest()[:8], "big")


def holm(p_values: Sequence[float], *, level: float = 0.05) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects, so that any false rejection has at most this probability."""
    ordered = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = [False] * len(p_values)
    for rank, i in enumerate(ordered):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


class _Units:
    """What is drawn again, with the abnormal and the normal sequences in it.

    Weights of draws are two matrices: those of what holds abnormal sequences, and those of what holds normal ones. One
    by one these are the abnormal and the normal sequences. In blocks both are the weights of all blocks, of which those
    with and those without abnormal sequences are drawn apart, as many as there are.
    """

    def __init__(
        self, place: tuple[NDArray[np.int64], NDArray[np.int64]], drawn: tuple[int, int], joined: bool
    ) -> None:
        self.place = place
        """For each abnormal, and each normal, sequence its row in the weights of its kind."""
        self.n_rows = (sum(drawn), sum(drawn)) if joined else drawn
        self._drawn = drawn
        self._joined = joined
        self.rarer = min(len(np.unique(rows)) for rows in place)

    @classmethod
    def of(cls, abnormal: NDArray[np.bool_], resampling: Resampling) -> _Units:
        """The units of a test set."""
        n_abnormal, n_normal = int(abnormal.sum()), int((~abnormal).sum())
        if resampling.blocks is None:
            return cls((np.arange(n_abnormal), np.arange(n_normal)), (n_abnormal, n_normal), joined=False)
        n_blocks = int(resampling.blocks.max()) + 1
        has_abnormal = np.bincount(resampling.blocks, weights=abnormal, minlength=n_blocks) > 0
        rank = np.empty(n_blocks, np.int64)
        rank[np.argsort(~has_abnormal, kind="stable")] = np.arange(n_blocks)
        rows = rank[resampling.blocks]
        n_with = int(has_abnormal.sum())
        return cls((rows[abnormal], rows[~abnormal]), (n_with, n_blocks - n_with), joined=True)

    def ones(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Every unit once."""
        one, other = (np.ones((size, 1), dtype=np.float32) for size in self.n_rows)
        return one, other

    def draws(self, n: int, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """How often each unit is drawn, (n_rows, draws), in chunks of draws; float32 holds that exactly."""
        chunk = max(1, _CHUNK_CELLS // sum(self._drawn))
        for start in range(0, n, chunk):
            first, second = (_drawn(size, min(chunk, n - start), rng) for size in self._drawn)
            if self._joined:
                both = np.concatenate([first, second])
                yield both, both
            else:
                yield first, second


class _Resampler:
    """Metrics of one run under weights of the test sequences, from their sums over groups of scores."""

    def __init__(self, run: Scored, abnormal: NDArray[np.bool_], units: _Units) -> None:
        from scipy.sparse import csr_array

        group = _groups(run.scores, abnormal)
        n_groups = int(group.max()) + 1
        self._members = []
        self._sizes = []
        self._flagged = []
        for chosen, place, n_rows in zip((abnormal, ~abnormal), units.place, units.n_rows, strict=True):
            ones = np.ones(int(chosen.sum()), dtype=np.float32)
            self._members.append(csr_array((ones, (group[chosen], place)), shape=(n_groups, n_rows)))
            self._sizes.append(np.bincount(place, minlength=n_rows).astype(np.float32))
            if run.threshold is not None:
                flagged = flag(run.scores[chosen], run.threshold)
                self._flagged.append(np.bincount(place, weights=flagged, minlength=n_rows).astype(np.float32))

    def of(self, abnormal: NDArray[np.float32], normal: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """weights: (n_rows, draws) of the abnormal and of the normal sequences, whole numbers."""
        weights = (abnormal, normal)
        n_abnormal, n_normal = (
            np.maximum((size @ w).astype(np.float64), 1) for size, w in zip(self._sizes, weights, strict=True)
        )
        hits, alarms = (np.asarray(m @ w, dtype=np.float64) for m, w in zip(self._members, weights, strict=True))
        tp, fp = hits.cumsum(axis=0), alarms.cumsum(axis=0)
        found = {
            "ap": (hits * (tp / np.maximum(tp + fp, 1))).sum(axis=0) / n_abnormal,
            "auroc": (alarms * (tp - 0.5 * hits)).sum(axis=0) / (n_abnormal * n_normal),
        }
        if self._flagged:
            tp, fp = ((f @ w).astype(np.float64) for f, w in zip(self._flagged, weights, strict=True))
            found["f1"] = 2.0 * tp / (tp + fp + n_abnormal)
        return found


def _groups(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Group of each sequence, highest scores first, (n_sequences,): a distinct score, or neighbouring normal ones."""
    distinct, position = np.unique(-scores, return_inverse=True)
    has_abnormal = np.bincount(position, weights=abnormal, minlength=len(distinct)) > 0
    starts = np.concatenate([[False], has_abnormal[1:] | has_abnormal[:-1]])
    return np.cumsum(starts, dtype=np.int64)[position]


def _drawn(size: int, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    counts = np.empty((n, size), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, size, size, dtype=np.uint32), minlength=size)
    return np.ascontiguousarray(counts.T)


class _Error(NamedTuple):
    """The error of a mean difference."""

    mean: float
    draws: NDArray[np.float64]
    """(n,), rising: the mean difference on resamples."""
    spread: float
    """Their standard deviation."""
    seed_error: float
    n_seeds: int
    units: int | None

    def width(self, p: float, *, down: bool) -> float:
        """How far below, or above, the mean its interval of the error probability p ends."""
        return half_width(self._test(p, down=down), self.seed_error, self.n_seeds, p)

    def p(self) -> float:
        """The error probability of the interval that ends at 0, by bisection of its logarithm."""
        size, down = abs(self.mean), self.mean > 0
        if size <= self.width(1.0, down=down):
            return 1.0
        if size > self.width(_LEAST_P, down=down):
            return 0.0
        low, high = float(np.log(_LEAST_P)), 0.0
        for _ in range(50):
            middle = (low + high) / 2
            is_inside = size <= self.width(float(np.exp(middle)), down=down)
            low, high = (middle, high) if is_inside else (low, middle)
        return float(np.exp(high))

    def _test(self, p: float, *, down: bool) -> float:
        """How far by the test set alone."""
        from scipy.special import ndtri, stdtrit

        known = max(p, _RESOLVED) / 2
        distance = self.mean - self._quantile(known if down else 1 - known)
        distance = max(distance if down else -distance, 0.0)
        if p >= 1 or not distance:
            return distance
        wanted = float(ndtri(p / 2))
        if self.units is not None:
            few = max(self.units, 2)
            wanted = float(stdtrit(few - 1, p / 2)) * (few / (few - 1)) ** 0.5
        found = distance * wanted / float(ndtri(known))
        return max(found, -wanted * self.spread) if p < _RESOLVED else found

    def _quantile(self, level: float) -> float:
        """As numpy.quantile gives it of values that rise, without the time that it takes to start."""
        place = (len(self.draws) - 1) * level
        low = min(int(place), len(self.draws) - 1)
        high = min(low + 1, len(self.draws) - 1)
        return float(self.draws[low] + (self.draws[high] - self.draws[low]) * (place - low))
