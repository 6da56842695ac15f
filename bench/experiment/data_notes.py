"""What a record says of its data beside the counts: what bounds any score, what of a target was seen unlabelled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.loader import Prepared
from bench.data.sequences.vocabulary import System


def data_notes(prepared: Prepared) -> dict[str, Any]:
    """Further entries of a record's counts; empty where there is nothing to say."""
    systems = (*prepared.sources, *prepared.targets)
    bounds = {system.card.key: system.card.bound for system in systems if system.card.bound}
    found: dict[str, Any] = {"bounds": bounds} if bounds else {}
    if prepared.targets:
        found["n_test_in_pool"] = in_pool(prepared)
    return found


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
