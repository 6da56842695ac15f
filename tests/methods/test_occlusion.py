"""Weights of events by leaving them out: exact on scores whose parts are known, and shared by equal events."""

from dataclasses import replace

import numpy as np
import pytest

from bench.types import UNKNOWN_KEY, Parameters, Sequences
from methods import _occlusion
from methods._occlusion import occlusion

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
    monkeypatch.setattr(_occlusion, "MOST_EVENTS", most)

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
