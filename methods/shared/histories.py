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
from torch import Tensor

from bench.types import ranges

Integers = NDArray[np.int64]

PAD, UNKNOWN, FIRST_KEY = 0, 1, 2
"""Tokens: nothing, a key that training never had, and the first of the keys of training."""

LogitsOf = Callable[[Integers], Tensor]

BLOCK = 1024
"""Distinct histories computed at once, unless the caller knows better: their states fit into a core's cache."""

STRETCH = 20
"""Events of a sequence that training takes at once: as many as a window has."""

MAX_LOGITS = 2**22
"""Logits computed at once."""

SAMPLE = 256
"""Histories from which the rounding of fast logits is measured; as few are computed exactly at once."""

MARGIN = 32.0
"""By how much two logits may be apart, in multiples of the largest difference in the sample, and still be compared
exactly."""

MISS = 1000.0
"""-log p of a key that has no probability, in nats: more than the networks ever give."""

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
    events = ranges(start, end - start)
    return Pieces(tokens[events], new_offsets, repeated, sequence)


def event_blocks(offsets: Integers) -> Iterator[tuple[slice, Integers]]:
    """Cut whole sequences into blocks of at most MAX_EVENTS events (or one sequence): events and offsets of each."""
    start = 0
    while start < len(offsets) - 1:
        end = int(np.searchsorted(offsets, offsets[start] + MAX_EVENTS, side="right")) - 1
        end = max(end, start + 1)
        yield slice(int(offsets[start]), int(offsets[end])), offsets[start : end + 1] - offsets[start]
        start = end


def worst_ranks(
    tokens: Integers, offsets: Integers, ranks: Callable[[Integers, Integers], Integers], n_classes: int
) -> NDArray[np.float64]:
    """float64 (n_sequences,): the worst rank in each, as `ordered` puts equal ones in order.

    It is n_classes, without computing any other, where a key is unknown: other events of such a sequence count as 0.
    ranks: tokens and offsets of the other sequences -> rank of each event.
    """
    n = len(offsets) - 1
    owner = np.repeat(np.arange(n), np.diff(offsets))
    unknown = np.bincount(owner, tokens == UNKNOWN, n)
    worst: NDArray[np.float64] = np.where(unknown > 0, float(n_classes), 0.0)
    total: NDArray[np.float64] = worst * unknown
    known = unknown == 0
    kept = known[owner]
    found = ranks(tokens[kept], np.concatenate([[0], np.cumsum(np.diff(offsets)[known])]))
    np.maximum.at(worst, owner[kept], found)
    total += np.bincount(owner[kept], found, n)
    return ordered(worst, total / np.maximum(np.diff(offsets), 1))


def ordered(worst: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (n_sequences,): equal worst ranks in the order of `mean`, the mean rank of the sequence's events.

    The worst rank r becomes a number from r - 1/2 to r, and 0 stays 0, so that it exceeds g - 1 for the same sequences
    as before, whatever g is.
    """
    return worst - (1 - mean / np.maximum(worst, 1)) * (worst > 0) / 2


def worst_surprises(tokens: Integers, offsets: Integers, surprises: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (n_sequences,): the largest of the events' -log p, 0 for none; beyond MISS where keys are unknown.

    surprises: float64 (n_events,), MISS for an unknown key. Sequences with unknown keys are in order of their number.
    """
    n = len(offsets) - 1
    owner = np.repeat(np.arange(n), np.diff(offsets))
    worst = np.zeros(n)
    np.maximum.at(worst, owner, surprises)
    return worst + np.bincount(owner, tokens == UNKNOWN, n)


def surprises_of(predictions: Predictions, logits_of: LogitsOf) -> NDArray[np.float64]:
    """float64 (n_events,): -log of the probability of what followed, in nats; MISS for an unknown key.

    logits_of: histories (B, h) -> logits (B, n_classes) in float64.
    """
    found = np.full(len(predictions.targets), MISS)
    order = np.argsort(predictions.history_of, kind="stable")
    order = order[predictions.targets[order] >= 0]
    rows = predictions.history_of[order]
    n = len(predictions.histories)
    for part in np.array_split(np.arange(n), -(-n // BLOCK) or 1):
        if not len(part):
            continue
        here = slice(*np.searchsorted(rows, [part[0], part[-1] + 1]))
        likely = torch.log_softmax(logits_of(predictions.histories[part]), 1)
        values = likely[torch.as_tensor(rows[here] - part[0]), torch.as_tensor(predictions.targets[order[here]])]
        found[order[here]] = np.minimum(-values.cpu().numpy(), MISS - 1)
    # Which histories share a block moves the last digits.
    return np.round(found, 9)[predictions.prediction_of]


def ranks_of(
    predictions: Predictions,
    exact: LogitsOf,
    n_classes: int,
    *,
    fast: LogitsOf | None = None,
    block: int | None = None,
) -> Integers:
    """int64 (n_events,): how many classes are more probable than the actual one; n_classes for an unknown key.

    exact, fast: histories (B, h) -> logits (B, n_classes). The ranks are those of `exact`. With `fast`, which may round
    more coarsely, `exact` is called only for a sample, from which the difference is known, and for histories in which
    some class comes so close to the actual one that the difference might decide. block: histories that `fast` gets at
    once.
    """
    n = len(predictions.histories)
    followers = _Followers.of(predictions, n_classes)
    doubtful = np.arange(n)
    if fast is not None and n > SAMPLE:
        sample = predictions.histories[:: -(-n // SAMPLE)]
        margin = MARGIN * max(float((fast(sample) - exact(sample)).abs().max()), 1e-7)
        size = max(1, min(block or BLOCK, MAX_LOGITS // n_classes))
        close = [followers.rank(fast, part, margin) for part in np.array_split(doubtful, -(-n // size))]
        doubtful = np.concatenate(close)
    for part in np.array_split(doubtful, -(-len(doubtful) // BLOCK) or 1):
        followers.rank(exact, part)
    return followers.ranks[predictions.prediction_of]


class _Followers(NamedTuple):
    """The predictions, grouped by their histories."""

    predictions: Predictions
    order: Integers
    """(n_predictions,) in the order of their histories."""
    starts: Integers
    """(n_histories + 1,) where those of each history begin in `order`."""
    ranks: Integers
    """(n_predictions,) as far as they are known, else the number of classes."""

    @classmethod
    def of(cls, predictions: Predictions, n_classes: int) -> _Followers:
        order = np.argsort(predictions.history_of, kind="stable")
        starts = np.searchsorted(predictions.history_of[order], np.arange(len(predictions.histories) + 1))
        return cls(predictions, order, starts, np.full(len(order), n_classes, np.int64))

    def rank(self, logits_of: LogitsOf, histories: Integers, margin: float = 0.0) -> Integers:
        """Set the ranks of what follows these; return those where another class is within the margin of the actual."""
        sizes = self.starts[histories + 1] - self.starts[histories]
        row = np.repeat(np.arange(len(histories)), sizes)
        which = self.order[ranges(self.starts[histories], sizes)]
        targets = self.predictions.targets[which]
        which, row, targets = (part[targets >= 0] for part in (which, row, targets))
        logits = logits_of(self.predictions.histories[histories])
        rows = logits.index_select(0, torch.as_tensor(row, device=logits.device))
        actual = rows.gather(1, torch.as_tensor(targets, device=rows.device)[:, None])
        self.ranks[which] = above = count_above(rows, actual + margin)
        close = count_above(rows, actual - margin) != above + 1 if margin else above < 0
        return np.asarray(histories[np.unique(row[close])])


def count_above(rows: Tensor, limits: Tensor) -> Integers:
    """int64 (n,): in each row of (n, m) the number of entries above its limit, of (n, 1)."""
    # Written as numbers the comparisons add up 7 times as fast as from booleans.
    return torch.gt(rows, limits, out=torch.empty_like(rows)).sum(1).cpu().numpy().astype(np.int64)
