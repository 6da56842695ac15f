"""How far two orders of the same things agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b of two lists of values: 1 the same order, -1 the reverse, ties counted in neither.

    None where a list has fewer than two distinct values.
    """
    signs = [np.sign(np.subtract.outer(values, values)) for values in (np.asarray(one), np.asarray(other))]
    above = np.triu_indices(len(one), 1)
    first, second = signs[0][above], signs[1][above]
    scale = float(np.sqrt(np.sum(first != 0) * np.sum(second != 0)))
    return float(np.sum(first * second)) / scale if scale else None


def ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """(n,) places, 1 for the highest value; equals share the mean of their places."""
    found = np.asarray(values, np.float64)
    higher = np.sum(found[None, :] > found[:, None], axis=1)
    equal = np.sum(found[None, :] == found[:, None], axis=1)
    return np.asarray(1 + higher + (equal - 1) / 2, np.float64)
