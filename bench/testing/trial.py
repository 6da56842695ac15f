"""What the checks of `bench.testing` work on: a small log, and a detector class that is fitted on it once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.contract import ROLES, amount_field, fault_of, needs_labels, reveal
from bench.detector import Detector, Evidence, ExternalFile, Grade, Incident, Role
from bench.types import ABNORMAL, NORMAL, UNKNOWN_KEY, UNLABELLED, Parameters, RawLines, Sequences, Words

# Float32 sums depend on how sequences are batched, so scores agree to float32 precision, not to the bit.
_ATOL: Final = 1e-6
_RTOL: Final = 1e-5

TEMPLATES: Final = (
    "session opened for user <*>",
    "request received from <*>",
    "authentication of user <*> succeeded",
    "reading block <*> from disk",
    "block <*> sent to <*>",
    "writing checkpoint to <*>",
    "checkpoint written in <*> ms",
    "cache refreshed",
    "heartbeat sent to <*>",
    "connection to <*> established",
    "connection to <*> closed",
    "session closed for user <*>",
    "data TLB error interrupt, core <*>",
    "kernel panic: fatal machine check on <*>",
)
_N_NORMAL_KEYS: Final = 12  # the last two templates occur in abnormal sequences only
LAST_NORMAL_KEY: Final = _N_NORMAL_KEYS - 1
UNSEEN_TEXTS: Final = ("block <*> is corrupt, giving up after <*> retries", "out of memory: killed process <*>")
_TEXTS: Final = TEMPLATES + UNSEEN_TEXTS
_N_WORDS: Final = 40


class SkipCheck(Exception):
    """Raised by a check that does not apply to a detector; the message is the reason."""


class ToyLog(NamedTuple):
    """A small log: cyclic normal sequences, and abnormal ones out of order and with failure messages."""

    train: Sequences
    labels: NDArray[np.int8] | None
    evidence: Evidence
    test: Sequences
    test_labels: NDArray[np.int8]


def sequences_of(rows: Sequence[Sequence[int]], *, seed: int = 0) -> Sequences:
    """Sequences from rows of text ids: the toy log's templates are 0 to 13, the texts 14 and 15 match no template."""
    rng = np.random.default_rng(seed)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    log = Sequences.from_lists(rows, _TEXTS)
    n_values = np.concatenate([[0], np.cumsum(log.text_ids % 3)]).astype(np.int64)
    n_words = np.array([text.count("<*>") for text in _TEXTS])[log.text_ids]
    gaps = [np.concatenate([[0.0], rng.exponential(1.0, n)])[:n] for n in lengths]
    return replace(
        log,
        log_keys=np.where(log.text_ids < len(TEMPLATES), log.text_ids, UNKNOWN_KEY).astype(np.int32),
        elapsed_s=np.concatenate([np.cumsum(gap) for gap in gaps]) if gaps else np.zeros(0),
        start_time=1.6e9 + 1e6 * seed + 60.0 * np.arange(len(rows), dtype=np.float64),
        lines=log.lines + 100_000 * seed,
        ids=tuple(f"{seed}:{i}" for i in range(len(rows))),
        parameters=Parameters(rng.normal(size=int(n_values[-1])), n_values),
        words=Words(
            pl.Series([f"node-{i}" for i in range(_N_WORDS)]),
            rng.integers(0, _N_WORDS, int(n_words.sum())).astype(np.int32),
            np.concatenate([[0], np.cumsum(n_words)]).astype(np.int64),
        ),
        raw=RawLines(pl.Series(_TEXTS, dtype=pl.String).gather(log.text_ids)),
    )


@functools.cache
def many_sequences() -> Sequences:
    """100,000 sequences of 4 to 8 normal events in random order, hardly two of them alike."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(4, 9, 100_000)
    events = np.split(rng.integers(0, _N_NORMAL_KEYS, int(lengths.sum())), np.cumsum(lengths)[:-1])
    return sequences_of([row.tolist() for row in events])


def _draw(n_normal: int, n_abnormal: int, failures: Sequence[int], seed: int) -> tuple[Sequences, NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat([NORMAL, ABNORMAL], [n_normal, n_abnormal])).astype(np.int8)
    rows = []
    for label in truth:
        row = (rng.integers(_N_NORMAL_KEYS) + np.arange(rng.integers(8, 17))) % _N_NORMAL_KEYS
        if label == ABNORMAL:
            rng.shuffle(row)
            row[rng.permutation(len(row))[:3]] = rng.choice(failures, 3)
        rows.append(row.tolist())
    return sequences_of(rows, seed=seed), truth


def toy_log(
    told: Mapping[Role, Grade], *, incidents: bool = False, share: float = 0.25, strangers: bool = False
) -> ToyLog:
    """Return the toy log with as much in training as the harness reveals to a method that is told this.

    incidents: whether failures are known; share: of the labels that `few` reveals
    strangers: there are systems of the other roles too, of which nothing is told
    """
    roles = [role for role in ROLES if role in told]
    with_labels = needs_labels(dict(told))
    n_abnormal = 20 if with_labels else 4 if "unlabelled" in told.values() else 0
    train, truth = _draw(60, n_abnormal, (12, 13), seed=1)
    test, test_labels = _draw(40, 12, (12, 13, 14, 15), seed=2)
    if len(roles) > 1:
        train = replace(train, system=(np.arange(len(train)) % len(roles)).astype(np.uint8))
    if "target" in roles:
        test = replace(test, system=np.full(len(test), roles.index("target"), dtype=np.uint8))
    known = tuple(Incident(float(t), float(t) + 59.0) for t in train.start_time[truth == ABNORMAL])
    untold = [role for role in ROLES if role not in told] if strangers else []
    for index in range(len(roles), len(roles) + len(untold)):
        train, truth = _beside(train, truth, index)
    keep, labels = np.zeros(len(truth), bool), np.full(len(truth), UNLABELLED, np.int8)
    for index, role in enumerate(roles):
        here = train.system == index
        keep[here], labels[here] = _revealed(role, told[role], truth[here], share)
    evidence = Evidence(roles=(*roles, *untold), incidents=known if incidents else ())
    train = replace(train.select(keep), texts=TEMPLATES)
    return ToyLog(train, labels[keep] if with_labels else None, evidence, test, test_labels)


def _beside(train: Sequences, truth: NDArray[np.int8], system: int) -> tuple[Sequences, NDArray[np.int8]]:
    """These sequences, and behind them those of the first system as another one's, the abnormal ones called normal."""
    first = np.flatnonzero(train.system == 0)
    both = train.select(np.concatenate([np.arange(len(train)), first[::-1]]))
    systems = np.concatenate([train.system, np.full(len(first), system, np.uint8)])
    return replace(both, system=systems), np.concatenate([truth, 1 - truth[first[::-1]]])


def _revealed(
    role: Role, grade: Grade, truth: NDArray[np.int8], share: float
) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    if role != "source" and grade == "first-normals":
        grade = "normals"
    return reveal(role, grade, truth, *([share] if grade == "few" else []))


def copy_of(log: Sequences, *, writable: bool = True) -> Sequences:
    """The same sequences in arrays of their own."""

    def copied(array: NDArray[Any]) -> NDArray[Any]:
        array = array.copy()
        array.setflags(write=writable)
        return array

    parameters = log.parameters and Parameters(copied(log.parameters.values), copied(log.parameters.offsets))
    words = log.words and replace(log.words, ids=copied(log.words.ids), offsets=copied(log.words.offsets))
    arrays: dict[str, Any] = {name: copied(value) for name, value in _arrays(log).items() if "." not in name}
    return replace(log, parameters=parameters, words=words, **arrays).with_own_texts()


def _arrays(log: Sequences) -> dict[str, NDArray[Any]]:
    values = {field.name: getattr(log, field.name) for field in dataclasses.fields(log)}
    if log.parameters is not None:
        values |= {"parameters.values": log.parameters.values, "parameters.offsets": log.parameters.offsets}
    if log.words is not None:
        values |= {"words.ids": log.words.ids, "words.offsets": log.words.offsets}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def same_arrays(one: Sequences, other: Sequences) -> bool:
    """Whether every array and text of the one equals that of the other, NaN included."""
    a, b = _arrays(one), _arrays(other)
    for mine, yours in ((one.raw, other.raw), (one.words, other.words)):
        if mine is not None and yours is not None and not mine.values.equals(yours.values):
            return False
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


class Trial:
    """One detector class under check: fits it as seldom as possible and hands every call its own copy of the data."""

    def __init__(self, cls: type[Detector], config: object = None) -> None:
        self.cls = cls
        self.config = config

    @functools.cached_property
    def fault(self) -> str | None:
        """Why the harness refuses the class, or a file that it needs and that is not here; nothing else is checked."""
        if (fault := fault_of(self.cls)) is not None:
            return fault
        missing = [file for file in self.cls.tags.files if not _place_of(file).is_file()]
        if not missing:
            return None
        return f"put the file {missing[0].name} ({missing[0].url}) into the folder 'files' of BENCH_DATA"

    @functools.cached_property
    def log(self) -> ToyLog:
        """The toy log as far as the detector is told of it; of two systems where it skips one system only."""
        return self._log(strangers=False)

    @functools.cached_property
    def log_beside_strangers(self) -> ToyLog:
        """The same where the run has editions of all roles."""
        return self._log(strangers=True)

    def _log(self, *, strangers: bool) -> ToyLog:
        tags, config = self.cls.tags, self.make().config
        shares = [getattr(config, str(amount_field(role, g))) for role, g in tags.told.items() if g == "few"]
        log = toy_log(self.told, incidents=tags.incidents, share=max(shares, default=1.0), strangers=strangers)
        files = {file.name: _place_of(file) for file in tags.files}
        evidence = replace(log.evidence, files=files, teacher=_ToyTeacher() if tags.teacher else None)
        log = log._replace(evidence=evidence)
        both = replace(log.train, system=(np.arange(len(log.train)) % 2).astype(np.uint8))
        if self.make().skip(copy_of(log.train)) is None or self.make().skip(copy_of(both)) is not None:
            return log
        return log._replace(train=both)

    @property
    def told(self) -> dict[Role, Grade]:
        """What the detector is told under its config."""
        config = self.make().config
        more = [told for name, told in self.cls.tags.told_with.items() if getattr(config, name)]
        return {role: grade for told in (self.cls.tags.told, *more) for role, grade in told.items()}

    @property
    def is_control(self) -> bool:
        """Whether it is installed as a control, whose job is to be trivial."""
        name = f"{self.cls.__module__}:{self.cls.__qualname__}"
        return any(point.value == name for point in entry_points(group="bench.controls"))

    def make(self, seed: int = 0) -> Detector:
        """Return a new instance, not fitted."""
        return self.cls(self.config, seed=seed, device="cpu")

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None,
        into: Detector | None = None,
        evidence: Evidence | None = None,
    ) -> Detector:
        """Fit a new instance, or the given one."""
        detector = into or self.make()
        known = None if labels is None else labels.copy()
        detector.fit(copy_of(train), known, evidence=evidence or self.log.evidence)
        return detector

    @functools.cached_property
    def _first_fit(self) -> tuple[Detector, object, bool, dict[str, str]] | Exception:
        detector, train = self.make(), copy_of(self.log.train)
        labels = None if self.log.labels is None else self.log.labels.copy()
        try:
            returned = detector.fit(train, labels, evidence=self.log.evidence)
        except Exception as error:  # kept, so that a failing fit is not run again for every check
            return error
        return detector, returned, same_arrays(train, self.log.train), fingerprint(detector)

    @property
    def first_fit(self) -> tuple[Detector, object, bool, dict[str, str]]:
        """The fitted instance that most checks share, what fit returned, whether it left its input alone, its state."""
        if isinstance(self._first_fit, Exception):
            raise self._first_fit
        return self._first_fit

    def score(self, sequences: Sequences, by: Detector | None = None) -> NDArray[np.float64]:
        """Scores of a copy, by the shared instance or the given one."""
        return (by or self.first_fit[0]).score(copy_of(sequences))

    @functools.cached_property
    def reproducible(self) -> bool:
        """Whether a second instance of the same seed gives the scores of the first."""
        first = self.score(self.log.test)
        return alike(self.score(self.log.test, self.fit(self.log.train, self.log.labels)), first)

    def need_reproducible(self) -> None:
        """Skip a check that compares two fits where they cannot be compared."""
        if not self.cls.tags.deterministic:
            raise SkipCheck("tagged as not deterministic, so two fits cannot be compared")
        if not self.reproducible:
            raise SkipCheck("two fits of one seed differ (check_same_seed), so they cannot be compared")


def _place_of(file: ExternalFile) -> Path:
    return Path(os.environ.get("BENCH_DATA", "")) / "files" / file.name


class _ToyTeacher:
    """A language model that finds nothing abnormal."""

    def ask(self, prompts: Sequence[str]) -> list[str]:
        return ["No"] * len(prompts)


def alike(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> bool:
    """Whether two arrays of scores agree to float32 precision."""
    return one.shape == other.shape and np.allclose(one, other, rtol=_RTOL, atol=_ATOL, equal_nan=True)


def require(condition: bool, message: str) -> None:
    """Fail the check with this message unless the condition holds."""
    # Not `assert`: under `python -O` the whole kit would pass.
    if not condition:
        raise AssertionError(message)


def require_scores(scores: object, n: int) -> None:
    """Fail the check unless these are finite float64 scores of n sequences."""
    if not isinstance(scores, np.ndarray):
        raise AssertionError(f"score returned {type(scores).__name__}, not an array")
    require(scores.dtype == np.float64, f"scores are {scores.dtype}, not float64")
    require(scores.shape == (n,), f"scores have shape {scores.shape}, not ({n},)")
    require(bool(np.isfinite(scores).all()), f"{int((~np.isfinite(scores)).sum())} of {n} scores are not finite")


def require_unchanged(detector: Detector, before: Mapping[str, str], call: str) -> None:
    """Fail the check unless the detector's fingerprint is the one before; call: what was called in between."""
    after = fingerprint(detector)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    require(not changed, f"{call} changes self.{', self.'.join(changed)}")


def require_weights(weights: NDArray[np.float32] | None, n: int) -> None:
    """Fail the check unless these are finite float32 weights of n events, or None."""
    if weights is not None:
        require(weights.dtype == np.float32 and weights.shape == (n,), "explain: not float32 (n_events,)")
        require(bool(np.isfinite(weights).all()), "explain: not all weights are finite")


def require_vectors(vectors: NDArray[np.float32] | None, n: int) -> None:
    """Fail the check unless these are float32 vectors of n sequences, or None."""
    if vectors is not None:
        good = vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == n
        require(good, "represent: not float32 (n_sequences, d)")


def fingerprint(detector: Detector) -> dict[str, str]:
    """A digest of each attribute; objects of foreign classes (clients, connections) count by their type only."""
    return {name: repr(_plain(value, {})) for name, value in vars(detector).items()}


def _plain(value: Any, seen: dict[int, object]) -> object:
    if isinstance(value, str | bytes | int | float | complex | np.generic | type | None):
        return value
    if id(value) in seen:
        return "seen"
    seen[id(value)] = value  # kept alive, or its id could be given to another object
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()).encode() if value.dtype == np.object_ else value.tobytes()
        return value.dtype.str, value.shape, hashlib.sha256(content).hexdigest()
    if hasattr(value, "detach"):
        return _plain(value.detach().cpu().numpy(), seen)
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, Mapping):
        return [(_plain(k, seen), _plain(v, seen)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(item, seen) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(item, seen)) for item in value)
    if dataclasses.is_dataclass(value):
        return [_plain(getattr(value, field.name), seen) for field in dataclasses.fields(value)]
    if hasattr(value, "state_dict"):
        return _plain(value.state_dict(), seen)
    return _plain(vars(value), seen) if hasattr(value, "get_params") else type(value).__qualname__
