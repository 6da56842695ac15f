"""PLELog after its sheet: estimated labels, what counts as known, the cap on points, and the classifier."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.decomposition import FastICA
from torch import nn

from bench.detector import NotFittedError
from bench.types import Sequences
from methods import plelog
from methods.plelog import Clusters, Config, PLELog, cluster, first_known, probabilistic_labels, sums_of, whitened
from methods.shared import layers, semantic, text_inputs
from methods.shared.semantic import AttentiveClassifier

pytestmark = [pytest.mark.trains, pytest.mark.usefixtures("no_sentence_encoder")]

TEXTS = tuple(f"template {key}" for key in range(20))
INPUTS = text_inputs.TextInputs.sentence((), 20, centred=False)
QUICK = Config(width=20, hidden=12, layers=1, steps=None, max_epochs=8, batch_size=32, dropout=0.1, learning_rate=0.01)


def of(lists, **fields):
    return Sequences.from_lists(lists, TEXTS, **fields)


def log_of(seed, n):
    """Normal sequences of the texts 0 to 3, and a quarter of abnormal ones with texts 4 and 5 in addition."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.25).astype(np.int8)
    lists = [rng.integers(0, 4, 6).tolist() + ([4, 5, 4] if label else []) for label in truth]
    return of(lists), truth


TRAIN, TRUTH = log_of(0, 300)
TEST, TEST_TRUTH = log_of(1, 100)
HALF_KNOWN = np.full(len(TRAIN), -1, np.int8)
HALF_KNOWN[np.flatnonzero(TRUTH == 0)[: -(-int((TRUTH == 0).sum()) // 2)]] = 0


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return PLELog(QUICK).fit(TRAIN, HALF_KNOWN)


def same_state(a, b):
    return all(np.array_equal(value, b.state()[name]) for name, value in a.state().items())


def blobs(*sizes):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(10 * i, 0.1, (size, 2)) for i, size in enumerate(sizes)])


def test_two_blobs_one_with_a_known_normal():
    points, known = blobs(40, 40), np.arange(80) == 3
    found = cluster(points, np.ones(80, np.int64), 10, 1000, seed=0)
    assert sorted(set(found.of_point.tolist()) - {-1}) == [0, 1]
    labels = probabilistic_labels(found, known)
    inside = found.of_point >= 0
    assert inside.sum() > 60
    assert (labels[:40][inside[:40], 0] >= 0.5).all()
    assert (labels[40:][inside[40:], 1] >= 0.5).all()
    assert labels[:40][:, 0].max() == 1
    assert labels[40:][:, 1].max() == 1
    np.testing.assert_allclose(labels.sum(1), 1)


def test_outlier_scores_are_glosh_by_hand():
    """Ten points at equal steps: with five neighbours those at the ends fall out at 5, the next at 4, the rest at 3.

    So their scores are 1 - 3/5 and 1 - 3/4 of the densest around them, whatever the step. The first two groups are one
    cluster, so a membership probability would measure the second, of the wider step, by the first.
    """
    steps = np.arange(10.0)
    along = np.concatenate([steps, 15 + 1.1 * steps, 1000 + steps])
    found = cluster(np.stack([along, np.zeros(30)], 1), np.ones(30, np.int64), 5, 1000, seed=0)
    assert found.of_point[0] == found.of_point[10] != found.of_point[20]
    np.testing.assert_allclose(found.uncertainty, 3 * [0.4, 0.25, 0, 0, 0, 0, 0, 0, 0.25, 0.4], atol=1e-9)


def test_a_point_beside_infinitely_dense_ones_is_as_uncertain_as_can_be():
    points, counts = np.array([[0.0, 0.0], [1.0, 0.0], [90.0, 0.0], [91.0, 0.0]]), np.array([9, 1, 9, 1])
    found = cluster(points, counts, 5, 1000, seed=0)
    assert found.of_point[0] == found.of_point[1] != found.of_point[2]
    assert found.uncertainty.tolist() == [0, 1, 0, 1]


def test_labels_are_softened_by_uncertainty():
    clusters = Clusters(np.array([0, 0, 1, 1, -1, -1]), np.array([0.0, 0.5, 0.0, 1.0, 0.0, 0.0]))
    labels = probabilistic_labels(clusters, np.array([True, False, False, False, True, False]))
    assert labels[:, 1].tolist() == [0, 0.25, 1, 0.5, 0, 1]


def test_noise_like_a_known_normal_is_normal():
    """The lone multiset {9, 9, 8} is noise; in another order it is that of a known normal."""
    lists = [[0, 1]] * 30 + [[2, 3]] * 30 + [[9, 8, 9], [9, 9, 8], [7, 7, 7]]
    reading = semantic.read(of(lists), INPUTS, "cpu")
    detector = PLELog(replace(QUICK, min_cluster_size=20, cluster_share=1.0))
    known = np.isin(np.arange(63), [0, 60])
    targets = detector._targets(reading, known)[reading.inverse]
    assert targets[60] == targets[61] == 0
    assert targets[62] == 1
    assert (targets[:30] == 0).all()
    assert (targets[30:60] == 1).all()


def test_copies_count_for_density():
    points, counts = np.array([[0.0, 0.0], [9.0, 0.0], [50.0, 50.0]]), np.array([30, 30, 1])
    found = cluster(points, counts, 10, 1000, seed=0)
    assert found.of_point[0] != found.of_point[1]
    assert min(found.of_point[:2]) >= 0
    assert found.of_point[2] == -1


@pytest.mark.parametrize("most", [60, 150, 400])
def test_points_left_out_by_the_cap_follow_their_neighbours(most):
    points = blobs(300, 300)
    found = cluster(points, np.full(600, 3), 20, most, seed=0)
    clustered = found.of_point >= 0
    assert clustered.mean() > 0.5
    assert set(found.of_point[:300]) & set(found.of_point[300:]) <= {-1}


def test_the_cap_bounds_what_is_clustered(monkeypatch):
    sizes = []

    class Watched(plelog.HDBSCAN):
        def fit(self, points, y=None):
            sizes.append((len(points), self.min_cluster_size))
            return super().fit(points)

    monkeypatch.setattr(plelog, "HDBSCAN", Watched)
    cluster(blobs(50, 50), np.full(100, 1000), 100, 1500, seed=0)
    cluster(blobs(500, 500), np.full(1000, 1000), 100, 1500, seed=0)
    assert sizes == [(1300, 12), (1500, 5)]


def test_too_few_points_are_noise():
    found = cluster(blobs(4), np.ones(4, np.int64), 5, 100, seed=0)
    assert found.of_point.tolist() == [-1] * 4


def test_whitening_has_the_distances_of_fastica():
    rng = np.random.default_rng(0)
    points = rng.exponential(size=(200, 6)) @ rng.normal(size=(6, 10))
    ours = whitened(points, np.ones(200, np.int64), 4)
    theirs = FastICA(4, whiten="unit-variance", random_state=0, max_iter=1000, tol=1e-6).fit_transform(points)
    np.testing.assert_allclose(pdist(ours), pdist(theirs), rtol=1e-6)


def test_whitening_counts_repeats_and_drops_empty_directions():
    rng = np.random.default_rng(0)
    points, counts = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 8)), rng.integers(1, 5, 30)
    ours = whitened(points, counts, 50)
    assert ours.shape == (30, 3)
    repeated = np.repeat(ours, counts, axis=0)
    np.testing.assert_allclose(np.cov(repeated.T, bias=True), np.eye(3), atol=1e-9)
    assert whitened(np.ones((4, 3)), np.ones(4, np.int64), 2).shape == (4, 0)


def test_sums_are_those_of_a_loop():
    lists, vectors = [[0, 1, 1], [], [2]], np.random.default_rng(0).normal(size=(3, 5))
    bags = layers.unique_bags(np.array([0, 1, 1, 2]), np.array([0, 3, 3, 4])).bags
    expected = [sum((vectors[key] for key in row), np.zeros(5)) for row in lists]
    np.testing.assert_allclose(sums_of(bags, vectors), expected)


def test_the_first_half_of_each_system_counts_as_known():
    labels = np.array([0, -1, 0, 0, 0, 0, 0, 1], np.int8)
    system = np.array([0, 0, 0, 1, 1, 0, 0, 1], np.uint8)
    assert np.flatnonzero(first_known(labels, system, 0.5)).tolist() == [0, 2, 3]
    assert first_known(labels, system, 1.0).sum() == 6
    assert np.flatnonzero(first_known(None, system, 0.5)).tolist() == [0, 1, 2, 3, 4]


def test_where_all_are_known_normals_half_of_them_join_the_pool(no_sentence_encoder):
    half = np.full(len(TRAIN), -1, np.int8)
    half[: -(-len(TRAIN) // 2)] = 0
    assert same_state(PLELog(QUICK).fit(TRAIN, np.zeros(len(TRAIN), np.int8)), PLELog(QUICK).fit(TRAIN, half))


def test_it_learns_the_estimated_labels(fitted):
    scores = fitted.score(TEST)
    assert np.mean((scores > fitted.native_threshold_) == TEST_TRUTH) > 0.9
    facts = fitted.monitor()
    assert facts["known_sequences"] == -(-int((TRUTH == 0).sum()) // 2)
    assert 0 < facts["estimated_abnormal_share"] < 0.5
    json.dumps(facts)


def test_attention_ignores_padding(fitted):
    lists = [[0, 1], [0, 1, 2, 3, 4, 5]]
    together, alone = fitted.explain(of(lists)), fitted.explain(of(lists[:1]))
    np.testing.assert_allclose(together[:2], alone, atol=1e-6)
    assert together[:2].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("labels", "why"),
    [(np.full(60, -1, np.int8), "known to be normal"), (np.zeros(60, np.int8), "estimated to be normal")],
)
def test_nothing_to_tell_apart_is_an_error(labels, why):
    with pytest.raises(ValueError, match=why):
        PLELog(QUICK).fit(of([[0, 1, 2]] * 60), labels)
    assert PLELog().skip(of([[]])) is not None


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = AttentiveClassifier(nn.GRU, 20, 8, 2, dropout=0.5)
        logits = net(torch.randn(4, 6, 20), torch.ones(4, dtype=torch.int64))
        plelog.objective(logits, torch.full((4,), 0.3), torch.full((4,), 0.25))["loss"].backward()
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_the_loss_is_the_cross_entropy_of_both_columns():
    logits, target = torch.randn(5, 2), torch.rand(5)
    p = torch.softmax(logits, 1)
    columns = nn.functional.binary_cross_entropy(p, torch.stack([1 - target, target], 1))
    torch.testing.assert_close(plelog.objective(logits, target, torch.full((5,), 0.2))["loss"], columns)


def test_saved_and_loaded_it_scores_the_same(fitted):
    loaded = PLELog(QUICK).load_state(fitted.state())
    assert loaded.score(TEST).tolist() == fitted.score(TEST).tolist()
    assert loaded.native_threshold_ == 0
    with pytest.raises(NotFittedError):
        PLELog().score(TEST)


def test_the_profiles_are_configs():
    assert Config(**PLELog.profiles["original"]).learning_rate == 2e-3
    with pytest.raises(ValueError, match="known_share"):
        Config(known_share=0.0)
    with pytest.raises(ValueError, match="min_cluster_size"):
        Config(min_cluster_size=4)
