"""The shared layers do what their names promise, compared with independent implementations."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from methods.shared import bags as _bags
from methods.shared import layers


def random_scores(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("merge", [True, False])
def test_unique_bags_group_equal_sequences(merge):
    rows = [[3, 3, 1], [1, 3, 3], [], [2], [3, 3, 1], []]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    ids = np.array([i for row in rows for i in row], np.int64)
    bags, counts, inverse = layers.unique_bags(ids, offsets, merge_repeats=merge)
    assert counts.tolist() == ([3, 2, 1] if merge else [2, 1, 2, 1])
    for row, bag in zip(rows, inverse, strict=True):
        part = slice(bags.offsets[bag], bags.offsets[bag + 1])
        assert Counter(row) == sum(
            (Counter({i: int(m)}) for i, m in zip(bags.ids[part], bags.multiplicity[part], strict=True)), Counter()
        )


def test_pad_fills_on_the_right():
    matrix = layers.pad(np.arange(6), np.array([0, 3, 3, 6]), np.array([2, 1]), fill=-1)
    assert matrix.tolist() == [[3, 4, 5], [-1, -1, -1]]


def test_length_chunks_cover_everything_within_the_limits():
    lengths = np.random.default_rng(0).integers(0, 300, 500)
    chunks = list(layers.length_chunks(lengths, max_tokens=1000, max_cells=50_000))
    assert sorted(np.concatenate(chunks)) == list(range(500))
    for chunk in chunks:
        longest = lengths[chunk].max()
        assert len(chunk) == 1 or (len(chunk) * longest <= 1000 and len(chunk) * longest**2 <= 50_000)
        assert longest <= 4 or lengths[chunk].min() >= longest // 2


def test_length_chunks_of_nothing():
    assert list(layers.length_chunks(np.zeros(0, np.int64))) == []


def test_weighted_mean_ignores_padding_and_counts_repeats():
    x = torch.tensor([[[1.0], [4.0], [100.0]], [[5.0], [5.0], [5.0]]])
    assert layers.weighted_mean(x, torch.tensor([[2.0, 1, 0], [0, 0, 0]])).tolist() == [[2.0], [0.0]]


def test_sinusoidal_has_the_textbook_entries():
    code = layers.sinusoidal(4, 5, torch.zeros(1))
    assert code.shape == (4, 5)
    np.testing.assert_allclose(code[3, :2], [np.sin(3), np.cos(3)], rtol=1e-6)
    np.testing.assert_allclose(code[3, 2], np.sin(3 / 10_000 ** (2 / 5)), rtol=1e-5)


def test_attention_in_blocks_of_queries_changes_nothing(monkeypatch):
    layer = layers.EntmaxAttention(8, 2, 1.5)
    x, multiplicity = random_scores(2, 30, 8), torch.ones(2, 30)
    results = []
    for cells in (2**23, 500):
        monkeypatch.setattr(layers, "MAX_CELLS", cells)
        layer.zero_grad()
        out = layer(x, multiplicity)
        out.square().sum().backward()
        results.append((out.detach(), layer.inner.weight.grad.clone()))
    for whole, blocked in zip(*results, strict=True):
        torch.testing.assert_close(whole, blocked, atol=1e-4, rtol=1e-4)


def test_attention_with_equal_heads_needs_a_matching_width():
    with pytest.raises(ValueError, match="heads"):
        layers.EntmaxAttention(10, 4, 1.5)


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0])
def test_encoder_layer_runs_on_meta(alpha):
    with torch.device("meta"):
        layer = layers.EncoderLayer(8, 2, 16, alpha=alpha, dropout=0.5)
        layer(torch.randn(3, 4, 8), torch.ones(3, 4)).sum().backward()
    assert all(parameter.grad.is_meta for parameter in layer.parameters())


def test_feed_forward_uses_celu():
    layer = layers.EncoderLayer(8, 2, 16, alpha=1.5, dropout=0.0)
    (activation,) = (module for module in layer.modules() if isinstance(module, nn.CELU))
    x = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(activation(x), x.clamp_min(0) + (x.exp() - 1).clamp_max(0))


def random_mixture(k=3, d=4):
    rng = np.random.default_rng(0)
    means, roots = rng.normal(size=(k, d)), rng.normal(size=(k, d, d))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)
    shares = rng.dirichlet(np.ones(k))
    mixture = layers.Mixture(*map(torch.tensor, (np.log(shares), means, covariances, np.linalg.cholesky(covariances))))
    return mixture, shares, means, covariances


def test_energy_is_the_negative_log_likelihood():
    mixture, shares, means, covariances = random_mixture()
    points = np.random.default_rng(1).normal(size=(20, 4)) * 3
    density = sum(
        share * multivariate_normal(mean, covariance).pdf(points)
        for share, mean, covariance in zip(shares, means, covariances, strict=True)
    )
    np.testing.assert_allclose(mixture.energy(torch.tensor(points)), -np.log(density), atol=1e-5)


def test_energy_grows_along_a_ray_away_from_all_means():
    mixture, *_ = random_mixture()
    direction = torch.tensor([1.0, -2, 0.5, 1], dtype=torch.float64)
    energy = mixture.energy(torch.arange(10, 1000, 10)[:, None] * direction)
    assert (energy.diff() > 0).all()


def test_mixture_of_moments_is_the_weighted_textbook_estimate():
    rng = np.random.default_rng(0)
    points, gamma = rng.normal(size=(50, 3)), rng.dirichlet(np.ones(2), 50)
    parts = [layers.moments(*map(torch.tensor, (points[part], gamma[part]))) for part in (slice(20), slice(20, 50))]
    summed = layers.Moments(*(a + b for a, b in zip(*parts, strict=True)))
    mixture = layers.mixture_of(summed, jitter=1e-3)
    np.testing.assert_allclose(mixture.log_share.exp().sum(), 1)
    for k in range(2):
        np.testing.assert_allclose(mixture.mean[k], np.average(points, axis=0, weights=gamma[:, k]), atol=1e-6)
        expected = np.cov(points.T, aweights=gamma[:, k], ddof=0) + 1e-3 * np.eye(3)
        np.testing.assert_allclose(mixture.covariance[k], expected, atol=1e-6)
    torch.testing.assert_close(mixture.covariance, mixture.covariance.transpose(1, 2))
    assert (torch.linalg.eigvalsh(mixture.covariance) > 0).all()


def test_an_empty_component_is_dropped_without_nan():
    points = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gamma = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
    mixture = layers.mixture_of(layers.moments(points, gamma), jitter=1e-3, min_share=1e-4)
    mixture.energy(points).sum().backward()
    assert mixture.log_share[1] == -torch.inf
    assert torch.isfinite(points.grad).all()


def test_jitter_grows_until_the_covariance_can_be_factorised():
    bad = layers.Moments(torch.ones(1), torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [0.0, -0.005]]]))
    mixture = layers.mixture_of(layers.Moments(*(part.double() for part in bad)), jitter=1e-3)
    np.testing.assert_allclose(mixture.covariance[0].diagonal(), [1.01, 0.005], rtol=1e-6)


def test_gradcheck_of_moments():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    gamma = torch.rand(6, 2, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layers.moments, (points, gamma))
    _, _, second = layers.moments(points, gamma)
    torch.testing.assert_close(second, torch.einsum("nk,ni,nj->kij", gamma, points, points))


def test_shrinkage_pulls_to_the_diagonal():
    points, gamma = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.ones(9, 1)
    whole, half, diagonal = (
        layers.mixture_of(layers.moments(points, gamma), jitter=1e-3, shrinkage=s).covariance[0] for s in (0, 0.5, 1)
    )
    torch.testing.assert_close(diagonal, whole.diagonal().diag())
    torch.testing.assert_close(half, (whole + diagonal) / 2)


def test_posterior_is_share_times_density_normalised():
    mixture, shares, means, covariances = random_mixture()
    points = np.random.default_rng(1).normal(size=(7, 4))
    joint = np.array(
        [
            share * multivariate_normal(mean, covariance).pdf(points)
            for share, mean, covariance in zip(shares, means, covariances, strict=True)
        ]
    )
    np.testing.assert_allclose(mixture.posterior(torch.tensor(points)), (joint / joint.sum(0)).T, rtol=1e-8)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_that_share_and_keeps_the_mean(p):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.ones(301, 333, requires_grad=True)
        out = layers.Dropout(p)(x)
        out.sum().backward()
        again = layers.Dropout(p)(x)
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.01)
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(x.grad, out.detach())
    assert not torch.equal(out, again)
    assert abs(np.corrcoef(out.detach()[:, :-1].ravel(), out.detach()[:, 1:].ravel())[0, 1]) < 0.02


def test_dropout_leaves_evaluation_alone():
    x = torch.randn(3, 4)
    assert layers.Dropout(0.5).eval()(x) is x
    assert layers.Dropout(0.0)(x) is x


def test_planned_bags_are_the_bags():
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 9, rng.integers(0, 40)) for _ in range(60)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    bags = layers.unique_bags(np.concatenate(rows), offsets).bags
    data = _bags.DeviceBags(bags, "cpu")
    batches = [np.array([3, 1, 4, 1, 5]), np.arange(len(bags.lengths)), np.zeros(0, np.int64)]
    for items, plan in zip(batches, data.plan(batches), strict=True):
        found = []
        for chunk in plan.chunks:
            ids, multiplicity = data.tokens(chunk)
            found += [
                {int(i): float(n) for i, n in zip(a, b, strict=True) if n}
                for a, b in zip(ids, multiplicity, strict=True)
            ]
        wanted = [
            dict(zip(*(array[bags.offsets[i] : bags.offsets[i + 1]].tolist() for array in bags[:2]), strict=True))
            for i in items
        ]
        assert [found[i] for i in plan.back] == wanted
        assert plan.n_tokens == sum(map(len, wanted))


def test_a_covariance_of_nan_is_a_clear_error():
    bad = layers.Moments(torch.ones(1), torch.zeros(1, 2), torch.full((1, 2, 2), torch.nan))
    with pytest.raises(layers.SingularError, match="jitter"):
        layers.mixture_of(bad, jitter=1e-3)


def test_parameters_survive_as_arrays():
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    layers.load_arrays(target, layers.arrays_of(source) | {"other": np.zeros(1)})
    assert torch.equal(source.weight, target.weight)
