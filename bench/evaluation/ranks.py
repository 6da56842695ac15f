"""Ranks of methods over editions, and how far two rankings agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mean_ranks(values: ArrayLike, *, higher_is_better: bool = True) -> NDArray[np.float64]:
    """The mean rank of each method, (n_methods,), 1 the best; equal values share the mean of their ranks.

    values: (n_editions, n_methods), a metric of every method on every edition

    This is what Friedman's test and the critical difference of Nemenyi's are about. Raises ValueError where a value is
    missing: methods are ranked on the same editions, so leave out the edition or the method.
    """
    from scipy.stats import rankdata

    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"ranks need a value of every method on every edition: {table.shape}, or one is missing")
    return np.asarray(rankdata(-table if higher_is_better else table, axis=1).mean(axis=0), np.float64)


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float | None:
    """Kendall's tau-b of two rankings of the same methods, 1 where they agree; None where one ranks nothing.

    first, second: (n_methods,), as ranks or as values of which higher is better; both the same way
    """
    from scipy.stats import kendalltau

    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1 or not np.isfinite([one, other]).all():
        raise ValueError(f"two rankings of the same methods are needed: {one.shape}, {other.shape}, or one is missing")
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(kendalltau(one, other).statistic)


def tau_between(rankings: ArrayLike) -> NDArray[np.float64]:
    """Kendall's tau between all pairs of rankings, (n, n); NaN where one ranks nothing.

    rankings: (n, n_methods), as of the budgets 1/4, 1 and 4
    """
    rows = np.asarray(rankings, np.float64)
    found = np.full((len(rows), len(rows)), np.nan)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            tau = kendall_tau(one, other)
            found[i, j] = np.nan if tau is None else tau
    return found
