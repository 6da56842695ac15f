"""The one training loop of all neural methods, and the one budget: so many steps of one batch size.

Training sequences come as distinct items with counts; how they are drawn, and which are held out, is
in `draws.py`. Repeats within a batch are computed once and weighted. This is exact for losses that
are weighted means, except that repeats then share their dropout mask.

Nothing stops the common budget early: the last weights are kept, and the loss of the held-out part
is watched only. A profile with a published budget trains by epochs, a pass each, and may stop by
patience; then the best weights are kept.

A method whose data live on a device passes `stage`: it turns the items of several batches into what
the loss takes, so that nothing is copied to or from the device within these. Hence a loss or
gradient that is not finite stops training at once on the CPU, but elsewhere only at the end of such
a block, and the error still names the step where it began: to look at each step would make the
device wait for the host. The weights of a diverged block are never kept, as the error ends the fit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count, islice, pairwise
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detector import report_progress
from methods.shared.draws import Batch, HeldOut, batches_of, hold_out, watched_of
from methods.shared.layers import SingularError
from methods.shared.optimiser import OptimiserSettings, adam, rate_factor

__all__ = [
    "HeldOut",
    "History",
    "Loss",
    "Stage",
    "TrainingDivergedError",
    "TrainingSettings",
    "hold_out",
    "seeded",
    "train_network",
]

LossParts = dict[str, Tensor]
Loss = Callable[[Any, Tensor], LossParts]
"""(indices of items, int64, or what `stage` made of them; weights summing to 1) -> scalars by name;
the one called `loss` is minimised, the others are averaged and kept."""
Stage = Callable[[Sequence[NDArray[np.int64]]], Sequence[Any]]
"""Indices of items of each of several batches -> what the loss takes for each."""
Update = Callable[[Tensor], Tensor]
"""Minimise a loss by one step; returns the norm of its gradient."""

_NORM = "gradient_norm"

_CHECKS: Final = 10
"""Looks at the held-out part over a budget of steps."""
_AHEAD: Final = 64
"""Steps whose batches are staged at once."""


class TrainingDivergedError(ArithmeticError):
    """The loss or its gradient became NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(OptimiserSettings):
    """The training budget of the profile `paper`; a method's Config extends it."""

    learning_rate: float = 1e-3
    """Adam's step size (MLAD section 4.1)."""
    steps: int | None = 600
    """Steps of the optimiser, the same number for every network [R]; 0: the network stays untrained,
    None: `max_epochs` counts."""
    batch_size: int = 128
    """Sequences per step, at most all there are [R]."""
    max_epochs: int | None = None
    """Passes over the training part, where `steps` is None: a budget that a method published."""
    patience: int | None = None
    """Epochs without a lower held-out loss after which `max_epochs` is cut short and the best weights
    are kept; None: never."""
    dropout: float = 0.5
    """Probability of zeroing an activation in training (MLAD section 4.1)."""
    clip_norm: float | None = 5.0
    """Largest norm of the gradient [R]; None: as large as it is."""
    validation_fraction: float = 0.1
    """Share of the distinct training sequences that is held out, at most 2,000 [R]."""
    precision: Literal["float32", "bf16"] = field(default="float32", metadata={"identity": False})
    """Of matrix products in training; `bf16` is mixed precision, and changes results by rounding."""
    compile: bool = field(default=False, metadata={"identity": False})
    """Let torch.compile translate the network for training; needs a C++ compiler, and half a minute
    or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.counts_epochs and self.max_epochs is None:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} and decay_epochs {list(self.decay_epochs)} need a "
                f"budget in epochs: set steps to none and max_epochs to a number"
            )
        if not 0 <= self.dropout < 1 or not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"dropout {self.dropout} and validation_fraction {self.validation_fraction} must be in [0, 1)"
            )
        if self.batch_size < 1 or (self.steps or 0) < 0:
            raise ValueError(f"batch_size {self.batch_size} must be at least 1, steps {self.steps} not negative")
        if (self.steps is None) == (self.max_epochs is None):
            raise ValueError(
                f"steps {self.steps} and max_epochs {self.max_epochs}: one of them is the budget, "
                f"the other must be none"
            )
        if self.patience is not None and self.max_epochs is None:
            raise ValueError(
                f"patience {self.patience} may only end a budget in epochs: set steps to none and "
                f"max_epochs to a number"
            )
        if any(value is not None and value < 1 for value in (self.max_epochs, self.patience)):
            raise ValueError("max_epochs and patience must be at least 1")


@dataclass(frozen=True, slots=True)
class History:
    """What happened while training."""

    checks: tuple[dict[str, float], ...]
    """At each look the `step`, the mean of each loss part since the one before as `train_<part>`, and
    on held-out items as `held_out_<part>`."""
    batch_size: int
    """Draws per step."""
    kept_step: int
    """The weights after so many steps were kept."""
    stopped_by: str
    """`steps`, `max_epochs` or `patience`."""

    def as_json(self) -> dict[str, Any]:
        """The same, for `monitor`; curves are called `epochs`, as records know them."""
        return {
            "steps_run": int(self.checks[-1]["step"]) if self.checks else 0,
            "batch_size": self.batch_size,
            "kept_step": self.kept_step,
            "stopped_by": self.stopped_by,
            "epochs": list(self.checks),
        }


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch within the block and put the global random state back afterwards."""
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def train_network(
    net: nn.Module,
    loss: Loss,
    counts: HeldOut,
    settings: TrainingSettings,
    *,
    seed: int,
    merge_repeats: bool = True,
    stage: Stage | None = None,
    before: Callable[[int], None] | None = None,
) -> History:
    """Minimise the loss by Adam and leave the network in eval mode.

    counts: of the items to train on and of those held out, which are only looked at; where there are
    none, patience goes by the training loss. merge_repeats=False computes repeats within a batch one
    by one, each with its own dropout. stage: called with the items of many batches; what it returns
    reaches the loss in their place. before: called with the number, from 0, of each stretch between
    two looks (a tenth of the steps, or an epoch), before its first step.
    Call it within `seeded`: dropout draws from torch's global generator.
    """
    rng = np.random.default_rng([seed, 2])
    device = next(net.parameters()).device
    size = min(settings.batch_size, int(counts.train.sum()))
    looks = _looks(settings, int(counts.train.sum()), size).tolist()
    loss = _in_precision(loss, settings.precision, device)
    watched = _staged(watched_of(counts.held_out, settings.batch_size, rng), stage, device)
    batches = batches_of(counts.train, size, rng, merge_repeats)
    update = _updater(net, settings, looks)
    keeper = _Keeper(net, settings.patience)
    checks: list[dict[str, float]] = []
    for number, (start, end) in enumerate(pairwise(looks)):
        if before is not None:
            before(number)
        net.train()
        rows: list[_Values] = []
        for first in range(start, end, _AHEAD):
            last = min(first + _AHEAD, end)
            ahead = _staged(islice(batches, last - first), stage, device)
            rows.append(_values(loss, ahead, phase="train", first=first, update=update))
            now = _means(rows[-1:], "train")["train_loss"]
            report_progress(f"training, loss {now:.4g}", last, looks[-1])
        net.eval()
        with torch.no_grad():
            seen = [_values(loss, watched, phase="held_out", first=end)] if watched else []
        checks.append({"step": end, **_means(rows, "train"), **_means(seen, "held_out")})
        if keeper.is_over(checks[-1]):
            break
    net.eval()
    budget = "max_epochs" if settings.steps is None else "steps"
    stopped_by = "patience" if checks and checks[-1]["step"] < looks[-1] else budget
    return History(tuple(checks), size, keeper.restore(), stopped_by)


def _looks(settings: TrainingSettings, total: int, size: int) -> NDArray[np.int64]:
    """Steps after which the held-out part is looked at, ascending from 0; size: draws per step."""
    if settings.steps is None:
        epochs = np.arange((settings.max_epochs or 0) + 1)
        return -(-epochs * total // max(size, 1))
    return np.unique(np.rint(np.linspace(0, settings.steps, _CHECKS + 1)).astype(np.int64))


class _Staged(NamedTuple):
    items: Any
    weights: Tensor
    """(n,) summing to 1, on the device."""
    size: float
    """Draws of the batch."""


def _staged(batches: Iterator[Batch], stage: Stage | None, device: torch.device) -> list[_Staged]:
    """All these batches with their weights on the device, in one copy."""
    drawn = list(batches)
    if not drawn:
        return []
    items = [part for part, _ in drawn]
    sizes = [float(repeats.sum()) for _, repeats in drawn]
    shares = np.concatenate([repeats / repeats.sum() for _, repeats in drawn])
    moved = torch.as_tensor(shares, dtype=torch.float32, device=device)
    weights = torch.split(moved, [len(part) for part in items])
    taken = items if stage is None else stage(items)
    return [_Staged(*batch) for batch in zip(taken, weights, sizes, strict=True)]


class _Values(NamedTuple):
    """Loss parts of several steps."""

    names: list[str]
    steps: NDArray[np.float64]
    """(n_steps, n_parts)"""
    sizes: NDArray[np.float64]
    """(n_steps,) draws of each."""


def _values(loss: Loss, batches: Sequence[_Staged], *, phase: str, first: int, update: Update | None = None) -> _Values:
    """Loss parts of each batch; with `update` the network learns from each. first: the number of the first step."""
    names, steps = _steps(loss, batches, update=update, where=phase, first=first)
    values = steps.cpu().numpy()
    for step, row in enumerate(values.tolist()):
        _require_finite(dict(zip(names, row, strict=True)), _place(phase, first + step))
    return _Values(names, values, np.array([batch.size for batch in batches]))


def _means(blocks: Sequence[_Values], phase: str) -> dict[str, float]:
    """Mean of each loss part over the steps, weighted by their draws."""
    if not blocks:
        return {}
    sizes = np.concatenate([block.sizes for block in blocks])
    means = sizes @ np.concatenate([block.steps for block in blocks]) / sizes.sum()
    named = zip(blocks[0].names, means.tolist(), strict=True)
    return {f"{phase}_{name}": value for name, value in named if name != _NORM}


def _steps(
    loss: Loss,
    batches: Sequence[_Staged],
    *,
    where: str,
    first: int = 0,
    update: Update | None = None,
) -> tuple[list[str], Tensor]:
    """Names of the loss parts and their values, (n_steps, n_parts) on the device.

    Reads nothing from another device.
    """
    rows, names = [], []
    for step, batch in enumerate(batches, start=first):
        try:
            parts = dict(loss(batch.items, batch.weights))
        except SingularError as error:
            raise TrainingDivergedError(f"{error} ({_place(where, step)})") from error
        at_once = batch.weights.device.type == "cpu"
        if at_once and not torch.isfinite(parts["loss"]):
            values = {name: float(value.detach()) for name, value in parts.items()}
            _require_finite(values, _place(where, step))
        if update is not None:
            parts[_NORM] = update(parts["loss"])
            if at_once and not torch.isfinite(parts[_NORM]):
                _require_finite({_NORM: float(parts[_NORM])}, _place(where, step))
        names = list(parts)
        rows.append(torch.stack([value.detach().double() for value in parts.values()]))
    return names, torch.stack(rows)


def _place(phase: str, step: int) -> str:
    return f"{phase} part, step {step}"


def _require_finite(values: dict[str, float], where: str) -> None:
    if not np.isfinite(values.get("loss", 0.0)):
        raise TrainingDivergedError(f"the loss is not finite ({where}): {values}; try a lower learning_rate")
    if not np.isfinite(values.get(_NORM, 0.0)):
        raise TrainingDivergedError(f"the gradient is not finite ({where}); try a lower learning_rate")


class _Keeper:
    """Which weights are kept: the last ones, or with patience the best."""

    def __init__(self, net: nn.Module, patience: int | None) -> None:
        self.net, self.patience = net, patience
        self.step, self.best_loss, self.since = 0, np.inf, 0
        self.weights: dict[str, Tensor] | None = None

    def is_over(self, check: dict[str, float]) -> bool:
        """Look at a check; True where patience has run out."""
        current = check.get("held_out_loss", check["train_loss"])
        if self.patience is None or current < self.best_loss:
            self.step, self.best_loss, self.since = int(check["step"]), current, 0
            self.weights = None if self.patience is None else _copy_of(self.net)
            return False
        self.since += 1
        return self.since >= self.patience

    def restore(self) -> int:
        """Put the kept weights back; the step that they are from."""
        if self.weights is not None:
            self.net.load_state_dict(self.weights)
        return self.step


def _in_precision(loss: Loss, precision: str, device: torch.device) -> Loss:
    """The loss in mixed precision where asked for; sums and normalisations stay in float32."""

    def context() -> AbstractContextManager[Any]:
        is_mixed = precision == "bf16"
        return torch.autocast(device.type, torch.bfloat16) if is_mixed else nullcontext()

    def mixed(items: Any, weights: Tensor) -> LossParts:
        with context():
            return loss(items, weights)

    return mixed


def _updater(net: nn.Module, settings: TrainingSettings, looks: Sequence[int]) -> Update:
    """looks: the first step of each epoch, where epochs count."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    fused = parameters[0].device.type in ("cpu", "cuda")
    optimiser = adam(parameters, settings, settings.learning_rate, fused=fused)
    largest = np.inf if settings.clip_norm is None else settings.clip_norm
    steps = count()

    def update(loss: Tensor) -> Tensor:
        step = next(steps)
        factor = rate_factor(settings, step, bisect_right(looks, step) - 1)
        optimiser.param_groups[0]["lr"] = settings.learning_rate * factor
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, largest)
        # A gradient that is not finite must not reach the weights; clipping by NaN would make all NaN.
        if norm.device.type != "cpu" or torch.isfinite(norm):
            optimiser.step()
        return norm

    return update


def _copy_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
