"""A Gaussian mixture in closed form, as DAGMM and MLAD have it: moments, M step, energy, in float64.

Log-sum-exp and Cholesky factors throughout: no density, determinant or inverse is ever formed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
    second: Tensor = _SecondMoments.apply(x, r)  # type: ignore[no-untyped-call]
    return Moments(r.sum(1), r @ x, second)


class _SecondMoments(torch.autograd.Function):
    """x: (n, d), r: (K, n) -> sum over n of r x x^T, (K, d, d), by one product each way and component."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: Tensor) -> Tensor:
        ctx.save_for_backward(x, r)
        turned = x.T.contiguous()
        weighted, sums = torch.empty_like(turned), x.new_empty(len(r), x.shape[1], x.shape[1])
        for share, total in zip(r, sums, strict=True):
            torch.mm(torch.mul(turned, share, out=weighted), x, out=total)
        return sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, r = ctx.saved_tensors
        of_x, of_r, product = torch.zeros_like(x), torch.empty_like(r), torch.empty_like(x)
        for k, slope in enumerate(grads[0] + grads[0].transpose(1, 2)):
            torch.mm(x, slope, out=product)
            of_x.addcmul_(product, r[k][:, None])
            torch.sum(product.mul_(x), 1, out=of_r[k])
        return of_x, of_r / 2


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
