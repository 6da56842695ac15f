"""ECVC with idf weights next to its definition."""

import math

import numpy as np
import pytest

from bench.types import UNKNOWN_KEY, Sequences
from methods.controls import ECVC
from methods.ecvc_idf import Config, ECVCIdf

TEXTS = tuple(map(str, range(30)))


def of(*log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n, n_keys=8, low=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, n_keys, rng.integers(0, 9)).tolist() for _ in range(n)]


def plain(train, tested):
    """The definition, pair by pair; an event without a weight has 1."""
    events = {key for keys in train for key in keys}
    weight = {e: math.log10((1 + len(train)) / sum(e in keys for keys in train)) for e in events}

    def distance(a, b):
        def share(keys, e):
            return keys.count(e) / len(keys) if keys else 0.0

        pairs = [(weight.get(e, 1.0), share(a, e), share(b, e)) for e in set(a) | set(b)]
        total = sum(w * max(x, y) for w, x, y in pairs)
        return sum(w * abs(x - y) for w, x, y in pairs) / total if total else 0.0

    return [min(distance(a, b) for b in train) for a in tested]


@pytest.mark.parametrize("seed", range(10))
def test_the_closed_form_equals_the_loop(seed):
    train, tested = random_lists(seed, 40), random_lists(100 + seed, 40, n_keys=11)
    assert ECVCIdf().fit(of(*train)).score(of(*tested)) == pytest.approx(plain(train, tested), abs=1e-6)


def test_by_hand():
    # Of 2 sequences both have 0 and one has 1: weights log10(3/2), log10(3); the nearest of [0, 0, 1] is [0, 1].
    detector = ECVCIdf().fit(of([0, 1], [0]))
    w0, w1 = math.log10(1.5), math.log10(3)
    first = (w0 / 6 + w1 / 6) / (w0 * 2 / 3 + w1 / 2)
    second = (w0 / 3 + w1 / 3) / (w0 + w1 / 3)
    assert detector.score(of([0, 0, 1]))[0] == pytest.approx(min(first, second))
    assert detector.score(of([0, 1], [1, 0, 1, 0], [2, 3])).tolist() == [0, 0, 1]


def test_an_unseen_event_weighs_1():
    detector = ECVCIdf().fit(of(*[[0]] * 9))
    w = math.log10(10 / 9)
    expected = (w / 2 + 1 / 2) / (w + 1 / 2)
    assert detector.score(of([0, 7], [0, UNKNOWN_KEY])) == pytest.approx([expected, expected])


def test_empty_sequences():
    assert ECVCIdf().fit(of([0], [])).score(of([], [0], [5])).tolist() == [0, 0, 1]
    assert ECVCIdf().fit(of([0])).score(of([], [0])).tolist() == [1, 0]


def test_blocks_change_nothing(monkeypatch):
    train, tested = of(*random_lists(0, 200)), of(*random_lists(1, 100))
    whole = ECVCIdf().fit(train).score(tested)
    monkeypatch.setattr("methods.shared.counts.BLOCK_VECTORS", 7)
    assert ECVCIdf().fit(train).score(tested) == pytest.approx(whole, abs=1e-9)


def test_without_weights_it_is_the_control():
    train, tested = of(*random_lists(0, 80)), of(*random_lists(1, 80, n_keys=11))
    plain_scores = ECVCIdf(Config(weights="none")).fit(train).score(tested)
    assert plain_scores == pytest.approx(ECVC().fit(train).score(tested), abs=1e-9)


def test_published_thresholds():
    scores = ECVCIdf(Config(weights="none", thresholds="grid")).fit(of([0, 1])).score(of([0, 1, 1], [9]))
    # 2 (1/6 + 1/6) / (2 + 1/3) = 2/7
    assert scores.tolist() == [0.28, 0.99]


@pytest.mark.parametrize("wrong", [{"weights": "log"}, {"thresholds": "all"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
