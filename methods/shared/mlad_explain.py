"""Which events make MLAD's score: what the energy loses without each, and the attention that each receives.

The weight of an event is its occlusion: the energy of the sequence minus that of the same sequence with the event's
multiplicity at 0, which keeps positions where there are any; without the mixture, the same of the first term's error.
Equal events share the difference. It is what the score itself does, so it is the explanation; a sequence of one event
is compared with the empty one. Beside it stands the attention that events receive, the mean over layers, heads and
queries, whose sum over a sequence is 1 (less what a first token receives): what the encoder looks at, which is as
often what is common as what is abnormal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.types import ranges
from methods.shared.bags import Bags, BatchPlan, DeviceBags, Integers
from methods.shared.layers import EncoderLayer
from methods.shared.occlusion import shared_changes

Floats = NDArray[np.float64]
Prepare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""What the network does to tokens (B, L, width) and multiplicities (B, L) in front of its blocks."""

_WATCHED, _LONGEST = 64, 1024


class Reading(NamedTuple):
    """Sequences as the network takes them."""

    bags: Bags
    counts: Integers
    """(n_bags,) sequences of each."""
    inverse: Integers
    """(n_sequences,) the bag of each."""
    ids: Integers
    """(n_events,) the row in `features` of each event."""
    features: Tensor
    """What the network gets for each text that occurs, on the device."""
    merged: bool
    """Whether equal events of a sequence are one token."""

    def tokens_of(self, offsets: Integers) -> Integers:
        """int64 (n_events,): the token that stands for each event; offsets: int64 (n_sequences + 1,)."""
        if not self.merged:
            return ranges(self.bags.offsets[self.inverse], np.diff(offsets))
        bag_of_event = np.repeat(self.inverse, np.diff(offsets))
        width = int(self.ids.max(initial=0)) + 1
        bag_of_token = np.repeat(np.arange(len(self.bags.lengths)), self.bags.lengths)
        return np.searchsorted(bag_of_token * width + self.bags.ids, bag_of_event * width + self.ids)


def bag_occlusion(bags: Bags, score: Callable[[Bags], Floats]) -> Floats:
    """float64 (n_tokens,): weight of each event that a token stands for; score: float64 (n_bags,) of bags."""

    def without(rows: Integers, events: Integers) -> Floats:
        lengths = bags.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        tokens = ranges(bags.offsets[rows], lengths)
        ids = bags.ids[tokens]
        kept = ids != np.repeat(events, lengths)
        return score(Bags(ids, bags.multiplicity[tokens] * kept, offsets))

    return shared_changes(bags.ids, bags.offsets, score(bags), without, bags.multiplicity)


def attention_received(blocks: nn.ModuleList, prepare: Prepare, table: Tensor, bags: Bags) -> Floats:
    """float64 (n_tokens,): attention that each event of a token receives; table: (n_ids, width) input vectors."""
    received = np.zeros(len(bags.ids))
    data = DeviceBags(bags, table.device)
    for chunk in data.plan([np.arange(len(bags.lengths))])[0].chunks:
        ids, multiplicity = data.tokens(chunk)
        x, m = prepare(F.embedding(ids, table), multiplicity.to(table))
        total = torch.zeros_like(m)
        for block in blocks:
            total += cast(EncoderLayer, block).attention.received(x, m)
            x = block(x, m)
        of_tokens = total[:, m.shape[1] - ids.shape[1] :]  # a first token is no event
        share = (of_tokens / multiplicity.clamp_min(1) / max(1, len(blocks))).cpu().numpy()
        which = chunk.which.cpu().numpy()
        place = np.arange(share.shape[1])
        real = place < bags.lengths[which][:, None]
        received[(bags.offsets[which][:, None] + place)[real]] = share[real]
    return received


def attention_zeros(
    blocks: nn.ModuleList, prepare: Prepare, table: Tensor, data: DeviceBags, plan: BatchPlan
) -> Tensor:
    """Share of pairs of events whose attention weight is exactly zero, over all layers and heads, ().

    Looks at the first 64 sequences of each chunk, and at the first 1,024 events of each.
    """
    shares, n = [], 0
    for chunk in plan.chunks:
        ids, m = data.tokens(chunk._replace(which=chunk.which[:_WATCHED], longest=min(chunk.longest, _LONGEST)))
        x, m = prepare(F.embedding(ids, table), m.to(table))
        pairs = (m[:, :, None] * m[:, None])[:, None]
        for block in blocks:
            zero = cast(EncoderLayer, block).attention.weights(x, m) == 0
            shares.append((zero * pairs).sum() / (pairs.sum() * zero.shape[1]) * len(chunk.which))
            x = block(x, m)
        n += len(chunk.which) * len(blocks)
    return torch.stack(shares).sum() / n
