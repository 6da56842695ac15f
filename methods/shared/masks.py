"""Masks of masked-key prediction: random ones to learn from, disjoint ones that cover every position to score with."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[np.int64]

PAD, UNKNOWN, FIRST, MASK, FIRST_KEY = range(5)
"""Tokens: nothing, a key that training never had, what stands before a sequence, a hidden key, the first real key."""


def n_passes(ratio: float) -> int:
    """ceil(1 / ratio), as a decimal: 1 / 0.2 must not become 6."""
    return int(np.ceil(1 / ratio - 1e-9))


def coverage(lengths: Integers, ratio: float) -> Integers:
    """In which of `n_passes` passes each token is masked: int64 (n, longest + 1).

    -1 for the first token, which stands before the sequence, and for padding. Depends on a length and nothing else.
    """
    result = np.full((len(lengths), int(lengths.max(initial=0)) + 1), -1)
    for length in np.unique(lengths):
        result[lengths == length, 1 : length + 1] = _disjoint(int(length), n_passes(ratio))
    return result


def random_masks(tokens: Tensor, real: Tensor, ratio: float, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Mask a share of the real positions, at least one in a sequence: the mask, and the tokens given instead.

    tokens, real: (B, L). Of the masked, 80 % become MASK, 10 % a random key, 10 % stay.
    """
    dice = torch.rand(tokens.shape, device=tokens.device).masked_fill(~real, 2)
    masked = real & (dice <= dice.amin(1, keepdim=True).clamp_min(ratio))
    kind = torch.rand(tokens.shape, device=tokens.device)
    others = torch.randint(FIRST_KEY, n_tokens, tokens.shape, device=tokens.device)
    return masked, torch.where(masked & (kind < 0.8), MASK, torch.where(masked & (kind < 0.9), others, tokens))


@functools.lru_cache(maxsize=4096)
def _disjoint(length: int, passes: int) -> Integers:
    """(length,): every position gets one of the passes; their sizes differ by one at most."""
    return np.random.default_rng([length, passes]).permutation(length) % passes
