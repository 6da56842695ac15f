"""The training loop: exact counts, seeds, early stopping, clear failures."""

import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.detector import listen_to_progress
from methods import mlad
from methods.shared import bags as _bags
from methods.shared import draws, training
from methods.shared.layers import SingularError
from methods.shared.training import HeldOut, TrainingDivergedError, TrainingSettings, hold_out, seeded, train_network

SETTINGS = TrainingSettings(steps=None, max_epochs=5, batch_size=8)
COUNTS = np.array([1, 20, 3, 0, 7])


def drawn(counts, steps, *, size=8, seed=0, merge=True):
    """How often each item is in the batch of each step, (steps, n_items)."""
    batches = islice(draws.batches_of(counts, size, np.random.default_rng(seed), merge), steps)
    found = np.zeros((steps, len(counts)))
    for row, (items, repeats) in zip(found, batches, strict=True):
        np.add.at(row, items, repeats)
    return found


@pytest.mark.parametrize("merge", [True, False])
def test_passes_hold_each_item_as_often_as_its_count_and_batches_are_full(merge):
    found = drawn(COUNTS, 31, merge=merge)  # 248 draws are eight passes over 31 sequences
    assert (found.sum(1) == 8).all()
    assert found.sum(0).tolist() == (8 * COUNTS).tolist()
    assert drawn(COUNTS, 31, size=31)[5].tolist() == COUNTS.tolist()


def test_a_large_set_is_drawn_in_proportion_and_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(draws, "_PART", 13)
    many = COUNTS * 10**9
    for part in islice(draws._draws(many, np.random.default_rng(0)), 20):
        assert len(part) == 13
        assert (np.abs(np.bincount(part, minlength=5) - COUNTS / 31 * 13) < 1).all()


def test_the_draws_of_a_step_do_not_depend_on_how_many_follow():
    assert np.array_equal(drawn(COUNTS, 10), drawn(COUNTS, 40)[:10])
    assert not np.array_equal(drawn(COUNTS, 10), drawn(COUNTS, 10, seed=1))


def test_held_out_are_distinct_items_with_all_their_copies():
    counts = np.random.default_rng(0).integers(1, 5, 200)
    parts = hold_out(counts, 0.1, seed=0)
    assert (parts.train + parts.held_out).tolist() == counts.tolist()
    assert not ((parts.train > 0) & (parts.held_out > 0)).any()
    assert np.count_nonzero(parts.held_out) == 20
    assert hold_out(counts, 0.1, seed=0).held_out.tolist() == parts.held_out.tolist()
    assert hold_out(counts, 0.1, seed=1).held_out.tolist() != parts.held_out.tolist()


def test_too_common_kinds_and_all_of_too_few_stay_in_training():
    common = np.array([500] * 2 + [1] * 100)
    for seed in range(20):
        held = hold_out(common, 0.1, seed).held_out
        assert held[:2].sum() == 0
        assert held.sum() == 10
    assert hold_out(COUNTS * 10, 0.1, seed=0).held_out.sum() == 0
    assert hold_out(np.ones(100_000, np.int64), 0.1, seed=0).held_out.sum() == 2000


def test_each_group_is_held_out_by_itself_and_no_sequence_by_half():
    group_of, sequence_of = np.repeat([0, 1], [200, 20]), np.concatenate([np.arange(200), np.arange(20)])
    parts = draws.hold_out_of_each(np.ones(220, np.int64), group_of, sequence_of, 0.1, 0)
    held = parts.held_out > 0
    assert held[:200].sum() >= 20
    assert held[200:].sum() >= 2
    assert (held[:20] == held[200:]).all()


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
    held_out = [record["held_out_loss"] for record in history.checks]
    assert history.stopped_by == "patience"
    assert len(held_out) == history.kept_step + 3  # an epoch of eight is one step
    assert (net.x.item() - 0.25) ** 2 == pytest.approx(min(held_out), abs=1e-6)
    assert not net.training


def test_a_budget_of_steps_is_run_to_its_end_and_keeps_the_last_weights():
    net = Point()
    counts = HeldOut(np.array([8, 0]), np.array([0, 1]))
    settings = TrainingSettings(steps=300, batch_size=4, learning_rate=0.1)
    history = train_network(net, distance_to(net, np.array([1.0, 0.25])), counts, settings, seed=0)
    facts = history.as_json()
    assert (facts["steps_run"], facts["batch_size"], facts["stopped_by"]) == (300, 4, "steps")
    assert facts["kept_step"] == 300
    assert [record["step"] for record in facts["epochs"]] == list(range(30, 301, 30))
    assert net.x.item() == pytest.approx(1, abs=1e-3)
    assert facts["epochs"][-1]["held_out_loss"] == pytest.approx(0.5625, abs=1e-2)


def test_no_steps_leave_the_network_as_it_is():
    net = Point(0.5)
    settings = TrainingSettings(steps=0)
    history = train_network(net, distance_to(net, np.ones(5)), HeldOut(COUNTS, COUNTS * 0), settings, seed=0)
    assert (net.x.item(), net.training, history.as_json()["steps_run"]) == (0.5, False, 0)


def test_an_epoch_is_a_pass():
    net, counts = Point(), HeldOut(COUNTS, COUNTS * 0)
    history = train_network(net, distance_to(net, np.ones(5)), counts, SETTINGS, seed=0)
    assert [record["step"] for record in history.checks] == [4, 8, 12, 16, 20]  # of 31 sequences by eights
    assert history.stopped_by == "max_epochs"


def test_without_a_held_out_part_the_training_loss_decides():
    net = Point()
    counts = HeldOut(COUNTS, COUNTS * 0)
    history = train_network(net, distance_to(net, np.ones(5)), counts, replace(SETTINGS, patience=3), seed=0)
    assert history.kept_step == 20


def test_progress_is_told_in_steps():
    heard = []
    listen_to_progress(lambda what, done, total: heard.append((what, done, total)))
    try:
        net = Point()
        train_network(net, distance_to(net, np.ones(5)), HeldOut(COUNTS, COUNTS * 0), SETTINGS, seed=0)
    finally:
        listen_to_progress(None)
    assert [(done, total) for _, done, total in heard] == [(done, 20) for done in range(4, 21, 4)]
    assert all(re.fullmatch(r"training, loss [-\d.e]+", what) for what, _, _ in heard)


def test_a_method_is_told_before_each_stretch():
    net, told = Point(), []
    settings = TrainingSettings(steps=40, batch_size=4)
    counts = HeldOut(COUNTS, COUNTS * 0)
    train_network(net, distance_to(net, np.ones(5)), counts, settings, seed=0, before=told.append)
    assert told == list(range(10))


def test_a_loss_that_is_not_finite_stops_training():
    net = Point(np.nan)
    with pytest.raises(TrainingDivergedError, match=r"loss is not finite.*train part, step 0"):
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


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"dropout": 1.0}, "dropout"),
        ({"validation_fraction": -0.1}, "validation_fraction"),
        ({"steps": -1}, "steps -1"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"max_epochs": 30}, "the other must be none"),
        ({"steps": None}, "one of them is the budget"),
        ({"patience": 3}, "set steps to none"),
        ({"steps": None, "max_epochs": 0}, "max_epochs"),
        ({"steps": None, "max_epochs": 3, "patience": 0}, "patience"),
    ],
)
def test_impossible_settings_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
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


def test_within_a_block_of_steps_nothing_is_copied_to_or_from_the_device():
    # The meta device has no values: reading one back fails by itself, and copies to it are refused here.
    config = mlad.Config(width=8, heads=2, ffn_width=8, k=2, batch_size=4)
    bags = _bags.unique_bags(np.array([0, 1, 1, 2, 3, 3]), np.array([0, 2, 4, 6])).bags
    net = mlad.Network(config, 1).to("meta").train()
    data, features = _bags.DeviceBags(bags, "meta"), torch.empty(4, 8, device="meta")
    update = training._updater(net, config, [0])

    def loss(plan, weights):
        return mlad.objective(net, net.encode(features, data, plan), weights, config)

    rng = np.random.default_rng(0)
    batches = islice(draws.batches_of(np.array([5, 3, 4]), config.batch_size, rng, True), 3)
    staged = training._staged(batches, data.plan, torch.device("meta"))
    with NoCopies():
        names, values = training._steps(loss, staged, update=update, where="test")
    assert values.is_meta
    assert values.shape == (3, len(names))
    with NoCopies(), pytest.raises(AssertionError, match="copies to"):
        torch.ones(3).to("meta")


def test_stage_sees_each_block_of_steps_once():
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
    assert seen == [32] * 5


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


def trained_weight(**settings):
    """The weight of one linear unit that is pulled to 1, after three epochs of four steps."""
    with seeded(0):
        net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(net.weight)
        parts = HeldOut(np.full(32, 1), np.zeros(32, np.int64))
        budget = {"steps": None, "max_epochs": 3, "batch_size": 8, "learning_rate": 0.01}
        chosen = TrainingSettings(**{**budget, **settings})
        train_network(net, lambda items, weights: {"loss": (net.weight - 1).square().sum()}, parts, chosen, seed=0)
    return float(net.weight.detach())


def test_the_learning_rate_follows_its_schedule():
    assert trained_weight() == pytest.approx(12 * 0.01, rel=0.01)
    assert trained_weight(decay=1e-9, decay_epochs=(2,)) == pytest.approx(8 * 0.01, rel=0.01)
    assert trained_weight(decay=1e-9, decay_steps=5) == pytest.approx(5 * 0.01, rel=0.01)
    assert trained_weight(warmup_epochs=1) == pytest.approx((4 / 2 + 8) * 0.01, rel=0.01)
    assert trained_weight(warmup_steps=12) == pytest.approx(sum(range(1, 13)) / 12 * 0.01, rel=0.01)


def test_gradients_are_clipped_only_where_that_is_set(monkeypatch):
    seen = []
    clip = nn.utils.clip_grad_norm_

    def watched(parameters, most):
        seen.append(most)
        return clip(parameters, most)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", watched)
    trained_weight(clip_norm=None)
    trained_weight(clip_norm=1.5)
    assert seen == [np.inf] * 12 + [1.5] * 12


def test_a_schedule_of_epochs_needs_a_budget_of_epochs():
    for schedule in ({"warmup_epochs": 5}, {"decay_epochs": (3,), "decay": 0.1}):
        with pytest.raises(ValueError, match="set steps to none and max_epochs to a number"):
            TrainingSettings(**schedule)
