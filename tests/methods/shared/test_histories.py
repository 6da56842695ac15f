"""Histories, pieces, ranks and stepwise LSTMs against plain loops."""

import numpy as np
import pytest
import torch
from torch import nn

from methods.shared import histories as _histories
from methods.shared.histories import (
    event_blocks,
    ordered,
    pieces_of,
    predictions_of,
    ranks_of,
    with_end_events,
    worst_ranks,
)
from methods.shared.stepwise import Branch, StepwisePredictor

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


def sparse_histories(rng, n, width):
    """Distinct rows of tokens in lexicographic order, padded on the right; many begin alike."""
    lengths = rng.integers(0, width + 1, n)
    rows = np.where(np.arange(width) < lengths[:, None], rng.integers(2, 5, (n, width)), 0)
    return np.unique(rows, axis=0)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, None])
def test_steps_shared_by_histories_equal_torchs_own_lstm(layers, padding):
    torch.manual_seed(0)
    lstms = [nn.LSTM(5, 7, layers, batch_first=True).double() for _ in range(2)]
    outlet, inputs = nn.Linear(14, 4).double(), torch.randn(5, 5, dtype=torch.float64)
    histories = sparse_histories(np.random.default_rng(0), 80, 6)
    with torch.no_grad():
        branches = [Branch(x, inputs @ x.weight_ih_l0.T, summed=x is lstms[1]) for x in lstms]
        found = StepwisePredictor(branches, outlet, torch.float64, padding=padding)(histories)
        coarse = StepwisePredictor(branches, outlet, torch.float32, padding=padding)(histories)
        for row, logits in zip(histories, found, strict=True):
            x = inputs[row if padding is None else row[row > 0]][None]
            last = [torch.zeros(1, 7).double()] * 2
            if x.shape[1]:
                last = [lstm(y)[0][:, -1] for lstm, y in zip(lstms, (x, x.cumsum(1)), strict=True)]
            assert torch.allclose(logits, outlet(torch.cat(last, 1))[0])
    assert coarse.dtype == torch.float32
    assert torch.allclose(coarse.double(), found, atol=1e-5)


def test_rows_in_any_order_have_the_same_logits():
    torch.manual_seed(0)
    lstm, outlet = nn.LSTM(5, 7, 2).double(), nn.Linear(7, 4).double()
    histories, order = sparse_histories(np.random.default_rng(1), 60, 5), np.random.default_rng(2).integers(0, 30, 90)
    with torch.no_grad():
        predict = StepwisePredictor([Branch(lstm, torch.randn(5, 28).double())], outlet, torch.float64, padding=0)
        assert torch.allclose(predict(histories)[order], predict(histories[order]))
        assert predict(histories[:0]).shape == (0, 4)


def test_one_history_that_ends_and_one_that_branches_are_not_taken_for_each_other():
    torch.manual_seed(0)
    lstm, outlet = nn.LSTM(5, 7, 2).double(), nn.Linear(7, 4).double()
    histories = np.array([[2, 2], [2, 3], [3, 0], [4, 2]])
    with torch.no_grad():
        predict = StepwisePredictor([Branch(lstm, torch.randn(5, 28).double())], outlet, torch.float64, padding=0)
        alone = torch.cat([predict(histories[i : i + 1]) for i in range(4)])
        assert torch.allclose(predict(histories), alone)


@pytest.mark.parametrize("noise", [1e-3, 0.0, np.nan])
def test_fast_logits_do_not_change_a_rank(monkeypatch, noise):
    monkeypatch.setattr(_histories, "SAMPLE", 16)
    monkeypatch.setattr(_histories, "BLOCK", 50)
    rng, calls = np.random.default_rng(0), []
    found = predictions_of(np.arange(1000) % 997 + 2, np.array([0, 1000]), 1)
    # A tenth of all rows has ties or classes that differ by less than the noise.
    values = rng.normal(size=(len(found.histories), 999)).round(1) + 1e-5 * rng.random((len(found.histories), 999))
    row_of = {int(row[0]): i for i, row in enumerate(found.histories)}

    def exact(rows):
        calls.append(len(rows))
        return torch.as_tensor(values[[row_of[int(row[0])] for row in rows]])

    def fast(rows):
        places = [row_of[int(row[0])] for row in rows]
        error = np.sin(np.arange(values.size).reshape(values.shape)[places]) * noise
        return torch.as_tensor(values[places] + error).float()

    assert ranks_of(found, exact, 999, fast=fast).tolist() == ranks_of(found, exact, 999).tolist()


def test_only_histories_in_doubt_are_computed_exactly(monkeypatch):
    monkeypatch.setattr(_histories, "SAMPLE", 16)
    calls = []
    found = predictions_of(np.arange(1000) % 997 + 2, np.array([0, 1000]), 1)

    def exact(rows):
        calls.append(len(rows))
        classes = (torch.arange(999, dtype=torch.float64) / 100).expand(len(rows), -1).clone()
        classes[torch.as_tensor(rows[:, 0] == 12), 10:13] = 5 / 100
        return classes

    ranks = ranks_of(found, exact, 999, fast=lambda rows: exact(rows).float() + 0 * calls.pop())
    assert ranks[:2].tolist() == [998, 997]
    assert ranks[11] == 990
    assert calls[1:] == [1]


def test_worst_ranks_compute_nothing_where_a_key_is_unknown():
    seen = []

    def ranks(tokens, offsets):
        seen.append((tokens.tolist(), offsets.tolist()))
        return tokens * 10

    worst = worst_ranks(np.array([2, 3, 1, 4, 5, 2]), np.array([0, 2, 4, 4, 6]), ranks, 99)
    assert np.ceil(worst).tolist() == [30, 99, 0, 50]
    assert worst.tolist() == ordered(np.array([30.0, 99, 0, 50]), np.array([25, 49.5, 0, 35])).tolist()
    assert seen == [([2, 3, 5, 2], [0, 2, 2, 4])]


def test_pieces_of_a_periodic_log_begin_everywhere_in_the_period():
    pieces = pieces_of(np.arange(600) % 3, np.array([0, 600]), 5, given=(2, 3))
    starts = pieces.tokens[pieces.offsets[:-1]]
    assert set(starts.tolist()) == {0, 1, 2}


def test_equal_worst_ranks_are_ordered_by_their_mean_and_no_top_g_rule_changes():
    rng = np.random.default_rng(0)
    worst = rng.integers(0, 400, 500).astype(float)
    mean = worst * rng.random(500)
    mean[::7] = worst[::7]
    scores = ordered(worst, mean)
    for g in range(1, 402):
        assert ((scores > g - 1) == (worst >= g)).all()
    order = np.lexsort([mean, worst])
    assert (np.diff(scores[order]) >= 0).all()
    assert len(np.unique(scores)) > len(np.unique(worst))
