"""What a record says of its data beside the counts: what bounds any score, what of a target was seen unlabelled.

It changes no number, so it stands outside the modules of which records keep a digest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.loader import Prepared
from bench.data.sequences.vocabulary import System
from bench.experiment.grades import grade_of
from bench.experiment.spec import Cell
from bench.experiment.told import refused
from bench.types import ABNORMAL

LABELS: Final = ("labels", "few", "abnormal")
"""The grades of a target that are worth nothing without an abnormal sequence of its pool."""


def data_notes(prepared: Prepared) -> dict[str, Any]:
    """Further entries of a record's counts; empty where there is nothing to say."""
    systems = (*prepared.sources, *prepared.targets)
    bounds = {system.card.key: system.card.bound for system in systems if system.card.bound}
    found: dict[str, Any] = {"bounds": bounds} if bounds else {}
    if prepared.targets:
        found["n_test_in_pool"] = in_pool(prepared)
    return found


def lacking_of_target(cell: Cell, prepared: Prepared) -> str | None:
    """Why what a method is told of targets by labels cannot be learned from, where it may run at all; or None."""
    grade = grade_of(cell.told.get("target", ""))
    if grade not in LABELS or prepared.skip_reason is not None or refused(cell.split, cell.told) is not None:
        return None
    if any(_has_abnormal(system) for system in prepared.targets):
        return None
    return (
        f"it is told {grade} of the target, which needs abnormal sequences in its pool, and this split has none there"
    )


def _has_abnormal(system: System) -> bool:
    return bool((system.groups.labels[system.split.train] == ABNORMAL).any())


def in_pool(prepared: Prepared) -> int:
    """How many test sequences equal one of the target's pool, event by event, as methods see them.

    The pool is all of a target in front of its test part, what trains and what validates: a method that was given it
    unlabelled may have seen such a sequence, whether or not it lies at another time.
    """
    pools = [_with_pool(system) for system in prepared.targets]
    both = prepared.vocabulary.assemble(pools, "test").sequences
    contents = replace(both, system=np.zeros_like(both.system)).fingerprints()
    is_pool = np.concatenate([_is_pool(system) for system in prepared.targets])
    return int(np.isin(contents[~is_pool], contents[is_pool]).sum())


def _with_pool(system: System) -> System:
    """The same with its pool in front of its test part, so that unknown texts of both have one number."""
    parts = system.split
    together = np.concatenate([parts.train, parts.validation, parts.test])
    return replace(system, split=replace(parts, test=together))


def _is_pool(system: System) -> NDArray[np.bool_]:
    parts = system.split
    n_pool = len(parts.train) + len(parts.validation)
    return np.arange(n_pool + len(parts.test)) < n_pool
