"""The contract as code: what a grade reveals, and why a class is refused; for the harness and the conformance kit."""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from bench.detector import Detector, DetectorTags, ExternalFile, Grade, Role, SequencePart, Unit, outdated
from bench.types import ABNORMAL, NORMAL, UNLABELLED

ROLES: Final[tuple[Role, ...]] = get_args(Role)
GRADES: Final[tuple[Grade, ...]] = get_args(Grade)
KNOWN_SHARE: Final = 0.5
"""Of the normal training sequences of a source, the share that `first-normals` reveals, first in time."""
_SHA256: Final = re.compile("[0-9a-f]{64}")
FIT: Final = "fit(self, train, labels=None, *, evidence=Evidence())"


def amount_field(role: str, grade: str) -> str | None:
    """The setting that says how much of a role is told under a grade, or None where the grade says it all."""
    if grade == "first-normals" and role != "source":
        return f"{role}_normals"
    return f"{role}_share" if grade == "few" else None


def fault_of(cls: type[Detector]) -> str | None:
    """Why a class cannot be used, in one sentence that says what to write; None where nothing is wrong."""
    return _tags_fault(cls) or _fit_fault(cls) or _score_fault(cls)


def _tags_fault(cls: type[Detector]) -> str | None:
    tags = getattr(cls, "tags", None)
    if not isinstance(tags, DetectorTags):
        return 'it has no tags: write tags = DetectorTags(told={"source": "normals"})'
    if fault := _config_fault(cls):
        return fault
    for told in (tags.told, *tags.told_with.values()):
        if fault := _told_fault(cls, told):
            return fault
    fields = _fields(cls)
    if missing := sorted(set(tags.told_with) - set(fields)):
        return f"tags.told_with names the setting '{missing[0]}', which Config has not"
    if isinstance(tags.uses, str) or not isinstance(tags.uses, Collection):
        return f"tags.uses is {tags.uses!r}: write a set such as frozenset({{'log_keys'}})"
    if unknown := sorted(set(tags.uses) - set(get_args(SequencePart))):
        return f"tags.uses names unknown parts {unknown}: choose of {', '.join(get_args(SequencePart))}"
    if not isinstance(tags.files, tuple | list) or not all(isinstance(file, ExternalFile) for file in tags.files):
        return f"tags.files is {tags.files!r}: write a tuple of ExternalFile"
    for file in tags.files:
        if Path(file.name).name != file.name or not _SHA256.fullmatch(file.sha256):
            return f"tags.files names {file.name!r} ({file.sha256!r}): give a name without folders and 64 hex digits"
    if tags.unit not in get_args(Unit):
        return f"tags.unit is {tags.unit!r}: choose one of {', '.join(get_args(Unit))}"
    return None


def _config_fault(cls: type[Detector]) -> str | None:
    config = getattr(cls, "Config", None)
    if not isinstance(config, type) or not dataclasses.is_dataclass(config):
        what = "no Config" if config is None else "a Config that is no dataclass"
        return f"it has {what}: write a frozen dataclass of its settings and Config = that class"
    bare = [
        field.name
        for field in dataclasses.fields(config)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if bare:
        return f"its Config has no default for '{bare[0]}': write one, so that the method runs without settings"
    return None


def _told_fault(cls: type[Detector], told: Mapping[Any, Any]) -> str | None:
    fields = _fields(cls)
    for role, grade in told.items():
        if role not in ROLES:
            return f"tags.told names the role {role!r}: choose of {', '.join(ROLES)}"
        if grade not in GRADES:
            return f"tags.told gives {role} as {grade!r}: choose one of {', '.join(GRADES)}"
        name = amount_field(role, grade)
        kind = float if grade == "few" else int
        if name is not None and type(fields.get(name)) is not kind:
            number = "number between 0 and 1" if kind is float else "whole number"
            return f"tags.told gives {role} as {grade!r}, but Config has no {number} `{name}`"
    return None


def _fields(cls: type[Detector]) -> dict[str, Any]:
    """Default of each setting."""
    config = getattr(cls, "Config", None)
    return {f.name: f.default for f in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else {}


def _fit_fault(cls: type[Detector]) -> str | None:
    parameters = _parameters(cls.fit)
    if "incidents" in parameters and "evidence" not in parameters:
        return str(outdated())
    if cls.fit is Detector.fit or not _accepts(cls.fit, ("train",), ("train", "labels"), evidence=True):
        return f"its fit({', '.join(parameters)}) is not the contract's: write {FIT}"
    return None


def _score_fault(cls: type[Detector]) -> str | None:
    if cls.tags.unit == "line":
        if cls.score_lines is Detector.score_lines or not _accepts(cls.score_lines, ("sequences",)):
            return "tags.unit is 'line': write score_lines(self, sequences)"
        return None
    if cls.score is Detector.score or not _accepts(cls.score, ("sequences",)):
        return f"its score({', '.join(_parameters(cls.score))}) is not the contract's: write score(self, sequences)"
    return None


def _parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def _accepts(function: Callable[..., Any], *calls: tuple[str, ...], evidence: bool = False) -> bool:
    """Whether it can be called with so many arguments, with evidence or without."""
    signature = inspect.signature(function)
    words: list[dict[str, Any]] = [{}, {"evidence": None}] if evidence else [{}]
    try:
        for arguments in calls:
            for more in words:
                signature.bind(None, *arguments, **more)
    except TypeError:
        return False
    return True


def require_monitor(answer: object) -> dict[str, Any]:
    """What `monitor()` returned, where it is as the contract says; else a TypeError."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"monitor() returned {type(answer).__name__}, the contract says a mapping")
    if other := [key for key in answer if not isinstance(key, str)]:
        raise TypeError(f"monitor() returned the key {other[0]!r}, the contract says that keys are texts")
    return dict(answer)


def require_abstained(answer: object, n: int) -> NDArray[np.bool_] | None:
    """What `abstained()` returned of n sequences, where it is as the contract says; else a TypeError."""
    if answer is None:
        return None
    if not isinstance(answer, np.ndarray):
        raise TypeError(f"abstained() returned {type(answer).__name__}, the contract says bool ({n},) or None")
    if answer.shape != (n,) or answer.dtype != np.bool_:
        raise TypeError(f"abstained() returned {answer.dtype} {answer.shape}, the contract says bool ({n},) or None")
    return answer


def require_scores(answer: object, n: int, name: str) -> NDArray[np.float64]:
    """What `score()` or `score_lines()` returned of n sequences or events; else a TypeError or a ValueError."""
    if not isinstance(answer, np.ndarray):
        raise TypeError(f"{name}() returned {type(answer).__name__}, the contract says float64 ({n},)")
    if answer.shape != (n,) or answer.dtype != np.float64:
        raise ValueError(f"{name}() returned {answer.dtype} {answer.shape}, the contract says float64 ({n},)")
    if not np.isfinite(answer).all():
        raise ValueError(f"{name}() returned {int((~np.isfinite(answer)).sum())} scores that are not finite")
    return answer


def require_weights(answer: object, n: int, name: str) -> NDArray[np.float32]:
    """What `explain()` or `attention()` returned of n events; else a TypeError or a ValueError."""
    if not isinstance(answer, np.ndarray):
        raise TypeError(f"{name}() returned {type(answer).__name__}, the contract says float32 ({n},)")
    if answer.shape != (n,) or answer.dtype != np.float32:
        raise ValueError(f"{name}() returned {answer.dtype} {answer.shape}, the contract says float32 ({n},)")
    if not np.isfinite(answer).all():
        raise ValueError(f"{name}() returned {int((~np.isfinite(answer)).sum())} weights that are not finite")
    return answer


def require_native(value: object) -> float | None:
    """`native_threshold_`, where it is as the contract says; else a TypeError."""
    if value is None:
        return None
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or math.isnan(value):
        shown = "NaN" if isinstance(value, float) else type(value).__name__
        raise TypeError(f"native_threshold_ is {shown}, the contract says a number or None")
    return float(value)


def require_vectors(answer: object, n: int) -> NDArray[np.float32] | None:
    """What `represent()` returned of n sequences, where it is as the contract says; else a TypeError."""
    if answer is None:
        return None
    if not isinstance(answer, np.ndarray):
        raise TypeError(f"represent() returned {type(answer).__name__}, the contract says float32 ({n}, d) or None")
    if answer.ndim != 2 or len(answer) != n or answer.dtype != np.float32:
        shown = f"{answer.dtype} {answer.shape}"
        raise TypeError(f"represent() returned {shown}, the contract says float32 ({n}, d) or None")
    return answer


def needs_labels(told: Mapping[Any, str]) -> bool:
    """Whether what is told by role needs labels beside the sequences: not where all are normal, or all unlabelled."""
    kinds = {"normals" if role != "source" and grade == "first-normals" else grade for role, grade in told.items()}
    return len(kinds) > 1 or not kinds <= {"normals", "unlabelled"}


def reveal(
    role: str, grade: str, truth: NDArray[np.int8], share: float = KNOWN_SHARE
) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Which training sequences of a system of that role are given, and the labels that are known of all; both (n,).

    truth: int8 (n,), in order of time; of a target or auxiliary under `first-normals` those that were chosen.
    share: of the labels, under `few` and `first-normals`
    """
    everything = np.ones(len(truth), bool)
    if grade in ("normals", "abnormal"):
        return truth == (NORMAL if grade == "normals" else ABNORMAL), truth
    if grade == "unlabelled":
        return everything, np.full(len(truth), UNLABELLED, np.int8)
    if grade == "few":
        return everything, _first_known(truth, share, NORMAL, ABNORMAL)
    if grade == "first-normals" and role == "source":
        return everything, _first_known(truth, share, NORMAL)
    return everything, truth


def _first_known(truth: NDArray[np.int8], share: float, *kinds: int) -> NDArray[np.int8]:
    """Of each of these kinds the first share is known, the rest unlabelled: else all unlabelled would be abnormal."""
    known = np.full(len(truth), UNLABELLED, np.int8)
    for kind in kinds:
        found = np.flatnonzero(truth == kind)
        known[found[: math.ceil(share * len(found))]] = kind
    return known
