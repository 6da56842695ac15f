"""The training loop: exact counts, seeds, early stopping, clear failures."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.detector import listen_to_progress
from methods import mlad
from methods.shared import bags as _bags
from methods.shared import training
from methods.shared.layers import SingularError
from methods.shared.training import HeldOut, TrainingDivergedError, TrainingSettings, hold_out, seeded, train_network

SETTINGS = TrainingSettings(batch_size=8, max_epochs=5, epoch="all")
COUNTS = np.array([1, 20, 3, 0, 7])


def epoch(counts, seed=0, merge=True, **changes):
    rng = np.random.default_rng(seed)
    return list(training._epoch_batches(counts, replace(SETTINGS, **changes), rng, merge))


def appearances(batches, n=5):
    total = np.zeros(n)
    for items, repeats in batches:
        np.add.at(total, items, repeats)
    return total


@pytest.mark.parametrize("merge", [True, False])
def test_an_epoch_of_all_is_the_epoch_of_the_expanded_data(merge):
    batches = epoch(COUNTS, merge=merge)
    assert appearances(batches).tolist() == COUNTS.tolist()
    sizes = [repeats.sum() for _, repeats in batches]
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("changes", [{"epoch": "distinct"}, {"max_draws": 13}])
def test_a_shorter_epoch_draws_in_proportion_to_counts(changes):
    drawn = appearances(epoch(COUNTS, **changes))
    share = COUNTS / COUNTS.sum() * drawn.sum()
    assert drawn.sum() == (4 if "epoch" in changes else 13)
    assert (np.abs(drawn - share) < 1).all()


def test_held_out_and_training_part_add_up():
    parts = hold_out(COUNTS * 10, 0.1, seed=0)
    assert (parts.train + parts.held_out).tolist() == (COUNTS * 10).tolist()
    assert parts.held_out.sum() == 31
    assert (parts.held_out >= 0).all()
    assert hold_out(COUNTS * 10, 0.1, seed=0).held_out.tolist() == parts.held_out.tolist()
    assert hold_out(COUNTS * 10, 0.1, seed=1).held_out.tolist() != parts.held_out.tolist()


class Point(nn.Module):
    """One number."""

    def __init__(self, start=0.0):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(float(start)))


def distance_to(net, targets):
    def loss(items, weights):
        return {"loss": (weights * (net.x - torch.as_tensor(targets)[items]).square()).sum()}

    return loss


def test_merging_repeats_changes_nothing_without_dropout():
    ends = []
    for merge in (True, False):
        net = Point()
        counts = HeldOut(COUNTS, np.zeros(5, int))
        train_network(net, distance_to(net, np.arange(5.0)), counts, SETTINGS, seed=0, merge_repeats=merge)
        ends.append(net.x.item())
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)


def test_early_stopping_keeps_the_best_weights():
    net = Point()
    counts = HeldOut(np.array([8, 0]), np.array([0, 1]))
    settings = replace(SETTINGS, max_epochs=30, patience=3, learning_rate=0.1)
    # Training pulls to 1, the held-out item stands at 0.25: the loss there falls, then rises.
    history = train_network(net, distance_to(net, np.array([1.0, 0.25])), counts, settings, seed=0)
    held_out = [record["held_out_loss"] for record in history.epochs]
    assert history.stopped_by == "patience"
    assert len(held_out) == history.best_epoch + 1 + 3
    assert (net.x.item() - 0.25) ** 2 == pytest.approx(min(held_out), abs=1e-6)
    assert not net.training


def test_without_a_held_out_part_the_training_loss_decides():
    net = Point()
    history = train_network(net, distance_to(net, np.ones(5)), HeldOut(COUNTS, COUNTS * 0), SETTINGS, seed=0)
    assert history.best_epoch == 4
    assert history.stopped_by == "max_epochs"
    assert history.as_json()["epochs_run"] == 5


def test_progress_is_reported_per_epoch():
    heard = []
    listen_to_progress(lambda what, done, total: heard.append((what, done, total)))
    try:
        net = Point()
        train_network(net, distance_to(net, np.ones(5)), HeldOut(COUNTS, COUNTS * 0), SETTINGS, seed=0)
    finally:
        listen_to_progress(None)
    assert [(done, total) for _, done, total in heard] == [(done, 5) for done in range(1, 6)]
    assert all(re.fullmatch(r"training, loss [-\d.e]+", what) for what, _, _ in heard)


def test_a_loss_that_is_not_finite_stops_training():
    net = Point(np.nan)
    with pytest.raises(TrainingDivergedError, match=r"loss is not finite.*epoch 0, step 0"):
        train_network(net, distance_to(net, np.ones(5)), HeldOut(COUNTS, COUNTS * 0), SETTINGS, seed=0)


def test_a_gradient_that_is_not_finite_stops_training():
    net = Point(0.0)
    with pytest.raises(TrainingDivergedError, match="gradient"):
        train_network(net, lambda i, w: {"loss": net.x.sqrt()}, HeldOut(COUNTS, COUNTS * 0), SETTINGS, seed=0)
    assert net.x.item() == 0.0


def test_a_singular_covariance_stops_training():
    def loss(items, weights):
        raise SingularError("no factor")

    with pytest.raises(TrainingDivergedError, match="no factor"):
        train_network(Point(), loss, HeldOut(COUNTS, COUNTS * 0), SETTINGS, seed=0)


def test_seeded_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"validation_fraction": -0.1}, {"patience": 0}, {"max_draws": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


class NoCopies(TorchDispatchMode):
    """Fails on every operation that takes values from one device to another."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given, made = (
            [x for x in tree_leaves(part) if isinstance(x, torch.Tensor)] for part in ((args, kwargs), result)
        )
        host = [x for x in given if x.device.type == "cpu"]
        # A number of the host that takes part in an operation moves with it, not by a copy.
        if any(x.is_meta for x in made):
            assert all(x.dim() == 0 for x in host), f"{function} copies to the device"
        assert len(host) == len(given) or not any(x.device.type == "cpu" for x in made), f"{function} copies from it"
        return result


def test_within_an_epoch_nothing_is_copied_to_or_from_the_device():
    # The meta device has no values: reading one back fails by itself, and copies to it are refused here.
    config = mlad.Config(width=8, heads=2, ffn_width=8, k=2, batch_size=4)
    bags = _bags.unique_bags(np.array([0, 1, 1, 2, 3, 3]), np.array([0, 2, 4, 6])).bags
    net = mlad.Network(config, 1).to("meta").train()
    data, features = _bags.DeviceBags(bags, "meta"), torch.empty(4, 8, device="meta")
    update = training._updater(net, config)

    def loss(plan, weights):
        return mlad.objective(net, net.encode(features, data, plan), weights, config)

    rng = np.random.default_rng(0)
    batches = training._epoch_batches(np.array([5, 3, 4]), config, rng, True)
    staged = training._staged(batches, data.plan, torch.device("meta"))
    with NoCopies():
        names, values = training._steps(loss, staged, update=update, where="test")
    assert values.is_meta
    assert values.shape == (3, len(names))
    with NoCopies(), pytest.raises(AssertionError, match="copies to"):
        torch.ones(3).to("meta")


def test_stage_sees_each_epoch_once():
    seen = []

    def stage(items):
        seen.append(sum(len(part) for part in items))
        return items

    net = Point()
    train_network(
        net,
        distance_to(net, np.ones(5)),
        HeldOut(COUNTS, COUNTS * 0),
        SETTINGS,
        seed=0,
        merge_repeats=False,
        stage=stage,
    )
    assert seen == [31] * 5


def test_bf16_changes_results_by_rounding_only():
    ends = []
    for precision in ("float32", "bf16"):
        torch.manual_seed(0)
        net, x = nn.Linear(8, 1), torch.randn(5, 8)

        dtypes = set()

        def loss(items, weights, net=net, x=x, dtypes=dtypes):
            out = net(x[items])
            dtypes.add(out.dtype)
            return {"loss": (weights * (out.squeeze(1).float() - 1).square()).sum()}

        train_network(net, loss, HeldOut(COUNTS, COUNTS * 0), replace(SETTINGS, precision=precision), seed=0)
        assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
        ends.append(net.weight.detach())
    torch.testing.assert_close(*ends, atol=5e-3, rtol=0)
    assert not torch.equal(*ends)
