"""DeepLog's parameter-value model (Du et al., CCS 2017, section 3.2): an LSTM per log key predicts its values.

The vector of an event is the time since the event before it in its sequence, whatever its key, where the log has times,
and the numbers of its message, normalised by mean and deviation of training. The LSTM of its key predicts it from the
last h vectors of the same key, by the mean squared error. The errors of held-out events give a Gaussian; an event
alarms when its error lies above the upper end of the interval of the wanted confidence.

Reconstructions [R]: the history does not cross the border of a sequence, since a score may depend on nothing else (the
paper draws one series per key through the log); a shorter one is padded with zeros, the mean. A place of the template
counts where training had a number in at least half of its events, so that a hex word that happens to hold no letter is
none. A value that is missing later is left out of the error, as is one whose event has its key by similarity only
(`+nearest`), since its places are not the template's. A key with fewer than 20 events has no model. The events held
out for the Gaussian are of sequences that are not trained on. All keys together have the steps of one network, each by
its share of the events, but at least a tenth of them; a step takes 20 events where it takes a sequence elsewhere. Low
errors are no alarm. Distinct pairs of a history and a vector are computed once and weighted by their counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn

from bench.types import Parameters, Sequences
from methods.shared import histories as _histories
from methods.shared import layers as _layers
from methods.shared.histories import FIRST_KEY, STRETCH, Predictions, predictions_of
from methods.shared.training import HeldOut, TrainingSettings, hold_out, seeded, train_network

_FEWEST: Final = 20
"""Events of a key in training below which it gets no model [R]."""
_LEAST_SHARE: Final = 0.5
"""Share of the training events of a key that hold a number at a place, for it to count [R]."""
_FARTHEST: Final = 1e6
"""Deviations from the mean at which a value is cut, so that no error is infinite."""

_BLOCK: Final = 4096

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

    def set_scale(self, vectors: Floats) -> None:
        """Normalise by these vectors of training."""
        seen = np.isfinite(vectors)
        n = np.maximum(seen.sum(0), 1)
        shift = np.where(seen, vectors, 0).sum(0) / n
        scale = np.sqrt((np.where(seen, vectors - shift, 0) ** 2).sum(0) / n)
        # A value that never changed keeps its unit: any other value then counts by its distance. One that training
        # seldom had becomes NaN, which is "missing" everywhere.
        scale = np.where(scale > 1e-9 * (1 + np.abs(shift)), scale, 1.0)
        self.shift.copy_(torch.as_tensor(shift))
        self.scale.copy_(torch.as_tensor(np.where(_is_used(vectors), scale, np.nan)))


class _Series:
    """The normalised vectors of one key as tokens, so that equal ones after equal histories are computed once."""

    def __init__(self, net: ParameterNetwork, events: _Events, history: int) -> None:
        vectors = (events.vectors - net.shift.cpu().numpy()) / net.scale.cpu().numpy()
        vectors = np.clip(vectors, -_FARTHEST, _FARTHEST)
        codes = np.stack([np.unique(column, return_inverse=True)[1] for column in vectors.T], axis=1)
        first, token = _histories.distinct_rows(codes.astype(np.int64))
        # In front of the vectors stand those of what no event has: zeros, the mean.
        table = np.concatenate([np.zeros((FIRST_KEY, vectors.shape[1])), vectors[first]])
        weight = net.outlet.weight
        self._table = torch.as_tensor(table, dtype=weight.dtype, device=weight.device)
        self._without_gaps = self._table.nan_to_num()
        self._history = history
        self.tokens = token + FIRST_KEY
        self.offsets = np.append(np.flatnonzero(np.diff(events.sequence, prepend=-1)), len(token)).astype(np.int64)

    def predictions(self, tokens: Integers, offsets: Integers) -> Predictions:
        """The distinct pairs of a history and a vector of these sequences of events."""
        return predictions_of(tokens, offsets, self._history)

    def inputs(self, predictions: Predictions, items: Integers) -> tuple[Tensor, Tensor]:
        """Histories (B, h, width) without gaps, and vectors (B, width) with NaN, of these predictions."""
        past = torch.as_tensor(predictions.histories[predictions.history_of[items]], device=self._table.device)
        actual = torch.as_tensor(predictions.targets[items] + FIRST_KEY, device=self._table.device)
        return self._without_gaps[past], self._table[actual]


class ParameterModel:
    """The networks of all keys that have values and enough events."""

    def __init__(self, settings: TrainingSettings, history: int, hidden: int, layers: int) -> None:
        self.settings = replace(settings, dropout=0.0)
        self.level: float = getattr(settings, "level", 0.98)
        self.history, self.hidden, self.layers = history, hidden, layers
        self.nets = nn.ModuleDict()

    def fit(self, train: Sequences, keys: NDArray[np.int32], *, seed: int, device: str) -> None:
        """Train the network of each key; part of the sequences is held out for stopping and for the bound."""
        _, counts, inverse = train.unique()
        held = hold_out(counts, self.settings.validation_fraction, seed).held_out[inverse] > 0
        parts = HeldOut((~held).astype(np.int64), held.astype(np.int64))
        values = _Values(train)
        modelled = [key for key in keys.tolist() if _has_model(values.of(key), parts)]
        n_events = {key: len(values.of(key).which) for key in modelled}
        for key, n in n_events.items():
            share = n / sum(n_events.values())
            self.nets[str(key)] = self._trained(values.of(key), parts, share, seed, device)

    def excess(self, sequences: Sequences) -> Floats:
        """float64 (n_events,): error above the usual one as a multiple of the allowed; 0 for keys without a model."""
        result = np.zeros(sequences.n_events)
        values = _Values(sequences)
        for name, module in self.nets.items():
            net = cast(ParameterNetwork, module)
            events = values.of(int(name), len(net.shift))
            if not len(events.which):
                continue
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

    def monitor(self) -> dict[str, int]:
        """How many keys have a network, and how many places of their templates it predicts, the times left out."""
        nets = [cast(ParameterNetwork, net) for net in self.nets.values()]
        places = sum(int(net.scale[1:].isfinite().sum()) for net in nets)
        return {"parameter_models": len(nets), "parameter_places": places}

    def _trained(self, events: _Events, parts: HeldOut, share: float, seed: int, device: str) -> ParameterNetwork:
        counts = HeldOut(*(part[events.sequence] for part in parts))
        with seeded(seed, device):
            net = ParameterNetwork(events.vectors.shape[1], self.hidden, self.layers).to(device)
            net.set_scale(_learned(events, parts))
            series = _Series(net, events, self.history)
            found = series.predictions(series.tokens, series.offsets)
            repeats = (np.bincount(found.prediction_of, part, len(found.targets)).astype(np.int64) for part in counts)

            def loss(batch: tuple[Tensor, Tensor], weights: Tensor) -> dict[str, Tensor]:
                return {"loss": (weights * net.errors(*batch)).sum()}

            def stage(batches: Iterable[Integers]) -> list[tuple[Tensor, Tensor]]:
                return [series.inputs(found, items) for items in batches]

            if counts.train.any():
                train_network(net, loss, HeldOut(*repeats), _share_of(self.settings, share), seed=seed, stage=stage)
        net = net.double().eval()
        held_out = counts.held_out > 0
        watched = held_out if held_out.sum() >= _FEWEST // 2 else np.full(len(held_out), True)
        errors = self._errors(net, events)[watched]
        allowed = norm.ppf((1 + self.level) / 2) * max(float(errors.std()), 1e-6)
        net.bound.copy_(torch.tensor([float(errors.mean()), allowed]))
        return net

    def _errors(self, net: ParameterNetwork, events: _Events) -> Floats:
        """float64 (n,): the error of each event."""
        series = _Series(net, events, self.history)
        result = np.zeros(len(events.which))
        with torch.inference_mode():
            for part, inner in _histories.event_blocks(series.offsets):
                found = series.predictions(series.tokens[part], inner)
                blocks = (
                    np.arange(i, min(i + _BLOCK, len(found.targets))) for i in range(0, len(found.targets), _BLOCK)
                )
                errors = torch.cat([net.errors(*series.inputs(found, block)) for block in blocks]).cpu().numpy()
                result[part] = errors[found.prediction_of]
        return result


def _share_of(settings: TrainingSettings, share: float) -> TrainingSettings:
    """The budget of a key with this share of the events."""
    steps = settings.steps if settings.steps is None else max(-(-settings.steps // 10), round(share * settings.steps))
    return replace(settings, steps=steps, batch_size=settings.batch_size * STRETCH)


def has_numbers(sequences: Sequences) -> bool:
    """Whether any event has a numeric message parameter."""
    return sequences.parameters is not None and bool(np.isfinite(sequences.parameters.values).any())


def _learned(events: _Events, parts: HeldOut) -> Floats:
    """The vectors of events that training uses; all of a key whose events were all held out."""
    used = parts.train[events.sequence] > 0
    return events.vectors[used] if used.any() else events.vectors


def _has_model(events: _Events, parts: HeldOut) -> bool:
    """Whether a key has enough events with values."""
    enough = np.isfinite(events.vectors).any(1).sum() >= _FEWEST
    return bool(enough and _is_used(_learned(events, parts)).any())


def _is_used(vectors: Floats) -> NDArray[np.bool_]:
    """Bool mask (width,) of the places at which enough training vectors have a value."""
    return np.asarray(np.isfinite(vectors).mean(0) >= _LEAST_SHARE)


class _Values:
    """Times and numbers of all events, by log key."""

    def __init__(self, sequences: Sequences) -> None:
        self._owner = sequences.sequence_of_event
        gaps = np.diff(sequences.elapsed_s, prepend=0.0)
        gaps[(np.diff(self._owner, prepend=-1) != 0) & np.isfinite(gaps)] = 0.0
        self._gaps = gaps
        self._parameters = sequences.parameters or Parameters(np.empty(0), np.zeros(len(gaps) + 1, np.int64))
        # Of an event whose text is not the template of its key, no value stands at the template's places.
        is_own = sequences.text_ids == sequences.log_keys
        self._lengths = np.where(is_own, np.diff(self._parameters.offsets), 0)
        self._order = np.argsort(sequences.log_keys, kind="stable")
        self._sorted_keys = sequences.log_keys[self._order]

    def of(self, key: int, width: int | None = None) -> _Events:
        """The events of a key with vectors of this width (else the widest there is), the time first."""
        first, last = np.searchsorted(self._sorted_keys, np.array([key, key + 1], np.int32))
        which = self._order[first:last]
        lengths = self._lengths[which]
        width = 1 + int(lengths.max(initial=0)) if width is None else width
        vectors = np.full((len(which), width), np.nan)
        vectors[:, 0] = self._gaps[which]
        lengths = np.minimum(lengths, width - 1)
        row = np.repeat(np.arange(len(which)), lengths)
        column = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        starts = np.repeat(self._parameters.offsets[which], lengths)
        vectors[row, column + 1] = self._parameters.values[starts + column]
        return _Events(which, vectors, self._owner[which])
