"""Adam and its learning rate over time, as published settings name them; by default nothing is special."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class OptimiserSettings:
    """What only profiles of published settings change."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two moments."""
    epsilon: float = 1e-8
    """Added to Adam's denominator."""
    weight_decay: float = 0.0
    """L2 penalty, in Adam's gradient."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises to its value; from there on it falls with their root."""
    warmup_epochs: int = 0
    """Epochs at whose ends the learning rate is doubled until it has its value."""
    decay: float = 1.0
    """Factor of the learning rate at each of the two below."""
    decay_steps: int | None = None
    """Again and again after so many steps."""
    decay_epochs: tuple[int, ...] = ()
    """At the beginning of these epochs, counted from 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # lists after JSON
        object.__setattr__(self, "decay_epochs", tuple(self.decay_epochs))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {list(self.betas)} must be two numbers in [0, 1)")
        if not 0 < self.decay <= 1 or self.epsilon <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"decay {self.decay} must be in (0, 1], epsilon {self.epsilon} positive, "
                f"weight_decay {self.weight_decay} not negative"
            )
        counts = (self.warmup_steps, self.warmup_epochs, *self.decay_epochs)
        if min(counts) < 0 or (self.decay_steps is not None and self.decay_steps < 1):
            raise ValueError(
                "warmup_steps, warmup_epochs and decay_epochs must not be negative, decay_steps at least 1"
            )

    @property
    def counts_epochs(self) -> bool:
        """Whether the learning rate depends on the epoch."""
        return bool(self.warmup_epochs or self.decay_epochs)


def rate_factor(settings: OptimiserSettings, step: int, epoch: int) -> float:
    """What the learning rate is multiplied by in a step of an epoch, both counted from 0."""
    factor = 1.0
    if settings.warmup_steps:
        progress = (step + 1) / settings.warmup_steps
        factor *= min(progress, progress**-0.5)
    factor *= 2.0 ** min(epoch - settings.warmup_epochs, 0)
    times = sum(epoch >= begun for begun in settings.decay_epochs)
    if settings.decay_steps is not None:
        times += step // settings.decay_steps
    return float(factor * settings.decay**times)


def adam(
    parameters: Iterable[nn.Parameter], settings: OptimiserSettings, learning_rate: float, *, fused: bool
) -> torch.optim.Adam:
    """Adam with these settings at its full learning rate."""
    return torch.optim.Adam(
        parameters,
        lr=learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=fused,
    )
