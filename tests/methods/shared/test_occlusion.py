"""Weights of events by leaving them out: exact on scores whose parts are known, and shared by equal events."""

from dataclasses import replace

import numpy as np
import pytest

from bench.types import UNKNOWN_KEY, Parameters, Sequences
from methods.ecvc_idf import ECVCIdf
from methods.edit_distance import EditDistance
from methods.knn_embedding import KNNEmbedding
from methods.logcluster import LogCluster
from methods.ngram import Config as NGramConfig
from methods.ngram import NGram
from methods.ocsvm import OCSVM
from methods.pca import PCA
from methods.shared import occlusion as occlusion_module
from methods.shared.occlusion import occlusion

TEXTS = tuple("abcdefgh")


def of(*rows, **fields):
    return Sequences.from_lists(rows, TEXTS, **fields)


def sum_of_keys(sequences):
    return np.bincount(sequences.sequence_of_event, sequences.log_keys, len(sequences)).astype(float)


def number_of_distinct_keys(sequences):
    pairs = np.unique(sequences.sequence_of_event * 100 + sequences.log_keys) // 100
    return np.bincount(pairs, minlength=len(sequences)).astype(float)


def test_in_a_sum_each_event_weighs_what_it_adds():
    weights = occlusion(of([1, 2, 2], [], [5], [2, 1, 2]), sum_of_keys)
    assert weights.tolist() == [1, 2, 2, 5, 2, 1, 2]
    assert weights.dtype == np.float32


def test_equal_events_go_together_and_share():
    assert occlusion(of([1, 1, 1, 2]), number_of_distinct_keys).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


def test_unknown_keys_are_one_event_by_key_and_several_by_text():
    log = replace(of([0, 1, 2, 3]), log_keys=np.array([0, UNKNOWN_KEY, UNKNOWN_KEY, 1], np.int32))

    def any_unknown(sequences):
        return np.bincount(sequences.sequence_of_event, sequences.log_keys < 0, len(sequences)).clip(max=1)

    assert occlusion(log, any_unknown).tolist() == [0, 0.5, 0.5, 0]
    assert occlusion(log, any_unknown, "text_ids").tolist() == [0, 0, 0, 0]  # the other one is still there


def test_what_is_left_keeps_its_order_texts_times_and_lines():
    seen = []

    def score(sequences):
        rows = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
        seen.extend(
            (sequences.log_keys[a:b].tolist(), sequences.elapsed_s[a:b].tolist(), sequences.lines[a:b].tolist())
            for a, b in rows
        )
        assert np.array_equal(sequences.log_keys, sequences.text_ids)
        assert sequences.parameters is None
        return np.zeros(len(sequences))

    values = Parameters(np.arange(3.0), np.arange(4))
    log = of([3, 1, 3], elapsed_s=np.array([0, 1, 2.5]), lines=np.array([7, 8, 9]), parameters=values)
    occlusion(log, score)
    assert seen == [([3, 1, 3], [0, 1, 2.5], [7, 8, 9]), ([3, 3], [0, 2.5], [7, 9]), ([1], [1], [8])]


@pytest.mark.parametrize("most", [1, 3, 7, 10**6])
def test_the_bound_on_memory_changes_nothing_but_the_blocks(monkeypatch, most):
    rng = np.random.default_rng(0)
    log = of(*[rng.integers(0, 8, rng.integers(0, 9)).tolist() for _ in range(40)])
    plain, sizes = occlusion(log, number_of_distinct_keys), []
    monkeypatch.setattr(occlusion_module, "MOST_EVENTS", most)

    def score(sequences):
        sizes.append(sequences.n_events)
        return number_of_distinct_keys(sequences)

    assert occlusion(log, score).tolist() == plain.tolist()
    assert max(sizes[1:]) <= max(most, 8)


def test_each_distinct_sequence_is_looked_at_once():
    scored = []

    def score(sequences):
        scored.append(len(sequences))
        return sum_of_keys(sequences)

    weights = occlusion(of(*[[1, 2], [3]] * 500), score)
    assert scored == [2, 3]
    assert weights.tolist() == [1, 2, 3] * 500


def test_nothing_to_explain():
    assert occlusion(of(), sum_of_keys).shape == (0,)
    assert occlusion(of([], []), sum_of_keys).shape == (0,)


@pytest.mark.parametrize("cls", [ECVCIdf, EditDistance, LogCluster, NGram, OCSVM, PCA])
def test_an_event_that_training_never_had_is_the_strongest(cls):
    train = of(*[[0, 1, 2, 0, 1, 2], [1, 2, 0, 1, 2, 0], [0, 1, 2]] * 20)
    settings = {"oov": True} if cls is PCA else {}
    detector = cls(cls.Config(**settings)).fit(train)
    weights = detector.explain(of([0, 1, 2, 7, 0, 1], [0, 1, 2]))
    assert weights[:6].argmax() == 3
    assert weights[3] > 0
    assert weights[6:] == pytest.approx(weights[6], abs=1e-6) or cls in (OCSVM, PCA)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_ngrams_are_counted_at_each_of_their_events(n):
    """Against a plain loop over the n-grams of one sequence, borders included."""
    train, rows = [[0, 1, 2, 0, 1, 2], [3, 3]], [[0, 1, 2, 1, 0], [3], [], [7, 0, 7, 7], [0, 1, 2, 0, 1, 2]]

    def grams(row):
        padded = [-9, *row, -9, *[-9] * max(0, n - len(row) - 2)]
        return [tuple(padded[i : i + n]) for i in range(len(padded) - n + 1)]

    known = {gram for row in train for gram in grams(row)}
    expected = [
        sum(gram not in known for i, gram in enumerate(grams(row)) if i <= place + 1 < i + n)
        for row in rows
        for place in range(len(row))
    ]
    assert NGram(NGramConfig(n=n)).fit(of(*train)).explain(of(*rows)).tolist() == expected


def test_a_text_that_moves_the_mean_vector_away(monkeypatch):
    monkeypatch.setattr(
        "methods.shared.text_inputs.embed", lambda texts: np.eye(384, dtype=np.float32)[[*map(ord, texts)]]
    )
    detector = KNNEmbedding().fit(of([0, 1], [0, 0, 1]))
    assert detector.explain(of([0, 5, 1, 0])).argmax() == 1
