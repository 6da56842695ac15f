"""Bags of events: what sequences are to a network without positions, on the host and on a device.

A *bag* is a sequence reduced to its distinct events with multiplicities. A network without positional information
computes the same vector at equal events, so working on bags is exact and several times cheaper: attention weights
events by their multiplicity, and padding is simply multiplicity 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.types import Sequences

Integers = NDArray[np.int64]

MAX_CELLS = 2**23
"""Attention weights (batch x heads x queries x keys) held at once: 32 MB in float32."""

MAX_TOKENS = 2**14
"""Padded tokens (batch x longest) computed at once."""


class Bags(NamedTuple):
    """Distinct sequences as (event, multiplicity) pairs in CSR form."""

    ids: Integers
    """(n_tokens,) sorted within a bag, or in order of time where repeats are not merged."""
    multiplicity: NDArray[np.float32]
    """(n_tokens,) how often the event stands in the sequence."""
    offsets: Integers
    """(n_bags + 1,)"""

    @property
    def lengths(self) -> Integers:
        """int64 (n_bags,): tokens per bag."""
        return np.diff(self.offsets)

    @property
    def sizes(self) -> NDArray[np.float64]:
        """float64 (n_bags,): events per bag."""
        total = np.concatenate([[0.0], np.cumsum(self.multiplicity, dtype=np.float64)])
        return np.asarray(total[self.offsets[1:]] - total[self.offsets[:-1]])


class UniqueBags(NamedTuple):
    """What `unique_bags` returns."""

    bags: Bags
    counts: Integers
    """(n_bags,) sequences of each."""
    inverse: Integers
    """(n_sequences,) so that sequence i has bag inverse[i]."""


def unique_bags(ids: Integers, offsets: Integers, *, merge_repeats: bool = True) -> UniqueBags:
    """Return the distinct bags of sequences of non-negative ids, in order of first occurrence.

    With merge_repeats=False every event stays a token of its own and the order counts.
    """
    multiplicity = np.ones(len(ids), np.int64)
    if merge_repeats and len(ids):
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        width = int(ids.max()) + 1
        pairs, multiplicity = np.unique(owner * width + ids, return_counts=True)
        ids = pairs % width
        offsets = np.concatenate([[0], np.cumsum(np.bincount(pairs // width, minlength=len(offsets) - 1))])
    n, n_sequences = len(ids), len(offsets) - 1
    carrier = Sequences(
        log_keys=ids.astype(np.int32),
        text_ids=multiplicity.astype(np.int32),
        texts=(),
        offsets=offsets.astype(np.int64),
        elapsed_s=np.zeros(n),
        start_time=np.zeros(n_sequences),
        system=np.zeros(n_sequences, np.uint8),
        lines=np.zeros(n, np.int64),
    )
    found, counts, inverse = carrier.unique()
    bags = Bags(found.log_keys.astype(np.int64), found.text_ids.astype(np.float32), found.offsets)
    return UniqueBags(bags, counts, inverse)


def pad(values: NDArray[Any], offsets: Integers, which: Integers, fill: float = 0) -> NDArray[Any]:
    """Return the CSR rows at `which` as one matrix (len(which), longest), filled up on the right."""
    lengths = offsets[which + 1] - offsets[which]
    place = np.arange(int(lengths.max(initial=1)))
    real = place < lengths[:, None]
    matrix = np.full(real.shape, fill, values.dtype)
    matrix[real] = values[(offsets[which][:, None] + place)[real]]
    return matrix


def length_chunks(
    lengths: Integers, *, max_tokens: int = MAX_TOKENS, max_cells: int = MAX_CELLS // 4
) -> Iterator[Integers]:
    """Cut positions 0..n-1 into chunks of similar length, longest first, each within both limits or one item alone.

    max_tokens limits len(chunk) * longest, max_cells limits len(chunk) * longest**2. Lengths in a chunk differ at most
    by a factor of two (those up to 4 stay together), which bounds padding.
    """
    order = np.argsort(-lengths, kind="stable")
    descending = lengths[order]
    start = 0
    while start < len(order):
        longest = max(1, int(descending[start]))
        shortest = longest // 2 if longest > 4 else 0
        similar = int(np.searchsorted(-descending, -shortest, side="right"))
        fitting = max(1, min(max_tokens // longest, max_cells // longest**2))
        end = min(max(similar, start + 1), start + fitting)
        yield order[start:end]
        start = end


class Chunk(NamedTuple):
    """Bags that are computed together."""

    which: Tensor
    """int64 (n,) on the device."""
    longest: int
    """Tokens of the longest, at least 1."""


class BatchPlan(NamedTuple):
    """A batch of bags cut into chunks of similar length."""

    chunks: list[Chunk]
    back: Tensor
    """int64 (batch,) on the device: place of each item of the batch in the chunks one after another."""
    n_tokens: int


class DeviceBags:
    """Bags whose arrays live on a device; batches are planned ahead, so that taking one moves nothing to it."""

    def __init__(self, bags: Bags, device: torch.device | str) -> None:
        self.lengths = bags.lengths
        self._ids, self._multiplicity, self._offsets = (
            torch.as_tensor(array, device=device) for array in (bags.ids, bags.multiplicity, bags.offsets)
        )

    def plan(self, batches: Sequence[Integers]) -> list[BatchPlan]:
        """Plan batches of bag numbers; all their indices move to the device in one copy."""
        layouts = []
        for items in batches:
            lengths = self.lengths[items]
            cuts = list(length_chunks(lengths))
            order = np.concatenate(cuts) if cuts else np.zeros(0, np.int64)
            layouts.append((items[order], np.argsort(order), [(len(c), int(lengths[c].max())) for c in cuts]))
        indices = np.concatenate([np.zeros(0, np.int64), *(part for layout in layouts for part in layout[:2])])
        moved = torch.as_tensor(indices, device=self._ids.device)
        parts = iter(torch.split(moved, [len(part) for layout in layouts for part in layout[:2]]))
        plans = []
        for items, _, shapes in layouts:
            which = torch.split(next(parts), [size for size, _ in shapes])
            chunks = [Chunk(part, max(1, longest)) for part, (_, longest) in zip(which, shapes, strict=True)]
            plans.append(BatchPlan(chunks, next(parts), int(self.lengths[items].sum())))
        return plans

    def tokens(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Ids, int64, and multiplicities, float32, of a chunk: (n, longest), padding has id 0 and multiplicity 0."""
        start = self._offsets[chunk.which]
        place = torch.arange(chunk.longest, device=start.device) + start[:, None]
        real = place < self._offsets[chunk.which + 1][:, None]
        place = place.clamp(max=max(0, len(self._ids) - 1))
        if not len(self._ids):
            return torch.zeros_like(place), torch.zeros_like(place, dtype=torch.float32)
        return self._ids[place] * real, self._multiplicity[place] * real
