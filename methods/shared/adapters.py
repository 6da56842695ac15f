"""An encoder layer that is trained once and tuned later by small bottlenecks, and attention moved by parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.shared.layers import Dropout
from methods.shared.training import History

UNSEEN: Final = -1e9
"""Added to the scores of what must not be attended; finite, so that a sequence without events has a state."""

_HIDDEN: Final = 16
"""Dimensions of an event's parameters [R]."""


class Adapter(nn.Module):
    """x + W2 GELU(W1 x), and at the start x itself where W2 is zero."""

    def __init__(self, width: int, inner: int, *, starts_at_zero: bool) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        if starts_at_zero:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., width) -> (..., width)."""
        return x + torch.as_tensor(self.up(F.gelu(self.down(x))))


class AdapterLayer(nn.Module):
    """Attention, dropout, adapter, sum and norm; feed-forward network, dropout, adapter, sum and norm.

    Until `is_tuned` is set, adapters are passed by and `first_activation` stands in the feed-forward network; from
    then on GELU does.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        ffn_width: int,
        adapter_width: int,
        *,
        dropout: float,
        starts_at_zero: bool,
        first_activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.heads = heads
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)
        self.ffn = nn.ModuleList([nn.Linear(width, ffn_width), nn.Linear(ffn_width, width)])
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.adapters = nn.ModuleList(Adapter(width, adapter_width, starts_at_zero=starts_at_zero) for _ in range(2))
        self.dropout = Dropout(dropout)
        self.first_activation = first_activation
        self.is_tuned = False

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        """x: (B, L, width); added to the scores before softmax: (B, 1 or heads, 1, L) -> (B, L, width)."""
        x = self.norms[0](x + self._adapted(0, self._attend(x, added)))
        activation = F.gelu if self.is_tuned else self.first_activation
        inner = self.dropout(activation(self.ffn[0](x)))
        return torch.as_tensor(self.norms[1](x + self._adapted(1, self.ffn[1](inner))))

    def _adapted(self, place: int, x: Tensor) -> Tensor:
        x = self.dropout(x)
        return torch.as_tensor(self.adapters[place](x)) if self.is_tuned else x

    def _attend(self, x: Tensor, added: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.inner(x).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5 + added
        mixed = self.dropout(torch.softmax(scores, dim=3)) @ value
        return torch.as_tensor(self.outer(mixed.transpose(1, 2).flatten(2)))


class ParameterBias(nn.Module):
    """What the parameters of an event add to the attention that it gets, one number for each head; at first 0."""

    def __init__(self, n_characters: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.Linear(n_characters, _HIDDEN)
        self.outer = nn.Linear(_HIDDEN, heads)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, characters: Tensor) -> Tensor:
        """characters: (B, L, n_characters) -> (B, heads, L)."""
        return torch.as_tensor(self.outer(F.gelu(self.inner(characters)))).transpose(1, 2)


def both_stages(first: History, second: History) -> dict[str, Any]:
    """Two trainings as `History.as_json` shows one: steps are counted through, and `pretraining_steps` parts them."""
    begun, ended = first.as_json(), second.as_json()
    offset = begun["steps_run"]
    later = [{**check, "step": check["step"] + offset} for check in ended["epochs"]]
    return {
        "steps_run": offset + ended["steps_run"],
        "pretraining_steps": offset,
        "batch_size": begun["batch_size"],
        "kept_step": offset + ended["kept_step"],
        "stopped_by": ended["stopped_by"],
        "epochs": [*begun["epochs"], *later],
    }
