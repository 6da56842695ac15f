"""Masked-key prediction with a Transformer encoder: the network, its two objectives, and misses under disjoint masks.

Whether an event is a miss is decided in float64, but most of the work is done in float32: only sequences in which
rounding might decide are computed again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from methods.shared import layers as _layers
from methods.shared import masks as _masks
from methods.shared.histories import MARGIN, SAMPLE, Integers, Pieces, count_above
from methods.shared.masks import FIRST, FIRST_KEY, MASK, PAD, coverage

_CENTRE_DRAWS = 1024

_FAST_TOKENS = 2**12
"""Tokens computed at once in float32: their states fit into a core's cache."""

LogitsOf = Callable[[Tensor, Tensor], Tensor]
"""(tokens with masks (B, L), the positions wanted (B, L)) -> logits (n_wanted, n_keys)."""


class _Settings(Protocol):
    """What the network reads of a Config."""

    @property
    def width(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def ffn_width(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def mask_ratio(self) -> float: ...
    @property
    def distance_weight(self) -> float: ...


class Network(nn.Module):
    """Transformer encoder with a linear layer that names the key at each position."""

    centre: Tensor

    def __init__(self, config: _Settings, n_keys: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(n_keys + FIRST_KEY, config.width, padding_idx=PAD)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.ffn_width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        self.key_head = nn.Linear(config.width, n_keys)
        self.register_buffer("centre", torch.zeros(config.width))
        _layers.with_quick_dropout(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: int64 (B, L), DIST first, padded on the right -> states (B, L, width)."""
        x = self.embedding(tokens)
        x = self.dropout(x + _layers.sinusoidal(x.shape[1], x.shape[2], x))
        return torch.as_tensor(self.encoder(x, src_key_padding_mask=tokens == PAD))


class Chunk(NamedTuple):
    """Some pieces of similar length on the device."""

    places: Tensor
    """int64 (n,) among those of the batch."""
    tokens: Tensor
    """int64 (n, L) DIST first, padded on the right."""
    passes: Tensor
    """int64 (n, L) which disjoint mask holds each, -1 for what is never masked."""


def chunks_of(pieces: Pieces, items: Integers, ratio: float, device: str) -> list[Chunk]:
    """Cut a batch into chunks."""
    chunks = []
    for places in _layers.length_chunks(pieces.lengths[items]):
        passes = coverage(pieces.lengths[items[places]], ratio)
        arrays = (places, padded(pieces, items[places]), passes)
        chunks.append(Chunk(*(torch.as_tensor(array, device=device) for array in arrays)))
    return chunks


def objective(net: Network, chunks: Sequence[Chunk], weights: Tensor) -> dict[str, Tensor]:
    """Masked prediction plus alpha times the distance to the centre; weights: (B,) summing to 1.

    In training masks are random, 80 % MASK, 10 % another key and 10 % left as they are; else all disjoint masks count.
    """
    recompute = net.training and sum(chunk.tokens.numel() for chunk in chunks) > _layers.MAX_TOKENS
    sums = torch.zeros(3, device=weights.device)
    for chunk in chunks:
        share = weights[chunk.places]
        for masked, given in _masked(net, chunk.tokens, chunk.passes):
            arguments = (net, chunk.tokens, masked, given, share)
            sums = sums + (checkpoint(_sums, *arguments, use_reentrant=False) if recompute else _sums(*arguments))
    times = 1 if net.training else _masks.n_passes(net.config.mask_ratio)
    prediction, distance = sums[0] / sums[1].clamp_min(1e-12), sums[2] / times
    return {
        "loss": prediction + net.config.distance_weight * distance,
        "prediction": prediction,
        "distance": distance,
    }


def _masked(net: Network, tokens: Tensor, passes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Pairs of a mask and the tokens given to the network in its place."""
    ratio = net.config.mask_ratio
    if net.training:
        return [_masks.random_masks(tokens, passes >= 0, ratio, net.embedding.num_embeddings)]
    masks = [passes == number for number in range(_masks.n_passes(ratio))]
    return [(mask, tokens.masked_fill(mask, MASK)) for mask in masks]


def _sums(net: Network, tokens: Tensor, masked: Tensor, given: Tensor, share: Tensor) -> Tensor:
    """(3,): weighted cross-entropies, their weights, weighted distances."""
    states = net(given)
    known = masked & (tokens >= FIRST_KEY)
    targets = torch.where(known, tokens - FIRST_KEY, 0)
    each = F.cross_entropy(net.key_head(states).transpose(1, 2), targets, reduction="none")
    of_key = share[:, None] * known
    distance = (states[:, 0] - net.centre).square().mean(1)
    return torch.stack([(of_key * each).sum(), of_key.sum(), (share * distance).sum()])


def mean_distance_vector(net: Network, pieces: Pieces, counts: Integers) -> Tensor:
    """(width,): mean vector of DIST, without dropout, over up to 1,024 training sequences under their first mask."""
    total = int(counts.sum())
    draws = np.searchsorted(np.cumsum(counts), np.arange(0, total, -(-total // _CENTRE_DRAWS)), side="right")
    items, repeats = np.unique(draws, return_counts=True)
    mean = torch.zeros_like(net.centre)
    was_training = net.training
    net.eval()
    with torch.no_grad():
        for chunk in _layers.length_chunks(pieces.lengths[items]):
            passes = coverage(pieces.lengths[items[chunk]], net.config.mask_ratio)
            tokens = np.where(passes == 0, MASK, padded(pieces, items[chunk]))
            weights = torch.as_tensor(repeats[chunk] / repeats.sum()).to(mean)
            mean = mean + weights @ net(torch.as_tensor(tokens, device=mean.device))[:, 0]
    net.train(was_training)
    return mean


def padded(pieces: Pieces, which: Integers) -> Integers:
    """(len(which), longest + 1): DIST, then the keys."""
    keys = _layers.pad(pieces.tokens, pieces.offsets, which)
    return np.concatenate([np.full((len(which), 1), FIRST), keys], 1)


class _Masked(NamedTuple):
    """Events of known keys that one pass masks."""

    events: Integers
    """(n,) positions among all events of the pieces."""
    pieces: Integers
    """(n,)"""
    targets: Integers
    """(n,) class of the key that was masked."""
    logits: Tensor
    """(n, n_keys)"""

    def above(self, margin: float = 0.0) -> Integers:
        """int64 (n,): how many logits are above that of the actual key plus the margin."""
        actual = self.logits.gather(1, torch.as_tensor(self.targets, device=self.logits.device)[:, None])
        return count_above(self.logits, actual + margin)


def ranks_of(net: Network, pieces: Pieces) -> Integers:
    """int64 (n_events,): how many keys were more probable than the masked one; n_keys for an unknown key."""
    ranks = np.full(len(pieces.tokens), net.key_head.out_features, np.int64)
    for part in _masked_logits(net, pieces, np.arange(len(pieces.lengths)), _exactly(net)):
        ranks[part.events] = part.above()
    return ranks


def misses_of(net: Network, pieces: Pieces, g: int) -> NDArray[np.bool_]:
    """Bool (n_events,): whether the rank is at least g; the net in float64, an unknown key is a miss."""
    n = len(pieces.lengths)
    misses, doubtful = np.ones(len(pieces.tokens), bool), np.arange(n)
    if n > SAMPLE:
        fast = _quickly(copy.deepcopy(net).float())
        sample = np.arange(0, n, -(-n // SAMPLE))
        both = (_masked_logits(net, pieces, sample, logits_of, _FAST_TOKENS) for logits_of in (_exactly(net), fast))
        differences = [float((a.logits - b.logits).abs().max()) for a, b in zip(*both, strict=True)]
        margin = MARGIN * max([1e-7, *differences])
        close = []
        for part in _masked_logits(net, pieces, doubtful, fast, _FAST_TOKENS):
            misses[part.events] = miss = part.above(margin) >= g
            close.append(part.pieces[(part.above(-margin) > g) != miss])
        doubtful = np.unique(np.concatenate(close)) if close else doubtful[:0]
    for part in _masked_logits(net, pieces, doubtful, _exactly(net)):
        misses[part.events] = part.above() >= g
    return misses


def _masked_logits(
    net: Network, pieces: Pieces, which: Integers, logits_of: LogitsOf, max_tokens: int = _layers.MAX_TOKENS
) -> Iterator[_Masked]:
    """Mask each event of these pieces once, in passes over disjoint masks."""
    device = net.centre.device
    for chunk in _layers.length_chunks(pieces.lengths[which], max_tokens=max_tokens):
        rows = which[chunk]
        tokens, passes = padded(pieces, rows), coverage(pieces.lengths[rows], net.config.mask_ratio)
        events = pieces.offsets[rows][:, None] + np.arange(tokens.shape[1]) - 1
        owners = np.broadcast_to(rows[:, None], tokens.shape)
        for number in range(int(passes.max(initial=-1)) + 1):
            masked = passes == number
            wanted = masked & (tokens >= FIRST_KEY)
            if wanted.any():
                given = torch.as_tensor(np.where(masked, MASK, tokens), device=device)
                logits = logits_of(given, torch.as_tensor(wanted, device=device))
                yield _Masked(events[wanted], owners[wanted], tokens[wanted] - FIRST_KEY, logits)


def _exactly(net: Network) -> LogitsOf:
    return lambda given, wanted: net.key_head(net(given)[wanted])


def _quickly(net: Network) -> LogitsOf:
    """The same in eval mode with less work: the last layer computes wanted positions only."""
    *layers, last = [cast(nn.TransformerEncoderLayer, layer) for layer in net.encoder.layers]
    final_norm = cast(nn.LayerNorm, net.encoder.norm)

    def logits_of(given: Tensor, wanted: Tensor) -> Tensor:
        padding = given == PAD
        seen = ~padding[:, None, None] if bool(padding.any()) else None
        x = net.embedding(given)
        x = x + _layers.sinusoidal(x.shape[1], x.shape[2], x)
        for layer in layers:
            x = _transformed(layer, x + _attended(layer, x, seen))
        columns = wanted.any(0).nonzero()[:, 0]
        x = (x[:, columns] + _attended(last, x, seen, columns))[wanted[:, columns]]
        return torch.as_tensor(net.key_head(final_norm(_transformed(last, x))))

    return logits_of


def _attended(
    layer: nn.TransformerEncoderLayer, x: Tensor, seen: Tensor | None, columns: Tensor | None = None
) -> Tensor:
    """What the attention adds at these columns; seen: (B, 1, 1, L) or None for all."""
    attention, width = layer.self_attn, x.shape[2]
    x = layer.norm1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = F.linear(x if columns is None else x[:, columns], weight[:width], bias[:width])
    key, value = F.linear(x, weight[width:], bias[width:]).chunk(2, 2)
    query, key, value = (
        part.reshape(*part.shape[:2], attention.num_heads, -1).transpose(1, 2) for part in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    return torch.as_tensor(attention.out_proj(mixed.transpose(1, 2).flatten(2)))


def _transformed(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    return torch.as_tensor(x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x)))))
