"""Ranks over editions, and how far rankings agree."""

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from bench.evaluation.ranks import kendall_tau, mean_ranks, tau_between


def test_ranks_by_hand_with_ties():
    assert mean_ranks([[0.9, 0.8, 0.8], [0.5, 0.7, 0.6]]).tolist() == [2.0, 1.75, 2.25]
    assert mean_ranks([[1.0, 2.0, 3.0]], higher_is_better=False).tolist() == [1, 2, 3]


def test_they_are_the_ranks_of_friedmans_test():
    values = np.random.default_rng(0).random((12, 5))
    n, k = values.shape
    ranks = mean_ranks(values)
    expected = friedmanchisquare(*values.T).statistic
    assert 12 * n / (k * (k + 1)) * ((ranks - (k + 1) / 2) ** 2).sum() == pytest.approx(expected)


@pytest.mark.parametrize("values", [[[0.5, np.nan]], [], [0.5, 0.4]])
def test_a_missing_value_is_refused(values):
    with pytest.raises(ValueError, match="every method on every edition"):
        mean_ranks(values)


def test_tau_by_hand():
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall_tau([1, 1, 1], [1, 3, 2]) is None
    assert kendall_tau([1], [1]) is None
    with pytest.raises(ValueError, match="same methods"):
        kendall_tau([1, 2], [1, 2, 3])


def test_tau_of_all_pairs():
    found = tau_between([[1, 2, 3], [1, 3, 2], [5, 5, 5]])
    assert found[0, 1] == found[1, 0] == pytest.approx(1 / 3)
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[2]).all()
