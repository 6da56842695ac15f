"""What next-key methods share: histories of events, distinct ones with counts, and ranks of what followed.

A *prediction* is a pair of a history (at most h earlier events of the same sequence) and the key that followed. All
sequences are unfolded at once, and each distinct history is computed once. The rank of a key is the number of keys
that the network finds more probable, so that every top-g rule is one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Integers = NDArray[np.int64]

PAD, UNKNOWN, FIRST_KEY = 0, 1, 2
"""Tokens: nothing, a key that training never had, and the first of the keys of training."""

BLOCK = 2048
"""Distinct histories computed at once."""

MAX_EVENTS = 2**18
"""Events unfolded at once: 40 MB of histories of 20."""


class Predictions(NamedTuple):
    """Distinct pairs of a history and the key that followed it."""

    histories: Integers
    """(n_histories, h) tokens, padded with PAD; in lexicographic order."""
    history_of: Integers
    """(n_predictions,) its row in histories."""
    targets: Integers
    """(n_predictions,) class of the key that followed, negative for an unknown one."""
    prediction_of: Integers
    """(n_events,) the prediction that each event is."""


def tokens_of(log_keys: NDArray[np.int32], keys: NDArray[np.int32]) -> Integers:
    """int64 (n_events,): 2 + position of the key in `keys` (sorted), or UNKNOWN for any other."""
    place = np.minimum(np.searchsorted(keys, log_keys), len(keys) - 1)
    return np.where(keys[place] == log_keys, place + FIRST_KEY, UNKNOWN).astype(np.int64)


def with_end_events(tokens: Integers, offsets: Integers, end: int) -> tuple[Integers, Integers]:
    """Append one event with the token `end` to every sequence, an empty one too; new tokens and offsets."""
    return np.insert(tokens, offsets[1:], end), offsets + np.arange(len(offsets))


def predictions_of(
    tokens: Integers, offsets: Integers, history: int, align: Literal["left", "right"] = "right"
) -> Predictions:
    """Unfold all sequences at once; no history crosses the border of a sequence.

    align: where a history shorter than h stands in its row; the last event is in the last column with "right", the
    first one in the first column with "left".
    """
    n = len(tokens)
    begin = np.repeat(offsets[:-1], np.diff(offsets))[:, None]
    here = np.arange(n)[:, None]
    start = here - history if align == "right" else np.maximum(here - history, begin)
    places = start + np.arange(history)
    inside = (places >= begin) & (places < here)
    unfolded = np.where(inside, tokens[np.clip(places, 0, max(n - 1, 0))] if n else places, PAD)
    first, history_of_event = distinct_rows(unfolded)
    pairs = history_of_event * (tokens.max(initial=0) + 1) + tokens
    _, first_pair, prediction_of = np.unique(pairs, return_index=True, return_inverse=True)
    return Predictions(
        unfolded[first], history_of_event[first_pair], tokens[first_pair] - FIRST_KEY, prediction_of.astype(np.int64)
    )


def distinct_rows(rows: Integers) -> tuple[Integers, Integers]:
    """Index of the first of each distinct row, in lexicographic order, and which one each row is; without hashing."""
    base, size = int(rows.max(initial=0)) + 1, 1
    codes = np.zeros(len(rows), np.int64)
    for column in rows.T:
        if size > np.iinfo(np.int64).max // base:
            codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
            size = int(codes.max(initial=0)) + 1
        codes = codes * base + column
        size *= base
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return first, inverse.astype(np.int64)


class Pieces(NamedTuple):
    """Stretches of sequences in CSR form."""

    tokens: Integers
    """(n_tokens,)"""
    offsets: Integers
    """(n_pieces + 1,)"""
    given: Integers
    """(n_pieces,) events at the beginning that the piece before it holds too."""
    sequence: Integers
    """(n_pieces,) the sequence it was cut from, ascending."""

    @property
    def lengths(self) -> Integers:
        """int64 (n_pieces,)."""
        return np.diff(self.offsets)


def pieces_of(tokens: Integers, offsets: Integers, longest: int, *, given: tuple[int, int] = (0, 0)) -> Pieces:
    """Cut sequences into pieces of at most `longest` events; together they hold every event once as a new one.

    given: least and largest number of repeated events that a later piece begins with. It is drawn for each piece, with
    a fixed seed, so that in a periodic log pieces begin at every place of the period.
    """
    lengths, step = np.diff(offsets), longest - given[1]
    n_pieces = np.where(lengths > 0, 1 + np.maximum(-(-(lengths - longest) // step), 0), 0)
    sequence = np.repeat(np.arange(len(lengths)), n_pieces)
    number = np.arange(len(sequence)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    repeated = np.random.default_rng(0).integers(given[0], given[1] + 1, len(sequence))
    repeated[number == 0] = 0
    start = offsets[sequence] + np.where(number > 0, longest + (number - 1) * step, 0) - repeated
    end = np.minimum(offsets[sequence] + longest + number * step, offsets[sequence + 1])
    new_offsets = np.concatenate([[0], np.cumsum(end - start)]).astype(np.int64)
    events = np.repeat(start - new_offsets[:-1], end - start) + np.arange(new_offsets[-1])
    return Pieces(tokens[events], new_offsets, repeated, sequence)


def event_blocks(offsets: Integers) -> Iterator[tuple[slice, Integers]]:
    """Cut whole sequences into blocks of at most MAX_EVENTS events (or one sequence): events and offsets of each."""
    start = 0
    while start < len(offsets) - 1:
        end = int(np.searchsorted(offsets, offsets[start] + MAX_EVENTS, side="right")) - 1
        end = max(end, start + 1)
        yield slice(int(offsets[start]), int(offsets[end])), offsets[start : end + 1] - offsets[start]
        start = end


def ranks_of(predictions: Predictions, logits_of: Callable[[Integers], Tensor], n_classes: int) -> Integers:
    """int64 (n_events,): how many classes are more probable than the actual one; n_classes for an unknown key.

    logits_of: histories (B, h) -> logits (B, n_classes).
    """
    order = np.argsort(predictions.history_of, kind="stable")
    starts = np.searchsorted(predictions.history_of[order], np.arange(len(predictions.histories) + 1))
    ranks = np.full(len(predictions.targets), n_classes, np.int64)
    for start in range(0, len(predictions.histories), BLOCK):
        end = min(start + BLOCK, len(predictions.histories))
        logits = logits_of(predictions.histories[start:end])
        which = order[starts[start] : starts[end]]
        which = which[predictions.targets[which] >= 0]
        rows = logits[torch.as_tensor(predictions.history_of[which] - start)]
        actual = rows.gather(1, torch.as_tensor(predictions.targets[which], device=rows.device)[:, None])
        ranks[which] = (rows > actual).sum(1).cpu().numpy()
    return ranks[predictions.prediction_of]


class LSTMState(NamedTuple):
    """Hidden and cell state of all layers, each (layers, B, hidden)."""

    hidden: Tensor
    cell: Tensor

    def at(self, rows: Tensor) -> LSTMState:
        """The states of these rows."""
        return LSTMState(self.hidden[:, rows], self.cell[:, rows])


def first_state(lstm: nn.LSTM, like: Tensor) -> LSTMState:
    """The state before the first event, for one row."""
    zeros = like.new_zeros(lstm.num_layers, 1, lstm.hidden_size)
    return LSTMState(zeros, zeros)


def lstm_step(lstm: nn.LSTM, projected: Tensor, state: LSTMState) -> LSTMState:
    """One event through all layers in eval mode; projected: (B, 4 * hidden), the first layer's input times its weight.

    Stepping lets histories that begin alike share the steps of what they have in common.
    """
    hidden: list[Tensor] = []
    cell: list[Tensor] = []
    for layer in range(lstm.num_layers):
        weight_in, weight, bias_in, bias = lstm.all_weights[layer]
        below = projected if layer == 0 else hidden[-1] @ weight_in.T
        gates = below + bias_in + bias + state.hidden[layer] @ weight.T
        gate_in, forget, new, out = gates.chunk(4, dim=1)
        cell.append(forget.sigmoid() * state.cell[layer] + gate_in.sigmoid() * new.tanh())
        hidden.append(out.sigmoid() * cell[-1].tanh())
    return LSTMState(torch.stack(hidden), torch.stack(cell))
