"""A Gaussian mixture in closed form, as DAGMM and MLAD have it: moments, M step, energy, in float64.

Log-sum-exp and Cholesky factors throughout: no density, determinant or inverse is ever formed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 1e-30


class SingularError(ArithmeticError):
    """A covariance cannot be factorised, even with the largest jitter; its entries are usually NaN."""


class Moments(NamedTuple):
    """Soft counts and moments of points by component, float64; those of two sets of points add up."""

    mass: Tensor
    """(K,)"""
    first: Tensor
    """(K, d)"""
    second: Tensor
    """(K, d, d)"""


def moments(points: Tensor, responsibilities: Tensor) -> Moments:
    """points: (n, d); responsibilities: (n, K), already times the weight of each point."""
    x, r = points.double(), responsibilities.double().T
    return Moments(r.sum(1), r @ x, (r[:, None] * x.T) @ x)


class Mixture(NamedTuple):
    """A Gaussian mixture, float64."""

    log_share: Tensor
    """(K,) log of the weight of each component, -inf for those that were dropped."""
    mean: Tensor
    """(K, d)"""
    covariance: Tensor
    """(K, d, d) jitter included."""
    factor: Tensor
    """(K, d, d) lower Cholesky factor of the covariance."""

    def log_joint(self, points: Tensor) -> Tensor:
        """Log of share times density of each component at points (n, d) -> float64 (K, n)."""
        centred = (points.double() - self.mean[:, None]).transpose(1, 2)
        whitened = torch.linalg.solve_triangular(self.factor, centred, upper=False)
        log_scale = self.factor.diagonal(dim1=1, dim2=2).log().sum(1) + points.shape[1] / 2 * math.log(2 * math.pi)
        return torch.as_tensor((self.log_share - log_scale)[:, None] - whitened.square().sum(1) / 2)

    def energy(self, points: Tensor) -> Tensor:
        """Negative log-likelihood of points (n, d) -> float64 (n,)."""
        return -torch.logsumexp(self.log_joint(points), dim=0)

    def posterior(self, points: Tensor) -> Tensor:
        """Probability of each component given the point, float64 (n, K): the E step."""
        return torch.softmax(self.log_joint(points), dim=0).T


def mixture_of(m: Moments, *, jitter: float, min_share: float = 0.0, shrinkage: float = 0.0) -> Mixture:
    """The closed form of the M step; components below min_share are dropped from the likelihood.

    shrinkage: share by which each covariance is pulled to its diagonal before the jitter is added.
    """
    share = m.mass / m.mass.sum()
    mass = (m.mass + 1e-8)[:, None]
    mean = m.first / mass
    scatter = m.second / mass[:, None] - mean[:, :, None] * mean[:, None]
    scatter = (scatter + scatter.transpose(1, 2)) / 2
    if shrinkage:
        scatter = (1 - shrinkage) * scatter + shrinkage * torch.diag_embed(scatter.diagonal(dim1=1, dim2=2))
    covariance, factor = _factorised(scatter, jitter)
    # clamp_min before the log: the branch that where() drops must not produce NaN gradients.
    log_share = torch.where(share > min_share, share.clamp_min(_TINY).log(), -torch.inf)
    return Mixture(log_share, mean, covariance, factor)


def _factorised(scatter: Tensor, jitter: float) -> tuple[Tensor, Tensor]:
    identity = torch.eye(scatter.shape[1], dtype=scatter.dtype, device=scatter.device)
    while True:
        covariance = scatter + jitter * identity
        factor, info = torch.linalg.cholesky_ex(covariance)
        # Asking another device would stop its queue at every step; there a failure shows as a loss that is not finite.
        if covariance.device.type != "cpu" or not info.any():
            return covariance, factor
        if jitter * 10 > 0.1:
            raise SingularError(f"not positive definite even with jitter {jitter:g}")
        jitter *= 10
