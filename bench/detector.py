"""The whole contract for third parties: subclass `Detector`, declare `tags` and `Config`, write `fit` and `score`.

This is contract 0.2. What a method is told is a grade for each role (`DetectorTags.told`); what is neither a sequence
nor a label comes as `Evidence`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bench.types import Sequences

Role = Literal["source", "target", "auxiliary"]
"""What an edition is in a run: trained on, tested without being trained on, or a help that is never tested."""

Grade = Literal["normals", "unlabelled", "first-normals", "few", "abnormal", "labels"]
"""What a role gives of its training part: its normal sequences; all, unlabelled; all, and of the first normal ones that
they are normal (of a target or auxiliary those alone, as many as `<role>_normals` says); all, and the labels of a share
`<role>_share` of each kind, first in time; its abnormal sequences; all with labels."""

SequencePart = Literal["log_keys", "texts", "elapsed_s", "parameters", "lines", "raw", "words"]
"""What of `Sequences` scores can depend on."""

Unit = Literal["sequence", "line"]
"""What a method scores."""

TOLD_BEFORE: Final[Mapping[str, Mapping[Role, Grade]]] = MappingProxyType(
    {
        "normal-only": {"source": "normals"},
        "control": {"source": "normals"},
        "contaminated": {"source": "unlabelled"},
        "positive-unlabelled": {"source": "first-normals"},
        "supervised": {"source": "labels"},
        "training-free": {},
        "weak": {"source": "unlabelled"},
        "few-label": {"source": "labels", "target": "few"},
        "foreign-anomalies": {"source": "labels", "target": "normals"},
        "zero-label-target": {"source": "labels", "target": "unlabelled"},
    }
)
"""What the supervisions of contract 0.1 were told."""


class ContractError(TypeError):
    """A class that is no detector by this contract; the message is one sentence that says what to write."""


def outdated(supervision: object = None) -> ContractError:
    """The error of a method that was written for contract 0.1, with what to write instead."""
    told = dict(TOLD_BEFORE.get(str(supervision), {"source": "normals"}))
    given = f"supervision={supervision!r}" if supervision else "supervision=..."
    return ContractError(
        f"written for contract 0.1: write DetectorTags(told={told}) instead of {given}, and "
        "fit(self, train, labels=None, *, evidence=Evidence()) instead of incidents=..."
    )


class Incident(NamedTuple):
    """A known failure."""

    start: float
    """Unix seconds, as `end`; both belong to it."""
    end: float
    system: int = 0
    """Whose failure it was, as `Sequences.system`."""


@dataclass(frozen=True, slots=True)
class ExternalFile:
    """A file that a method needs besides the log, such as trained weights; part of the run's identity."""

    name: str
    url: str
    sha256: str
    bytes: int
    licence: str


class Teacher(Protocol):
    """A language model that a method may ask."""

    def ask(self, prompts: Sequence[str]) -> list[str]:
        """One answer for each prompt."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What `fit` is given that is neither a sequence nor a label; only as far as the tags say."""

    roles: tuple[Role, ...] = ()
    """Role of each system, by its index in `Sequences.system`."""
    incidents: tuple[Incident, ...] = ()
    """Known failures of the training period, with the tag `incidents`."""
    event_labels: NDArray[np.int8] | None = None
    """int8 (n_events,): the label of each event of `train`, for a line method that is told labels of lines."""
    files: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Where the files of the tags lie, by name; their SHA-256 was compared."""
    teacher: Teacher | None = None
    """Whom to ask, with the tag `teacher`; None where the method brings its own, as the chat methods do."""


NOTHING_TO_SCORE: Final = -1e300
"""Score of a sequence without lines, by a line method."""


class NotFittedError(RuntimeError):
    """`score` was called before `fit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTags:
    """What the harness must know of a detector before it runs it."""

    told: Mapping[Role, Grade] = field(default_factory=lambda: {"source": "normals"})
    """What it is told in training, by role; a role left out is not given. Methods that are told different things never
    share one ranking."""
    told_with: Mapping[str, Mapping[Role, Grade]] = field(default_factory=dict)
    """What it is told besides where a setting is on (not 0, empty or None): `{"k": {"source": "normals"}}` for
    examples in a prompt."""
    incidents: bool = False
    """It learns from time ranges of failures; skipped where there are none."""
    unit: Unit = "sequence"
    """With "line" it writes `score_lines`, and a sequence's score is that of its highest line."""
    uses: frozenset[SequencePart] = frozenset({"log_keys"})
    """Which parts of `Sequences` its scores depend on, under some config."""
    files: tuple[ExternalFile, ...] = ()
    """Files that it needs besides the log; skipped where one is not in the folder `files` of the data folder."""
    teacher: bool = False
    """It asks a language model, in `fit` or in `score`. Where its Config has a field `model`, that is its teacher; then
    it is skipped where there is neither an endpoint nor recorded answers, and further fields count that are named as
    those of `bench.llm.config.ChatConfig` (`temperature`, `max_tokens`, ...). Where it has a field `teacher`, it asks
    only if that is "model"."""
    deterministic: bool = True
    """Same seed, same scores, on one CPU thread."""
    seeded: bool = True
    """Its fit or its scores depend on the seed, under some config. A method that draws nothing says False: where the
    seed draws no data either, it is fitted once and recorded for every seed."""

    def __new__(cls, *args: object, **tags: object) -> Self:
        """Refuse the tags of contract 0.1 by a sentence that says what to write instead."""
        if args or "supervision" in tags or "target_normals" in tags:
            raise outdated(args[0] if args else tags.get("supervision"))
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Nobody changes afterwards what a method is told; what is no mapping is refused by a sentence."""
        _require_mapping("told", self.told, '{"source": "normals"}')
        _require_mapping("told_with", self.told_with, '{"k": {"source": "normals"}}')
        for setting, told in self.told_with.items():
            _require_mapping(f"told_with[{setting!r}]", told, '{"source": "normals"}')
        object.__setattr__(self, "told", MappingProxyType(dict(self.told)))
        object.__setattr__(self, "told_with", MappingProxyType({k: dict(v) for k, v in self.told_with.items()}))


def _require_mapping(name: str, value: object, example: str) -> None:
    if not isinstance(value, Mapping):
        raise ContractError(f"tags.{name} is {value!r}, and no mapping: write {name}={example}")


class Detector(ABC):
    """A log anomaly detector.

    `__init__` stores its arguments and does nothing else; `fit` learns into attributes whose names end in `_`;
    `score` is pure and higher means more anomalous. A sequence is flagged when its score exceeds a threshold, which
    is the harness's business, so a detector never decides.
    """

    tags: ClassVar[DetectorTags]
    Config: ClassVar[type]
    """A frozen dataclass of hyper-parameters. Each field has a default and a docstring with unit and source. A field
    declared with `metadata={"identity": False}` stays out of the run's identity (URLs, cache sizes); one that came
    later, with {"identity": "where used"}, is part of it only where it is not the default."""

    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Config values by profile where they differ from the defaults, which are the profile `paper`; `original` holds
    the method's own published settings."""

    sources: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """Where the values of a profile stand, by profile and field: a section of the paper, public code, or "[R]" with the
    reason, where nobody published one."""

    tolerance: ClassVar[float] = 1e-6
    """How far numbers and scores may be off where a record is run again (`bench results reproduce`), relative where
    they are larger than 1: for a method that adds up in another order on another machine."""

    native_threshold_: float | None = None
    """The paper's own decision rule as a threshold on the score, where it has one; may be set in `fit`."""

    def __init__(self, config: Any = None, *, seed: int = 0, device: str = "cpu") -> None:
        self.config = self.Config() if config is None else config
        self.seed = seed
        self.device = device

    def uses(self) -> frozenset[SequencePart]:
        """Which parts of `Sequences` the scores depend on under this config, of those that the tags name.

        `Sequences.parameters`, `raw` and `words` are None for a detector that leaves out their names: they are read
        only on request.
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
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn from the training sequences and return self; called again, forget what was learned before.

        train: what the tags say that it is told, all roles together (`train.system` tells which); empty if nothing.
        labels: int8 (n_sequences,), -1 unlabelled, 0 normal, 1 abnormal; None where all are normal, or all unlabelled.
        evidence: what is neither; only as far as the tags say.
        """

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): finite, higher = more anomalous; +inf never, ties allowed.

        Changes nothing in self or in `sequences`. Raises NotFittedError before `fit`. Only a line method leaves it out:
        a sequence's score is then its largest of `score_lines`, and that of an empty one NOTHING_TO_SCORE.
        """
        if self.tags.unit != "line":
            raise TypeError(f"{type(self).__name__} writes no score")
        return largest_lines(self.score_lines(sequences), sequences)

    def score_lines(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_events,), as `score`, for each event; what a method of the unit "line" writes."""
        raise TypeError(f"{type(self).__name__} scores no lines: write score_lines, or leave out unit='line'")

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


def largest_lines(scores: NDArray[np.float64], sequences: Sequences) -> NDArray[np.float64]:
    """float64 (n_sequences,): the largest of the lines' scores (n_events,); NOTHING_TO_SCORE where there is no line."""
    largest = np.full(len(sequences), NOTHING_TO_SCORE)
    filled = np.flatnonzero(sequences.lengths)
    if len(filled):
        largest[filled] = np.maximum.reduceat(scores, sequences.offsets[filled])
    return largest


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


def __getattr__(name: str) -> Any:
    """Names of contract 0.1, which its methods import."""
    if name in ("TimeRange", "Supervision"):
        raise outdated()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
