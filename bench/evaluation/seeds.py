"""The error of a mean over seeds: that of the test set, which they share, and their own."""

from __future__ import annotations

import math
from typing import Final

_HALF: Final = 0.05
"""Error probability at which both rules below weigh the same."""


def half_width(test: float, seed_error: float, n_seeds: int, p: float) -> float:
    """How far a mean can be off, with the probability p on both sides together.

    test: how far by the test set alone, at the same p;  seed_error: standard error of the mean by the seeds alone

    A variance of n_seeds - 1 degrees of freedom is added to one that is known. Two rules do that, and each is right
    where one error is nothing. The sum of the squares of both widths is too wide between (3 seeds: up to 98 % for
    95 %). Satterthwaite's degrees of freedom are too many where seeds agree by chance: with 3 seeds 93 % for 95 %, and
    at 1 in 400, where Holm's correction asks, an error of 1 in 50. So their squares are averaged at 5 %, and the sum of
    squares weighs more the stricter p is. Never less than by the seeds alone.
    """
    if seed_error == 0 or n_seeds < 2:
        return test
    from scipy.special import ndtri, stdtrit

    z, tail = -float(ndtri(p / 2)), p / 2
    own_width = -float(stdtrit(n_seeds - 1, tail)) * seed_error
    wide = test**2 + own_width**2
    if z <= 0 or math.isinf(wide):
        return math.sqrt(wide)
    variance, own = (test / z) ** 2 + seed_error**2, seed_error**2
    share = own / variance
    narrow = float(stdtrit((n_seeds - 1) / share**2, tail)) ** 2 * variance if share > 1e-8 else wide
    weight = 0.5 * min(1.0, p / _HALF)
    return max(own_width, math.sqrt((1 - weight) * wide + weight * min(narrow, wide)))
