"""The whole contract for third parties: subclass `Detector`, declare `tags` and `Config`, write `fit` and `score`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bench.types import Sequences

Supervision = Literal[
    "normal-only",
    "contaminated",
    "positive-unlabelled",
    "weak",
    "foreign-anomalies",
    "supervised",
    "few-label",
    "zero-label-target",
    "training-free",
    "control",
]
"""What a method is told in training. Methods of different supervision never share one ranking."""

TimeRange = tuple[float, float]
"""Start and end of a known incident, Unix seconds."""


class NotFittedError(RuntimeError):
    """`score` was called before `fit`."""


SequencePart = Literal["log_keys", "texts", "elapsed_s", "parameters", "lines"]
"""What of `Sequences` scores can depend on."""


@dataclass(frozen=True, slots=True)
class DetectorTags:
    """What the harness must know of a detector before it runs it."""

    supervision: Supervision
    uses: frozenset[SequencePart] = frozenset({"log_keys"})
    """Which parts of `Sequences` its scores depend on, under some config."""
    deterministic: bool = True
    """Same seed, same scores, on one CPU thread."""
    target_normals: bool = False
    """A normal-only method that, in a transfer, is given the first `target_normals` (a field of its Config) normal
    sequences of the target's training period as well; such rows are ranked among themselves."""


class Detector(ABC):
    """A log anomaly detector.

    `__init__` stores its arguments and does nothing else; `fit` learns into attributes whose names end in `_`;
    `score` is pure and higher means more anomalous. A sequence is flagged when its score exceeds a threshold, which
    is the harness's business, so a detector never decides.
    """

    tags: ClassVar[DetectorTags]
    Config: ClassVar[type]
    """A frozen dataclass of hyper-parameters. Each field has a default and a docstring with unit and source. A field
    declared with `metadata={"identity": False}` stays out of the run's identity (URLs, cache sizes)."""

    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Config values by profile where they differ from the defaults, which are the profile `paper`; `original` holds
    the method's own published settings."""

    native_threshold_: float | None = None
    """The paper's own decision rule as a threshold on the score, where it has one; may be set in `fit`."""

    def __init__(self, config: Any = None, *, seed: int = 0, device: str = "cpu") -> None:
        self.config = self.Config() if config is None else config
        self.seed = seed
        self.device = device

    def uses(self) -> frozenset[SequencePart]:
        """Which parts of `Sequences` the scores depend on under this config, of those that the tags name.

        `Sequences.parameters` is None for a detector that leaves out "parameters": they are read only on request.
        """
        return self.tags.uses

    def skip(self, train: Sequences) -> str | None:
        """Return the reason why this detector cannot run on such data, or None."""
        return None

    @abstractmethod
    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        incidents: list[TimeRange] | None = None,
    ) -> Self:
        """Learn from the training sequences and return self; called again, forget what was learned before.

        train: source and target together (`train.system` tells which); for a normal-only method normal sequences only.
        labels: int8 (n_sequences,), -1 unlabelled, 0 normal, 1 abnormal; given only as far as the tags say.
        incidents: time ranges of known failures, for weak supervision.
        """

    @abstractmethod
    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): finite, higher = more anomalous; +inf never, ties allowed.

        Changes nothing in self or in `sequences`. Raises NotFittedError before `fit`.
        """

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything `fit` learned, as named arrays; saved as safetensors, never pickled."""
        raise TypeError(f"{type(self).__name__} cannot be saved: it defines no state()")

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` of a fitted detector of the same config returned."""
        raise TypeError(f"{type(self).__name__} cannot be loaded: it defines no load_state()")

    def explain(self, sequences: Sequences) -> NDArray[np.float32] | None:
        """Return the weight of each event in the score, float32 (n_events,), or None where the method has none."""
        return None

    def abstained(self, sequences: Sequences) -> NDArray[np.bool_] | None:
        """Return which of these sequences, scored just before, it declines to judge, or None where it judges all.

        bool (n_sequences,). Their scores are finite like all others, but metrics leave them out and tables say so.
        """
        return None

    def represent(self, sequences: Sequences) -> NDArray[np.float32] | None:
        """Return the learned vector of each sequence, float32 (n_sequences, d), or None where the method has none."""
        return None

    def monitor(self) -> dict[str, Any]:
        """What was watched while training (loss parts, epochs, ...), as JSON; stored in the record."""
        return {}


ProgressHook = Callable[[str, int, int], None]
_progress_hook: ContextVar[ProgressHook | None] = ContextVar("progress_hook", default=None)


def report_progress(what: str, done: int, total: int) -> None:
    """Tell whoever runs this detector how far a long step is; costs nothing when nobody listens."""
    hook = _progress_hook.get()
    if hook is not None:
        hook(what, done, total)


def listen_to_progress(hook: ProgressHook | None) -> None:
    """Install (or with None remove) the listener of `report_progress` in this context."""
    _progress_hook.set(hook)
