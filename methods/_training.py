"""The one training loop of all neural methods.

Training sequences (or histories) come as distinct items with counts. An epoch draws as many items as there are with
repeats (`epoch="all"`) or distinct ones (`"distinct"`), at most `max_draws`, by systematic sampling in proportion to
the counts: item i appears floor or ceil of its share times, and with all drawn exactly count_i times, which is the
epoch of the expanded data. Draws are shuffled and cut into batches of nearly equal size (no tiny last batch); repeats
within a batch are computed once and weighted. This is exact for losses that are weighted means, except that repeats
then share their dropout mask.

Early stopping looks at 10 % of the training normals, drawn with the seed before training: never at the test part,
never at a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detector import report_progress
from methods._layers import SingularError

Counts = NDArray[np.int64]
LossParts = dict[str, Tensor]
Loss = Callable[[NDArray[np.int64], Tensor], LossParts]
"""(indices of items, weights summing to 1) -> scalars by name; the one called `loss` is minimised."""
Update = Callable[[Tensor, str], None]
Batch = tuple[NDArray[np.int64], NDArray[np.float64]]


class TrainingDivergedError(ArithmeticError):
    """The loss or its gradient became NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The training budget of the profile `paper`; a method's Config extends it."""

    learning_rate: float = 1e-3
    """Adam's step size (MLAD section 5.2)."""
    batch_size: int = 512
    """Draws per step (MLAD section 5.2)."""
    max_epochs: int = 30
    """Epochs at most (MLAD section 5.2)."""
    epoch: Literal["all", "distinct"] = "all"
    """Draws per epoch: the number of training items with their repeats, or of the distinct ones."""
    max_draws: int = 25_000
    """Draws per epoch at most, so that large data cost no more than 49 steps an epoch [R]."""
    dropout: float = 0.5
    """Probability of zeroing an activation in training (MLAD section 5.2)."""
    clip_norm: float = 5.0
    """Largest norm of the gradient [R]."""
    validation_fraction: float = 0.1
    """Share of the training normals held out for early stopping [R]."""
    patience: int = 3
    """Epochs without a lower held-out loss after which training stops (deep-loglizer: 3)."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1 or not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"dropout {self.dropout} and validation_fraction {self.validation_fraction} must be in [0, 1)"
            )
        if min(self.batch_size, self.max_epochs, self.max_draws, self.patience) < 1:
            raise ValueError("batch_size, max_epochs, max_draws and patience must be at least 1")


class HeldOut(NamedTuple):
    """What `hold_out` returns: two parts of the counts, which add up to them."""

    train: Counts
    held_out: Counts


@dataclass(frozen=True, slots=True)
class History:
    """What happened while training."""

    epochs: tuple[dict[str, float], ...]
    """Mean of each loss part per epoch, as `train_<part>` and `held_out_<part>`."""
    best_epoch: int
    """From 0; its weights were kept."""
    stopped_by: str
    """`patience` or `max_epochs`."""

    def as_json(self) -> dict[str, Any]:
        """The same, for `monitor`."""
        return {
            "epochs_run": len(self.epochs),
            "best_epoch": self.best_epoch,
            "stopped_by": self.stopped_by,
            "epochs": list(self.epochs),
        }


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch within the block and put the global random state back afterwards."""
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def hold_out(counts: Counts, fraction: float, seed: int) -> HeldOut:
    """Draw a share of all items without replacement; counts and both parts: int64 (n_items,)."""
    size = int(counts.sum() * fraction)
    held = np.random.default_rng([seed, 1]).multivariate_hypergeometric(counts, size, method="marginals")
    return HeldOut(counts - held, held)


def train_network(
    net: nn.Module,
    loss: Loss,
    counts: HeldOut,
    settings: TrainingSettings,
    *,
    seed: int,
    merge_repeats: bool = True,
) -> History:
    """Minimise the loss by Adam, keep the weights of the best epoch, leave the network in eval mode.

    counts: of the items to train on and of those held out. Where nothing is held out (fewer than 10 items), the
    training loss decides. merge_repeats=False computes repeats within a batch one by one, each with its own dropout.
    Call it within `seeded`: dropout draws from torch's global generator.
    """
    rng = np.random.default_rng([seed, 2])
    device = next(net.parameters()).device
    update = _updater(net, settings)
    checks = list(_held_out_batches(counts.held_out, settings.batch_size, rng))
    records: list[dict[str, float]] = []
    best, best_loss, best_weights = 0, np.inf, _copy_of(net)
    for epoch in range(settings.max_epochs):
        net.train()
        batches = _epoch_batches(counts.train, settings, rng, merge_repeats)
        record = _run(loss, batches, phase="train", epoch=epoch, device=device, update=update)
        net.eval()
        with torch.no_grad():
            record |= _run(loss, checks, phase="held_out", epoch=epoch, device=device)
        records.append(record)
        report_progress("training", epoch + 1, settings.max_epochs)
        if (current := record.get("held_out_loss", record["train_loss"])) < best_loss:
            best, best_loss, best_weights = epoch, current, _copy_of(net)
        elif epoch - best >= settings.patience:
            break
    net.load_state_dict(best_weights)
    ran_out = len(records) == settings.max_epochs
    return History(tuple(records), best, "max_epochs" if ran_out else "patience")


def _epoch_batches(
    counts: Counts, settings: TrainingSettings, rng: np.random.Generator, merge: bool
) -> Iterator[Batch]:
    total = int(counts.sum())
    size = np.count_nonzero(counts) if settings.epoch == "distinct" else total
    n = min(size, settings.max_draws)
    places = (rng.random() + np.arange(n)) * (total / n)
    draws = np.searchsorted(np.cumsum(counts), places, side="right")
    # Rounding may push the last place onto the total, behind the last item.
    draws = rng.permutation(np.minimum(draws, np.flatnonzero(counts)[-1]))
    for part in np.array_split(draws, -(-n // settings.batch_size)):
        if merge:
            items, repeats = np.unique(part, return_counts=True)
            yield items, repeats.astype(np.float64)
        else:
            yield part, np.ones(len(part))


def _held_out_batches(counts: Counts, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
    items = rng.permutation(np.flatnonzero(counts))
    if len(items):
        for part in np.array_split(items, -(-len(items) // batch_size)):
            yield part, counts[part].astype(np.float64)


def _run(
    loss: Loss,
    batches: Iterable[Batch],
    *,
    phase: str,
    epoch: int,
    device: torch.device,
    update: Update | None = None,
) -> dict[str, float]:
    """Mean of each loss part over the batches; with `update` the network learns from each."""
    sums: dict[str, float] = {}
    total = 0.0
    for step, (items, repeats) in enumerate(batches):
        where = f"{phase} part, epoch {epoch}, step {step}"
        size = float(repeats.sum())
        parts = _finite(loss, items, torch.as_tensor(repeats / size, dtype=torch.float32, device=device), where)
        if update is not None:
            update(parts["loss"], where)
        total += size
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) * size
    return {f"{phase}_{name}": value / total for name, value in sums.items()}


def _finite(loss: Loss, items: NDArray[np.int64], weights: Tensor, where: str) -> LossParts:
    try:
        parts = loss(items, weights)
    except SingularError as error:
        raise TrainingDivergedError(f"{error} ({where})") from error
    if not torch.isfinite(parts["loss"]):
        values = {name: float(value.detach()) for name, value in parts.items()}
        raise TrainingDivergedError(f"the loss is not finite ({where}): {values}; try a lower learning_rate")
    return parts


def _updater(net: nn.Module, settings: TrainingSettings) -> Update:
    optimiser = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)

    def update(loss: Tensor, where: str) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        if not torch.isfinite(norm):
            raise TrainingDivergedError(f"the gradient is not finite ({where}); try a lower learning_rate")
        optimiser.step()

    return update


def _copy_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
