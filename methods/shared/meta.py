"""Learning on one system for another: who is told what, batches of several systems, and a step inside a loss.

Weights that would stand after a step of gradient descent are tensors beside the network's own, to
which `functional_call` applies it: the network is never changed, and gradients flow back to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from bench.detector import Role
from bench.types import ABNORMAL, NORMAL, Sequences
from methods.shared.alignment import balanced
from methods.shared.draws import HeldOut, batches_of, hold_out_of_each
from methods.shared.layers import Integers
from methods.shared.semantic import Forward
from methods.shared.training import TrainingSettings

Weights = dict[str, Tensor]
"""Parameters of a network by name."""
Booleans = NDArray[np.bool_]


class Pool(NamedTuple):
    """What is drawn of a role: its distinct pairs of a sequence and a system."""

    bag: Integers
    """(n,) the sequence, among those that are distinct."""
    system: Integers
    """(n,) its system."""
    counts: Integers
    """(n,) how often it is there, scaled so that all systems count the same."""
    share: NDArray[np.float32]
    """(n,) how many of its copies are abnormal: cross-entropy to it is the mean over the copies."""


def of_role(sequences: Sequences, roles: tuple[Role, ...], role: Role) -> Booleans:
    """Bool (n_sequences,): whose system has this role; without any roles all are sources."""
    if not roles:
        return np.full(len(sequences), role == "source")
    return np.isin(sequences.system, [i for i, other in enumerate(roles) if other == role])


def pool_of(inverse: Integers, system: NDArray[np.uint8], abnormal: Booleans, where: Booleans) -> Pool:
    """The pool of some sequences; inverse: (n_sequences,) their number among the distinct ones."""
    width = int(inverse.max(initial=0)) + 1
    pairs = system[where].astype(np.int64) * width + inverse[where]
    found, back, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    share = np.bincount(back, abnormal[where], minlength=len(found)) / np.maximum(counts, 1)
    systems = found // width
    even = balanced(counts, systems) if len(found) else counts
    return Pool(found % width, systems, even, share.astype(np.float32))


def labelled_pool(
    train: Sequences, labels: NDArray[np.int8] | None, inverse: Integers, where: Booleans, whose: str
) -> Pool:
    """The pool of the sequences at `where` that have a label; a ValueError where both classes are not there."""
    known = np.full(len(train), -1, np.int8) if labels is None else labels
    found = [label for label in (NORMAL, ABNORMAL) if (known[where] == label).any()]
    if len(found) < 2:
        raise ValueError(f"it needs both normal and abnormal labels of the {whose}, and there are not both")
    return pool_of(inverse, train.system, known == ABNORMAL, where & (known >= 0))


def parts_of(pool: Pool, fraction: float, seed: int) -> HeldOut:
    """Its counts in training and held out, of sequences with abnormal copies and of the others alike."""
    return hold_out_of_each(pool.counts, (pool.share > 0).astype(np.int64), pool.bag, fraction, seed)


class Beside(NamedTuple):
    """What was drawn of a second pool beside the items of the first."""

    items: Integers
    repeats: NDArray[np.float64]
    """(n,) how often each was drawn."""


NOTHING_BESIDE = Beside(np.zeros(0, np.int64), np.zeros(0))


def draws_beside(counts: Integers, size: int, seed: int) -> Iterator[Beside]:
    """Batches of a second pool, drawn by themselves: so each domain has its own share of a step."""
    drawn = batches_of(counts, size, np.random.default_rng([seed, 5]), True)
    return (Beside(*batch) for batch in drawn)


def apart(n: int, n_sets: int, rng: np.random.Generator) -> list[Integers]:
    """Cut 0..n-1 into disjoint sets of about the same size; with n < n_sets the sets that got none are all of it."""
    pieces = np.array_split(rng.permutation(n), n_sets)
    return [np.sort(piece) if len(piece) else np.arange(n) for piece in pieces]


class WarmStart:
    """Strength of the reversal: 0 at step 0, rising to its peak by the last step; only training moves it."""

    def __init__(self, peak: float, steepness: float, n_steps: int) -> None:
        self.peak, self.steepness, self.n_steps, self.step = peak, steepness, n_steps, 0

    def at(self, step: int) -> float:
        """The peak times 2 / (1 + exp(-steepness * step / n_steps)) - 1, as Ganin and Lempitsky raise it."""
        progress = min(1.0, step / max(1, self.n_steps))
        return self.peak * math.tanh(self.steepness * progress / 2)

    def advance(self) -> float:
        """The strength of this step of training; the next call is the next step."""
        strength = self.at(self.step)
        self.step += 1
        return strength


def weights_of(net: nn.Module) -> Weights:
    """The parameters that a network has now."""
    return dict(net.named_parameters())


def forward_with(net: nn.Module, weights: Weights) -> Forward:
    """The network as it would be with these parameters."""

    def forward(tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.as_tensor(functional_call(net, weights, (tokens, lengths)))

    return forward


def adapted(weights: Weights, loss: Tensor, rate: float, *, second_order: bool) -> Weights:
    """Weights after a step of gradient descent on the loss, w - rate * gradient; the given ones stay as they are.

    In first order the gradient is a constant, so that the step back is the identity; in second order
    it is differentiated too. The loss cannot be differentiated once more in first order.
    """
    return moved(weights, gradients_of(loss, weights, second_order=second_order), rate)


def gradients_of(loss: Tensor, weights: Weights, *, second_order: bool) -> Weights:
    """The gradient of the loss by weights it depends on; in first order a constant, and the loss's graph is freed."""
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=second_order, allow_unused=True)
    return {name: g for name, g in zip(weights, found, strict=True) if g is not None}


def moved(weights: Weights, gradients: Weights, rate: float) -> Weights:
    """Weights after a step of descent along these gradients."""
    return {name: value - rate * gradients[name] if name in gradients else value for name, value in weights.items()}


def with_gradients(loss: Tensor, weights: Weights, gradients: Weights) -> Tensor:
    """The loss's value, whose gradient is the one that is known already: its graph is not gone through again."""
    slopes = [((weights[name] - weights[name].detach()) * g).sum() for name, g in gradients.items()]
    return loss.detach() + torch.stack(slopes).sum()


@contextmanager
def differentiable_twice(second_order: bool) -> Iterator[None]:
    """In second order recurrent layers leave cuDNN, whose backward pass has no derivative."""
    if not second_order:
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


def class_errors(logits: Tensor, share: Tensor) -> Tensor:
    """Cross-entropy (n,) of logits (n, 2 or more), of which the first two are classes, to shares abnormal (n,)."""
    odds = F.log_softmax(logits[:, :2], 1)
    return -(share * odds[:, ABNORMAL] + (1 - share) * odds[:, NORMAL])


def mean_of(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; 0 where nothing has a weight."""
    return (weights * values).sum() / weights.sum().clamp_min(1e-12)


def kinds_of(pool: Pool) -> Mapping[str, int]:
    """Distinct sequences of each kind, for `monitor`."""
    return {
        "distinct_normal": int((pool.share < 1).sum()),
        "distinct_abnormal": int((pool.share > 0).sum()),
    }


def n_steps_of(settings: TrainingSettings, counts: Integers) -> int:
    """Steps of the optimiser that a budget means for a training part with these counts."""
    if settings.steps is not None:
        return settings.steps
    total = int(counts.sum())
    return -(-(settings.max_epochs or 0) * total // max(1, min(settings.batch_size, total)))


def require_watched(parts: HeldOut, settings: TrainingSettings) -> None:
    """Patience looks at the held-out task loss: without one it would look at the domain term, which is refused."""
    if settings.patience is not None and not parts.held_out.any():
        raise ValueError(
            f"patience {settings.patience} needs held-out sequences of the source, and there are none: "
            "raise validation_fraction, or set patience to none"
        )
