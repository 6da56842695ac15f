"""What several methods really share: bags of events, batches by length, entmax attention, a Gaussian mixture, state.

A *bag* is a sequence reduced to its distinct events with multiplicities. A network without positional information
computes the same vector at equal events, so working on bags is exact and several times cheaper: attention weights
events by their multiplicity, and padding is simply multiplicity 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.types import Sequences
from methods._entmax import entmax as entmax  # noqa: PLC0414 - its users import it from here

Integers = NDArray[np.int64]

MAX_CELLS = 2**23
"""Attention weights (batch x heads x queries x keys) held at once: 32 MB in float32."""

MAX_TOKENS = 2**14
"""Padded tokens (batch x longest) computed at once."""

_TINY = 1e-30


class SingularError(ArithmeticError):
    """A covariance cannot be factorised, even with the largest jitter; its entries are usually NaN."""


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


def weighted_mean(x: Tensor, multiplicity: Tensor) -> Tensor:
    """Masked mean pooling: x (B, L, d) with multiplicities (B, L) -> (B, d); zeros for an empty row."""
    total = multiplicity.sum(1, keepdim=True).clamp_min(1)
    return torch.einsum("bl,bld->bd", multiplicity / total, x)


def sinusoidal(length: int, width: int, like: Tensor) -> Tensor:
    """Fixed positional encoding (length, width) of "Attention is all you need", section 3.5."""
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=like.dtype) * (-math.log(10_000.0) / width))
    angle = torch.arange(length, device=like.device, dtype=like.dtype)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


class EntmaxAttention(nn.Module):
    """Multi-head self-attention whose softmax is alpha-entmax; memory bounded by blocks of queries."""

    def __init__(self, width: int, heads: int, alpha: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of heads {heads}")
        self.heads = heads
        self.alpha = alpha
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor, multiplicity: Tensor) -> Tensor:
        """x: (B, L, width); multiplicity: (B, L), 0 = padding -> (B, L, width)."""
        query, key, value = self._heads(x)
        batch, heads, length, _ = query.shape
        block = max(1, MAX_CELLS // (batch * heads * length))
        if block >= length:
            mixed = self._attend(query, key, value, multiplicity)
        else:
            parts = torch.split(query, block, dim=2)
            # Recomputing a block in the backward pass keeps only one block of weights in memory.
            mixed = torch.cat(
                [checkpoint(self._attend, part, key, value, multiplicity, use_reentrant=False) for part in parts], 2
            )
        return torch.as_tensor(self.outer(mixed.transpose(1, 2).flatten(2)))

    def weights(self, x: Tensor, multiplicity: Tensor) -> Tensor:
        """(B, heads, L, L): how much each event looks at each, multiplicities included."""
        query, key, _ = self._heads(x)
        return self._weights(query, key, multiplicity)

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.inner(x).chunk(3, dim=2))

    def _weights(self, query: Tensor, key: Tensor, multiplicity: Tensor) -> Tensor:
        return entmax(query @ key.transpose(2, 3) / math.sqrt(key.shape[3]), self.alpha, multiplicity[:, None, None])

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, multiplicity: Tensor) -> Tensor:
        return self._weights(query, key, multiplicity) @ value


class EncoderLayer(nn.Module):
    """Transformer encoder layer with entmax attention and CELU, normalised after each residual sum."""

    def __init__(self, width: int, heads: int, ffn_width: int, *, alpha: float, dropout: float) -> None:
        super().__init__()
        self.attention = EntmaxAttention(width, heads, alpha)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn_width), nn.CELU(), nn.Dropout(dropout), nn.Linear(ffn_width, width)
        )
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: Tensor, multiplicity: Tensor) -> Tensor:
        """x: (B, L, width); multiplicity: (B, L), 0 = padding -> (B, L, width)."""
        x = self.norms[0](x + self.dropout(self.attention(x, multiplicity)))
        return torch.as_tensor(self.norms[1](x + self.dropout(self.ffn(x))))


class Moments(NamedTuple):
    """Soft counts and moments of points by component, float64; those of two sets of points add up."""

    mass: Tensor
    """(K,)"""
    first: Tensor
    """(K, d)"""
    second: Tensor
    """(K, d, d)"""


def moments(points: Tensor, responsibilities: Tensor) -> Moments:
    """points: (n, d); responsibilities: (n, K), already times the weight of each point."""
    x, r = points.double(), responsibilities.double().T
    return Moments(r.sum(1), r @ x, (r[:, None] * x.T) @ x)


class Mixture(NamedTuple):
    """A Gaussian mixture, float64."""

    log_share: Tensor
    """(K,) log of the weight of each component, -inf for those that were dropped."""
    mean: Tensor
    """(K, d)"""
    covariance: Tensor
    """(K, d, d) jitter included."""
    factor: Tensor
    """(K, d, d) lower Cholesky factor of the covariance."""

    def energy(self, points: Tensor) -> Tensor:
        """Negative log-likelihood of points (n, d) -> float64 (n,)."""
        centred = (points.double() - self.mean[:, None]).transpose(1, 2)
        whitened = torch.linalg.solve_triangular(self.factor, centred, upper=False)
        log_scale = self.factor.diagonal(dim1=1, dim2=2).log().sum(1) + points.shape[1] / 2 * math.log(2 * math.pi)
        return -torch.logsumexp((self.log_share - log_scale)[:, None] - whitened.square().sum(1) / 2, dim=0)


def mixture_of(m: Moments, *, jitter: float, min_share: float = 0.0) -> Mixture:
    """The closed form of the M step; components below min_share are dropped from the likelihood."""
    share = m.mass / m.mass.sum()
    mass = (m.mass + 1e-8)[:, None]
    mean = m.first / mass
    scatter = m.second / mass[:, None] - mean[:, :, None] * mean[:, None]
    covariance, factor = _factorised((scatter + scatter.transpose(1, 2)) / 2, jitter)
    # clamp_min before the log: the branch that where() drops must not produce NaN gradients.
    log_share = torch.where(share > min_share, share.clamp_min(_TINY).log(), -torch.inf)
    return Mixture(log_share, mean, covariance, factor)


def _factorised(scatter: Tensor, jitter: float) -> tuple[Tensor, Tensor]:
    identity = torch.eye(scatter.shape[1], dtype=scatter.dtype, device=scatter.device)
    while True:
        covariance = scatter + jitter * identity
        factor, info = torch.linalg.cholesky_ex(covariance)
        if covariance.is_meta or not info.any():
            return covariance, factor
        if jitter * 10 > 0.1:
            raise SingularError(f"not positive definite even with jitter {jitter:g}")
        jitter *= 10


def arrays_of(net: nn.Module) -> dict[str, NDArray[Any]]:
    """The parameters of a network by name, as arrays, for `state`."""
    return {f"net.{name}": value.detach().cpu().numpy().copy() for name, value in net.state_dict().items()}


def load_arrays(net: nn.Module, state: dict[str, NDArray[Any]]) -> None:
    """Take the parameters over that `arrays_of` returned."""
    net.load_state_dict(
        {name[4:]: torch.tensor(value) for name, value in state.items() if name.startswith("net.")}, strict=True
    )


def texts_to_array(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Texts as the bytes of a JSON list, since a state holds numbers only."""
    return np.frombuffer(json.dumps(list(texts)).encode(), np.uint8).copy()


def array_to_texts(array: NDArray[Any]) -> list[str]:
    """The reverse of `texts_to_array`."""
    texts: list[str] = json.loads(array.tobytes())
    return texts
