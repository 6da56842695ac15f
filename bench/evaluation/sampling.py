"""A stratified subsample of test sequences, with the weights by which metrics estimate those of the whole part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Stratum(NamedTuple):
    """The sequences of one system and label, and how many of them were drawn."""

    system: int
    label: int
    size: int
    drawn: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn."""

    index: NDArray[np.int64]
    """(n_drawn,) positions in the whole part, rising."""
    weights: NDArray[np.float64]
    """(n_drawn,) how many sequences of the whole part each stands for: size of its stratum / drawn of it."""
    strata: tuple[Stratum, ...]


def draw_sample(labels: NDArray[Any], system: NDArray[Any], n: int, seed: int) -> Sample:
    """Draw at most n sequences, stratified by system and label, without replacement.

    labels: 0 normal, 1 abnormal, (n_sequences,);  system: which system each comes from, (n_sequences,)

    Every stratum gives the same number; one that is too small gives all it has, and the others share the rest. So the
    few abnormal sequences, on which recall rests, are not left to chance. A larger n keeps what a smaller one drew
    under the same seed, so that answers which were paid for are used again. Raises ValueError when n is less than the
    number of strata.
    """
    found = [
        (int(s), int(label), np.flatnonzero((system == s) & (labels == label)))
        for s in np.unique(system)
        for label in np.unique(labels[system == s])
    ]
    if n < len(found):
        raise ValueError(f"a sample of {n} cannot hold a sequence of each of {len(found)} strata")
    counts = _allocate([len(members) for *_, members in found], n)
    chosen = [
        np.random.default_rng([seed, s, label]).permutation(members)[:count]
        for (s, label, members), count in zip(found, counts, strict=True)
    ]
    weights = [np.full(count, len(members) / count) for (*_, members), count in zip(found, counts, strict=True)]
    index = np.concatenate([*chosen, np.empty(0, np.int64)]).astype(np.int64)
    order = np.argsort(index)
    return Sample(
        index[order],
        np.concatenate([*weights, np.empty(0)])[order],
        tuple(Stratum(s, label, len(m), count) for (s, label, m), count in zip(found, counts, strict=True)),
    )


def _allocate(sizes: list[int], n: int) -> list[int]:
    counts = [0] * len(sizes)
    left = n
    smallest_first = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for rank, i in enumerate(smallest_first):
        counts[i] = min(sizes[i], left // (len(sizes) - rank))
        left -= counts[i]
    return counts
