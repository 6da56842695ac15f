"""Histories, pieces, ranks and stepwise LSTMs against plain loops."""

import numpy as np
import pytest
import torch
from torch import nn

from methods import _histories
from methods._histories import event_blocks, lstm_step, pieces_of, predictions_of, ranks_of, with_end_events

TOKENS, OFFSETS = np.array([2, 3, 2, 3, 4, 2, 3]), np.array([0, 2, 2, 7])


def unfolded(found):
    return [(found.histories[found.history_of[p]].tolist(), int(found.targets[p]) + 2) for p in found.prediction_of]


def test_histories_aligned_to_the_left_start_at_the_first_event():
    found = predictions_of(TOKENS, OFFSETS, 2, align="left")
    assert unfolded(found) == [
        ([0, 0], 2),
        ([2, 0], 3),
        ([0, 0], 2),
        ([2, 0], 3),
        ([2, 3], 4),
        ([3, 4], 2),
        ([4, 2], 3),
    ]
    assert found.histories.tolist() == sorted(found.histories.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_both_alignments_hold_the_same_events(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, 20)
    tokens, offsets = rng.integers(2, 6, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)])
    left, right = (unfolded(predictions_of(tokens, offsets, 4, align=side)) for side in ("left", "right"))
    assert [([t for t in row if t], target) for row, target in left] == [
        ([t for t in row if t], target) for row, target in right
    ]


def test_the_end_is_an_event_of_every_sequence():
    tokens, offsets = with_end_events(TOKENS, OFFSETS, 9)
    assert tokens.tolist() == [2, 3, 9, 9, 2, 3, 4, 2, 3, 9]
    assert offsets.tolist() == [0, 3, 4, 10]


@pytest.mark.parametrize(("longest", "given"), [(3, (0, 0)), (4, (1, 1)), (5, (2, 4)), (9, (4, 6)), (100, (50, 75))])
def test_pieces_hold_every_event_once_as_new(longest, given):
    lengths = np.array([0, 1, 3, 4, 5, 9, 10, 11, 37, 0])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    pieces = pieces_of(np.arange(offsets[-1]), offsets, longest, given=given)
    new, owners = [], []
    for i, sequence in enumerate(pieces.sequence):
        events = pieces.tokens[pieces.offsets[i] : pieces.offsets[i + 1]].tolist()
        assert 0 < len(events) <= longest
        assert events == list(range(events[0], events[-1] + 1))
        assert pieces.given[i] == 0 or given[0] <= pieces.given[i] <= given[1]
        new += events[pieces.given[i] :]
        owners += [sequence] * (len(events) - pieces.given[i])
    assert new == list(range(offsets[-1]))
    assert owners == np.repeat(np.arange(len(lengths)), lengths).tolist()


def test_event_blocks_cut_between_sequences(monkeypatch):
    monkeypatch.setattr(_histories, "MAX_EVENTS", 4)
    blocks = [(events, offsets.tolist()) for events, offsets in event_blocks(np.array([0, 2, 2, 4, 9, 10, 10]))]
    assert blocks == [(slice(0, 4), [0, 2, 2, 4]), (slice(4, 9), [0, 5]), (slice(9, 10), [0, 1, 1])]


def test_ranks_count_what_is_more_probable_and_ties_are_no_miss():
    logits = {(0,): [0.0, 5.0, 5.0], (2,): [3.0, 2.0, 1.0], (3,): [0.0, 0.0, 0.0]}
    found = predictions_of(np.array([3, 2, 4, 3, 1]), np.array([0, 3, 5]), 1)
    ranks = ranks_of(found, lambda rows: torch.tensor([logits[tuple(row)] for row in rows.tolist()]), 3)
    assert ranks.tolist() == [0, 0, 2, 0, 3]


@pytest.mark.parametrize("layers", [1, 2])
def test_steps_of_an_lstm_equal_the_whole(layers):
    torch.manual_seed(0)
    lstm = nn.LSTM(5, 7, layers, batch_first=True).double()
    inputs = torch.randn(3, 6, 5, dtype=torch.float64)
    with torch.no_grad():
        whole, (hidden, cell) = lstm(inputs)
        state = _histories.first_state(lstm, inputs).at(torch.zeros(3, dtype=torch.int64))
        for place in range(6):
            state = lstm_step(lstm, inputs[:, place] @ lstm.weight_ih_l0.T, state)
            assert torch.allclose(state.hidden[-1], whole[:, place])
    assert torch.allclose(state.hidden, hidden)
    assert torch.allclose(state.cell, cell)


def test_pieces_of_a_periodic_log_begin_everywhere_in_the_period():
    pieces = pieces_of(np.arange(600) % 3, np.array([0, 600]), 5, given=(2, 3))
    starts = pieces.tokens[pieces.offsets[:-1]]
    assert set(starts.tolist()) == {0, 1, 2}
