"""Stretches of sequences as the predictions that their events are; what training draws of next-event methods.

Equal predictions of a batch, and equal histories behind them, are computed once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.types import ranges
from methods.shared.histories import Integers, Pieces, Predictions


class Batch(NamedTuple):
    """The distinct predictions of some stretches, on the device."""

    rows: Tensor
    """int64 (n_histories,) which of all histories these predictions have."""
    history_of: Tensor
    """int64 (n_predictions,) its place in `rows`."""
    targets: Tensor
    """int64 (n_predictions,)"""
    prediction_of: Tensor
    """int64 (n_events,)"""
    stretch_of: Tensor
    """int64 (n_events,) which of the stretches each event stands in."""

    def mean(self, errors: Tensor, weights: Tensor) -> Tensor:
        """Mean of the predictions' errors (n_predictions,); weights: (n_stretches,), of every event in a stretch."""
        repeats = weights.new_zeros(len(self.targets)).index_add(0, self.prediction_of, weights[self.stretch_of])
        return (repeats * errors).sum() / repeats.sum().clamp_min(1e-12)


class Stretches(NamedTuple):
    """What is drawn from."""

    predictions: Predictions
    pieces: Pieces
    """`tokens` are predictions."""

    def batch(self, items: Integers, device: str) -> Batch:
        """The predictions of these stretches."""
        lengths = self.pieces.lengths[items]
        found = self.pieces.tokens[ranges(self.pieces.offsets[items], lengths)]
        distinct, prediction_of = np.unique(found, return_inverse=True)
        rows, history_of = np.unique(self.predictions.history_of[distinct], return_inverse=True)
        stretch_of = np.repeat(np.arange(len(items)), lengths)
        arrays = (rows, history_of, self.predictions.targets[distinct], prediction_of, stretch_of)
        return Batch(*(torch.as_tensor(array, device=device) for array in arrays))
