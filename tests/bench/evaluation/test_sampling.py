"""Which sequences a sample holds, and that weighted metrics of it estimate those of the whole part."""

import numpy as np
import pytest

from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.sampling import Stratum, draw_sample


def part(n_normal=900, n_abnormal=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_normal, n_abnormal]).astype(np.int8)
    rng.shuffle(labels)
    return np.round(rng.normal(size=len(labels)) + 1.2 * labels, 1), labels


def one_system(labels):
    return np.zeros(len(labels), np.uint8)


def test_labels_share_the_sample_and_a_small_stratum_gives_all_it_has():
    _, labels = part(900, 60)
    assert draw_sample(labels, one_system(labels), 100, 0).strata == (Stratum(0, 0, 900, 50), Stratum(0, 1, 60, 50))
    sample = draw_sample(labels, one_system(labels), 500, 0)
    assert sample.strata == (Stratum(0, 0, 900, 440), Stratum(0, 1, 60, 60))
    assert np.bincount(labels[sample.index]).tolist() == [440, 60]
    assert set(sample.weights[labels[sample.index] == 0]) == {900 / 440}
    assert set(sample.weights[labels[sample.index] == 1]) == {1.0}
    assert (np.diff(sample.index) > 0).all()


def test_systems_of_a_combined_run_are_strata_of_their_own():
    _, labels = part(300, 90)
    system = (np.arange(390) % 3 == 0).astype(np.uint8) * 2
    sample = draw_sample(labels, system, 40, 0)
    assert [(s.system, s.label, s.drawn) for s in sample.strata] == [(0, 0, 10), (0, 1, 10), (2, 0, 10), (2, 1, 10)]
    for s in sample.strata:
        of = (system[sample.index] == s.system) & (labels[sample.index] == s.label)
        assert sample.weights[of].sum() == pytest.approx(s.size)


def test_the_seed_decides_and_a_larger_sample_holds_the_smaller_one():
    _, labels = part()
    system = one_system(labels)
    drawn = {
        (n, seed): set(draw_sample(labels, system, n, seed).index.tolist()) for n in (50, 51, 200) for seed in (0, 1)
    }
    assert drawn[50, 0] == set(draw_sample(labels, system, 50, 0).index.tolist())
    assert drawn[50, 0] != drawn[50, 1]
    assert drawn[50, 0] < drawn[51, 0] < drawn[200, 0]
    assert [len(drawn[n, 1]) for n in (50, 51, 200)] == [50, 51, 200]


@pytest.mark.parametrize("n", [960, 5000])
def test_a_sample_of_everything_gives_the_metrics_of_the_whole_part(n):
    scores, labels = part()
    sample = draw_sample(labels, one_system(labels), n, 3)
    assert sample.index.tolist() == list(range(960))
    assert ranking_metrics(scores, labels, sample.weights) == ranking_metrics(scores, labels)
    assert metrics_at(scores, labels, 1.0, sample.weights) == metrics_at(scores, labels, 1.0)


def test_over_many_samples_the_weighted_metrics_come_out_at_those_of_the_whole_part():
    scores, labels = part()
    whole = ranking_metrics(scores, labels) | metrics_at(scores, labels, 1.0)
    names = ("recall", "fpr", "precision", "f1", "auroc", "ap", "prevalence")
    found = {True: [], False: []}
    for seed in range(200):
        sample = draw_sample(labels, one_system(labels), 300, seed)
        s, y = scores[sample.index], labels[sample.index]
        for is_weighted, weights in ((True, sample.weights), (False, None)):
            values = ranking_metrics(s, y, weights) | metrics_at(s, y, 1.0, weights)
            found[is_weighted].append([values[name] for name in names])
    mean, error = np.mean(found[True], axis=0), np.std(found[True], axis=0) / np.sqrt(200)
    for i, name in enumerate(names):
        # Quotients of estimates have a bias of the order 1 / n; that of AP is upwards.
        assert mean[i] == pytest.approx(whole[name], abs=3 * error[i] + 0.02), name
    assert np.mean(found[False], axis=0)[names.index("precision")] > whole["precision"] + 0.2


def test_a_sample_too_small_for_its_strata_is_refused():
    with pytest.raises(ValueError, match="1 cannot hold a sequence of each of 2 strata"):
        draw_sample(np.array([0, 1, 1]), np.zeros(3), 1, 0)
