"""What a method may see of the data, by what it uses, and of the training part, by its supervision."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.loader import Prepared
from bench.data.sequences.vocabulary import Part
from bench.detector import Detector
from bench.experiment.spec import Cell
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences

KNOWN_SHARE: Final = 0.5
"""Of the normal training sequences, the share that a positive-unlabelled method is told of, first in time."""


_NEEDS_ABNORMAL: Final = {
    "supervised": "a supervised method needs abnormal training sequences",
    "positive-unlabelled": "a positive-unlabelled method needs abnormal sequences among the unlabelled of training",
}


def visible(prepared: Prepared, detector: Detector) -> Prepared:
    """The data with message parameters for a detector that uses them, without for every other."""
    return prepared.with_parameters if "parameters" in detector.uses() else prepared


def training_part(cell: Cell, prepared: Prepared) -> Part:
    """The training part of a cell, with the normal sequences of the target that its method wants."""
    return prepared.train_with_target_normals(cell.n_target_normals)


def counts(cell: Cell, prepared: Prepared) -> dict[str, Any]:
    """What a record says of its data, and of how many normal sequences of the target its method was given."""
    wanted = cell.n_target_normals
    return prepared.facts | ({"n_target_normals": prepared.n_target_normals(wanted)} if wanted else {})


def training_view(detector: Detector, train: Part) -> tuple[Sequences, NDArray[np.int8] | None]:
    """What a method of this supervision may see of the training part; read-only, as parts are."""
    match detector.tags.supervision:
        case "normal-only" | "control" | "training-free":
            return train.normals, None
        case "contaminated":
            return train.sequences, None
        case "positive-unlabelled":
            return train.sequences, _known_normals(train)
        case _:
            return train.sequences, train.labels


def _known_normals(train: Part) -> NDArray[np.int8]:
    """The first half of each system's normals is known, the rest unlabelled: else all unlabelled would be abnormal."""
    labels = np.full(len(train.labels), UNLABELLED, np.int8)
    for system in np.unique(train.sequences.system):
        normals = np.flatnonzero((train.sequences.system == system) & (train.labels == NORMAL))
        labels[normals[: math.ceil(KNOWN_SHARE * len(normals))]] = NORMAL
    labels.setflags(write=False)
    return labels


def skip_reason(detector: Detector, train: Part) -> str | None:
    """Why a detector cannot be fitted on the training part, or None."""
    supported = ("normal-only", "control", "training-free", "contaminated", "positive-unlabelled", "supervised")
    if detector.tags.supervision not in supported:
        return f"the runner has no protocol for the supervision '{detector.tags.supervision}' yet"
    if not (train.labels == ABNORMAL).any() and (reason := _NEEDS_ABNORMAL.get(detector.tags.supervision)):
        return f"{reason}, and this split has none"
    return detector.skip(training_view(detector, train)[0])
