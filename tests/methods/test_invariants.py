"""Invariant mining after its sheet: planted relations are found, and a thousand keys are feasible."""

from itertools import combinations

import numpy as np
import pytest

from bench.evaluation.thresholds import flag
from bench.types import Sequences
from methods.invariants import Config, Invariants, _Found, _triples

TEXTS = tuple(map(str, range(1500)))


def sequences_with(counts):
    return Sequences.from_lists([np.repeat(np.arange(len(row)), row).tolist() for row in counts], TEXTS)


def found_by(counts, **settings):
    """Invariants of the known columns with first coefficient positive, as tuples."""
    detector = Invariants(Config(**settings)).fit(sequences_with(counts))
    vectors = [v for v in detector.state()["invariants"].astype(int) if not v[-1]]
    return {tuple((v * np.sign(v[np.flatnonzero(v)[0]])).tolist()[:-1]) for v in vectors}


def normal(seed, n=300):
    return np.random.default_rng(seed).integers(1, 9, n)


def test_open_equals_close():
    opened = normal(0)
    assert found_by(np.stack([opened, opened, normal(1)], 1)) == {(1, -1, 0)}


@pytest.mark.parametrize(("a", "b"), [(2, 1), (3, 1), (3, 2)])
def test_integer_multiples(a, b):
    x = normal(0)
    assert found_by(np.stack([a * x, b * x, normal(1)], 1)) == {(b, -a, 0)}


def test_three_events():
    x, y = normal(0), normal(1)
    assert found_by(np.stack([x, y, x + y, normal(2)], 1)) == {(1, 1, -1, 0)}
    assert found_by(np.stack([x, y, x + y, normal(2)], 1), max_length=2) == set()


def test_a_relation_may_be_broken_by_five_percent():
    x = np.tile(normal(0, 50), 8)
    y = x.copy()
    y[:20] += 1
    assert found_by(np.stack([x, y], 1)) == {(1, -1)}
    y[20:28] += 1
    assert found_by(np.stack([x, y], 1)) == set()


def test_relations_that_follow_from_others_are_not_kept():
    x = normal(0)
    assert len(found_by(np.stack([x, x, x, normal(1)], 1))) == 2


def test_what_breaks_a_relation_is_flagged_by_the_native_threshold():
    opened = normal(0)
    detector = Invariants().fit(sequences_with(np.stack([opened, opened], 1)))
    scores = detector.score(sequences_with([[3, 3, 0], [3, 2, 0], [0, 0, 0], [2, 2, 1]]))
    assert scores == pytest.approx([0, 1, 0, 1])
    assert detector.native_threshold_ == 1e-6
    assert flag(scores, detector.native_threshold_).tolist() == [False, True, False, True]


def test_rare_events_are_invariants_only_if_asked():
    counts = np.stack([normal(0), normal(1), np.arange(300) < 5], 1)
    assert found_by(counts, singles="rare") == {(0, 0, 1)}
    assert found_by(counts, singles="unseen") == set()


def test_two_uncommon_events_do_not_form_a_relation_by_being_absent():
    counts = np.zeros((400, 3), int)
    counts[:, 0] = np.random.default_rng(0).integers(1, 9, 400)
    counts[:5, 1] = counts[3:8, 2] = 1
    assert found_by(counts, singles="unseen") == set()


@pytest.mark.parametrize("seed", range(4))
def test_the_search_misses_no_set_of_three_that_can_qualify(seed):
    rng = np.random.default_rng(seed)
    present = rng.random((60, 9)) < rng.choice([0.3, 0.6, 0.95], 9)
    present[:, 2] = present[:, 0] | present[:, 1]
    config = Config(support=0.8)
    together = (present.T.astype(float)) @ present
    expected = set()
    for columns in combinations(range(9), 3):
        n = present[:, columns].sum(axis=1)
        if (n >= 2).sum() >= 0.8 * (n >= 1).sum() - 1e-9:
            expected.add(columns)
    tried = [tuple(sorted(columns)) for columns in _triples(together, _Found(9), config).tolist()]
    assert expected
    assert expected <= set(tried)
    assert len(tried) == len(set(tried))


def test_a_thousand_keys_are_pruned():
    rng = np.random.default_rng(0)
    counts = np.zeros((400, 1201), int)
    kinds = rng.integers(0, 300, 400)
    for offset in range(4):
        counts[np.arange(400), 4 * kinds + offset] = rng.integers(1, 4, 400)
    counts[:, 1200] = 1
    counts[np.arange(400), 4 * kinds + 1] = counts[np.arange(400), 4 * kinds]
    detector = Invariants(Config(singles="unseen")).fit(sequences_with(counts))
    pairs = {tuple(np.flatnonzero(v)) for v in detector.state()["invariants"] if np.count_nonzero(v) == 2}
    assert len(detector.state()["known_keys"]) > 850
    assert len(pairs) >= len(np.unique(kinds))


@pytest.mark.parametrize("wrong", [{"support": 0.4}, {"max_length": 4}, {"singles": "all"}, {"small": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
