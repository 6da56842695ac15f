"""Nearest neighbours of sentence vectors; the encoder is replaced by given directions."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from bench.types import UNKNOWN_KEY, Sequences
from methods.knn_embedding import Config, KNNEmbedding

FULL = Config(dimension=384)
VECTORS = np.random.default_rng(0).normal(size=(20, 384))
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
TEXTS = tuple(map(str, range(20)))


@pytest.fixture(autouse=True)
def _given_vectors(monkeypatch):
    def embed(texts):
        return VECTORS[[int(text) for text in texts]].astype(np.float32)

    monkeypatch.setattr("methods.shared.text_inputs.embed", embed)


def of(*text_ids):
    return Sequences.from_lists(text_ids, TEXTS)


def random_lists(seed, n, n_texts=20):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, n_texts, rng.integers(1, 9)).tolist() for _ in range(n)]


@pytest.mark.parametrize("k", [1, 3])
def test_sequences_equal_scikit_learn_on_their_mean_vectors(k):
    train, tested = random_lists(0, 40), random_lists(1, 30)
    means = [np.array([VECTORS[keys].mean(axis=0) for keys in lists]) for lists in (train, tested)]
    distinct = np.unique(means[0].round(12), axis=0)
    expected = NearestNeighbors(n_neighbors=k, metric="cosine").fit(distinct).kneighbors(means[1])[0].mean(axis=1)
    scores = KNNEmbedding(replace(FULL, k=k)).fit(of(*train)).score(of(*tested))
    assert scores == pytest.approx(expected, abs=1e-6)


def test_texts_score_as_the_least_familiar_one():
    detector = KNNEmbedding(replace(FULL, unit="text")).fit(of([0, 1], [2]))
    cosine = VECTORS @ VECTORS[:3].T
    expected = 1 - cosine[[5, 6]].max(axis=1).min()
    assert detector.score(of([0, 5, 6, 6], [1, 2, 0])) == pytest.approx([expected, 0], abs=1e-6)
    assert detector.explain(of([0, 5, 1])) == pytest.approx([0, 1 - cosine[5].max(), 0], abs=1e-6)


def test_a_training_sequence_scores_exactly_0():
    train = of(*random_lists(0, 30))
    for config in (Config(), FULL, Config(unit="text")):
        assert not KNNEmbedding(config).fit(train).score(train).any()


def test_projection_keeps_distances_roughly():
    train, tested = of(*random_lists(0, 30)), of(*random_lists(1, 30))
    full, projected = (KNNEmbedding(config).fit(train).score(tested) for config in (FULL, Config()))
    assert np.corrcoef(full, projected)[0, 1] > 0.8
    assert not np.array_equal(full, projected)


def test_it_reads_texts_and_no_keys():
    detector = KNNEmbedding().fit(of([0, 1], [2]))
    tested = of([0, 1], [5])
    assert np.array_equal(detector.score(tested), detector.score(tested.with_log_keys(np.full(3, UNKNOWN_KEY, "i4"))))


def test_empty_sequences_score_0_and_are_no_neighbours():
    detector = KNNEmbedding().fit(of([0], []))
    assert len(detector.state()["vectors"]) == 1
    assert detector.score(of([], [0])).tolist() == [0, 0]
    assert KNNEmbedding().skip(of([], [])) == "no training sequence has an event"


def test_more_neighbours_than_training_sequences():
    assert np.isfinite(KNNEmbedding(Config(k=9)).fit(of([0], [1])).score(of([5]))).all()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("unit", ["sequence", "text"])
def test_blocks_change_nothing(k, unit, monkeypatch):
    train, tested = of(*random_lists(0, 40)), of(*random_lists(1, 30), [])
    detector = KNNEmbedding(replace(FULL, k=k, unit=unit)).fit(train)
    whole = detector.score(tested)
    monkeypatch.setattr("methods.knn_embedding._ROWS", 2)
    assert np.array_equal(detector.score(tested), whole)


@pytest.mark.parametrize("wrong", [{"unit": "line"}, {"k": 0}, {"dimension": 385}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
