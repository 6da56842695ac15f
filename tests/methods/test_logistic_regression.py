"""Logistic regression: equal to scikit-learn's on all sequences, and supervised."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.preprocessing import StandardScaler

from bench.evaluation.thresholds import flag
from bench.types import Sequences
from methods.logistic_regression import Config, LogisticRegression

TEXTS = tuple(map(str, range(12)))


def sequences_with(counts):
    return Sequences.from_lists([np.repeat(np.arange(len(row)), row).tolist() for row in counts], TEXTS)


def data(seed, n):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (n, 5))
    return counts, (counts @ [2, -1, 0, 1, -1] + rng.normal(size=n) > 2).astype(np.int8)


@pytest.mark.parametrize("inverse_penalty", [0.01, 1.0, 100.0])
def test_log_odds_equal_those_of_scikit_learn_on_all_sequences(inverse_penalty):
    (train, labels), (tested, _) = data(0, 400), data(1, 100)
    config = Config(inverse_penalty=inverse_penalty)
    scores = LogisticRegression(config).fit(sequences_with(train), labels).score(sequences_with(tested))
    scaler = StandardScaler().fit(train)
    reference = Reference(C=inverse_penalty, max_iter=1000).fit(scaler.transform(train), labels)
    assert scores == pytest.approx(reference.decision_function(scaler.transform(tested)), abs=0.02, rel=0.01)


def test_the_native_threshold_is_even_odds():
    train, labels = data(0, 400)
    detector = LogisticRegression().fit(sequences_with(train), labels)
    assert detector.native_threshold_ == 0
    assert (flag(detector.score(sequences_with(train)), 0.0) == labels).mean() > 0.85


def test_one_kind_of_labels_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"needs normal and abnormal training sequences .* use a split"):
        LogisticRegression().fit(sequences_with([[1], [2]]), np.zeros(2, np.int8))


@pytest.mark.parametrize("wrong", [{"inverse_penalty": 0.0}, {"max_iterations": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
