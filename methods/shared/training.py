"""The one training loop of all neural methods.

Training sequences (or histories) come as distinct items with counts. An epoch draws as many items as there are with
repeats (`epoch="all"`) or distinct ones (`"distinct"`), at most `max_draws`, by systematic sampling in proportion to
the counts: item i appears floor or ceil of its share times, and with all drawn exactly count_i times, which is the
epoch of the expanded data. Draws are shuffled and cut into batches of nearly equal size (no tiny last batch); repeats
within a batch are computed once and weighted. This is exact for losses that are weighted means, except that repeats
then share their dropout mask.

A method whose data live on a device passes `stage`: it turns the items of a whole epoch into what the loss takes, so
that nothing is copied to or from the device between two epochs' ends. Hence a loss or gradient that is not finite stops
training at once on the CPU, but elsewhere only at the end of its epoch, and the error still names the step where it
began: to look at each step would make the device wait for the host. The weights of a diverged epoch are never kept, as
the error ends the fit; what it costs is the rest of that epoch.

Early stopping looks at 10 % of the training normals, drawn with the seed before training: never at the test part,
never at a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detector import report_progress
from methods.shared.layers import SingularError

Counts = NDArray[np.int64]
LossParts = dict[str, Tensor]
Loss = Callable[[Any, Tensor], LossParts]
"""(indices of items, int64, or what `stage` made of them; weights summing to 1) -> scalars by name; the one called
`loss` is minimised, the others are averaged and kept."""
Stage = Callable[[Sequence[NDArray[np.int64]]], Sequence[Any]]
"""Indices of items of each batch of an epoch -> what the loss takes for each."""
Update = Callable[[Tensor], Tensor]
"""Minimise a loss by one step; returns the norm of its gradient."""
Batch = tuple[NDArray[np.int64], NDArray[np.float64]]


_NORM = "gradient_norm"


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
    precision: Literal["float32", "bf16"] = field(default="float32", metadata={"identity": False})
    """Of matrix products in training; `bf16` is mixed precision, and changes results by rounding."""
    compile: bool = field(default=False, metadata={"identity": False})
    """Let torch.compile translate the network for training; needs a C++ compiler, and half a minute or more."""

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
    stage: Stage | None = None,
) -> History:
    """Minimise the loss by Adam, keep the weights of the best epoch, leave the network in eval mode.

    counts: of the items to train on and of those held out. Where nothing is held out (fewer than 10 items), the
    training loss decides. merge_repeats=False computes repeats within a batch one by one, each with its own dropout.
    stage: called with the items of all batches of an epoch; what it returns reaches the loss in their place.
    Call it within `seeded`: dropout draws from torch's global generator.
    """
    rng = np.random.default_rng([seed, 2])
    device = next(net.parameters()).device
    loss = _in_precision(loss, settings.precision, device)
    update = _updater(net, settings)
    checks = _staged(_held_out_batches(counts.held_out, settings.batch_size, rng), stage, device)
    records: list[dict[str, float]] = []
    best, best_loss, best_weights = 0, np.inf, _copy_of(net)
    for epoch in range(settings.max_epochs):
        net.train()
        batches = _staged(_epoch_batches(counts.train, settings, rng, merge_repeats), stage, device)
        record = _run(loss, batches, phase="train", epoch=epoch, update=update)
        net.eval()
        with torch.no_grad():
            record |= _run(loss, checks, phase="held_out", epoch=epoch)
        records.append(record)
        current = record.get("held_out_loss", record["train_loss"])
        report_progress(f"training, loss {current:.4g}", epoch + 1, settings.max_epochs)
        if current < best_loss:
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


class _Staged(NamedTuple):
    items: Any
    weights: Tensor
    """(n,) summing to 1, on the device."""
    size: float
    """Draws of the batch."""


def _staged(batches: Iterator[Batch], stage: Stage | None, device: torch.device) -> list[_Staged]:
    """All batches of an epoch with their weights on the device, in one copy."""
    drawn = list(batches)
    if not drawn:
        return []
    items = [part for part, _ in drawn]
    shares = np.concatenate([repeats / repeats.sum() for _, repeats in drawn])
    weights = torch.split(torch.as_tensor(shares, dtype=torch.float32, device=device), [len(part) for part in items])
    taken = items if stage is None else stage(items)
    return [_Staged(*batch) for batch in zip(taken, weights, (float(r.sum()) for _, r in drawn), strict=True)]


def _run(
    loss: Loss, batches: Sequence[_Staged], *, phase: str, epoch: int, update: Update | None = None
) -> dict[str, float]:
    """Mean of each loss part over the batches; with `update` the network learns from each."""
    if not batches:
        return {}
    names, steps = _steps(loss, batches, update=update, where=f"{phase} part, epoch {epoch}")
    values = steps.cpu()
    for step, row in enumerate(values):
        _require_finite(dict(zip(names, row.tolist(), strict=True)), f"{phase} part, epoch {epoch}, step {step}")
    sizes = torch.tensor([batch.size for batch in batches], dtype=torch.float64)
    means = (values * sizes[:, None]).sum(0) / sizes.sum()
    return {f"{phase}_{name}": value for name, value in zip(names, means.tolist(), strict=True) if name != _NORM}


def _steps(
    loss: Loss, batches: Sequence[_Staged], *, where: str, update: Update | None = None
) -> tuple[list[str], Tensor]:
    """Names of the loss parts and their values, (n_steps, n_parts) on the device; reads nothing from another device."""
    rows, names = [], []
    for step, batch in enumerate(batches):
        place = f"{where}, step {step}"
        try:
            parts = dict(loss(batch.items, batch.weights))
        except SingularError as error:
            raise TrainingDivergedError(f"{error} ({place})") from error
        at_once = batch.weights.device.type == "cpu"
        if at_once and not torch.isfinite(parts["loss"]):
            _require_finite({name: float(value.detach()) for name, value in parts.items()}, place)
        if update is not None:
            parts[_NORM] = update(parts["loss"])
            if at_once and not torch.isfinite(parts[_NORM]):
                _require_finite({_NORM: float(parts[_NORM])}, place)
        names = list(parts)
        rows.append(torch.stack([value.detach().double() for value in parts.values()]))
    return names, torch.stack(rows)


def _require_finite(values: dict[str, float], where: str) -> None:
    if not np.isfinite(values.get("loss", 0.0)):
        raise TrainingDivergedError(f"the loss is not finite ({where}): {values}; try a lower learning_rate")
    if not np.isfinite(values.get(_NORM, 0.0)):
        raise TrainingDivergedError(f"the gradient is not finite ({where}); try a lower learning_rate")


def _in_precision(loss: Loss, precision: str, device: torch.device) -> Loss:
    """The loss in mixed precision where that was asked for; sums and normalisations stay in float32."""

    def context() -> AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

    def mixed(items: Any, weights: Tensor) -> LossParts:
        with context():
            return loss(items, weights)

    return mixed


def _updater(net: nn.Module, settings: TrainingSettings) -> Update:
    optimiser = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)

    def update(loss: Tensor) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        # A gradient that is not finite must not reach the weights; clipping by NaN would make all of them NaN.
        if norm.device.type != "cpu" or torch.isfinite(norm):
            optimiser.step()
        return norm

    return update


def _copy_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
