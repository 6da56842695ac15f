"""A step inside a loss, its order, disjoint sets, the warm start, and who is told what."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.types import Sequences
from methods.shared import meta
from methods.shared.meta import WarmStart, adapted, apart, forward_with, labelled_pool, of_role, pool_of
from methods.shared.training import TrainingSettings


class Cubic(nn.Module):
    """L(w) = w^3 / 3, whose gradient is w^2 and curvature 2 w."""

    def __init__(self, start):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))


@pytest.mark.parametrize(("second_order", "by_hand"), [(False, 2 * (2 - 0.1 * 4)), (True, 2 * 1.6 * (1 - 0.1 * 2 * 2))])
def test_second_order_differs_from_first_as_by_hand(second_order, by_hand):
    """Query loss (w')^2 with w' = w - 0.1 w^2 at w = 2: 2 w' in first order, times dw'/dw = 1 - 0.2 w in second."""
    net = Cubic(2.0)
    weights = meta.weights_of(net)
    moved = adapted(weights, weights["w"] ** 3 / 3, 0.1, second_order=second_order)
    (moved["w"] ** 2).backward()
    assert float(moved["w"].detach()) == pytest.approx(1.6)
    assert float(net.w.grad) == pytest.approx(by_hand)


def test_weights_after_a_step_leave_the_weights_as_they_are():
    torch.manual_seed(0)
    net = nn.GRU(3, 2, batch_first=True)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    x = torch.randn(4, 5, 3)
    plain = net(x)[0]
    moved = adapted(meta.weights_of(net), plain.square().sum(), 0.5, second_order=False)
    other = torch.func.functional_call(net, moved, (x,))[0]
    assert not torch.allclose(other, plain)
    other.square().sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert all(value.grad is not None for value in net.parameters())
    assert torch.equal(net(x)[0], plain)


def test_a_parameter_that_the_loss_does_not_use_stays():
    net = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    weights = meta.weights_of(net)
    moved = adapted(weights, net[0](torch.ones(1, 2)).sum(), 1.0, second_order=False)
    assert moved["1.weight"] is weights["1.weight"]
    assert not torch.equal(moved["0.weight"], weights["0.weight"])


def test_a_known_gradient_stands_for_the_losss_own():
    net = nn.Linear(2, 1)
    weights = meta.weights_of(net)
    loss = net(torch.ones(1, 2)).square().sum()
    known = meta.gradients_of(loss, weights, second_order=False)
    again = 3 * meta.with_gradients(loss, weights, known)
    assert float(again.detach()) == pytest.approx(3 * float(loss.detach()))
    again.backward()
    assert all(torch.equal(value.grad, 3 * known[name]) for name, value in net.named_parameters())


def test_second_order_leaves_cudnn():
    was = torch.backends.cudnn.enabled
    with meta.differentiable_twice(False):
        assert torch.backends.cudnn.enabled == was
    with meta.differentiable_twice(True):
        assert not torch.backends.cudnn.enabled
    assert torch.backends.cudnn.enabled == was


@pytest.mark.parametrize(("n", "n_sets"), [(9, 2), (64, 8), (2, 2)])
def test_sets_are_disjoint_and_whole(n, n_sets):
    sets = apart(n, n_sets, np.random.default_rng(0))
    assert sorted(np.concatenate(sets).tolist()) == list(range(n))
    assert min(map(len, sets)) >= n // n_sets


def test_too_few_for_all_sets_stand_in_each_that_got_none():
    assert [part.tolist() for part in apart(1, 2, np.random.default_rng(0))] == [[0], [0]]
    assert [part.tolist() for part in apart(0, 2, np.random.default_rng(0))] == [[], []]


def test_the_warm_start_begins_at_zero_and_only_rises():
    schedule = WarmStart(0.3, 10.0, 100)
    strengths = [schedule.advance() for _ in range(130)]
    assert strengths[0] == 0
    assert (np.diff(strengths) >= 0).all()
    assert strengths[50] == pytest.approx(0.3 * (2 / (1 + np.exp(-5)) - 1))
    assert strengths[100] == strengths[-1] == pytest.approx(0.3, rel=1e-3)
    assert WarmStart(0.3, 10.0, 0).advance() == 0


def test_a_budget_in_epochs_is_as_many_steps_as_training_makes():
    counts = np.array([90, 11])
    assert meta.n_steps_of(TrainingSettings(), counts) == 600
    assert meta.n_steps_of(TrainingSettings(steps=None, max_epochs=3, batch_size=50), counts) == 7
    assert meta.n_steps_of(TrainingSettings(steps=None, max_epochs=3, batch_size=500), counts) == 3


def three_systems():
    return Sequences.from_lists([[0], [0], [1], [1], [2]], ("a", "b", "c"), system=np.array([0, 0, 0, 1, 2], np.uint8))


def test_roles_say_whose_sequences_they_are():
    log, roles = three_systems(), ("source", "target", "auxiliary")
    assert of_role(log, roles, "source").tolist() == [True, True, True, False, False]
    assert of_role(log, roles, "target").tolist() == [False, False, False, True, False]
    assert of_role(log, (), "source").all()
    assert not of_role(log, (), "target").any()


def test_a_pool_holds_each_sequence_once_with_the_share_of_abnormal_copies():
    log, inverse = three_systems(), np.array([0, 0, 1, 1, 2])
    pool = pool_of(inverse, log.system, np.array([1, 0, 0, 0, 1], bool), log.system == 0)
    assert pool.bag.tolist() == [0, 1]
    assert pool.counts.tolist() == [2, 1]
    assert pool.share.tolist() == [0.5, 0]
    both = pool_of(inverse, log.system, np.zeros(5, bool), log.system < 2)
    assert np.bincount(both.system, both.counts).tolist() == [3, 3]


@pytest.mark.parametrize("labels", [None, [0, 0, 0, 1, 1], [1, 1, 1, 0, 0], [-1] * 5])
def test_one_kind_of_labels_is_refused_with_whose_they_are(labels):
    known = None if labels is None else np.array(labels, np.int8)
    with pytest.raises(ValueError, match="both normal and abnormal labels of the source"):
        labelled_pool(three_systems(), known, np.arange(5), np.array([1, 1, 1, 0, 0], bool), "source")


def test_patience_never_looks_at_the_domain_term():
    parts = meta.HeldOut(np.array([3, 3]), np.array([0, 0]))
    settings = TrainingSettings(steps=None, max_epochs=9, patience=2)
    with pytest.raises(ValueError, match="patience 2 needs held-out sequences"):
        meta.require_watched(parts, settings)
    meta.require_watched(meta.HeldOut(np.array([3, 0]), np.array([0, 3])), settings)
    meta.require_watched(parts, TrainingSettings())


def test_soft_labels_are_the_mean_over_the_copies():
    logits = torch.tensor([[0.3, -0.2], [1.0, 2.0]])
    copies = nn.functional.cross_entropy(logits[[0, 0, 0, 0]], torch.tensor([1, 0, 0, 0]), reduction="mean")
    torch.testing.assert_close(meta.class_errors(logits, torch.tensor([0.25, 1.0]))[0], copies)


def test_a_network_with_its_own_weights_is_itself():
    net = nn.Bilinear(3, 2, 2)
    x, y = torch.randn(4, 3), torch.randn(4, 2)
    torch.testing.assert_close(forward_with(net, meta.weights_of(net))(x, y), net(x, y))
