"""||z||^2 of many lines by a trained `LineEncoder`, without what no distance needs.

Behind the first layer's maps of queries, keys and values there is nothing but tokens and places, so each token goes
through them once; of the last layer only [CLS] is wanted, so its keys and values are never made of other places.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from methods.shared import layers

if TYPE_CHECKING:
    from methods.shared.failure_windows import LineEncoder

_BLOCK: Final = 4096
"""Lines whose tokens are gone through at once."""
_ROWS: Final = 32
"""Lines computed at once: what stays in a processor's cache."""


def distances_of(net: LineEncoder, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 (n,) with the digits of float32, int64 (n, length) tokens in `rows`.

    A network in float64 errs by far less than is kept, so that no distance depends on which lines share a batch.
    """
    device = net.table.weight.device
    found = [np.zeros(0, np.float32)]
    with torch.inference_mode():
        for start in range(0, len(rows), _BLOCK):
            block = torch.as_tensor(rows[start : start + _BLOCK], device=device)
            used, place = torch.unique(block, return_inverse=True)
            first = _First(net, used, block.shape[1])
            parts = [_squares(net, first, part) for part in place.split(_ROWS)]
            found.append(torch.cat(parts).float().cpu().numpy())
    return np.concatenate(found).astype(np.float64)


class _First:
    """What the first layer is given, and its queries, keys and values: of each token plus of each place."""

    def __init__(self, net: LineEncoder, used: Tensor, length: int) -> None:
        attention: Any = net.encoder.layers[0].self_attn
        token = net.table.weight[used] * math.sqrt(net.table.embedding_dim)
        place = layers.sinusoidal(length, net.table.embedding_dim, token)
        self.parts = (token, F.linear(token, attention.in_proj_weight, attention.in_proj_bias))
        self.places = (place, F.linear(place, attention.in_proj_weight))

    def of(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, width) and (B, L, 3 width) of tokens, int64 (B, L) as places among those used."""
        x, projected = (part[tokens].add_(place) for part, place in zip(self.parts, self.places, strict=True))
        return x, projected


def _squares(net: LineEncoder, first: _First, tokens: Tensor) -> Tensor:
    """(B,) ||z||^2; tokens: int64 (B, L)."""
    inner: list[Any] = list(net.encoder.layers)
    x, projected = first.of(tokens)
    if len(inner) > 1:
        x = _behind_attention(inner[0], x, _attended(inner[0].self_attn, projected))
    for layer in inner[1:-1]:
        x = layer(x)
    z = _behind_attention(inner[-1], x[:, 0], _attended_at_cls(inner[-1].self_attn, x))
    return z.square().sum(1)


def _attended(attention: Any, projected: Tensor) -> Tensor:
    """(B, L, width) what each place attends to, of queries, keys and values side by side."""
    heads, size = attention.num_heads, attention.head_dim
    parts = projected.reshape(*projected.shape[:2], 3, heads, size)
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _attended_at_cls(attention: Any, x: Tensor) -> Tensor:
    """(B, width) what the first place attends to: the maps of keys and values go to its side of the products."""
    heads, size = attention.num_heads, attention.head_dim
    of_query, of_key, of_value = attention.in_proj_weight.unflatten(0, (3, heads, size))
    bias = attention.in_proj_bias.unflatten(0, (3, heads, size))
    query = F.linear(x[:, 0], of_query.flatten(0, 1), bias[0].flatten()).reshape(-1, heads, size)
    # q . (K x + b) is (K' q) . x and a number that all places share, which a softmax does not see.
    asked = torch.einsum("bhd,hdw->bhw", query, of_key)
    weights = torch.softmax(asked @ x.transpose(1, 2) * size**-0.5, 2)
    return torch.as_tensor((torch.einsum("bhw,hdw->bhd", weights @ x, of_value) + bias[2]).flatten(1))


def _behind_attention(layer: Any, x: Tensor, attended: Tensor) -> Tensor:
    """What a layer makes of its input and of what was attended to, each (..., width)."""
    x = layer.norm1(layer.self_attn.out_proj(attended).add_(x))
    return torch.as_tensor(layer.norm2(layer.linear2(layer.linear1(x).relu_()).add_(x)))
