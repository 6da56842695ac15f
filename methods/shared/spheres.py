"""A small transformer over the words of a line, and the loss that keeps normal lines near the origin, others away."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from methods.shared import layers
from methods.shared.semantic import real

Distance = Literal["squared", "root"]
"""The squared length of a vector, or the length itself."""

_LEAST = 1e-4
"""Distance of an abnormal line at which its loss is cut: at 0 it is infinite."""


class LineNetwork(nn.Module):
    """A network that gives each line a vector; `words` are the vectors of its words."""

    words: nn.Embedding


class LineEncoder(LineNetwork):
    """Learned vectors of words and places, encoder layers, and the state of a token [CLS] in front."""

    def __init__(
        self, n_rows: int, width: int, heads: int, ffn_width: int, n_layers: int, *, max_words: int, dropout: float
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(n_rows, width)
        self.places = nn.Embedding(max_words + 1, width)
        self.first = nn.Parameter(torch.randn(width))
        shape: dict[str, Any] = {"d_model": width, "nhead": heads, "dim_feedforward": ffn_width}
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(**shape, dropout=dropout, batch_first=True) for _ in range(n_layers)
        )
        layers.with_quick_dropout(self)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (B, L, width) rows of `words`; lengths: (B,) -> (B, width): the state at [CLS]."""
        states = torch.cat([self.first.expand(len(tokens), 1, -1), tokens], 1)
        states = states + self.places.weight[: states.shape[1]]
        padding = ~real(states.shape[1], lengths + 1)
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=padding)
        return states[:, 0]


def distances(vectors: Tensor, kind: Distance) -> Tensor:
    """(B, d) -> (B,): how far each lies from the origin."""
    squared = vectors.square().sum(1)
    # The gradient of a root is infinite at 0.
    return squared if kind == "squared" else (squared + 1e-8).sqrt()


def repulsion(distance: Tensor) -> Tensor:
    """-log(1 - exp(-distance)): falls to 0 with the distance, and is cut near the origin."""
    return -torch.log(-torch.expm1(-distance.clamp_min(_LEAST)))
