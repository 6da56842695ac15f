"""Training in several stages: how often the rarer class is drawn, and several histories as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from methods.shared.layers import Integers
from methods.shared.training import History


def at_least(counts: Integers, class_of: Integers, share: float) -> Integers:
    """int64 (n,): the counts, those of the rarer class multiplied until it has so large a share of the draws."""
    sizes = np.bincount(class_of, counts, minlength=2)
    rare = int(np.argmin(sizes))
    wanted = share / (1 - share) * sizes[1 - rare]
    if sizes[rare] == 0 or sizes[rare] >= wanted:
        return counts
    of_rare = class_of == rare
    ends = np.ceil(np.cumsum(np.where(of_rare, counts, 0)) * (wanted / sizes[rare]) - 1e-9)
    grown = np.diff(np.concatenate([[0.0], ends])).astype(np.int64)
    return np.where(of_rare, grown, counts)


def of_stages(stages: Sequence[History]) -> dict[str, Any]:
    """Several trainings as `History.as_json` shows one: steps are counted through."""
    steps = [history.as_json()["steps_run"] for history in stages]
    begun = np.cumsum([0, *steps]).tolist()
    checks = [
        {**check, "step": check["step"] + start}
        for history, start in zip(stages, begun[:-1], strict=True)
        for check in history.checks
    ]
    return {
        "steps_run": begun[-1],
        "stage_steps": steps,
        "batch_size": stages[-1].batch_size,
        "kept_step": begun[-1],
        "stopped_by": "steps",
        "epochs": checks,
    }
