"""Isolation forest: equal to scikit-learn's, and what it cannot see."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest as Reference

from bench.types import Sequences
from methods.isolation_forest import Config, IsolationForest, mean_search

TEXTS = tuple(map(str, range(12)))


def sequences_with(counts):
    return Sequences.from_lists([np.repeat(np.arange(len(row)), row).tolist() for row in counts], TEXTS)


def random_counts(seed, n, n_keys=6):
    return np.random.default_rng(seed).poisson(2, (n, n_keys))


@pytest.mark.parametrize(("n", "size"), [(500, 256), (90, 256), (400, 0.5), (3, 256)])
def test_scores_equal_those_of_scikit_learn(n, size):
    train, tested = random_counts(0, n), random_counts(1, 100)
    detector = IsolationForest(Config(trees=20, max_samples=size), seed=3).fit(sequences_with(train))
    drawn = int(size * n) if size < 1 else min(size, n)
    reference = Reference(n_estimators=20, max_samples=drawn, random_state=3)
    # The column of unseen events is part of the forest's input, though constant.
    reference.fit(np.c_[train, np.zeros(n)].astype(np.float32))
    expected = -reference.score_samples(np.c_[tested, np.zeros(100)].astype(np.float32))
    assert detector.score(sequences_with(tested)) == pytest.approx(expected, abs=1e-12)


def test_an_outlier_is_isolated_earlier():
    detector = IsolationForest().fit(sequences_with(random_counts(0, 500)))
    outlier, average = detector.score(sequences_with([[40, 0, 40, 0, 40, 0], [2] * 6]))
    assert outlier > 0.6
    assert average < 0.5


def test_the_native_threshold_is_one_half_or_the_quantile_of_training():
    train = sequences_with(random_counts(0, 500))
    assert IsolationForest().fit(train).native_threshold_ == 0.5
    detector = IsolationForest(Config(contamination=0.1)).fit(train)
    assert (detector.score(train) > detector.native_threshold_).mean() == pytest.approx(0.1, abs=0.02)


def test_mean_search_depth_of_small_trees():
    # With two items one comparison; with three 2 (H(2) - 2/3), harmonic numbers being approximated.
    assert mean_search(np.array([1, 2])).tolist() == [0, 1]
    assert mean_search(np.array([3]))[0] == pytest.approx(2 * (np.log(2) + 0.5772156649) - 4 / 3)


def test_one_training_sequence_makes_everything_average():
    assert IsolationForest().fit(sequences_with([[1, 2]])).score(sequences_with([[1, 2], [9, 0]])).tolist() == [1, 1]


def test_seeds_give_different_forests():
    train, tested = sequences_with(random_counts(0, 300)), sequences_with(random_counts(1, 50))
    first, second = (IsolationForest(seed=seed).fit(train).score(tested) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert np.corrcoef(first, second)[0, 1] > 0.8


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"max_samples": 0}, {"contamination": 1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
