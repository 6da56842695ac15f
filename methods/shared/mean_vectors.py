"""One vector per sequence without a network: the mean of its sentence vectors, and the spread of such means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.types import Sequences
from methods.shared.counts import as_matrix, count_vectors, frequencies
from methods.shared.text_inputs import TextInputs, texts_of

_LEAST = 1e-6
"""Share of the mean variance in every direction at least, so that a covariance can be inverted."""
_NO_SPREAD = 1e-12
"""Mean variance of vectors that differ by rounding alone; those of sentence vectors are about 1."""


class TextShares(NamedTuple):
    """The distinct mean vectors of sequences: `shares @ vectors`."""

    shares: csr_matrix
    """float64 (n_distinct, n_texts): how often each text stands in a sequence, relative to its length."""
    vectors: NDArray[np.float64]
    """(n_texts, width)"""
    inverse: NDArray[np.int64]
    """(n_sequences,) so that sequence i has row inverse[i]."""


def shares_of_texts(sequences: Sequences, inputs: TextInputs) -> TextShares:
    """Whatever order and number its texts have, a sequence has the mean vector of their shares."""
    texts = texts_of(sequences)
    row_of_event = np.unique(sequences.text_ids, return_inverse=True)[1].astype(np.int32)
    numbered = sequences.with_log_keys(row_of_event)
    found = count_vectors(numbered, np.arange(len(texts), dtype=np.int32), reduced=True).unique()
    shares = frequencies(as_matrix(found.sequences, len(texts) + 1))
    return TextShares(shares[:, : len(texts)], inputs.features(texts), found.inverse)


def shrunk(covariance: NDArray[np.float64], fourth: float, n: int) -> NDArray[np.float64]:
    """The covariance (p, p) of n vectors drawn to its mean variance as far as Ledoit and Wolf (2004) say.

    fourth: mean fourth power of their distance to their mean. Without any spread it is the identity.
    """
    p = len(covariance)
    variance = float(np.trace(covariance)) / p
    if variance <= _NO_SPREAD:
        return np.eye(p)
    square = float(np.square(covariance).sum())
    apart = square - p * variance**2
    share = 1.0 if apart <= 0 else min(1.0, max(_LEAST, (fourth - square) / (n * apart)))
    return (1 - share) * covariance + share * variance * np.eye(p)
