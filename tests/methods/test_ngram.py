"""n-gram after its sheet, in the clean and in the published form."""

from dataclasses import replace

import numpy as np
import pytest

from bench.evaluation.thresholds import flag
from bench.types import UNKNOWN_KEY, Sequences
from methods.ngram import Config, NGram

TEXTS = tuple(map(str, range(12)))
PUBLISHED = Config(normalise="test-maximum")


def of(*log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n, n_keys=5, low=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, n_keys, rng.integers(1, 9)).tolist() for _ in range(n)]


def grams(keys, n, known):
    symbols = ["border", *(key if key in known else "unseen" for key in keys), "border"]
    symbols += ["border"] * (n - len(symbols))
    return [tuple(symbols[i : i + n]) for i in range(len(symbols) - n + 1)]


def plain_share(train, tested, n):
    """The definition, with sets of tuples."""
    known = {key for keys in train for key in keys} - {UNKNOWN_KEY}
    seen = {gram for keys in train if keys for gram in grams(keys, n, known)}
    return [np.mean([gram not in seen for gram in grams(keys, n, known)]) for keys in tested]


@pytest.mark.parametrize("n", [1, 2, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_the_share_of_unseen_ngrams(n, seed):
    train, tested = random_lists(seed, 60), random_lists(10 + seed, 50, n_keys=7, low=UNKNOWN_KEY)
    scores = NGram(Config(n=n)).fit(of(*train)).score(of(*tested))
    assert scores.tolist() == pytest.approx(plain_share(train, tested, n))


@pytest.mark.parametrize("config", [Config(), Config(n=10), PUBLISHED, replace(PUBLISHED, n=3)])
def test_a_training_sequence_scores_0(config):
    train = of(*random_lists(0, 40), [3])
    assert not NGram(config).fit(train).score(train).any()


def test_by_hand():
    detector = NGram().fit(of([0, 1, 2], [0, 2]))
    # |0 1 2|, |0 2|: of |1 2| the first is new, of |0 0 1 2| the second, of |9| both.
    assert detector.score(of([1, 2], [0, 0, 1, 2], [9], [0, 1, 2])).tolist() == [1 / 3, 1 / 5, 1, 0]
    assert detector.native_threshold_ == 0
    assert flag(detector.score(of([0, 0, 1, 2], [0, 2])), 0.0).tolist() == [True, False]


def test_the_published_form_by_hand():
    detector = NGram(PUBLISHED).fit(of([0, 1, 2], [0, 2]))
    # 1 / (2 (len - 1)) with both borders in len: 1/6 for |1 2|, 1/10 for |0 0 1 2|, 1/4 for |9|, 0 for a known one.
    scores = detector.score(of([1, 2], [0, 0, 1, 2], [9], [0, 1, 2]))
    assert scores == pytest.approx(np.array([1 / 6, 1 / 10, 1 / 4, 0]) / (1 / 4))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10])
def test_the_published_form_is_positive_for_the_shortest_sequence_that_has_an_ngram(n):
    detector = NGram(replace(PUBLISHED, n=n)).fit(of([0] * 12))
    shortest = [9] * max(1, n - 2)
    # 1 / (n (len - n/2)) with len = n in general, 3 for one event; the longer one has len 22.
    length = len(shortest) + 2
    scores = detector.score(of([9] * 20, shortest))
    assert scores == pytest.approx([(length - n / 2) / (22 - n / 2), 1])


def test_published_thresholds_by_hand():
    detector = NGram(replace(PUBLISHED, thresholds="grid")).fit(of([0, 1, 2], [0, 2]))
    assert detector.score(of([1, 2], [0, 0, 1, 2], [9], [0, 1, 2])).tolist() == [0.66, 0.4, 0.99, 0]


def test_the_published_form_tells_presence_and_not_number():
    detector = NGram(PUBLISHED).fit(of([0, 1, 2]))
    scores = detector.score(of([0, 1, 1], [2, 2, 2]))
    assert scores.tolist() == [1, 1]
    assert NGram().fit(of([0, 1, 2])).score(of([0, 1, 1], [2, 2, 2])).tolist() == [2 / 4, 3 / 4]


def test_the_published_form_depends_on_what_is_scored_together():
    detector = NGram(PUBLISHED).fit(of([0, 1, 2]))
    alone, together = detector.score(of([0, 0, 0])), detector.score(of([0, 0, 0], [9]))
    assert alone.tolist() == [1]
    assert together == pytest.approx([1 / 2, 1])


def test_the_published_form_of_a_sequence_shorter_than_n_is_0():
    assert NGram(replace(PUBLISHED, n=10)).fit(of([0] * 12)).score(of([9], [1] * 9)).tolist() == [0, 1]


def test_nothing_unseen_is_zero_and_not_a_division_by_zero():
    train = of([0, 1])
    assert NGram(PUBLISHED).fit(train).score(train).tolist() == [0]


def test_ngrams_do_not_cross_sequences():
    assert NGram().fit(of([0, 1], [2, 3])).score(of([0, 1, 2, 3])).tolist() == [1 / 5]


def test_hashes_of_many_ngrams_do_not_collide():
    detector = NGram(Config(n=3)).fit(Sequences.from_lists([np.arange(100_000).tolist()], TEXTS * 10_000))
    assert len(detector.state()["ngrams"]) == 100_000


@pytest.mark.parametrize("wrong", [{"n": 0}, {"normalise": "maximum"}, {"thresholds": "all"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
