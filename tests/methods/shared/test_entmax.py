"""alpha-entmax equals the reference package and its gradients are the numerical ones, alpha's included."""

import math

import entmax as reference
import numpy as np
import pytest
import torch

from methods.shared import entmax as entmax_module
from methods.shared.entmax import entmax
from methods.shared.entmax_package import entmax as package_entmax

ALPHAS = [1.05, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5, 1.6, 1.75, 1.9, 1.99]


def random_scores(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def expected(scores, alpha):
    """The package's weights, exact where it has an exact function."""
    if alpha <= 1:
        return torch.softmax(scores, -1)
    exact = {1.5: reference.entmax15, 2: reference.sparsemax}
    return exact[alpha](scores, -1) if alpha in exact else reference.entmax_bisect(scores, alpha, -1)


@pytest.mark.parametrize("alpha", [1.0, *ALPHAS, 2.0])
@pytest.mark.parametrize("spread", [1e-3, 1, 5, 100])
def test_weights_equal_the_package(alpha, spread):
    scores = random_scores(40, 3, 20) * spread
    wanted = expected(scores.double(), alpha).float()
    torch.testing.assert_close(entmax(scores, alpha), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(entmax(scores, alpha).sum(-1), torch.ones(40, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [1.0, *ALPHAS, 2.0])
def test_gradient_equals_the_package(alpha):
    ours, theirs = (random_scores(3, 4, 9).mul(2).double().requires_grad_() for _ in range(2))
    upstream = random_scores(3, 4, 9, seed=1).double()
    entmax(ours, alpha).backward(upstream)
    expected(theirs, alpha).backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0])
def test_the_package_leaves_padding_out(alpha):
    scores, there = random_scores(4, 9), torch.ones(4, 9)
    there[1, 5:] = there[2, 0] = there[3] = 0
    weights = package_entmax(scores, alpha, there)
    torch.testing.assert_close(weights, entmax(scores, alpha, there), atol=1e-6, rtol=0)
    assert (weights[there == 0] == 0).all()
    assert package_entmax(scores.bfloat16(), alpha).dtype == torch.bfloat16


@pytest.mark.parametrize("n", [1, 2, 300])
@pytest.mark.parametrize("alpha", [1.1, 1.3, 1.5, 1.7, 1.99, 2.0])
def test_rows_of_any_length_and_shape_in_double(alpha, n):
    geometric = -torch.logspace(-9, 1, n, dtype=torch.float64)
    rows = torch.stack([geometric, torch.zeros(n), torch.linspace(-3, 3, n), -geometric * 50]).double()
    torch.testing.assert_close(entmax(rows, alpha), expected(rows, alpha), atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", range(30))
def test_any_alpha_up_to_2(seed):
    rng = np.random.default_rng(seed)
    alpha, n = rng.uniform(1.01, 2), rng.integers(1, 40)
    # Steps of one hundredth make ties, a random power makes rows of very different spread.
    scores = torch.tensor(np.round(rng.standard_normal((50, n)), 2) * 10.0 ** rng.uniform(-2, 2, (50, 1)))
    weights = entmax(scores, alpha)
    torch.testing.assert_close(weights, reference.entmax_bisect(scores, alpha, -1), atol=1e-7, rtol=0)
    assert (weights >= 0).all()


@pytest.mark.parametrize("alpha", [1.0, 1.1, 1.3, 1.5, 1.62, 2.0])
def test_gradcheck(alpha):
    scores = random_scores(5, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: entmax(x, alpha), scores)


@pytest.mark.parametrize("alpha", [1.1, 1.3, 1.5, 1.62, 2.0])
def test_gradcheck_with_multiplicity(alpha):
    scores = random_scores(4, 5, dtype=torch.float64).requires_grad_()
    multiplicity = torch.tensor([1.0, 2, 3, 0, 1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: entmax(x, alpha, multiplicity), scores)


@pytest.mark.parametrize("multiplicity", [None, torch.tensor([1.0, 2, 3, 0, 1])])
def test_gradcheck_of_a_learnable_alpha(multiplicity):
    scores = random_scores(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    alpha = torch.tensor([1.1, 1.37, 1.8]).double().reshape(3, 1, 1).requires_grad_()
    m = None if multiplicity is None else multiplicity.double()
    assert torch.autograd.gradcheck(lambda x, a: entmax(x, a, m), (scores, alpha))


def test_a_learnable_alpha_gives_the_weights_of_the_number():
    scores = random_scores(3, 2, 7)
    alphas = torch.tensor([1.0, 1.2, 2.5]).reshape(3, 1, 1)
    together = entmax(scores, alphas)
    for i, alpha in enumerate([entmax_module.LEAST_LEARNED_ALPHA, 1.2, 2.0]):
        torch.testing.assert_close(together[i], entmax(scores[i], alpha), atol=1e-5, rtol=0)


def test_alpha_of_one_is_exactly_softmax():
    scores = random_scores(4, 6)
    assert torch.equal(entmax(scores, 1.0), torch.softmax(scores, -1))


@pytest.mark.parametrize("alpha", [2.1, 0.99, 0.0, -1.0, math.nan])
def test_alpha_outside_of_1_and_2_is_refused(alpha):
    with pytest.raises(ValueError, match=r"is not from 1 \(softmax\) to 2"):
        entmax(torch.zeros(3), alpha)


def long_rows(n):
    """Rows that are flat, or fall so that few entries are dropped in a step of Michelot's algorithm."""
    place = torch.arange(n, dtype=torch.float64) / n
    geometric = -torch.logspace(-9, 1, n, dtype=torch.float64)
    normal = random_scores(n, dtype=torch.float64)
    rows = [torch.zeros(n).double(), normal * 1e-3, normal * 0.1, normal, geometric, geometric * 50, -(place**4)]
    return torch.stack([*rows, -(place * n).sqrt()])


@pytest.mark.parametrize("n", [513, 4096, 20_000])
@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.7, 1.8, 1.9, 2.0])
def test_long_rows_equal_the_package(alpha, n):
    rows = long_rows(n)
    wanted = expected(rows.float().double(), alpha)
    torch.testing.assert_close(entmax(rows.float(), alpha).double(), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(entmax(rows, alpha), expected(rows, alpha), atol=1e-9, rtol=0)


@pytest.mark.parametrize("alpha", [1.3, 1.8, 2.0])
def test_gradient_of_long_rows_equals_the_package(alpha):
    ours, theirs = (random_scores(2, 3000).mul(0.1).double().requires_grad_() for _ in range(2))
    upstream = random_scores(2, 3000, seed=1).double()
    entmax(ours, alpha).backward(upstream)
    expected(theirs, alpha).backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [1.1, 1.8, 2.0])
def test_multiplicity_stands_for_repeated_entries_in_long_rows(alpha):
    scores = random_scores(1000).mul(0.1).double()
    multiplicity = torch.arange(1000).double() % 4
    index = torch.repeat_interleave(torch.arange(1000), multiplicity.long())
    together = torch.zeros(1000).double().index_add(0, index, expected(scores[index], alpha))
    torch.testing.assert_close(entmax(scores, alpha, multiplicity), together, atol=1e-9, rtol=0)


@pytest.mark.parametrize("spread", [1e-2, 1, 20])
@pytest.mark.parametrize("above", [1e-15, 1e-12, 1e-9, 1e-7])
def test_towards_alpha_1_it_is_softmax(above, spread):
    scores, multiplicity = random_scores(5, 300) * spread, torch.arange(300.0) % 3
    for values in (scores, scores.double()):
        # The distance from softmax is of the order of (alpha - 1) times a squared score.
        bound = 5e-7 + above * spread**2
        torch.testing.assert_close(entmax(values, 1 + above), entmax(values, 1.0), atol=bound, rtol=0)
        weighted = (entmax(values, alpha, multiplicity) for alpha in (1 + above, 1.0))
        torch.testing.assert_close(*weighted, atol=bound, rtol=0)


@pytest.mark.parametrize("alpha", [1 + 1e-5, 1.001, 1.01, 1.03, 1.04, 1.05])
def test_near_alpha_1_it_equals_the_package(alpha):
    rows = long_rows(300)
    wanted = expected(rows.float().double(), alpha)
    torch.testing.assert_close(entmax(rows.float(), alpha).double(), wanted, atol=5e-7, rtol=0)
    torch.testing.assert_close(entmax(rows, alpha), expected(rows, alpha), atol=1e-9, rtol=0)


@pytest.mark.parametrize("alpha", [1 + 1e-9, 1.001, 1.03])
def test_gradcheck_near_alpha_1(alpha):
    scores = random_scores(5, 6, dtype=torch.float64).requires_grad_()
    multiplicity = torch.tensor([1.0, 2, 3, 0, 1, 1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: entmax(x, alpha, multiplicity), scores)


@pytest.mark.parametrize("alpha", [1.001, 1.5, 2.0, torch.tensor([1.5])])
def test_a_second_derivative_raises(alpha):
    scores = random_scores(3, 4, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(entmax(scores, alpha).square().sum(), scores, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_a_second_derivative_of_the_compiled_operator_raises():
    scores = random_scores(3, 4, dtype=torch.float64).requires_grad_()
    weights, _ = entmax_module._operator(scores, 1.5, None)
    (slope,) = torch.autograd.grad(weights.square().sum(), scores, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_known_values():
    assert entmax(torch.tensor([2.0, 0.0]), 2).tolist() == [1.0, 0.0]
    torch.testing.assert_close(entmax(torch.zeros(5), 1.5), torch.full((5,), 0.2))
    for alpha in ALPHAS:
        assert (entmax(torch.linspace(-30, 30, 10), alpha) == 0).any()


@pytest.mark.parametrize("alpha", [1.0, 1.2, 1.5, 2.0])
def test_a_single_position_gets_weight_one(alpha):
    assert entmax(torch.tensor([-7.0]), alpha).tolist() == [1.0]


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0])
def test_multiplicity_stands_for_repeated_entries(alpha):
    scores, multiplicity = random_scores(6), torch.tensor([1.0, 3, 1, 0, 2, 5])
    index = torch.repeat_interleave(torch.arange(6), multiplicity.long())
    together = torch.zeros(6).index_add(0, index, entmax(scores[index], alpha))
    torch.testing.assert_close(entmax(scores, alpha, multiplicity), together, atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0])
def test_multiplicities_of_a_batch_belong_to_their_rows(alpha):
    scores = random_scores(7, 2, 4, 5)
    multiplicity = torch.randint(0, 3, (7, 5), generator=torch.Generator().manual_seed(0)).float()
    together = entmax(scores, alpha, multiplicity[:, None, None])
    for i in range(7):
        torch.testing.assert_close(together[i], entmax(scores[i], alpha, multiplicity[i]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0])
def test_a_row_without_any_entry_gets_zeros_and_finite_gradients(alpha):
    scores = random_scores(2, 3).requires_grad_()
    weights = entmax(scores, alpha, torch.tensor([[0.0, 0, 0], [1, 1, 0]]))
    weights.square().sum().backward()
    assert weights[0].tolist() == [0, 0, 0]
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("alpha", [1.3, 1.5, 2.0])
def test_blocks_change_nothing(alpha, monkeypatch):
    scores, multiplicity = random_scores(9, 2, 3, 4), torch.ones(9, 1, 1, 4)
    whole = entmax(scores, alpha, multiplicity)
    monkeypatch.setattr(entmax_module, "_BLOCK", 50)
    assert torch.equal(entmax(scores, alpha, multiplicity), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    scores = random_scores(5, 8)
    weights = entmax(scores.to(dtype), 1.5)
    assert weights.dtype == dtype
    assert torch.equal(weights, entmax(scores.to(dtype).float(), 1.5).to(dtype))


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0])
def test_runs_on_meta(alpha):
    scores = torch.randn(3, 4, 8, device="meta", requires_grad=True)
    entmax(scores, alpha, torch.ones(3, 1, 8, device="meta")).sum().backward()
    assert scores.grad.is_meta
