"""What no detector can exceed, and what the simplest one reaches: bounds of F1 that follow from labels alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.types import ABNORMAL, UNLABELLED


def ceiling(labels: NDArray[np.int8], kind: NDArray[np.int64]) -> float:
    """The best F1 that any function of the event sequence can have; NaN without an abnormal sequence.

    labels: int8 (n,);  kind: int64 (n,) equal where sequences are equal. Equal sequences are flagged together or not at
    all, and the best set to flag takes kinds by their share of abnormal ones, highest first.
    """
    known = labels != UNLABELLED
    n_kinds = int(kind.max()) + 1 if len(kind) else 0
    sizes = np.bincount(kind[known], minlength=n_kinds)
    abnormal = np.bincount(kind[known & (labels == ABNORMAL)], minlength=n_kinds)
    if not abnormal.any():
        return math.nan
    order = np.argsort(-abnormal / np.maximum(sizes, 1), kind="stable")
    found = np.cumsum(abnormal[order])
    return float(np.max(2 * found / (abnormal.sum() + np.cumsum(sizes[order]))))


def flag_all(labels: NDArray[np.int8]) -> float:
    """F1 of flagging every labelled sequence; NaN without an abnormal one."""
    n_abnormal, n_known = int((labels == ABNORMAL).sum()), int((labels != UNLABELLED).sum())
    return 2 * n_abnormal / (n_abnormal + n_known) if n_abnormal else math.nan
