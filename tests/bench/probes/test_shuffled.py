"""Labels of the source dealt out anew: what learned from them falls, what did not keeps its ranking."""

import numpy as np
import pytest

from bench.probes.shuffled import compared, permute_sources
from bench.types import Sequences

OWNERS = np.repeat([0, 1, 2], [40, 30, 20]).astype(np.uint8)
TRAIN = Sequences.from_lists([[0]] * 90, ["a"], system=OWNERS)
ROLES = ("source", "source", "target")


def permuted(labels, seed=0):
    return permute_sources(labels, TRAIN, ROLES, np.random.default_rng(seed))


def test_labels_stay_with_their_source_and_their_number_stays():
    labels = np.where(np.arange(90) % 5 == 0, 1, 0).astype(np.int8)
    labels[[3, 50]] = -1
    found = permuted(labels)
    for index in (0, 1):
        here = index == OWNERS
        assert not np.array_equal(found[here], labels[here])
        assert sorted(found[here]) == sorted(labels[here])
    assert (found[[3, 50]] == -1).all()
    assert np.array_equal(found[OWNERS == 2], labels[OWNERS == 2])
    assert not np.array_equal(found, permuted(labels, seed=1))


LABELS = (np.arange(200) % 2).astype(np.int8)


def test_what_learned_from_labels_falls():
    rng = np.random.default_rng(0)
    noise = [rng.random(200) for _ in range(5)]
    found = compared(LABELS + 0.9 * rng.random(200), noise, LABELS, seed=0)
    assert found["auroc"] == 1
    assert found["verdict"] == "learned from labels"
    assert found["difference"]["low"] > 0.3
    assert found["difference"]["value"] == pytest.approx(1 - np.mean(found["permuted_auroc"]), abs=1e-5)


def test_what_did_not_keeps_its_score_however_good_it_is():
    scores = LABELS + np.random.default_rng(0).random(200)
    found = compared(scores, [scores] * 3, LABELS, seed=0)
    assert found["auroc"] > 0.8
    assert (found["difference"]["low"], found["difference"]["high"]) == (0, 0)
    assert found["verdict"] == "keeps its score"


def test_permutations_that_differ_as_much_as_the_score_lies_above_them_say_nothing():
    """As a rule of one direction: permuted, it may point anywhere."""
    rng = np.random.default_rng(0)
    shifts = (1.5, -1.5, 0.3, 1.2, -0.8)
    found = compared(LABELS + rng.random(200), [shift * LABELS + rng.random(200) for shift in shifts], LABELS, seed=0)
    assert found["auroc"] > max(found["permuted_auroc"]) - 0.1
    assert found["difference"]["value"] > 0.2
    assert found["verdict"] == "unclear"


def test_a_score_is_kept_only_where_that_can_be_told():
    scores = LABELS + np.random.default_rng(0).random(200)
    few = np.arange(0, 200, 10) + np.arange(20) % 2
    noise = np.random.default_rng(1).random((6, 200))
    assert compared(scores, [scores] * 2, LABELS, seed=0)["verdict"] == "keeps its score"
    assert compared(noise[0, few], list(noise[1:, few]), LABELS[few], seed=0)["verdict"] == "unclear"
