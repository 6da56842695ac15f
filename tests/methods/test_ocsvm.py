"""One-class SVM: equal to scikit-learn's on all sequences, and the share outside."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from bench.types import Sequences
from methods.ocsvm import OCSVM, Config

TEXTS = tuple(map(str, range(12)))


def sequences_with(counts):
    return Sequences.from_lists([np.repeat(np.arange(len(row)), row).tolist() for row in counts], TEXTS)


def random_counts(seed, n, n_keys=4):
    return np.random.default_rng(seed).poisson(2, (n, n_keys))


def test_scores_equal_those_of_scikit_learn_on_all_sequences():
    train, tested = random_counts(0, 600), random_counts(1, 100)
    detector = OCSVM(Config(nu=0.1, standardise=True)).fit(sequences_with(train))
    scaler = StandardScaler().fit(train)
    # The constant column of unseen events is a fifth feature for gamma and the same for all.
    gamma = detector.monitor()["gamma"]
    assert gamma == pytest.approx(1 / (5 * 4 / 5), rel=1e-6)
    reference = OneClassSVM(nu=0.1, gamma=gamma).fit(scaler.transform(train))
    assert len(np.unique(train, axis=0)) < 500
    expected = -reference.decision_function(scaler.transform(tested))
    scores = detector.score(sequences_with(tested))
    # libsvm solves to 1e-3 per sequence, and weights scale the sum by the mean count.
    scale = np.linalg.lstsq(expected[:, None], scores, rcond=None)[0][0]
    assert scale == pytest.approx(len(np.unique(train, axis=0)) / 600, rel=0.01)
    assert scores == pytest.approx(expected * scale, abs=0.05)


@pytest.mark.parametrize("nu", [0.01, 0.05, 0.3])
def test_at_most_the_share_nu_of_training_lies_outside(nu):
    train = sequences_with(random_counts(0, 800))
    detector = OCSVM(Config(nu=nu)).fit(train)
    outside = (detector.score(train) > detector.native_threshold_).mean()
    assert outside <= nu + 1e-9
    assert outside > nu / 2 - 0.01


def test_the_most_common_vector_is_not_outside_by_rounding():
    train = sequences_with([[2, 1, 0]] * 900 + random_counts(0, 100).tolist())
    detector = OCSVM().fit(train)
    assert detector.score(sequences_with([[2, 1, 0]]))[0] <= detector.native_threshold_ < 1e-2


def test_far_away_all_are_alike():
    detector = OCSVM().fit(sequences_with(random_counts(0, 300)))
    scores = detector.score(sequences_with([[90, 0, 0, 0], [0, 90, 90, 0]]))
    assert scores[0] == pytest.approx(scores[1])
    assert scores[0] > detector.native_threshold_


def test_many_vectors_are_sampled():
    train = sequences_with(random_counts(0, 400))
    detector = OCSVM(Config(max_vectors=50)).fit(train)
    assert len(detector.state()["support"]) <= 50
    assert np.isfinite(detector.score(train)).all()


@pytest.mark.parametrize("wrong", [{"nu": 0.0}, {"nu": 1.5}, {"max_vectors": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"nu .* max_vectors"):
        Config(**wrong)
