"""MetaLog after its sheet: what beta and alpha of zero are, which labels it is told, and what it leaves alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.contract import reveal
from bench.detector import Evidence
from bench.types import Sequences
from methods.metalog import Config, Lesson, MetaLog, Pairs, objective
from methods.shared import text_inputs
from methods.shared.meta import pool_of
from methods.shared.semantic import AttentiveClassifier, encode_batch, read

pytestmark = [pytest.mark.trains, pytest.mark.usefixtures("no_sentence_encoder")]

TEXTS = tuple(f"template {key}" for key in range(40))
INPUTS = text_inputs.TextInputs.sentence((), 12, centred=False)
SMALL = {"width": 12, "hidden": 6, "layers": 1, "dropout": 0.0, "batch_size": 16, "validation_fraction": 0.0}
QUICK = Config(**SMALL, steps=6)
BOTH = Evidence(roles=("source", "target"))


def two_systems(seed, n):
    rng = np.random.default_rng(seed)
    system = (np.arange(n) % 2).astype(np.uint8)
    labels = (np.arange(n) // 2 % 4 == 0).astype(np.int8)
    lists = [(10 * s + rng.integers(0, 10, rng.integers(3, 6))).tolist() for s in system.tolist()]
    for row, s, label in zip(lists, system.tolist(), labels, strict=True):
        row[0] = 30 + s if label else row[0]
    return Sequences.from_lists(lists, TEXTS, system=system), labels


TRAIN, TRUTH = two_systems(0, 80)
IS_TARGET = TRAIN.system == 1
LABELS = TRUTH.copy()
LABELS[IS_TARGET] = reveal("target", "few", TRUTH[IS_TARGET], 0.01)[1]


def step(**settings):
    """A network, its lesson and loss, as one step of training has them."""
    config = replace(QUICK, **settings)
    reading = read(TRAIN, INPUTS, "cpu")
    pools = [pool_of(reading.inverse, TRAIN.system, TRUTH == 1, which == IS_TARGET) for which in (False, True)]
    torch.manual_seed(0)
    net = AttentiveClassifier(torch.nn.GRU, 12, 6, 1, dropout=0.0).train()
    lesson = Pairs(reading, *pools, 16, 0)([np.arange(12)])[0]
    vectors = reading.vectors.float()
    return net, vectors, lesson, objective(net, vectors, config)


DRAWS = torch.full((12,), 1 / 12)


def gradients(net, value):
    net.zero_grad()
    value.backward()
    return [parameter.grad.clone() for parameter in net.parameters()]


def plain_loss(net, vectors, part, draws):
    odds = encode_batch(net, vectors, part.batch).log_softmax(1)
    return -(draws * (part.share * odds[:, 1] + (1 - part.share) * odds[:, 0])).sum() / draws.sum()


def test_beta_of_zero_is_training_on_the_source():
    net, vectors, lesson, loss = step(target_weight=0.0)
    found = gradients(net, loss(lesson, DRAWS)["loss"])
    for a, b in zip(found, gradients(net, plain_loss(net, vectors, lesson.source, DRAWS)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("second_order", [False, True])
def test_alpha_of_zero_is_joint_training(second_order):
    net, vectors, lesson, loss = step(inner_rate=0.0, target_weight=2.0, second_order=second_order)
    found = gradients(net, loss(lesson, DRAWS)["loss"])
    source = plain_loss(net, vectors, lesson.source, DRAWS)
    joint = source + 2 * plain_loss(net, vectors, lesson.target, lesson.beside)
    for a, b in zip(found, gradients(net, joint), strict=True):
        torch.testing.assert_close(a, b)


def test_the_targets_loss_is_that_after_a_step_on_the_source_and_the_weights_stay():
    net, vectors, lesson, loss = step(inner_rate=0.5)
    before = [value.detach().clone() for value in net.parameters()]
    parts = loss(lesson, DRAWS)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
    grads = gradients(net, plain_loss(net, vectors, lesson.source, DRAWS))
    with torch.no_grad():
        for value, gradient in zip(net.parameters(), grads, strict=True):
            value.sub_(0.5 * gradient)
        after = plain_loss(net, vectors, lesson.target, lesson.beside)
    torch.testing.assert_close(parts["target"].detach(), after)


def test_orders_differ_only_where_there_is_a_step():
    of_order = []
    for second_order in (False, True):
        net, _, lesson, loss = step(inner_rate=0.5, second_order=second_order)
        of_order.append(gradients(net, loss(lesson, DRAWS)["loss"]))
    assert not all(torch.allclose(a, b) for a, b in zip(*of_order, strict=True))


def test_held_out_sequences_are_judged_by_the_source_alone():
    net, vectors, lesson, loss = step()
    net.eval()
    with torch.no_grad():
        found = loss(lesson, DRAWS)
        assert found.keys() == {"loss"}
        torch.testing.assert_close(found["loss"], plain_loss(net, vectors, lesson.source, DRAWS))
    assert isinstance(lesson, Lesson)


@pytest.mark.parametrize("n_abnormal", [1, 30, 99, 101])
def test_one_percent_holds_at_least_one_abnormal_sequence(n_abnormal):
    truth = np.zeros(1000, np.int8)
    truth[-n_abnormal:] = 1
    known = reveal("target", "few", truth, Config().target_share)[1]
    assert (known == 1).sum() == -(-n_abnormal // 100) >= 1


def test_it_says_how_many_labels_of_the_target_it_had():
    detector = MetaLog(QUICK).fit(TRAIN, LABELS, evidence=BOTH)
    facts = json.loads(json.dumps(detector.monitor()))
    assert facts["target"] == {"distinct_normal": 1, "distinct_abnormal": 1}
    assert MetaLog.tags.told == {"source": "labels", "target": "few"}
    loaded = MetaLog(QUICK).load_state(detector.state())
    assert loaded.score(TRAIN).tolist() == detector.score(TRAIN).tolist()
    assert loaded.native_threshold_ == 0


def test_sequences_of_the_target_without_a_label_are_left_out():
    whole = MetaLog(QUICK).fit(TRAIN, LABELS, evidence=BOTH)
    known = MetaLog(QUICK).fit(TRAIN.select(LABELS >= 0), LABELS[LABELS >= 0], evidence=BOTH)
    assert all(np.array_equal(value, known.state()[name]) for name, value in whole.state().items())


def told_the_opposite(target_weight):
    """Scores of the target's known sequences, normal and abnormal, where its mark means what the source's does not."""
    labels = TRUTH.copy()
    labels[IS_TARGET] = 1 - TRUTH[IS_TARGET]
    marked = replace(TRAIN, text_ids=np.where(TRAIN.text_ids == 31, 30, TRAIN.text_ids))
    config = replace(QUICK, steps=60, learning_rate=1e-2, target_weight=target_weight, target_share=0.5)
    labels[IS_TARGET] = reveal("target", "few", labels[IS_TARGET], config.target_share)[1]
    scores = MetaLog(config).fit(marked, labels, evidence=BOTH).score(marked)
    return scores[IS_TARGET & (labels == 0)], scores[IS_TARGET & (labels == 1)]


def test_the_known_sequences_of_the_target_are_learned_where_the_source_says_the_opposite():
    normal, abnormal = told_the_opposite(4.0)
    assert normal.mean() < 0 < abnormal.mean()
    normal, abnormal = told_the_opposite(0.0)
    assert normal.mean() > abnormal.mean()


def test_what_cannot_be_learned_from_is_refused():
    alone = TRAIN.select(~IS_TARGET)
    assert "sequences of 1 system" in MetaLog().skip(alone)
    with pytest.raises(ValueError, match="MetaLog cannot be trained"):
        MetaLog(QUICK).fit(alone, TRUTH[~IS_TARGET])
    normal = np.where(IS_TARGET & (LABELS == 1), -1, LABELS).astype(np.int8)
    with pytest.raises(ValueError, match="labels of the target"):
        MetaLog(QUICK).fit(TRAIN, normal, evidence=BOTH)
    for wrong in ({"target_share": 0.0}, {"target_weight": -1.0}, {"hidden": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**wrong)
