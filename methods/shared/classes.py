"""What classifiers of labelled sequences share: whether both classes are there, and pairs of a sequence and a class.

Equal sequences that both classes have are computed once and count for each by how often they are there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.types import ABNORMAL, NORMAL
from methods.shared.layers import Bags, Integers
from methods.shared.semantic import Batch, batch_of


class Lesson(NamedTuple):
    """Pairs of a sequence and a class, on the device; a sequence is computed once."""

    batch: Batch
    row_of: Tensor
    """int64 (n,) place of each pair's sequence in the batch."""
    classes: Tensor
    """int64 (n,)"""


def lesson_of(bags: Bags, bag_of: Integers, class_of: Integers, device: torch.device) -> Lesson:
    """The pairs of the sequences `bag_of` and these classes."""
    distinct, row_of = np.unique(bag_of, return_inverse=True)
    moved = (torch.as_tensor(array, device=device) for array in (row_of, class_of))
    return Lesson(batch_of(bags, distinct, device), *moved)


def lacking_class(labels: NDArray[np.int8]) -> str | None:
    """Why nothing can be learned from these labels, of which others than 0 and 1 are unknown; None where it can."""
    has_both = all((labels == label).any() for label in (NORMAL, ABNORMAL))
    return None if has_both else "training needs both normal and abnormal labels"
