"""alpha-entmax by Newton's method (Peters, Niculae, Martins 2019; gradient for alpha: Correia, Niculae, Martins 2019).

The weights are p_i = [(alpha - 1) x_i - tau]_+ ** q with q = 1 / (alpha - 1), and tau makes them sum to 1. In place of
the sum this solves for its q-th root, the q-norm of [(alpha - 1) x - tau]_+: that is convex in tau too and nearly
straight, so Newton's method from below rises to the root without overshooting, in 3 steps for alpha = 1.1, 5 for 1.5
and at most 9 at 2, where it is Michelot's algorithm. Rows of more than 512 entries are halved into the root's
neighbourhood first, since there Michelot's algorithm may drop few entries a step. The number of steps depends on alpha
and the row's length alone, never on the data: no device has to be asked whether it is done, and the meta device works.

Below 1.04 the threshold itself loses digits: it nears -1 while the differences that matter shrink with alpha - 1. There
p_i = exp(log1p((alpha - 1) (x_i - s)) / (alpha - 1)), which tends to softmax with s to the logarithm of its sum.

The gradient needs s_i = p_i ** (2 - alpha), which the last step has computed already. It has no gradient itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_MASKED = -1e9
_TINY = 1e-30
_BLOCK = 2**16
"""Entries computed at once on the CPU: they and three buffers stay in its second cache."""
_LONG = 512
"""Entries of a row up to which Newton's steps alone suffice."""
_HALVINGS = {torch.float32: 20, torch.float64: 30}
_NEAR_SOFTMAX = 1.04
LEAST_LEARNED_ALPHA = 1.01
"""A learned alpha is held in [1.01, 2]: towards 1 its gradient is a difference of ever larger numbers."""


def entmax(scores: Tensor, alpha: float | Tensor, multiplicity: Tensor | None = None) -> Tensor:
    """alpha-entmax over the last dimension: weights that sum to 1, some of them exactly zero.

    scores: (..., n), float32 or float64; half precisions are computed in float32.
    alpha: 1 is softmax (the formula is singular there), 2 is sparsemax. A tensor is learnable; it broadcasts against
        scores, with a last dimension of 1, and is held in [1.01, 2].
    multiplicity: broadcastable to scores; an entry of multiplicity m gets the weight of m equal entries together, one
        of multiplicity 0 gets none.

    A row without any entry gets zeros. Raises ValueError for alpha outside [1, 2]; above 1 a second derivative raises
    RuntimeError.
    """
    given = scores.dtype
    if given in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if isinstance(alpha, Tensor):
        alpha = alpha.to(scores).clamp(LEAST_LEARNED_ALPHA, 2)
    elif not 1 <= alpha <= 2:
        raise ValueError(f"alpha {alpha} is not from 1 (softmax) to 2 (sparsemax), where entmax is defined here")
    if isinstance(alpha, Tensor):
        return _apply(scores, alpha, multiplicity).to(given)
    if alpha > 1:
        # torch.compile takes an operator as it is, where it would cut its graph in two at a function.
        weights = _operator(scores, alpha, multiplicity)[0] if torch.compiler.is_compiling() else None
        return (_apply(scores, alpha, multiplicity) if weights is None else weights).to(given)
    if multiplicity is None:
        return torch.softmax(scores, dim=-1).to(given)
    m = multiplicity.to(scores.dtype)
    weights = torch.softmax(scores + m.clamp_min(_TINY).log().masked_fill(m == 0, _MASKED), dim=-1)
    return (weights * (m > 0)).to(given)


class _Entmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, alpha: float | Tensor, multiplicity: Tensor | None) -> Tensor:
        weights, slopes = _weights_and_slopes(scores, alpha, multiplicity)
        ctx.alpha = alpha
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(slopes, weights, multiplicity)
        else:
            ctx.save_for_backward(slopes)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        slopes, *others = ctx.saved_tensors
        of_scores, total = _gradient_of_scores(grads[0], slopes)
        of_alpha = _gradient_of_alpha(grads[0], ctx.alpha, slopes / total, *others) if others else None
        return of_scores, of_alpha, None


def _weights_and_slopes(scores: Tensor, alpha: float | Tensor, multiplicity: Tensor | None) -> tuple[Tensor, Tensor]:
    weights, slopes = torch.empty_like(scores), torch.empty_like(scores)
    # The summed dimension stands first, so that sums over it run over contiguous rows.
    for block in _blocks(scores):
        m = None if multiplicity is None else _part(multiplicity, scores, block)
        part_alpha = _part(alpha, scores, block) if isinstance(alpha, Tensor) else alpha
        p, s = _solve(scores[block].movedim(-1, 0), part_alpha, m)
        weights[block].movedim(-1, 0).copy_(p)
        slopes[block].movedim(-1, 0).copy_(s)
    return weights, slopes


def _gradient_of_scores(grad: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient, and the sum of the slopes."""
    total = slopes.sum(-1, keepdim=True).clamp_min_(_TINY)
    of_scores = slopes * grad
    mean = of_scores.sum(-1, keepdim=True) / total
    return of_scores.addcmul_(slopes, mean, value=-1), total


@torch.library.custom_op("mlad_bench::entmax", mutates_args=())
def _operator(scores: Tensor, alpha: float, multiplicity: Tensor | None) -> tuple[Tensor, Tensor]:
    return _weights_and_slopes(scores, alpha, multiplicity)


@_operator.register_fake
def _(scores: Tensor, alpha: float, multiplicity: Tensor | None) -> tuple[Tensor, Tensor]:
    return torch.empty_like(scores), torch.empty_like(scores)


def _keep_slopes(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])


@once_differentiable
def _backward_of_operator(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
    return _gradient_of_scores(grad, ctx.saved_tensors[0])[0], None, None


_operator.register_autograd(_backward_of_operator, setup_context=_keep_slopes)

# Of a learnable alpha too; kept out of what torch.compile translates, as the blocks depend on the shape.
_apply: Callable[..., Tensor] = torch.compiler.disable(_Entmax.apply)  # type: ignore[no-untyped-call]


def _solve(scores: Tensor, alpha: float | Tensor, m: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights and slopes over dimension 0, multiplicities included; new tensors."""
    z = scores.clone(memory_format=torch.contiguous_format)
    if m is not None:
        z.masked_fill_(m == 0, _MASKED)
    # First the difference, then the product: what is close to the maximum keeps all its digits.
    z -= z.amax(0, keepdim=True)
    if not isinstance(alpha, Tensor) and alpha < _NEAR_SOFTMAX:
        return _solve_near_softmax(z, alpha - 1, m)
    c = alpha - 1
    z *= c
    tau = _first_threshold(z, c, m)
    if len(z) > _LONG:
        tau = _halved(z, c, m, tau)
    return _newton(z, alpha, m, tau)


def _newton(z: Tensor, alpha: float | Tensor, m: Tensor | None, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and slopes of scores times alpha - 1, by steps from a threshold at or below the root; tau is changed."""
    c = alpha - 1
    x, products, powers = (torch.empty_like(z) for _ in range(3))
    raised, floor = _power(1 / c - 1, powers, len(z))
    steps = _steps(alpha, z.dtype)
    for step in range(steps + 1):
        torch.sub(z, tau, out=x).clamp_min_(floor)
        slopes = raised(x)
        if m is not None:
            slopes = slopes.mul_(m) if slopes is not x else slopes * m
        if floor and step == steps:
            slopes *= x > floor
        torch.mul(slopes, x, out=products)
        total = products.sum(0, keepdim=True).clamp_min_(_TINY)
        if step < steps:
            tau += total * (1 - total ** (-c)) / slopes.sum(0, keepdim=True).clamp_min_(_TINY)
    products /= total
    return products, slopes


def _halved(z: Tensor, c: float | Tensor, m: Tensor | None, low: Tensor) -> Tensor:
    """A threshold at or below the root of a long row, nearer than `low`; n equal entries reach 1 at -n ** -c."""
    n = _count(z, m)
    width = (-(n ** (-c)) - low).clamp_min_(0)
    x = torch.empty_like(z)
    for _ in range(_HALVINGS[z.dtype]):
        width /= 2
        torch.sub(z, low + width, out=x).clamp_min_(0).pow_(1 / c)
        total = (x if m is None else x.mul_(m)).sum(0, keepdim=True)
        low = torch.where(total >= 1, low + width, low)
    return low


def _solve_near_softmax(z: Tensor, c: float, m: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same of differences to the maximum for a small c = alpha - 1, as in softmax without a difference to -1."""
    n = _count(z, m)
    mean = (z if m is None else z * m).sum(0, keepdim=True) / n
    shift = (mean - torch.expm1(-c * n.log()) / c).clamp_min_(0)
    steps = _steps(1 + c, z.dtype)
    for step in range(steps + 1):
        base = ((z - shift) * c).clamp_min_(-1)
        weights = torch.exp(torch.log1p(base) / c)
        slopes = torch.where(weights > 0, weights / (1 + base), 0)
        if m is not None:
            weights, slopes = weights * m, slopes * m
        total = weights.sum(0, keepdim=True).clamp_min_(_TINY)
        if step < steps:
            shift -= total * torch.expm1(-c * total.log()) / c / slopes.sum(0, keepdim=True).clamp_min_(_TINY)
    return weights / total, slopes


def _count(z: Tensor, m: Tensor | None) -> Tensor:
    """Entries of each row, at least 1."""
    if m is None:
        return torch.as_tensor(float(len(z)), dtype=z.dtype, device=z.device)
    return m.expand(len(z), *m.shape[1:]).sum(0, keepdim=True).clamp_min(1)


def _first_threshold(z: Tensor, c: float | Tensor, m: Tensor | None) -> Tensor:
    """At or below the root: the largest entry alone reaches 1 at -1, and by Jensen the mean bounds it as well."""
    n = _count(z, m)
    mean = z.mean(0, keepdim=True) if m is None else (z * m).sum(0, keepdim=True) / n
    return (mean - n ** (-c)).clamp_min_(-1)


def _steps(alpha: float | Tensor, dtype: torch.dtype) -> int:
    """Enough for the dtype on rows up to 512 entries; near 2 a step may leave out few entries more than the last."""
    most = 2.0 if isinstance(alpha, Tensor) else alpha
    return (3 if most <= 1.1 else 5 if most <= 1.5 else 6 if most <= 1.7 else 9) + (dtype == torch.float64)


def _power(exponent: float | Tensor, out: Tensor, n: int) -> tuple[Callable[[Tensor], Tensor], float]:
    """A function x -> x ** exponent for x at or above the floor beside it, of rows of n; 0 ** 0 is 0 here.

    It multiplies where that does; its result is `out` or x itself. Roots and logarithms of zero are slow, hence the
    floor, below which a weight is under 1e-17.
    """
    if isinstance(exponent, Tensor):
        return lambda x: torch.pow(x, exponent, out=out).mul_(x > 0), 0.0
    twice = round(2 * exponent)
    floor = math.exp(-40 / (exponent + 1))
    if abs(2 * exponent - twice) > 1e-9 or twice > 32:
        # Near sparsemax a power of the floor, or the sum of many, is not small and would slow Newton's steps down.
        if floor**exponent > 1e-3 or n > _LONG:
            return lambda x: torch.log(x, out=out).mul_(exponent).exp_().mul_(x > floor), floor
        return lambda x: torch.log(x, out=out).mul_(exponent).exp_(), floor
    if twice == 0:
        return lambda x: torch.gt(x, 0, out=out), 0.0
    if twice == 2:
        return lambda x: x, 0.0
    return lambda x: _whole_or_half_power(x, twice, out), floor if twice % 2 else 0.0


def _whole_or_half_power(x: Tensor, twice: int, out: Tensor) -> Tensor:
    whole, half = divmod(twice, 2)
    if half:
        torch.sqrt(x, out=out)
    else:
        out.copy_(x)
        whole -= 1
    square = x
    while whole:
        if whole & 1:
            out *= square
        whole >>= 1
        if whole:
            square = square * square
    return out


def _gradient_of_alpha(
    grad: Tensor, alpha: Tensor, share: Tensor, weights: Tensor, multiplicity: Tensor | None
) -> Tensor:
    """From p ** (alpha - 1) = (alpha - 1) x - tau and sum p = 1, both differentiated; share: slopes that sum to 1."""
    c = alpha - 1
    single = weights if multiplicity is None else weights / multiplicity.clamp_min(_TINY)
    p_log_p = weights * single.clamp_min(_TINY).log()
    change = (weights - share * weights.sum(-1, keepdim=True)) / c**2
    change -= (p_log_p - share * p_log_p.sum(-1, keepdim=True)) / c
    return (grad * change).sum_to_size(alpha.shape)


def _blocks(scores: Tensor) -> Iterator[slice]:
    """Parts along the first dimension that fit a cache; other devices take all at once."""
    n = scores.shape[0] if scores.dim() > 1 else 1
    if scores.device.type != "cpu" or scores.dim() < 2 or n < 2:
        yield slice(None)
        return
    size = max(1, _BLOCK * n // max(1, scores.numel()))
    for start in range(0, n, size):
        yield slice(start, start + size)


def _part(values: Tensor, scores: Tensor, block: slice) -> Tensor:
    """What belongs to a block of scores, with the last dimension first."""
    values = values.to(scores.dtype).reshape((1,) * (scores.dim() - values.dim()) + values.shape)
    if scores.dim() > 1 and values.shape[0] > 1:
        values = values[block]
    return values.movedim(-1, 0)
