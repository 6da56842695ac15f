"""ZeroLog after its sheet: reversal, warm start, disjoint tasks, what of the target is read, and its ablation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.detector import Evidence, NotFittedError
from bench.types import Sequences
from methods.shared import meta_tasks, text_inputs
from methods.shared.meta import WarmStart, pool_of, weights_of
from methods.shared.meta_tasks import AlignedClassifier, Course, Domains, Tasks, objective, set_loss
from methods.shared.semantic import read
from methods.zerolog import Config, FreeLog, PlainConfig, SourceOnly, ZeroLog

pytestmark = [pytest.mark.trains, pytest.mark.usefixtures("no_sentence_encoder")]

TEXTS = tuple(f"template {key}" for key in range(40))
INPUTS = text_inputs.TextInputs.sentence((), 12, centred=False)
SMALL = {"width": 12, "hidden": 6, "steps": 8, "batch_size": 16, "dropout": 0.0, "validation_fraction": 0.0}
QUICK = Config(**SMALL, domain_hidden=8)
BOTH = Evidence(roles=("source", "target"))
ALIGNING = Course(reversal=0.1, warm_start=10.0, meta="first-order", inner_rate=1e-3, aligns=True)


def systems(seed, n, n_systems=2):
    """System s has the texts 10 s to 10 s + 9; a fourth of the sequences hold a fault, text 30 + s."""
    rng = np.random.default_rng(seed)
    system = (np.arange(n) % n_systems).astype(np.uint8)
    labels = (np.arange(n) // n_systems % 4 == 0).astype(np.int8)
    lists = [(10 * s + rng.integers(0, 10, rng.integers(3, 6))).tolist() for s in system.tolist()]
    for row, s, label in zip(lists, system.tolist(), labels, strict=True):
        row[0] = 30 + s if label else row[0]
    return Sequences.from_lists(lists, TEXTS, system=system), labels


TRAIN, TRUTH = systems(0, 80)
LABELS = np.where(TRAIN.system == 0, TRUTH, -1).astype(np.int8)


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return ZeroLog(QUICK).fit(TRAIN, LABELS, evidence=BOTH)


def same_state(a, b):
    return all(np.array_equal(value, b.state()[name]) for name, value in a.state().items())


def drawing(train=TRAIN, labels=LABELS, roles=BOTH.roles, course=ALIGNING):
    """The tasks of a training part, and the vectors of its texts."""
    reading = read(train, INPUTS, "cpu")
    kinds = np.array(roles)[train.system]
    source = pool_of(reading.inverse, train.system, labels == 1, kinds == "source")
    target = pool_of(reading.inverse, train.system, np.zeros(len(train), bool), kinds == "target")
    return Tasks(Domains(reading, source, target), course, 16, 0, torch.device("cpu")), reading.vectors.float()


def network(seed=0):
    torch.manual_seed(seed)
    return AlignedClassifier(12, 6, 1, domain_hidden=8, dropout=0.0)


def gradients(net, value):
    net.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_the_reversal_turns_the_encoders_gradient_round_and_leaves_the_head_its_own(monkeypatch):
    tasks, vectors = drawing(course=ALIGNING._replace(meta="none"))
    part, net = tasks([np.arange(8)])[0][0].query, network()
    draws = torch.full((8,), 1 / 8)

    def domain():
        return set_loss(net, weights_of(net), vectors, part, draws, aligns=True).domain

    reversed_ = gradients(net, domain())
    monkeypatch.setattr(meta_tasks.Reversal, "apply", lambda x, factor: x)
    plain = gradients(net, domain())
    for name, gradient in plain.items():
        sign = 1 if name.startswith("domain") else -1
        torch.testing.assert_close(reversed_[name], sign * gradient)
    assert plain["pooling.relevance.weight"].abs().sum() > 0


def losses(course, schedule):
    tasks, vectors = drawing(course=course)
    net = network().train()
    loss = objective(net, vectors, course, schedule)
    return net, lambda: loss(tasks([np.arange(12)])[0], torch.full((12,), 1 / 12))


@pytest.mark.parametrize("meta", ["none", "first-order"])
def test_at_step_zero_the_gradient_is_that_of_the_source_alone(meta):
    net, loss = losses(ALIGNING._replace(meta=meta), WarmStart(0.1, 10.0, 100))
    alone, plain = losses(ALIGNING._replace(meta=meta, reversal=0.0), WarmStart(0.0, 10.0, 100))
    first, source = gradients(net, loss()["loss"]), gradients(alone, plain()["task"])
    names = [name for name in first if not name.startswith("domain")]
    assert len(names) > 8
    for name in names:
        torch.testing.assert_close(first[name], source[name])
    assert all(first[name].abs().sum() == 0 for name in first if name.startswith("domain"))


def test_the_weight_of_the_domain_term_is_applied_once():
    schedule = WarmStart(0.1, 10.0, 100)
    schedule.step = 50
    _, loss = losses(ALIGNING._replace(meta="none"), schedule)
    parts = loss()
    expected = parts["task"] + schedule.at(50) * parts["domain"]
    assert float(parts["loss"].detach()) == pytest.approx(float(expected.detach()))


def test_evaluation_moves_no_schedule_and_looks_at_the_task_alone():
    schedule = WarmStart(0.1, 10.0, 100)
    net, loss = losses(ALIGNING, schedule)
    loss()
    assert schedule.step == 1
    net.eval()
    with torch.no_grad():
        found = loss()
        assert schedule.step == 1
        assert found.keys() == {"loss"}
        for value in net.domain.parameters():
            value.zero_()
        assert float(loss()["loss"]) == pytest.approx(float(found["loss"]), rel=1e-5)


@pytest.mark.parametrize("tasks", [1, 2])
def test_support_and_query_are_disjoint_and_each_holds_both_domains(tasks):
    drawn, _ = drawing(course=ALIGNING._replace(tasks=tasks))
    for task in drawn([np.arange(16)])[0]:
        assert not set(task.support.drawn.tolist()) & set(task.query.drawn.tolist())
        assert {0, 1} == set(task.support.domain.tolist()) == set(task.query.domain.tolist())
    assert len(drawn([np.arange(16)])[0]) == tasks


def test_domains_count_the_same_however_many_sequences_each_has():
    tasks, vectors = drawing(course=ALIGNING._replace(meta="none"))
    part, net = tasks([np.arange(3)])[0][0].query, network()
    draws = torch.tensor([0.5, 0.25, 0.25])
    found = set_loss(net, weights_of(net), vectors, part, draws, aligns=True)
    logits = meta_tasks.encode_batch(net, vectors, part.batch)[:, 2:].log_softmax(1)
    of_target = (part.beside * logits[3:, 1]).sum() / part.beside.sum()
    torch.testing.assert_close(found.domain, -(draws * logits[:3, 0]).sum() - of_target)


def domain_accuracy(reversal):
    config = replace(QUICK, steps=80, reversal=reversal, warm_start=40.0, learning_rate=0.01, meta="none")
    epochs = ZeroLog(config).fit(TRAIN, LABELS, evidence=BOTH).monitor()["epochs"]
    return np.mean([row["train_domain_accuracy"] for row in epochs[-4:]])


@pytest.mark.slow
def test_the_reversal_makes_separable_domains_alike():
    """Texts of the two systems have nothing in common: without reversing the gradient they are told apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_tasks.Reversal, "apply", lambda x, factor: x)
        assert domain_accuracy(1.0) > 0.9
    assert domain_accuracy(1.0) < 0.7


@pytest.mark.parametrize("others", [np.zeros(80), np.ones(80), TRUTH, np.full(80, -128)])
def test_no_label_of_the_target_is_read(others, fitted):
    poisoned = np.where(TRAIN.system == 1, others, LABELS).astype(np.int8)
    assert same_state(ZeroLog(QUICK).fit(TRAIN, poisoned, evidence=BOTH), fitted)


def test_labels_of_the_source_are_read(fitted):
    swapped = np.where(TRAIN.system == 0, 1 - TRUTH, -1).astype(np.int8)
    assert not same_state(ZeroLog(QUICK).fit(TRAIN, swapped, evidence=BOTH), fitted)


def test_without_domain_term_and_tasks_it_is_source_only():
    bare = ZeroLog(replace(QUICK, reversal=0.0, meta="none")).fit(TRAIN, LABELS, evidence=BOTH)
    ablation = SourceOnly(PlainConfig(**SMALL)).fit(TRAIN.select(TRAIN.system == 0), LABELS[TRAIN.system == 0])
    theirs = bare.state()
    for name, value in ablation.state().items():
        np.testing.assert_allclose(theirs[name], value, atol=1e-4, err_msg=name)
    assert ablation.tags.told == {"source": "labels"}


def test_orders_of_the_step_differ():
    config = replace(QUICK, inner_rate=0.5, steps=3)
    first, second = (
        ZeroLog(replace(config, meta=meta)).fit(TRAIN, LABELS, evidence=BOTH)
        for meta in ("first-order", "second-order")
    )
    assert not same_state(first, second)


def test_of_several_sources_one_plays_the_target_in_the_query():
    train, labels = systems(1, 60, n_systems=3)
    course = ALIGNING._replace(queried="source")
    drawn, _ = drawing(train, labels, ("source", "source", "target"), course)
    items = np.arange(0, len(drawn.domains.source.bag), 2)
    task = drawn([items])[0][0]
    system = drawn.domains.source.system[items]
    held = set(system[task.query.drawn[task.query.is_graded == 1]].tolist())
    assert len(held) == 1
    assert not held & set(system[task.support.drawn].tolist())
    assert task.query.domain.tolist() == task.query.is_graded.tolist()
    assert len(task.query.beside) == 0 < len(task.support.beside)


def test_several_sources_without_a_target_can_be_learned():
    train, labels = systems(1, 60)
    roles = Evidence(roles=("source", "source"))
    assert np.isfinite(ZeroLog(replace(QUICK, steps=2)).fit(train, labels, evidence=roles).score(TRAIN)).all()
    with pytest.raises(ValueError, match="sequences of a target"):
        ZeroLog(replace(QUICK, meta="none")).fit(train, labels, evidence=roles)


def test_what_cannot_be_learned_from_is_refused_with_the_way_out():
    alone = TRAIN.select(TRAIN.system == 0)
    assert "sequences of 1 system" in ZeroLog().skip(alone)
    assert ZeroLog().skip(TRAIN) is None
    assert SourceOnly().skip(alone) is None
    with pytest.raises(ValueError, match="ZeroLog cannot be trained"):
        ZeroLog(QUICK).fit(alone, TRUTH[TRAIN.system == 0])
    with pytest.raises(ValueError, match="labels of the source"):
        ZeroLog(QUICK).fit(TRAIN, np.zeros(80, np.int8), evidence=BOTH)


def test_saved_and_loaded_it_scores_the_same(fitted):
    loaded = ZeroLog(QUICK).load_state(fitted.state())
    assert loaded.score(TRAIN).tolist() == fitted.score(TRAIN).tolist()
    assert loaded.score(TRAIN).dtype == np.float64
    assert loaded.native_threshold_ == 0
    facts = json.loads(json.dumps(fitted.monitor()))
    assert facts["steps_run"] == 8
    assert facts["target"]["distinct"] > 0
    weights = fitted.explain(TRAIN)
    np.testing.assert_allclose(np.bincount(TRAIN.sequence_of_event, weights), 1, atol=1e-5)
    with pytest.raises(NotFittedError):
        ZeroLog().score(TRAIN)


def test_freelog_is_the_same_configuration(fitted):
    assert FreeLog.Config is ZeroLog.Config
    assert same_state(FreeLog(QUICK).fit(TRAIN, LABELS, evidence=BOTH), fitted)


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = AlignedClassifier(12, 6, 1, domain_hidden=8, dropout=0.5)
        found = net(torch.randn(4, 6, 12), torch.ones(4, dtype=torch.int64))
        found.sum().backward()
    assert found.shape == (4, 4)
    assert all(parameter.grad.is_meta for parameter in net.parameters())


@pytest.mark.parametrize("wrong", [{"tasks": 0}, {"reversal": -1.0}, {"hidden": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
    assert Config(**ZeroLog.profiles["original"]).tasks == 4
