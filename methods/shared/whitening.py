"""Texts on axes along which those of training vary alike, so that no direction counts for more because they share it.

Vectors of a language model are nearly parallel, and differ most in a few directions. An error in them is then above all
how unlike two texts are: one that is never expected but resembles what is costs less than one that is often seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from methods.shared.text_inputs import TextInputs

RIDGE: Final = 0.1
"""Added to each variance, as a share of the mean one [R]: a direction in which no training text differs is stretched so
far and no further. Chosen on development systems; with less, a reworded text is as far away as a new one."""
_NO_SPREAD: Final = 1e-12
"""Mean variance of vectors that differ by rounding alone."""


def whitened(inputs: TextInputs, texts: Sequence[str]) -> TextInputs:
    """The same inputs, centred already, with axes that give the distinct `texts` a variance of 1 in each direction.

    The axes are turned back, so that they are unique. Where texts do not vary at all, nothing is changed.
    """
    vectors = inputs.features(sorted(set(texts)))
    variances, directions = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    spread = float(variances.mean())
    if spread <= _NO_SPREAD:
        return inputs
    lengths = np.sqrt(np.maximum(variances, 0.0) + RIDGE * spread)
    return replace(inputs, axes=inputs.axes @ ((directions / lengths) @ directions.T))
