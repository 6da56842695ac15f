"""RarestEvent: a sequence is as abnormal as the rarest log key in it.

Works badly where failures show in the order or the absence of events, not in rare ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.types import Sequences


@dataclass(frozen=True, slots=True)
class RarestEventConfig:
    """Hyper-parameters of RarestEvent."""

    smoothing: float = 0.5
    """Events added to the count of every key, the unknown one too (Jeffreys' prior)."""


class RarestEvent(Detector):
    """Scores the greatest -log relative frequency of a sequence's log keys in training, in nats."""

    tags = DetectorTags(told={"source": "normals"})
    Config = RarestEventConfig
    config: RarestEventConfig

    surprise_: NDArray[np.float64]
    """(n_keys + 1,) -log frequency by log key; the last is that of every key not seen in training."""

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Count the log keys of the training sequences."""
        counts = np.bincount(train.log_keys[train.log_keys >= 0])
        smoothed = np.append(counts, 0) + self.config.smoothing
        self.surprise_ = -np.log(smoothed / smoothed.sum())
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return the surprise of each sequence's rarest event; 0 for a sequence without events."""
        if not hasattr(self, "surprise_"):
            raise NotFittedError("RarestEvent.score before fit")
        scores = np.zeros(len(sequences))
        np.maximum.at(scores, sequences.sequence_of_event, self._surprise_of(sequences.log_keys))
        return scores

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the surprise of each event, float32 (n_events,)."""
        return self._surprise_of(sequences.log_keys).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the surprise of each log key."""
        return {"surprise": self.surprise_}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned."""
        self.surprise_ = state["surprise"]
        return self

    def _surprise_of(self, log_keys: NDArray[np.int32]) -> NDArray[np.float64]:
        unseen = len(self.surprise_) - 1
        known = (log_keys >= 0) & (log_keys < unseen)
        return self.surprise_[np.where(known, log_keys, unseen)]
