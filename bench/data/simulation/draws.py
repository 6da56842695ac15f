"""Whole numbers from a seed, the same on every platform, in any order and in chunks of any size.

Each episode has a key, one raw 64-bit word of PCG64, whose raw stream numpy guarantees (those of `Generator` it does
not). All other draws of the episode are its key and a salt, mixed by the finaliser of SplitMix64 (G. Steele, D. Lea,
C. Flood: Fast Splittable Pseudorandom Number Generators. OOPSLA 2014). So no draw depends on how many others were made
before it: a kind of anomaly that is switched off changes no other episode.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MILLION: Final = 1_000_000
_GOLDEN: Final = 0x9E3779B97F4A7C15
_WORD: Final = 2**64 - 1

Keys = NDArray[np.uint64]
Whole = NDArray[np.int64]


def derive(keys: Keys, salt: int | Whole) -> Keys:
    """Return new keys, uint64 of the broadcast shape; equal (key, salt) give equal keys."""
    if isinstance(salt, int):
        words = keys + np.uint64((salt + 1) * _GOLDEN & _WORD)
    else:
        words = keys + (salt.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def between(keys: Keys, low: int | Whole, high: int | Whole) -> Whole:
    """Return int64, low <= value <= high, from each key."""
    span = np.asarray(high - low + 1).astype(np.uint64)
    # Span by span, never by the largest of a batch: a draw must not depend on what is drawn with it.
    is_small = span < 2**32
    if is_small.all():
        drawn = (keys >> np.uint64(32)) * span >> np.uint64(32)
    else:
        drawn = np.where(is_small, (keys >> np.uint64(32)) * np.where(is_small, span, 1) >> np.uint64(32), keys % span)
    return drawn.astype(np.int64) + low


def happens(keys: Keys, chance_ppm: int | Whole) -> NDArray[np.bool_]:
    """Return True with a chance given in parts per million."""
    return between(keys, 0, MILLION - 1) < chance_ppm
