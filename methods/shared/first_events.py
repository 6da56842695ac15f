"""The first events of sequences, each with the vector of its text and what characters its words are made of.

Sequences of equal texts and words in equal order are one item with a count; each text and each word is
looked at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.types import Sequences
from methods.shared.characters import N_CHARACTERS, Characters, characters_of
from methods.shared.layers import Integers
from methods.shared.semantic import real
from methods.shared.text_inputs import TextInputs, texts_of


class Batch(NamedTuple):
    """The first events of B sequences, on the device."""

    ids: Tensor
    """int64 (B, L) rows of the vectors, 0 behind a sequence."""
    lengths: Tensor
    """int64 (B,)"""
    characters: Tensor | None
    """(B, L, N_CHARACTERS) of each event's words, where they are read."""


class Reading(NamedTuple):
    """Distinct sequences of the first events."""

    ids: Integers
    """(n_events,) rows of `vectors`."""
    offsets: Integers
    """(n_distinct + 1,)"""
    counts: Integers
    inverse: Integers
    """(n_sequences,) so that sequence i is the distinct one inverse[i]."""
    vectors: Tensor
    """float64 (n_texts, width): what `TextInputs` makes of each text."""
    words: Characters | None
    width: int | None
    """Events that each is filled up to; None: to the longest beside it, as padding says nothing."""

    @property
    def lengths(self) -> Integers:
        """int64 (n_distinct,): events of each."""
        return np.diff(self.offsets)

    def batch(self, which: Integers) -> Batch:
        """The sequences at these places."""
        lengths = self.lengths[which]
        place = np.arange(self.width or max(1, int(lengths.max(initial=1))))
        is_real = place < lengths[:, None]
        events = (self.offsets[which][:, None] + place)[is_real]
        ids = np.zeros(is_real.shape, np.int64)
        ids[is_real] = self.ids[events]
        device = self.vectors.device
        found = torch.as_tensor(ids, device=device), torch.as_tensor(lengths, device=device)
        if self.words is None:
            return Batch(*found, None)
        characters = np.zeros((*is_real.shape, N_CHARACTERS), np.float32)
        characters[is_real] = self.words.of(events)
        return Batch(*found, torch.as_tensor(characters, device=device))


def read(
    sequences: Sequences,
    inputs: TextInputs,
    device: str,
    max_events: int,
    *,
    with_words: bool,
    filled_up: bool,
) -> Reading:
    """Look at each text and each word once and return the distinct sequences, whichever system they come from."""
    first = _first_events(sequences, max_events, with_words=with_words)
    distinct, counts, inverse = first.unique()
    texts = texts_of(sequences)
    vectors = inputs.features(texts) if texts else np.zeros((1, inputs.axes.shape[1]))
    words = characters_of(distinct.words, distinct.n_events) if with_words else None
    return Reading(
        distinct.text_ids.astype(np.int64),
        distinct.offsets,
        counts,
        inverse,
        torch.tensor(vectors, dtype=torch.float64, device=device),
        words,
        max_events if filled_up else None,
    )


def _first_events(sequences: Sequences, most: int, *, with_words: bool) -> Sequences:
    """The first events of each sequence with texts by their rank, and nothing else by which they could differ."""
    ranks = np.unique(sequences.text_ids, return_inverse=True)[1].astype(np.int32)
    place = np.arange(sequences.n_events) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    kept = np.flatnonzero(place < most)
    words = sequences.words.gather(kept) if with_words and sequences.words is not None else None
    return Sequences(
        log_keys=np.zeros(len(kept), np.int32),
        text_ids=ranks[kept],
        texts=(),
        offsets=np.concatenate([[0], np.cumsum(np.minimum(sequences.lengths, most))]).astype(np.int64),
        elapsed_s=np.zeros(len(kept)),
        start_time=np.zeros(len(sequences)),
        system=np.zeros(len(sequences), np.uint8),
        lines=np.zeros(len(kept), np.int64),
        words=words,
    )


def inputs_of(vectors: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the network takes: vectors of zeros behind each sequence."""
    tokens = F.embedding(batch.ids, vectors) * real(batch.ids.shape[1], batch.lengths)[:, :, None]
    return tokens, batch.lengths, batch.characters
