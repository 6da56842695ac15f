"""DAGMM after its sheet: energies against scipy, gradients, duplicates, outliers, both inputs."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bench.detector import NotFittedError
from bench.types import UNKNOWN_KEY, Sequences
from methods import dagmm
from methods.dagmm import DAGMM, Config, Network, mixture_of_all, objective
from methods.shared import bag_vectors, text_inputs

pytestmark = pytest.mark.trains

TEXTS = tuple(f"template {key}" for key in range(30))
QUICK = Config(width=20, encoder=(12, 6), steps=None, max_epochs=10, batch_size=64)
COUNTS = replace(QUICK, inputs="counts")


def fake_embed(texts):
    """A unit vector per text that depends on nothing else."""
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
    vectors = np.array([np.random.default_rng(seed).standard_normal(384) for seed in seeds]).reshape(-1, 384)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    monkeypatch.setattr(text_inputs, "embed", fake_embed)


def of(log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n, n_keys=20, longest=12):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, n_keys, rng.integers(1, longest)).tolist() for _ in range(n)]


TRAIN = of(random_lists(0, 200))
TEST = of(random_lists(1, 60, n_keys=30))


@pytest.fixture(scope="module", params=[QUICK, COUNTS], ids=["vectors", "counts"])
def fitted(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", fake_embed)
        return DAGMM(request.param, seed=0).fit(TRAIN)


def test_energies_are_those_of_scipys_mixture(fitted):
    encoded, _, inverse = fitted._encode(TEST)
    mixture = fitted.mixture_
    log_density = [
        float(share) + multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(encoded.numpy())
        for share, mean, covariance in zip(mixture.log_share, mixture.mean, mixture.covariance, strict=True)
    ]
    assert fitted.score(TEST) == pytest.approx(-logsumexp(log_density, axis=0)[inverse])


def test_the_mixture_is_the_weighted_mean_and_covariance_of_training(fitted):
    encoded, _, inverse = fitted._encode(TRAIN)
    z = encoded[torch.as_tensor(inverse)]
    with torch.no_grad():
        gamma = fitted.net_.responsibilities(z).numpy()
    for k in range(fitted.config.k):
        mean = np.average(z.numpy(), axis=0, weights=gamma[:, k])
        covariance = np.cov(z.numpy().T, aweights=gamma[:, k], ddof=0)
        assert np.allclose(fitted.mixture_.mean[k], mean)
        assert np.allclose(fitted.mixture_.covariance[k], covariance, atol=2e-6)
    assert np.allclose(fitted.mixture_.log_share.exp(), gamma.mean(0))


@pytest.mark.parametrize("block", [7, 4096])
def test_the_final_mixture_does_not_depend_on_blocks(fitted, monkeypatch, block):
    vectors, bags = fitted.inputs_.of(TRAIN)
    for module in (dagmm, bag_vectors):
        monkeypatch.setattr(module, "_BLOCK", block)
    again, _ = fitted.inputs_.of(TRAIN)
    assert np.array_equal(vectors, again)
    shares = torch.tensor(bags.counts / bags.counts.sum())
    with torch.no_grad():
        mixture = mixture_of_all(fitted.net_, torch.tensor(again), shares, fitted.config)
    assert torch.allclose(mixture.covariance, fitted.mixture_.covariance)


def test_every_parameter_gets_a_gradient_from_the_energy_alone():
    torch.manual_seed(0)
    net = Network(QUICK, 20)
    parts = objective(net, torch.randn(50, 20), torch.full((50,), 0.02), QUICK)
    parts["energy"].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters() if parameter.ndim > 1)


def test_the_loss_is_the_papers_sum():
    torch.manual_seed(0)
    net = Network(QUICK, 20).eval()
    x, weights = torch.randn(50, 20), torch.full((50,), 0.02)
    parts = objective(net, x, weights, QUICK)
    with torch.no_grad():
        error = (x - net.decoder(net.encoder(x))).square().sum(1).mean()
    assert parts["reconstruction"].item() == pytest.approx(float(error), rel=1e-5)
    expected = parts["reconstruction"] + 0.1 * parts["energy"] + 0.005 * parts["penalty"]
    assert parts["loss"].item() == pytest.approx(expected.item())


def test_features_are_code_relative_error_and_cosine():
    torch.manual_seed(0)
    net, x = Network(QUICK, 20), torch.randn(5, 20)
    z, square = net(x)
    again = net.decoder(net.encoder(x))
    assert torch.allclose(z[:, 2], (x - again).norm(dim=1) / x.norm(dim=1), atol=1e-4)
    assert torch.allclose(z[:, 3], (x * again).sum(1) / x.norm(dim=1) / again.norm(dim=1), atol=1e-5)
    assert torch.allclose(square, (x - again).square().sum(1))


def test_a_batch_of_duplicates_and_of_zeros_has_a_finite_loss():
    net = Network(QUICK, 20)
    for x in (torch.ones(64, 20), torch.zeros(64, 20), torch.randn(1, 20)):
        loss = objective(net, x, torch.full((len(x),), 1 / len(x)), QUICK)["loss"]
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


def test_equal_training_sequences_are_learned_and_scored():
    detector = DAGMM(QUICK).fit(of([[0, 1, 2]] * 50))
    assert np.isfinite(detector.score(TEST)).all()
    assert detector.score(of([[0, 1, 2]])) < detector.score(of([[25, 26]]))


@pytest.mark.parametrize(("penalty_weight", "parted"), [(1e-4, True), (0.005, False)])
def test_components_part_unless_the_penalty_holds_them_together(penalty_weight, parted):
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((3, 20))
    points = centres[rng.integers(0, 3, 600)] + 0.3 * rng.standard_normal((600, 20))
    config = replace(QUICK, dropout=0.0, penalty_weight=penalty_weight)
    x, weights = torch.tensor(points, dtype=torch.float32), torch.full((600,), 1 / 600)
    torch.manual_seed(0)
    net = Network(config, 20)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(300):
        optimiser.zero_grad()
        objective(net, x, weights, config)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
    with torch.no_grad():
        gamma = net.responsibilities(net(x)[0])
    information = (gamma * (gamma / gamma.mean(0)).log()).sum(1).mean()
    assert (information > 0.1) == parted


def test_an_outlier_has_more_energy_than_all_of_training(fitted):
    far = fitted.mixture_.mean + 10 * fitted.mixture_.covariance.diagonal(dim1=1, dim2=2).amax(0).sqrt()
    encoded, _, _ = fitted._encode(TRAIN)
    assert fitted.mixture_.energy(far).min() > fitted.mixture_.energy(encoded).max()


def test_a_sequence_alone_scores_as_in_a_batch(fitted):
    together = fitted.score(TEST)
    alone = np.concatenate([fitted.score(TEST.select(np.array([i]))) for i in range(len(TEST))])
    assert together == pytest.approx(alone, rel=1e-9)
    assert fitted.score(TEST).tolist() == together.tolist()


def test_order_of_events_does_not_matter(fitted):
    reverse = of([keys[::-1] for keys in random_lists(1, 60, n_keys=30)])
    assert fitted.score(reverse) == pytest.approx(fitted.score(TEST))


def test_vectors_are_means_and_counts_logarithms_over_deviations():
    lists = [[0, 0, 1], [2], [0, 0, 1]]
    detector = DAGMM(replace(COUNTS, max_epochs=1)).fit(of(lists))
    vectors, bags = detector.inputs_.of(of([[0, 0, 7, UNKNOWN_KEY]]))
    assert bags.counts.tolist() == [1]
    assert (vectors * detector.inputs_.scale)[0] == pytest.approx([np.log(3), np.log(3), 0, 0])
    trained = np.log1p([[0, 2, 1, 0], [0, 0, 0, 1], [0, 2, 1, 0]])
    assert detector.inputs_.scale == pytest.approx(np.where(trained.std(0) > 0, trained.std(0), 1))
    mean, _ = DAGMM(replace(QUICK, width=384, max_epochs=1)).fit(of(lists)).inputs_.of(of([[0, 0, 1]]))
    texts = fake_embed(TEXTS[:2]).astype(float)
    assert np.linalg.norm(mean) == pytest.approx(np.linalg.norm((2 * texts[0] + texts[1]) / 3) * 384**0.5, rel=1e-5)


def test_an_empty_sequence_has_the_energy_of_the_best_mean(fitted):
    best = float(fitted.mixture_.energy(fitted.mixture_.mean).min())
    assert fitted.score(of([[], [0]]))[0] == best


def test_labels_are_not_read_and_a_second_fit_forgets(fitted):
    labels = np.random.default_rng(0).integers(0, 2, len(TRAIN)).astype(np.int8)
    again = DAGMM(fitted.config, seed=0).fit(TEST).fit(TRAIN, labels)
    for name, value in fitted.state().items():
        assert np.array_equal(value, again.state()[name])


def test_state_round_trip_monitor_and_errors(fitted):
    loaded = DAGMM(fitted.config).load_state({name: value.copy() for name, value in fitted.state().items()})
    assert loaded.score(TEST).tolist() == fitted.score(TEST).tolist()
    facts = fitted.monitor()
    assert sum(facts["component_shares"]) == pytest.approx(1)
    assert {"train_reconstruction", "train_energy", "train_penalty"} <= set(facts["epochs"][0])
    assert fitted.native_threshold_ is None
    for call in (lambda: DAGMM().score(TEST), lambda: DAGMM().state()):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(ValueError, match="no training sequence"):
        DAGMM().fit(of([[], []]))


def test_defaults_are_the_papers_but_for_the_encoder_and_the_original_profile_is_valid():
    config = Config()
    assert (config.encoder, config.k, config.energy_weight, config.penalty_weight) == ((50,), 4, 0.1, 0.005)
    assert Config(encoder=[50]) == config
    original = Config(**DAGMM.profiles["original"])
    assert (original.encoder, original.learning_rate) == ((60, 30, 10), 1e-4)
    with pytest.raises(ValueError, match="jitter"):
        Config(jitter=0.0)


def test_network_and_objective_run_on_meta():
    with torch.device("meta"):
        net = Network(QUICK, 20)
        loss = objective(net, torch.randn(8, 20), torch.full((8,), 0.125), QUICK)["loss"]
        loss.backward()
    assert loss.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())
