"""alpha-entmax as the package `entmax` computes it: the yardstick of our own, and MLAD's where its config says so."""

from __future__ import annotations

import torch
from entmax import entmax15, entmax_bisect, sparsemax
from torch import Tensor

_MASKED = -1e9


def entmax(scores: Tensor, alpha: float, multiplicity: Tensor | None = None) -> Tensor:
    """alpha-entmax over the last dimension, as `methods.shared.entmax.entmax`, for multiplicities of 0 and 1 alone.

    Exact at 1.5 and 2, where the package has a function for it, else by bisection; it knows no equal entries that
    stand for several.
    """
    x = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if multiplicity is None:
        return _weights(x, alpha).to(scores.dtype)
    is_padding = multiplicity == 0
    # A row of padding alone is computed as it stands: of entries that are all masked the bisection makes no number.
    masked = x.masked_fill(is_padding & ~is_padding.all(-1, keepdim=True), _MASKED)
    return _weights(masked, alpha).masked_fill(is_padding, 0).to(scores.dtype)


def _weights(x: Tensor, alpha: float) -> Tensor:
    # The bisection divides by alpha - 1, so its limit is taken as what it is.
    if alpha == 1:
        return torch.softmax(x, -1)
    exact = {1.5: entmax15, 2: sparsemax}.get(alpha)
    return torch.as_tensor(entmax_bisect(x, alpha, -1) if exact is None else exact(x, -1))
