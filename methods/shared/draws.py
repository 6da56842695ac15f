"""Which items training draws at each step, and which distinct ones it never sees.

Training sequences come as distinct items with counts. They are drawn in shuffled passes over the
sequences that they stand for, item i as often as its count, one pass after another, and cut into
batches of one size. A set of more than 65,536 is drawn in parts of so many, each in proportion to
the counts by systematic sampling, which bounds memory. The draws of a step do not depend on how many
steps follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Batch = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Distinct items, and how often each was drawn."""

_MOST_HELD_OUT: Final = 2000
"""Items held out at most [R]."""
_WATCHED: Final = 512
"""Held-out items that are looked at while training, at most."""
_PART: Final = 2**16
"""Draws made at once at most."""


class HeldOut(NamedTuple):
    """What `hold_out` returns: two parts of the counts, which add up to them."""

    train: Counts
    held_out: Counts


def hold_out(counts: Counts, fraction: float, seed: int) -> HeldOut:
    """Draw distinct items that training never sees, each with all its copies.

    Drawn are a share of the distinct items, at most 2,000, that together have at most the same share
    of all copies: a kind too common for that stays in training, as do all of fewer than 1 / share.
    counts and both parts: int64 (n_items,).
    """
    present = np.flatnonzero(counts)
    wanted, limit = min(int(len(present) * fraction), _MOST_HELD_OUT), counts.sum() * fraction
    held, copies = np.zeros_like(counts), 0
    for item in np.random.default_rng([seed, 1]).permutation(present):
        if wanted == 0:
            break
        if copies + counts[item] <= limit:
            held[item] = counts[item]
            copies += counts[item]
            wanted -= 1
    return HeldOut(counts - held, held)


def hold_out_of_each(
    counts: Counts,
    group_of: NDArray[np.int64],
    sequence_of: NDArray[np.int64],
    fraction: float,
    seed: int,
) -> HeldOut:
    """Hold out of each group of items by itself; group_of, sequence_of: (n_items,).

    A sequence that is an item of several groups is held out of all of them.
    """
    held = np.zeros(int(sequence_of.max(initial=-1)) + 1, bool)
    for group in np.unique(group_of):
        own = np.where(group_of == group, counts, 0)
        held[sequence_of[hold_out(own, fraction, seed).held_out > 0]] = True
    held_out = np.where(held[sequence_of], counts, 0)
    return HeldOut(counts - held_out, held_out)


def batches_of(counts: Counts, size: int, rng: np.random.Generator, merge: bool) -> Iterator[Batch]:
    """Batches of exactly `size` draws without end; a batch may hold the end of a pass and the next."""
    rest = np.zeros(0, np.int64)
    for draws in _draws(counts, rng):
        rest = np.concatenate([rest, draws])
        whole = len(rest) // size * size
        for part in rest[:whole].reshape(-1, size):
            if merge:
                items, repeats = np.unique(part, return_counts=True)
                yield items, repeats.astype(np.float64)
            else:
                yield part, np.ones(size)
        rest = rest[whole:]


def watched_of(counts: Counts, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Batches of some held-out items, each once, with their counts."""
    items = rng.permutation(np.flatnonzero(counts))[:_WATCHED]
    if len(items):
        for part in np.array_split(items, -(-len(items) // batch_size)):
            yield part, counts[part].astype(np.float64)


def _draws(counts: Counts, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Shuffled passes over the items, each as often as its count, or parts of such passes."""
    total, ends, last = int(counts.sum()), np.cumsum(counts), np.flatnonzero(counts)[-1]
    n = min(total, _PART)
    while True:
        places = (rng.random() + np.arange(n)) * (total / n)
        # Rounding may push the last place onto the total, behind the last item.
        yield rng.permutation(np.minimum(np.searchsorted(ends, places, side="right"), last))
