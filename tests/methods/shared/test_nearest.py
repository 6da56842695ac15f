"""The nearest vectors next to a comparison of all pairs, the same ones even where distances are equal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from bench.types import UNKNOWN_KEY, Sequences
from methods.controls import ECVC
from methods.ecvc_idf import ECVCIdf
from methods.shared import nearest as _nearest
from methods.shared.counts import overlaps

TEXTS = tuple(map(str, range(12)))
FRACTIONS = (0.0, 0.0, 0.1, 0.2, 0.25, 1 / 3, 0.7)

vectors = st.lists(st.lists(st.sampled_from(FRACTIONS), min_size=5, max_size=5), min_size=1, max_size=30)
keys = st.lists(st.sampled_from([*range(7), UNKNOWN_KEY]), max_size=6)
known = st.lists(st.integers(0, 4), max_size=6)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(_nearest, "FEW_PAIRS", -1)
    monkeypatch.setattr(_nearest, "STEPS_PER_COLUMN", 10**9)
    monkeypatch.setattr(_nearest, "BLOCK", 3)
    monkeypatch.setattr(_nearest, "_ROW_CELLS", 40)


def of(sequences):
    return Sequences.from_lists(sequences, TEXTS)


def one_by_one(rows, train):
    """The first training vector with the largest share, from all pairs."""
    mass, train_mass = rows.sum(axis=1), train.sum(axis=1)
    added = np.where(mass == 0, 1, mass).astype(np.float32)
    shares = np.zeros((len(rows), len(train)), np.float32)
    for i, block, shared in overlaps(csr_matrix(rows), csr_matrix(train)):
        shares[i, block] = shared / (train_mass[block].astype(np.float32) + added[i])
    return shares.argmax(axis=1), shares


@given(rows=vectors, train=vectors)
@settings(max_examples=200, deadline=None)
def test_the_same_vector_is_found_as_by_comparing_all_pairs(rows, train):
    rows, train = np.array(rows), np.array(train)
    expected, _ = one_by_one(rows, train)
    assert np.array_equal(_nearest.nearest(csr_matrix(rows), csr_matrix(train)), expected)


@given(rows=vectors, train=vectors, order=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_any_of_equals_is_as_near(rows, train, order):
    rows, train = (np.round(np.array(some) * 60) for some in (rows, train))
    for some in (rows, train):
        some[:, -1] += 600 - some.sum(axis=1)
    _, shares = one_by_one(rows, train)
    found = _nearest.nearest(csr_matrix(rows), csr_matrix(train), any_of_equals=True)
    assert np.array_equal(shares[np.arange(len(rows)), found], shares.max(axis=1))


@given(train=st.lists(known, min_size=1, max_size=25).filter(any), tested=st.lists(keys, max_size=25))
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("detector_class", [ECVC, ECVCIdf])
def test_scores_are_those_of_all_pairs(detector_class, train, tested):
    detector = detector_class().fit(of(train))
    in_blocks = detector.score(of(tested))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_nearest, "FEW_PAIRS", 10**9)
        assert np.array_equal(detector.score(of(tested)), in_blocks)


def test_ecvc_explains_by_the_same_neighbour():
    rng = np.random.default_rng(0)
    train, tested = (of([rng.integers(0, high, 6).tolist() for _ in range(60)]) for high in (5, 7))
    detector = ECVC().fit(train)
    in_blocks = detector.explain(tested)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_nearest, "FEW_PAIRS", 10**9)
        assert np.array_equal(detector.explain(tested), in_blocks)


def test_lengths_without_a_small_common_multiple():
    rng = np.random.default_rng(1)
    train, tested = ([rng.integers(0, 6, rng.integers(1, 60)).tolist() for _ in range(50)] for _ in range(2))
    detector = ECVC().fit(of(train))
    in_blocks = detector.score(of(tested))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_nearest, "FEW_PAIRS", 10**9)
        assert np.array_equal(detector.score(of(tested)), in_blocks)


def test_most_pairs_are_left_out(monkeypatch):
    monkeypatch.setattr(_nearest, "BLOCK", 64)
    rng = np.random.default_rng(2)
    kinds = rng.integers(0, 9, (40, 20))
    train, tested = (kinds[rng.integers(0, 40, n)] for n in (4000, 500))
    rows, trained = (np.stack([(some == key).sum(axis=1) for key in range(9)], axis=1) for some in (tested, train))
    noise = rng.integers(0, 2, trained.shape)
    compared = []
    shares = _nearest.Blocks.shares
    monkeypatch.setattr(_nearest.Blocks, "shares", lambda *args: compared.append(shares(*args)) or compared[-1])
    _nearest.nearest(csr_matrix(rows.astype(float)), csr_matrix((trained + noise).astype(float)))
    assert sum(found.size for found in compared) < 0.3 * len(rows) * len(trained)


def test_vectors_of_many_values_are_compared_one_by_one(monkeypatch):
    monkeypatch.setattr(_nearest, "STEPS_PER_COLUMN", 64)
    monkeypatch.setattr(_nearest, "Blocks", lambda *args: pytest.fail("steps of each value of its own"))
    rows, train = (np.random.default_rng(seed).random((300, 3)) for seed in range(2))
    expected, _ = one_by_one(rows, train)
    assert np.array_equal(_nearest.nearest(csr_matrix(rows), csr_matrix(train)), expected)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_every_vector_is_in_one_block(size):
    reached = np.random.default_rng(0).integers(0, 2, (50, 6)).astype(np.uint8)
    reached[10:30] = reached[0]
    found = _nearest.similar(reached, np.ones(6, np.float32), size)
    assert max(map(len, found)) <= size
    assert sorted(np.concatenate(found).tolist()) == list(range(50))
    assert _nearest.similar(reached[:0], np.ones(6, np.float32), size) == []
