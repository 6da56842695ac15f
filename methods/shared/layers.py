"""Layers and small things that several methods share: entmax attention, encoder layers, pooling, dropout, state.

Bags of events and the Gaussian mixture have files of their own; their names can be imported from here as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bench.detector import report_progress
from methods.shared.bags import MAX_CELLS, MAX_TOKENS, Bags, Integers, UniqueBags, length_chunks, pad, unique_bags
from methods.shared.entmax import entmax
from methods.shared.mixture import Mixture, Moments, SingularError, mixture_of, moments

__all__ = [
    "MAX_CELLS",
    "MAX_TOKENS",
    "Bags",
    "Dropout",
    "EncoderLayer",
    "EntmaxAttention",
    "Integers",
    "Mixture",
    "Moments",
    "SingularError",
    "UniqueBags",
    "arrays_of",
    "dropout_mask",
    "entmax",
    "full_precision",
    "length_chunks",
    "load_arrays",
    "mixture_of",
    "moments",
    "pad",
    "sinusoidal",
    "unique_bags",
    "weighted_mean",
    "with_quick_dropout",
]


def weighted_mean(x: Tensor, multiplicity: Tensor) -> Tensor:
    """Masked mean pooling: x (B, L, d) with multiplicities (B, L) -> (B, d); zeros for an empty row."""
    total = multiplicity.sum(1, keepdim=True).clamp_min(1)
    return torch.einsum("bl,bld->bd", multiplicity / total, x)


def sinusoidal(length: int, width: int, like: Tensor) -> Tensor:
    """Fixed positional encoding (length, width) of "Attention is all you need", section 3.5."""
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=like.dtype) * (-math.log(10_000.0) / width))
    angle = torch.arange(length, device=like.device, dtype=like.dtype)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


def full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """A block that autocast leaves alone."""
    kind = like.device.type
    if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


class Dropout(nn.Module):
    """Dropout whose masks on the CPU cost a sixth of torch's: 16 random bits decide about each entry."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Zero entries with probability p, to within 1 / 65536, and scale the others up; in training only."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        mask = _dropout_mask(x.detach(), self.p) if torch.compiler.is_compiling() else dropout_mask(x, self.p)
        return x * mask


def with_quick_dropout(net: nn.Module) -> None:
    """Put `Dropout` in the place of each `nn.Dropout` of a network that is being built."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, name, Dropout(child.p))


def dropout_mask(like: Tensor, p: float) -> Tensor:
    """Zeros with probability p and else 1 / (1 - p), in the shape and dtype of a tensor on the CPU."""
    bits = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    dropped = min(round(p * 2**16), 2**16 - 1)
    mask = torch.empty(like.shape, dtype=like.dtype)
    torch.ge(bits[: like.numel()].view(like.shape), dropped - 2**15, out=mask)
    return mask.mul_(2**16 / (2**16 - dropped))


# torch.compile takes an operator as it is: the masks, and so the results, are those of the network as written.
@torch.library.custom_op("mlad_bench::dropout_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _dropout_mask(like: Tensor, p: float) -> Tensor:
    return dropout_mask(like, p)


@_dropout_mask.register_fake
def _(like: Tensor, p: float) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, device=like.device)


Normaliser = Callable[[Tensor, float, Tensor | None], Tensor]
"""What makes weights of scores (..., n) under an alpha and the multiplicity of each entry: alpha-entmax."""


class EntmaxAttention(nn.Module):
    """Multi-head self-attention whose softmax is alpha-entmax; memory bounded by blocks of queries."""

    def __init__(
        self, width: int, heads: int, alpha: float, *, scale: float | None = None, normaliser: Normaliser = entmax
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of heads {heads}")
        self.normaliser = normaliser
        self.heads = heads
        self.alpha = alpha
        self.scale = 1 / math.sqrt(width // heads) if scale is None else scale
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor, multiplicity: Tensor, projected: Tensor | None = None) -> Tensor:
        """x: (B, L, width); multiplicity: (B, L), 0 = padding -> (B, L, width).

        projected: (B, L, 3 * width), `inner` of x where it has been computed already, once for each text.
        """
        query, key, value = self._heads(self.inner(x) if projected is None else projected)
        batch, heads, length, _ = query.shape
        # Without a division: with sizes as symbols, torch.compile takes minutes to see through one.
        if batch * heads * length * length <= MAX_CELLS:
            mixed = self._attend(query, key, value, multiplicity)
        else:
            parts = torch.split(query, max(1, MAX_CELLS // (batch * heads * length)), dim=2)
            # Recomputing a block in the backward pass keeps only one block of weights in memory.
            mixed = torch.cat(
                [checkpoint(self._attend, part, key, value, multiplicity, use_reentrant=False) for part in parts], 2
            )
        return torch.as_tensor(self.outer(mixed.transpose(1, 2).flatten(2)))

    def weights(self, x: Tensor, multiplicity: Tensor) -> Tensor:
        """(B, heads, L, L): how much each event looks at each, multiplicities included."""
        query, key, _ = self._heads(self.inner(x))
        return self._weights(query, key, multiplicity)

    def received(self, x: Tensor, multiplicity: Tensor) -> Tensor:
        """(B, L): attention that each token receives, mean over heads and queries; sums to 1 over a sequence."""
        query, key, _ = self._heads(self.inner(x))
        batch, heads, length, _ = query.shape
        share = multiplicity / multiplicity.sum(1, keepdim=True).clamp_min(1) / heads
        total = torch.zeros_like(multiplicity)
        block = max(1, MAX_CELLS // (batch * heads * length))
        for part, of_query in zip(torch.split(query, block, 2), torch.split(share, block, 1), strict=True):
            total += torch.einsum("bhql,bq->bl", self._weights(part, key, multiplicity), of_query)
        return total

    def _heads(self, projected: Tensor) -> tuple[Tensor, ...]:
        batch, length, width = projected.shape
        parts = projected.reshape(batch, length, 3, self.heads, width // (3 * self.heads))
        return tuple(parts.permute(2, 0, 3, 1, 4).unbind(0))

    def _weights(self, query: Tensor, key: Tensor, multiplicity: Tensor) -> Tensor:
        return self.normaliser((query * self.scale) @ key.transpose(2, 3), self.alpha, multiplicity[:, None, None])

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, multiplicity: Tensor) -> Tensor:
        return self._weights(query, key, multiplicity) @ value


class EncoderLayer(nn.Module):
    """Transformer encoder layer with entmax attention and CELU, normalised after each residual sum."""

    def __init__(
        self,
        width: int,
        heads: int,
        ffn_width: int,
        *,
        alpha: float,
        dropout: float,
        scale: float | None = None,
        celu: float = 1.0,
        normaliser: Normaliser = entmax,
    ) -> None:
        super().__init__()
        self.attention = EntmaxAttention(width, heads, alpha, scale=scale, normaliser=normaliser)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn_width), nn.CELU(celu), Dropout(dropout), nn.Linear(ffn_width, width)
        )
        self.dropout = Dropout(dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: Tensor, multiplicity: Tensor, projected: Tensor | None = None) -> Tensor:
        """x: (B, L, width); multiplicity: (B, L), 0 = padding -> (B, L, width); projected as in the attention."""
        x = self.norms[0](x + self.dropout(self.attention(x, multiplicity, projected)))
        return torch.as_tensor(self.norms[1](x + self.dropout(self.ffn(x))))


def compiled(net: nn.Module) -> Callable[..., Any]:
    """The network translated by torch.compile for any number of sequences and events: one translation for all batches.

    It is made when the first batch comes, which takes half a minute or more. The network takes (B, L, ...) tensors.
    """
    run, asked = torch.compile(net), False

    def forward(*given: Tensor) -> Any:
        nonlocal asked
        if not asked:
            report_progress("translating the network (torch.compile)", 0, 1)
            asked = True
        for tensor in given:
            torch._dynamo.maybe_mark_dynamic(tensor, (0, 1))
        return run(*given)

    return forward


def arrays_of(net: nn.Module) -> dict[str, NDArray[Any]]:
    """The parameters of a network by name, as arrays, for `state`."""
    return {f"net.{name}": value.detach().cpu().numpy().copy() for name, value in net.state_dict().items()}


def load_arrays(net: nn.Module, state: dict[str, NDArray[Any]]) -> None:
    """Take the parameters over that `arrays_of` returned."""
    net.load_state_dict(
        {name[4:]: torch.tensor(value) for name, value in state.items() if name.startswith("net.")}, strict=True
    )
