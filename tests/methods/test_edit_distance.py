"""Edit distance next to a plain loop and to rapidfuzz, in both of its searches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from bench.types import UNKNOWN_KEY, Sequences
from methods.edit_distance import Config, EditDistance
from methods.shared.counts import blocks

TEXTS = tuple(map(str, range(700)))


def of(*log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n, n_keys=6, longest=12, low=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, n_keys, rng.integers(0, longest)).tolist() for _ in range(n)]


def levenshtein(a, b):
    """The recurrence itself."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def plain(train, tested, distance=levenshtein):
    return [min(distance(a, b) / max(len(a), len(b), 1) for b in train) for a in tested]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("short", [32, 0])
def test_it_equals_the_recurrence(seed, short, monkeypatch):
    monkeypatch.setattr("methods.edit_distance._SHORT", short)
    train, tested = random_lists(seed, 30), random_lists(10 + seed, 30, n_keys=8)
    assert EditDistance().fit(of(*train)).score(of(*tested)).tolist() == pytest.approx(plain(train, tested))


@pytest.mark.parametrize("longest", [20, 90])
@pytest.mark.parametrize("n_keys", [30, 600])
def test_it_equals_rapidfuzz_pair_by_pair(longest, n_keys):
    train, tested = random_lists(0, 80, n_keys, longest), random_lists(1, 600, n_keys, longest)
    expected = plain(train, tested, Levenshtein.distance)
    assert EditDistance().fit(of(*train)).score(of(*tested)).tolist() == pytest.approx(expected)


keys = st.lists(st.sampled_from([*range(6), UNKNOWN_KEY]), max_size=9)
known = st.lists(st.integers(0, 4), max_size=9)


@given(
    train=st.lists(known, min_size=1, max_size=30).filter(any),
    tested=st.lists(keys, max_size=20),
    full=st.sampled_from([-1.0, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_pairs_within_the_bound_are_all_that_count(train, tested, full):
    detector = EditDistance().fit(of(*train))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("methods.edit_distance._MANY_PAIRS", -1)
        patch.setattr("methods.edit_distance._FULL", full)
        patch.setattr("methods.edit_distance.blocks", lambda n: blocks(n, 7))
        patch.setattr("methods.shared.nearest.BLOCK", 3)
        assert detector.score(of(*tested)).tolist() == plain(train, tested)


def test_blocks_of_training_change_nothing(monkeypatch):
    train, tested = of(*random_lists(0, 90, longest=60)), of(*random_lists(1, 40, longest=60))
    whole = EditDistance().fit(train).score(tested)
    monkeypatch.setattr("methods.shared.counts.BLOCK_VECTORS", 7)
    assert np.array_equal(EditDistance().fit(train).score(tested), whole)


def test_it_is_symmetric_and_between_0_and_1():
    a, b = random_lists(0, 40), random_lists(1, 40)
    # A far sequence with all keys makes none unseen; where even it is the nearest, the bound is its distance.
    every = [*range(6)] * 50
    for x, y in zip(a, b, strict=True):
        if x and y:
            there, back = (EditDistance().fit(of(p, every)).score(of(q))[0] for p, q in ((x, y), (y, x)))
            far = plain([every], [x, y])
            assert min(there, far[0]) == min(back, far[1])
            assert 0 < max(there, back) <= 1 or x == y


def test_by_hand():
    detector = EditDistance().fit(of([0, 1, 2, 3], [5]))
    tested = of([0, 1, 2, 3], [0, 2, 3], [0, 1, 9, 3], [1, 0, 2, 3], [7, 8], [5, 5, 5])
    assert detector.score(tested).tolist() == pytest.approx([0, 1 / 4, 1 / 4, 2 / 4, 1, 2 / 3])


def test_unseen_keys_equal_no_key_of_training():
    detector = EditDistance().fit(of([0, 1]))
    assert detector.score(of([0, UNKNOWN_KEY], [0, 9], [9, UNKNOWN_KEY])).tolist() == [0.5, 0.5, 1]


def test_empty_sequences():
    assert EditDistance().fit(of([0, 1])).score(of([], [0, 1])).tolist() == [1, 0]
    assert EditDistance().fit(of([0, 1], [])).score(of([], [9])).tolist() == [0, 1]


def test_it_has_no_native_threshold():
    assert EditDistance().fit(of([0])).native_threshold_ is None


def test_published_thresholds():
    detector = EditDistance(Config(thresholds="grid")).fit(of([0, 1, 2]))
    assert detector.score(of([0, 1, 3], [9], [0, 1, 2])).tolist() == [0.33, 0.99, 0]
    with pytest.raises(ValueError, match="thresholds 'all' is unknown"):
        Config(thresholds="all")
