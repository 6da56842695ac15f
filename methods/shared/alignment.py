"""Making the vectors of several systems alike: domain-adversarial training (Ganin and Lempitsky, ICML 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.shared.layers import Integers


class Reversal(torch.autograd.Function):
    """Identity whose gradient is turned round and scaled: `Reversal.apply(x, alpha)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        """Return x."""
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return -alpha times the gradient."""
        return -ctx.alpha * grads[0], None


class SystemClassifier(nn.Module):
    """Two linear layers that tell the system of a vector; what computed the vector learns to deceive them."""

    def __init__(self, width: int, hidden: int, n_systems: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.Linear(hidden, n_systems))

    def forward(self, vectors: Tensor, systems: Tensor, weights: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Return cross-entropy and accuracy; vectors: (B, width), systems: int64 (B,), weights: (B,) summing to 1."""
        logits = self.layers(Reversal.apply(vectors, alpha))  # type: ignore[no-untyped-call]
        errors = F.cross_entropy(logits, systems, reduction="none")
        return (weights * errors).sum(), (weights * (logits.argmax(1) == systems)).sum()


def balanced(counts: Integers, system: Integers) -> Integers:
    """Counts scaled so that every system has about as many sequences as the largest."""
    sizes = np.bincount(system, counts)
    scale = np.where(sizes > 0, sizes.max() / np.maximum(sizes, 1), 0.0)
    return np.rint(counts * scale[system]).astype(np.int64)
