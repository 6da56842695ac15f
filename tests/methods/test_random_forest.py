"""Random forest: close to scikit-learn's on all sequences, and supervised."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from bench.evaluation.metrics import ranking_metrics
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences
from methods.random_forest import Config, RandomForest

TEXTS = tuple(map(str, range(12)))


def sequences_with(counts):
    return Sequences.from_lists([np.repeat(np.arange(len(row)), row).tolist() for row in counts], TEXTS)


def data(seed, n):
    counts = np.random.default_rng(seed).integers(0, 4, (n, 4))
    return counts, ((counts[:, 0] > 2) | (counts[:, 1] * counts[:, 2] > 4)).astype(np.int8)


def test_it_learns_what_scikit_learn_learns():
    (train, labels), (tested, truth) = data(0, 400), data(1, 300)
    scores = RandomForest().fit(sequences_with(train), labels).score(sequences_with(tested))
    reference = RandomForestClassifier(random_state=0).fit(train, labels).predict_proba(tested)[:, 1]
    assert ((scores > 0.5) == truth).mean() > 0.95
    assert np.abs(scores - reference).mean() < 0.05


def test_one_tree_of_all_columns_is_the_tree_itself():
    train, labels = data(0, 400)
    scores = RandomForest(Config(trees=200)).fit(sequences_with(train), labels).score(sequences_with(train))
    assert ranking_metrics(scores, labels)["auroc"] == 1.0
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_contradicting_labels_give_their_share():
    train = sequences_with([[1, 0]] * 40 + [[0, 1]] * 40)
    labels = np.array([ABNORMAL] * 10 + [NORMAL] * 30 + [NORMAL] * 40, np.int8)
    scores = RandomForest(Config(trees=400)).fit(train, labels).score(sequences_with([[1, 0], [0, 1]]))
    assert scores == pytest.approx([0.25, 0.0], abs=0.02)


def test_unlabelled_sequences_are_left_out():
    train, labels = data(0, 200)
    known = labels.copy()
    known[150:] = UNLABELLED
    tested = sequences_with(data(1, 50)[0])
    partly = RandomForest().fit(sequences_with(train), known).score(tested)
    assert np.array_equal(partly, RandomForest().fit(sequences_with(train[:150]), labels[:150]).score(tested))


@pytest.mark.parametrize("labels", [None, np.zeros(3, np.int8), np.ones(3, np.int8), np.full(3, -1, np.int8)])
def test_one_kind_of_labels_is_refused_with_the_way_out(labels):
    with pytest.raises(ValueError, match=r"needs normal and abnormal training sequences .* use a split"):
        RandomForest().fit(sequences_with([[1], [2], [3]]), labels)


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"max_features": "all"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
