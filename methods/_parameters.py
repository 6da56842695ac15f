"""DeepLog's parameter-value model (Du et al., CCS 2017, section 3.2): an LSTM per log key predicts its values.

The vector of an event is the time since the event before it in its sequence, where the log has times, and the numbers
of its message, normalised by mean and deviation of training. The LSTM of its key predicts it from the last h vectors of
the same key in the same sequence [R: the paper does not say how sequences are cut]; shorter histories are padded with
zeros, the mean. The squared errors of held-out events give a Gaussian; an event alarms when its error lies above the
upper end of the interval of the wanted confidence. Low errors are no alarm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn

from bench.types import Sequences
from methods import _layers
from methods._training import HeldOut, TrainingSettings, hold_out, seeded, train_network

_FEWEST = 20
"""Events of a key in training below which it gets no model [R]."""

_BLOCK = 4096

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class _Events(NamedTuple):
    """All events of one log key."""

    which: Integers
    """(n,) positions among all events."""
    vectors: Floats
    """(n, width) NaN where a value is missing."""
    sequence: Integers
    """(n,) ascending."""


class ParameterNetwork(nn.Module):
    """LSTM of one key, with what normalises its values and bounds its errors."""

    shift: Tensor
    scale: Tensor
    bound: Tensor

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True)
        self.outlet = nn.Linear(hidden, width)
        # In float64: a block id of 19 digits minus the mean is lost in float32.
        self.register_buffer("shift", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(width, dtype=torch.float64))
        self.register_buffer("bound", torch.tensor([0.0, 1.0], dtype=torch.float64))

    def forward(self, histories: Tensor) -> Tensor:
        """histories: (B, h, width) normalised -> predicted vectors (B, width)."""
        return torch.as_tensor(self.outlet(self.lstm(histories)[0][:, -1]))

    def errors(self, histories: Tensor, actual: Tensor) -> Tensor:
        """(B,): mean squared error over the values that are there; actual: (B, width) with NaN where one is missing."""
        missing = actual.isnan()
        squared = (self(histories) - actual.nan_to_num()).square().masked_fill(missing, 0)
        return torch.as_tensor(squared.sum(1) / (~missing).sum(1).clamp_min(1))


class ParameterModel:
    """The networks of all keys that have values and enough events."""

    def __init__(self, settings: TrainingSettings, history: int, hidden: int, layers: int) -> None:
        self.settings = replace(settings, dropout=0.0)
        self.level: float = getattr(settings, "level", 0.98)
        self.history, self.hidden, self.layers = history, hidden, layers
        self.nets = nn.ModuleDict()

    def fit(self, train: Sequences, keys: NDArray[np.int32], *, seed: int, device: str) -> None:
        """Train the network of each key; part of the sequences is held out for stopping and for the bound."""
        parts = hold_out(np.ones(len(train), np.int64), self.settings.validation_fraction, seed)
        for key, width in zip(keys.tolist(), _widths(train, keys).tolist(), strict=True):
            events = _events_of(train, key, width)
            if np.isfinite(events.vectors).any(1).sum() >= _FEWEST:
                counts = HeldOut(parts.train[events.sequence], parts.held_out[events.sequence])
                self.nets[str(key)] = self._trained(events, counts, seed, device)

    def excess(self, sequences: Sequences) -> Floats:
        """float64 (n_events,): error above the usual one as a multiple of the allowed; 0 for keys without a model."""
        result = np.zeros(sequences.n_events)
        present = set(np.unique(sequences.log_keys).tolist())
        for name, module in self.nets.items():
            if int(name) in present:
                net = cast(ParameterNetwork, module)
                events = _events_of(sequences, int(name), len(net.shift))
                usual, allowed = net.bound.tolist()
                result[events.which] = np.maximum((self._errors(net, events) - usual) / allowed, 0)
        return result

    def state(self) -> dict[str, NDArray[Any]]:
        """The networks, by key."""
        arrays = _layers.arrays_of(self.nets)
        return {f"parameters.{name}": value for name, value in arrays.items()}

    def load_state(self, state: dict[str, NDArray[Any]], *, device: str) -> None:
        """Take over what `state` returned."""
        own = {name.removeprefix("parameters."): value for name, value in state.items() if "parameters." in name}
        with seeded(0, device):
            for name, value in own.items():
                if name.endswith(".shift"):
                    key = name.split(".")[1]
                    self.nets[key] = ParameterNetwork(len(value), self.hidden, self.layers).to(device).double().eval()
        _layers.load_arrays(self.nets, own)

    def monitor(self) -> int:
        """How many keys have a network."""
        return len(self.nets)

    def _trained(self, events: _Events, counts: HeldOut, seed: int, device: str) -> ParameterNetwork:
        learned = events.vectors[counts.train > 0] if counts.train.any() else events.vectors
        seen = np.isfinite(learned)
        n = np.maximum(seen.sum(0), 1)
        shift = np.where(seen, learned, 0).sum(0) / n
        scale = np.sqrt((np.where(seen, learned - shift, 0) ** 2).sum(0) / n)
        with seeded(seed, device):
            net = ParameterNetwork(events.vectors.shape[1], self.hidden, self.layers).to(device)
            net.shift.copy_(torch.as_tensor(shift))
            # A value that never changed keeps its unit: any other value then counts by its distance. One that training
            # never had becomes NaN, which is "missing" everywhere.
            scale = np.where(scale > 1e-9 * (1 + np.abs(shift)), scale, 1.0)
            net.scale.copy_(torch.as_tensor(np.where(seen.any(0), scale, np.nan)))
            histories, actual = self._inputs(net, events)

            def loss(items: Integers, weights: Tensor) -> dict[str, Tensor]:
                rows = torch.as_tensor(items, device=actual.device)
                return {"loss": (weights * net.errors(histories[rows], actual[rows])).sum()}

            if counts.train.any():
                train_network(net, loss, counts, self.settings, seed=seed)
        net = net.double().eval()
        held_out = counts.held_out > 0
        watched = held_out if held_out.sum() >= _FEWEST // 2 else np.full(len(held_out), True)
        errors = self._errors(net, events)[watched]
        allowed = norm.ppf((1 + self.level) / 2) * max(float(errors.std()), 1e-6)
        net.bound.copy_(torch.tensor([float(errors.mean()), allowed]))
        return net

    def _errors(self, net: ParameterNetwork, events: _Events) -> Floats:
        with torch.inference_mode():
            histories, actual = self._inputs(net, events)
            parts = zip(torch.split(histories, _BLOCK), torch.split(actual, _BLOCK), strict=True)
            return torch.cat([net.errors(*part) for part in parts]).cpu().numpy()

    def _inputs(self, net: ParameterNetwork, events: _Events) -> tuple[Tensor, Tensor]:
        """Histories (n, h, width) without gaps, and vectors (n, width) with NaN, both normalised."""
        vectors = (torch.as_tensor(events.vectors, device=net.shift.device) - net.shift) / net.scale
        vectors = vectors.to(net.outlet.weight.dtype)
        places = np.arange(len(events.which))[:, None] + np.arange(-self.history, 0)
        inside = (places >= 0) & (events.sequence[np.maximum(places, 0)] == events.sequence[:, None])
        real = torch.as_tensor(inside, device=vectors.device)[:, :, None]
        rows = torch.as_tensor(np.maximum(places, 0), device=vectors.device)
        return vectors.nan_to_num()[rows] * real, vectors


def _widths(train: Sequences, keys: NDArray[np.int32]) -> Integers:
    """int64 (n_keys,): length of the vectors of each key: the time, and as many values as it ever has."""
    widths = np.zeros(int(keys.max()) + 1, np.int64)
    known = train.log_keys >= 0
    if train.parameters is not None:
        np.maximum.at(widths, train.log_keys[known], np.diff(train.parameters.offsets)[known])
    return 1 + widths[keys]


def _events_of(sequences: Sequences, key: int, width: int) -> _Events:
    """The events of a key with vectors of this width, the time first; further values are cut off."""
    which = np.flatnonzero(sequences.log_keys == key)
    owner = sequences.sequence_of_event
    vectors = np.full((len(which), width), np.nan)
    gaps = np.diff(sequences.elapsed_s, prepend=0.0)
    gaps[(np.diff(owner, prepend=-1) != 0) & np.isfinite(gaps)] = 0.0
    vectors[:, 0] = gaps[which]
    if sequences.parameters is not None:
        lengths = np.minimum(np.diff(sequences.parameters.offsets)[which], width - 1)
        row = np.repeat(np.arange(len(which)), lengths)
        column = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        starts = np.repeat(sequences.parameters.offsets[which], lengths)
        vectors[row, column + 1] = sequences.parameters.values[starts + column]
    return _Events(which, vectors, owner[which])
