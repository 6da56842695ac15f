import numpy as np
import pytest

from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.paired_scorings import compare_scorings, rate_change, sampling_weights, weighted_metrics


def shares(both, lost, gained, neither):
    before = np.repeat([True, True, False, False], [both, lost, gained, neither])
    after = np.repeat([True, False, True, False], [both, lost, gained, neither])
    return before, after


def test_a_change_is_counted_in_pairs():
    found = rate_change(*shares(3, 4, 1, 2))
    assert (found.before, found.after, found.change) == (0.7, 0.4, pytest.approx(-0.3))
    assert (found.lost, found.gained) == (4, 1)
    assert -1 <= found.low < found.change < found.high <= 1


def test_back_and_forth_are_mirror_images():
    before, after = shares(20, 12, 2, 16)
    there, back = rate_change(before, after), rate_change(after, before)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@pytest.mark.parametrize("n", [10, 100])
def test_no_change_has_an_interval_that_narrows_with_the_number(n):
    found = rate_change(np.ones(n, bool), np.ones(n, bool))
    assert found.low < 0 < found.high
    assert found.high - found.low == pytest.approx(2 * 3.8415 / (n + 3.8415), rel=1e-3)


def test_the_interval_covers_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(1000):
        before = rng.random(40) < 0.7
        after = np.where(rng.random(40) < 0.35, rng.random(40) < 0.2, before)
        found = rate_change(before, after)
        hits += found.low <= 0.35 * (0.2 - 0.7) <= found.high
    assert 0.93 <= hits / 1000 <= 0.99


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        rate_change(np.ones(0, bool), np.ones(0, bool))


def a_test_part(n=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int8)
    return np.round(rng.normal(labels, 1.0), 1), labels


def test_equal_weights_give_the_metrics_of_a_record():
    scores, labels = a_test_part()
    found = weighted_metrics(scores, labels, np.full(len(scores), 3.0), 0.4)
    ranked = ranking_metrics(scores, labels)
    assert found["f1"] == pytest.approx(metrics_at(scores, labels, 0.4)["f1"])
    assert (found["auroc"], found["ap"]) == pytest.approx((ranked["auroc"], ranked["ap"]))


def test_a_weight_stands_for_so_many_copies():
    scores, labels = a_test_part(20)
    weights = np.random.default_rng(3).integers(0, 4, (5, 20))
    found = weighted_metrics(scores, labels, weights.astype(float), 0.0)
    for i, row in enumerate(weights):
        many, theirs = np.repeat(scores, row), np.repeat(labels, row)
        assert found["ap"][i] == pytest.approx(ranking_metrics(many, theirs)["ap"])
        assert found["auroc"][i] == pytest.approx(ranking_metrics(many, theirs)["auroc"])
        assert found["f1"][i] == pytest.approx(metrics_at(many, theirs, 0.0)["f1"])


def test_weights_restore_the_population():
    population, drawn = np.array([0] * 90 + [1] * 10), np.array([0] * 5 + [1] * 5)
    weights = sampling_weights(population, drawn)
    assert weights.tolist() == [18.0] * 5 + [2.0] * 5


def test_equal_scorings_do_not_differ_and_noise_does_not_hide_a_shift():
    scores, labels = a_test_part(200)
    kept = {"weights": np.ones(200), "threshold": 0.5, "n": 300}
    same = compare_scorings(scores, scores, labels, labels, **kept)
    assert {tuple(same[name]["difference"]) for name in ("f1", "auroc", "ap")} == {(0.0, 0.0, 0.0)}
    assert tuple(same["score_change"]["absolute"]) == (0.0, 0.0, 0.0)
    worse = compare_scorings(scores, scores * (1 - labels), labels, labels, **kept)
    assert worse["auroc"]["difference"].low > 0
    assert worse["score_change"]["signed"].high < 0
    again = compare_scorings(scores, scores * (1 - labels), labels, labels, **kept)
    assert worse == again
