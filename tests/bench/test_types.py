"""Sequences: building, selecting, and exact de-duplication."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.types import UNKNOWN_KEY, Parameters, Sequences, ranges

TEXTS = ("opened", "read", "closed", "line that matched no template")
ROWS = [[0, 1, 2], [], [0, UNKNOWN_KEY], [2], [0, 1, 2], []]


def rows_of(log):
    return [log.log_keys[a:b].tolist() for a, b in zip(log.offsets, log.offsets[1:], strict=False)]


def with_everything(rows):
    """Sequences whose every event and sequence can be told from every other by its other fields."""
    log = Sequences.from_lists(rows, TEXTS)
    value_offsets = np.concatenate([[0], np.cumsum(np.arange(log.n_events) % 3)])
    return replace(
        log,
        elapsed_s=np.arange(log.n_events) * 0.5,
        start_time=1e9 + np.arange(len(log)),
        system=(np.arange(len(log)) % 2).astype(np.uint8),
        lines=100 + np.arange(log.n_events),
        ids=tuple(f"session {i}" for i in range(len(log))),
        parameters=Parameters(np.arange(value_offsets[-1]) * 1.0, value_offsets),
    )


def random_log(seed, n_sequences=400):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(-1, 2, rng.integers(0, 5)).tolist() for _ in range(n_sequences)]
    log = Sequences.from_lists(rows, TEXTS)
    text_ids = np.where(log.log_keys == UNKNOWN_KEY, rng.integers(2, 4, log.n_events), log.log_keys)
    return replace(log, text_ids=text_ids.astype(np.int32), system=rng.integers(0, 2, n_sequences).astype(np.uint8))


def identities(log):
    """What makes two sequences equal, as one hashable object per sequence."""
    spans = list(zip(log.offsets, log.offsets[1:], strict=False))
    return [(int(log.system[i]), *log.log_keys[a:b], -9, *log.text_ids[a:b]) for i, (a, b) in enumerate(spans)]


def test_from_lists():
    log = Sequences.from_lists(ROWS, TEXTS)
    assert len(log) == 6
    assert log.n_events == 9
    assert rows_of(log) == ROWS
    assert log.lengths.tolist() == [3, 0, 2, 1, 3, 0]
    assert log.sequence_of_event.tolist() == [0, 0, 0, 2, 2, 3, 4, 4, 4]
    assert log.text_ids.tolist() == [0, 1, 2, 0, 3, 2, 0, 1, 2]
    assert log.ids == ()
    assert log.parameters is None


def test_from_lists_takes_fields():
    log = Sequences.from_lists(ROWS, TEXTS, system=np.ones(6, dtype=np.uint8), ids=tuple("abcdef"))
    assert log.system.tolist() == [1] * 6
    assert log.ids == tuple("abcdef")


def test_documented_dtypes():
    log = with_everything(ROWS)
    for part in (log, log.select(np.array([2, 0])), log.unique().sequences, Sequences.from_lists([], TEXTS)):
        dtypes = {f.name: getattr(part, f.name).dtype for f in fields(part) if hasattr(getattr(part, f.name), "dtype")}
        assert dtypes == {
            "log_keys": np.int32,
            "text_ids": np.int32,
            "offsets": np.int64,
            "elapsed_s": np.float64,
            "start_time": np.float64,
            "system": np.uint8,
            "lines": np.int64,
        }


def test_select_keeps_every_field_in_the_order_asked():
    log = with_everything(ROWS)
    chosen = log.select(np.array([4, 1, 0, 4]))
    assert rows_of(chosen) == [[0, 1, 2], [], [0, 1, 2], [0, 1, 2]]
    assert chosen.texts == log.texts
    assert chosen.lines.tolist() == [106, 107, 108, 100, 101, 102, 106, 107, 108]
    assert chosen.elapsed_s.tolist() == [3.0, 3.5, 4.0, 0.0, 0.5, 1.0, 3.0, 3.5, 4.0]
    assert chosen.start_time.tolist() == [1e9 + 4, 1e9 + 1, 1e9, 1e9 + 4]
    assert chosen.system.tolist() == [0, 1, 0, 0]
    assert chosen.ids == ("session 4", "session 1", "session 0", "session 4")


def test_select_keeps_parameters():
    log = with_everything(ROWS)
    chosen = log.select(np.array([4, 2]))
    for event, line in enumerate(chosen.lines):
        there, here = log.parameters, chosen.parameters
        expected = there.values[there.offsets[line - 100] : there.offsets[line - 99]]
        assert here.values[here.offsets[event] : here.offsets[event + 1]].tolist() == expected.tolist()
    assert len(chosen.parameters.offsets) == chosen.n_events + 1
    assert chosen.parameters.offsets[-1] == len(chosen.parameters.values)


def test_select_by_mask_equals_select_by_position():
    log = with_everything(ROWS)
    mask = log.lengths > 1
    by_mask, by_position = log.select(mask), log.select(np.flatnonzero(mask))
    assert rows_of(by_mask) == rows_of(by_position) == [[0, 1, 2], [0, UNKNOWN_KEY], [0, 1, 2]]
    assert by_mask.ids == by_position.ids


@pytest.mark.parametrize("which", [np.zeros(0, dtype=np.int64), np.zeros(6, dtype=np.bool_)])
def test_select_nothing(which):
    nothing = with_everything(ROWS).select(which)
    assert len(nothing) == 0
    assert nothing.n_events == 0
    assert nothing.offsets.tolist() == [0]
    assert nothing.parameters.offsets.tolist() == [0]


def test_with_log_keys_changes_nothing_else():
    log = with_everything(ROWS)
    unknown = log.with_log_keys(np.full(log.n_events, UNKNOWN_KEY, dtype=np.int32))
    assert set(unknown.log_keys) == {UNKNOWN_KEY}
    assert unknown.text_ids is log.text_ids
    assert unknown.parameters is log.parameters


@pytest.mark.parametrize("seed", range(20))
def test_unique_is_exact(seed):
    log = random_log(seed)
    expected = identities(log)
    first_seen = list(dict.fromkeys(expected))
    unique = log.unique()
    assert identities(unique.sequences) == first_seen
    assert unique.counts.tolist() == [expected.count(one) for one in first_seen]
    assert [first_seen[i] for i in unique.inverse] == expected
    assert len(first_seen) < len(expected)
    assert any(length == 0 for length in unique.sequences.lengths)


def test_unique_keeps_the_first_occurrence():
    log = replace(with_everything(ROWS).without_parameters(), system=np.zeros(6, dtype=np.uint8))
    unique = log.unique()
    assert unique.sequences.ids == ("session 0", "session 1", "session 2", "session 3")
    assert unique.counts.tolist() == [2, 2, 1, 1]
    assert unique.inverse.tolist() == [0, 1, 2, 3, 0, 1]
    assert unique.sequences.lines.tolist() == [100, 101, 102, 103, 104, 105]


@pytest.mark.parametrize("rows", [[], [[]], [[], [], []], [[0]]])
def test_unique_of_little(rows):
    unique = Sequences.from_lists(rows, TEXTS).unique()
    assert unique.counts.sum() == len(rows)
    assert len(unique.sequences) == min(len(rows), 1)


def test_unique_tells_order_split_text_and_system_apart():
    log = Sequences.from_lists([[0, 1], [1, 0], [0], [1], [0, 1], [0, 1]], TEXTS)
    text_ids, system = log.text_ids.copy(), log.system.copy()
    text_ids[log.offsets[4]] = 3
    system[5] = 1
    assert replace(log, text_ids=text_ids, system=system).unique().counts.tolist() == [1] * 6


def with_values(rows, values):
    """values: a list for each event."""
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in values])]).astype(np.int64)
    flat = np.array([value for own in values for value in own], dtype=np.float64)
    return Sequences.from_lists(rows, TEXTS, parameters=Parameters(flat, offsets))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ([[1.0], [2.0]], [[1.0], [2.0]], True),
        ([[np.nan], [0.0]], [[np.nan], [-0.0]], True),
        ([[1.0], [2.0]], [[1.0], [2.5]], False),
        ([[1.0], [2.0]], [[2.0], [1.0]], False),
        ([[1.0, 2.0], []], [[1.0], [2.0]], False),
        ([[1.0, 2.0], []], [[2.0, 1.0], []], False),
        ([[1.0], [np.nan]], [[1.0], [0.0]], False),
    ],
)
def test_sequences_of_equal_keys_are_equal_only_with_equal_parameters(one, other, equal):
    log = with_values([[0, 1], [0, 1]], one + other)
    assert log.unique().counts.tolist() == ([2] if equal else [1, 1])
    assert log.without_parameters().unique().counts.tolist() == [2]
    assert log.without_parameters().without_parameters().parameters is None


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_parameters_stay_with_their_events_through_select_and_unique(seed):
    rng = np.random.default_rng(seed)
    log = random_log(seed, n_sequences=int(rng.integers(1, 30)))
    # The values of an event can be told from its text and line, few lines standing for many.
    lines = rng.integers(0, 3, log.n_events)
    lengths = log.text_ids.astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    log = replace(log, lines=lines, parameters=Parameters(np.repeat(lines * 10.0, lengths), offsets))
    unique = log.unique()
    picked = log.select(rng.integers(0, len(log), 12)).select(rng.random(12) < 0.5)
    for part in (log, picked, unique.sequences, unique.sequences.select(unique.inverse)):
        assert np.array_equal(np.diff(part.parameters.offsets), part.text_ids)
        assert np.array_equal(part.parameters.values, np.repeat(part.lines * 10.0, part.text_ids))
    again = unique.sequences.select(unique.inverse)
    assert identities(again) == identities(log)
    assert np.array_equal(again.parameters.values, log.parameters.values)
    assert unique.counts.tolist() == np.bincount(unique.inverse).tolist()
    assert len(unique.sequences.unique().sequences) == len(unique.sequences)


def test_unique_survives_a_collision_of_one_hash(monkeypatch):
    honest, salts = Sequences.fingerprints, []

    def colliding(self, salt):
        salts.append(salt)
        return honest(self, salt) if len(salts) > 1 else np.zeros(len(self), dtype=np.uint64)

    monkeypatch.setattr(Sequences, "fingerprints", colliding)
    log = random_log(0)
    assert identities(log.unique().sequences) == list(dict.fromkeys(identities(log)))
    assert len(set(salts)) == 2


def test_unique_refuses_to_merge_what_differs(monkeypatch):
    monkeypatch.setattr(Sequences, "fingerprints", lambda self, salt: np.zeros(len(self), dtype=np.uint64))
    with pytest.raises(ArithmeticError):
        random_log(0).unique()


def test_fingerprints_compare_across_logs():
    train, test = random_log(1), random_log(2)
    seen = set(identities(train))
    known = np.isin(test.fingerprints(), train.fingerprints())
    assert known.tolist() == [one in seen for one in identities(test)]
    assert 0 < known.mean() < 1


@pytest.mark.parametrize(
    ("starts", "lengths", "expected"),
    [
        ([], [], []),
        ([7], [0], []),
        ([5, 0, 9], [2, 0, 3], [5, 6, 9, 10, 11]),
        ([3, 3, 0], [1, 2, 1], [3, 3, 4, 0]),
    ],
)
def test_ranges_lie_behind_each_other(starts, lengths, expected):
    found = ranges(np.array(starts, np.int64), np.array(lengths, np.int32))
    assert (found.tolist(), found.dtype) == (expected, np.int64)
