"""PCA after its sheet, and next to scikit-learn's."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.decomposition import PCA as Reference

from bench.evaluation.thresholds import flag
from bench.types import Sequences
from methods.pca import PCA, Config, q_statistic

TEXTS = tuple(map(str, range(12)))


def of(log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n=200, n_keys=9):
    rng = np.random.default_rng(seed)
    return [rng.poisson(rng.choice([0.5, 3], n_keys)).tolist() for _ in range(n)]


def sequences_with(counts):
    return of([np.repeat(np.arange(len(row)), row).tolist() for row in counts])


def weighted(counts, train_counts):
    """The definition: tf-idf, then centring."""
    train = np.asarray(train_counts, float)
    n, df = len(train), (train > 0).sum(axis=0)
    weights = np.log(n / df)
    return np.asarray(counts, float) * weights - (train * weights).mean(axis=0)


@pytest.mark.parametrize("variance", [0.5, 0.8, 0.95])
def test_errors_equal_those_of_scikit_learn(variance):
    train, tested = random_lists(0), random_lists(1, n=40)
    detector = PCA(Config(variance=variance)).fit(sequences_with(train))
    reference = Reference(n_components=variance, svd_solver="full").fit(weighted(train, train))
    x = weighted(tested, train)
    expected = ((x - reference.inverse_transform(reference.transform(x))) ** 2).sum(axis=1)
    assert detector.score(sequences_with(tested)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert detector.monitor()["components"] == reference.n_components_


def test_repeated_sequences_count_as_often_as_they_occur():
    train = random_lists(0, n=30)
    often = PCA().fit(sequences_with(train + train[:5] * 20))
    expected = weighted(train + train[:5] * 20, train + train[:5] * 20)
    kept = Reference(n_components=0.95, svd_solver="full").fit(expected)
    errors = ((expected - kept.inverse_transform(kept.transform(expected))) ** 2).sum(axis=1)
    assert often.score(sequences_with(train)) == pytest.approx(errors[:30], rel=1e-9, abs=1e-9)


def test_the_error_of_the_training_mean_is_below_the_threshold():
    train = [[4, 2, 0], [2, 4, 2], [3, 3, 1], [3, 4, 1], [3, 2, 1], [3, 3, 1]] * 20
    detector = PCA(Config(weighting="none", variance=0.8)).fit(sequences_with(train))
    mean, far = detector.score(sequences_with([[3, 3, 1], [9, 9, 9]]))
    assert mean == pytest.approx(0, abs=1e-12)
    assert mean < detector.native_threshold_ < far


def test_q_statistic_by_hand():
    # phi1 = 3, phi2 = 5, phi3 = 9; h0 = 1 - 54 / 75 = .28
    c = norm.ppf(0.9995)
    base = c * np.sqrt(2 * 5 * 0.28**2) / 3 + 1 + 5 * 0.28 * (0.28 - 1) / 9
    assert c == pytest.approx(3.2905, abs=1e-4)
    assert q_statistic(np.array([2.0, 1.0]), 0.001) == pytest.approx(3 * base ** (1 / 0.28))


def test_q_statistic_is_near_the_quantile_of_gaussian_residuals():
    deviations = np.linspace(0.5, 2, 40)
    errors = ((np.random.default_rng(0).normal(size=(200_000, 40)) * deviations) ** 2).sum(axis=1)
    # c is two-sided, so one tail has half of alpha.
    assert q_statistic(deviations**2, 0.01) == pytest.approx(np.quantile(errors, 0.995), rel=0.02)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros(3), np.array([1.0, *[0.05] * 100])])
def test_without_a_q_statistic_the_threshold_is_a_quantile_of_training(values):
    assert q_statistic(values, 0.001) is None


def test_training_of_one_kind_has_threshold_zero_and_flags_what_differs():
    detector = PCA(Config(oov=True)).fit(of([[0, 1]] * 9))
    assert detector.native_threshold_ == 0
    flagged = flag(detector.score(of([[0, 1], [0, 1, 9], [1, 0]])), detector.native_threshold_)
    assert flagged.tolist() == [False, True, False]


def test_events_unseen_in_training_are_dropped_by_default():
    detector = PCA().fit(of([[0, 1]] * 9))
    assert detector.score(of([[0, 1, 9]])).tolist() == detector.score(of([[0, 1]])).tolist()


def test_a_fallback_quantile_leaves_the_share_alpha_above():
    lists = [[0] * (i % 40) + [1] * (i % 7) for i in range(2000)]
    detector = PCA(Config(variance=0.99999999, alpha=0.1, weighting="none", oov=False)).fit(of(lists))
    assert q_statistic(detector.state()["eigenvalues"][2:], 0.1) is None
    assert (detector.score(of(lists)) > detector.native_threshold_).mean() <= 0.1


@pytest.mark.parametrize("wrong", [{"variance": 1.0}, {"alpha": 0.0}, {"weighting": "idf"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
