"""The router after its sheet: what the source knows is general, and the bound comes from the source alone."""

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bench.types import Sequences
from methods.shared import router
from methods.shared.router import LEAST_TAU, Router, alike_in_other_half, largest_cosines, unit_vectors

FAMILIES = 12


def vector_of(text):
    """Texts of a family are alike (`3:foo`), those of others at right angles; `zero` has none; others are random."""
    if text == "zero":
        return np.zeros(384)
    family, colon, _ = text.partition(":")
    own = np.random.default_rng(list(text.encode())).standard_normal(384)
    own /= np.linalg.norm(own)
    if not colon:
        return own
    common = np.zeros(384)
    common[int(family)] = 1.0
    return common + 0.3 * own


@pytest.fixture(autouse=True)
def embedded(monkeypatch):
    """Every text that was embedded, in order."""
    asked = []

    def fake(texts):
        asked.extend(texts)
        rows = np.reshape([vector_of(text) for text in texts], (-1, 384))
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(norms > 0, norms, 1.0)).astype(np.float32)

    monkeypatch.setattr(router, "embed", fake)
    return asked


FAMILIAR = tuple(f"{i % FAMILIES}:{i}" for i in range(120))
FOREIGN = tuple(f"foreign {i}" for i in range(120))


def log_of(texts, seed=0, n=400):
    rng = np.random.default_rng(seed)
    return Sequences.from_lists([rng.integers(0, len(texts), rng.integers(1, 9)).tolist() for _ in range(n)], texts)


@pytest.mark.parametrize("texts", [FAMILIAR, FOREIGN, ("zero", *FAMILIAR), ("one text",)])
def test_where_the_target_is_the_source_everything_is_general(texts):
    source = log_of(texts)
    assert Router.learn(source).is_general(source).all()
    assert Router.learn(source, tau=1.0).is_general(source).all()


@pytest.mark.parametrize("texts", [FAMILIAR, tuple(f"other {i}" for i in range(50))])
def test_disjoint_random_vectors_are_all_proprietary(texts):
    assert not Router.learn(log_of(texts)).is_general(log_of(FOREIGN, seed=1)).any()


def test_the_least_alike_event_decides():
    found = Router.learn(log_of(FAMILIAR), tau=0.8)
    rows = [[0, 1, 2], [0, 1, 3, 2], [3], []]
    target = Sequences.from_lists(rows, (*FAMILIAR[:3], "never seen"))
    alone = [float((unit_vectors([text]) @ found.vectors.T).max()) for text in target.texts]
    np.testing.assert_allclose(found.similarity(target), [1.0, alone[3], alone[3], 1.0], atol=1e-5)
    assert found.is_general(target).tolist() == [True, False, False, True]


def test_a_larger_tau_routes_no_more_to_the_small_model():
    source, target = log_of(FAMILIAR[:60]), log_of((*FAMILIAR[60:], *FOREIGN[:5]), seed=1)
    kept = [Router.learn(source, tau=tau).is_general(target) for tau in (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)]
    shares = [general.mean() for general in kept]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]
    assert all((low | ~high).all() for low, high in pairwise(kept))


def test_tau_comes_from_two_halves_of_the_source():
    """Without the other half each text would be its own nearest one, and the bound always 1."""
    source = log_of(FAMILIAR)
    tau = Router.learn(source).tau
    assert 0.85 < tau < 1
    vectors = unit_vectors(list(FAMILIAR))
    alike = alike_in_other_half(vectors, np.random.default_rng([0, 5]))
    assert (alike < 1).all()
    smallest = np.array([alike[row].min() for row in np.split(source.text_ids, source.offsets[1:-1])])
    assert (smallest < tau).mean() <= 0.05 < (smallest <= tau).mean()
    assert Router.learn(source, quantile=0.5).tau > tau
    assert Router.learn(log_of(FOREIGN)).tau == LEAST_TAU
    assert Router.learn(log_of(("one text",))).tau == 1.0


def test_neither_labels_nor_the_target_reach_tau():
    source = log_of(FAMILIAR)
    shuffled = source.select(np.random.default_rng(1).permutation(len(source)))
    assert Router.learn(source).tau == Router.learn(replace(source, system=source.system + np.uint8(1))).tau
    # The halves are drawn of the texts as they are numbered, which no order of sequences changes.
    assert Router.learn(shuffled).tau == Router.learn(source).tau


def test_zero_vectors_are_safe():
    with np.errstate(all="raise"):
        found = Router.learn(log_of(FAMILIAR), tau=0.8)
        target = Sequences.from_lists([[0], [1], [0, 1]], ("zero", FAMILIAR[0]))
        assert found.similarity(target).tolist() == [0.0, 1.0, 0.0]
    assert Router.learn(log_of(("zero", "zero"))).similarity(target).tolist()[0] == 1.0


def test_without_any_text_of_the_source_all_is_proprietary():
    nothing = Sequences.from_lists([[], []], ("unused",))
    found = Router.learn(nothing)
    assert found.tau == 1.0
    assert found.similarity(log_of(FAMILIAR, n=3)).tolist() == [-1.0] * 3
    assert found.similarity(nothing).tolist() == [1.0, 1.0]
    assert found.similarity(nothing.select(np.zeros(0, np.int64))).tolist() == []


def test_distinct_texts_are_looked_at_once(embedded):
    source = log_of((*FAMILIAR, *FAMILIAR), n=2000)
    Router.learn(source)
    assert sorted(embedded) == sorted(FAMILIAR)
    embedded.clear()
    Router.learn(source, tau=0.9).similarity(log_of((*FOREIGN, *FOREIGN), n=2000))
    assert sorted(embedded) == sorted((*FAMILIAR, *FOREIGN))


def test_products_in_blocks_are_the_product(monkeypatch):
    vectors, others = unit_vectors(list(FAMILIAR)), unit_vectors(list(FOREIGN))
    monkeypatch.setattr(router, "_ROWS", 7)
    np.testing.assert_allclose(largest_cosines(vectors, others), (vectors @ others.T).max(1), atol=1e-5)


def test_saved_and_loaded_it_routes_the_same():
    found = Router.learn(log_of(FAMILIAR))
    target = log_of((*FAMILIAR[:5], *FOREIGN[:5]), seed=1)
    assert Router.from_state(found.state()).similarity(target).tolist() == found.similarity(target).tolist()
    assert not any(array.dtype.kind in "US" for array in found.state().values())


def test_fifty_thousand_sequences_in_five_seconds(monkeypatch):
    """Embedding apart: vectors are kept on disk."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6000, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    monkeypatch.setattr(router, "embed", lambda texts: rows[[int(text) for text in texts]])
    texts = tuple(map(str, range(6000)))
    lengths = rng.integers(1, 40, 50_000)
    ids = rng.integers(3000, 6000, int(lengths.sum())).astype(np.int32)
    target = replace(
        Sequences.from_lists([], texts),
        log_keys=ids, text_ids=ids, offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )  # fmt: skip
    found = Router(unit_vectors(list(texts[:3000])), 0.8)
    start = time.perf_counter()
    similarity = found.similarity(target)
    assert time.perf_counter() - start < 5
    assert len(similarity) == 50_000
