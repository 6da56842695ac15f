"""LogRobust after its sheet: robustness to rewording, attention, learning by heart, and which labels it reads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bench.detector import NotFittedError
from bench.types import Sequences
from methods import logrobust
from methods.logrobust import Config, LogRobust
from methods.shared import semantic, text_inputs
from methods.shared.semantic import AttentiveClassifier

pytestmark = pytest.mark.trains

TEXTS = (*(f"template {key}" for key in range(20)), "template 3 reworded")
INPUTS = text_inputs.TextInputs.sentence((), 20, centred=False)
QUICK = Config(width=20, hidden=16, layers=1, steps=None, max_epochs=8, batch_size=32, dropout=0.1, learning_rate=0.01)


def fake_embed(texts):
    rows = []
    for text in texts:
        row = np.random.default_rng(list(text.removesuffix(" reworded").encode())).standard_normal(384)
        noise = np.random.default_rng(1).standard_normal(384)
        rows.append(row + 0.03 * noise * text.endswith("reworded"))
    rows = np.reshape(rows, (-1, 384))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def no_sentence_encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", fake_embed)
        yield


def of(lists):
    return Sequences.from_lists(lists, TEXTS)


def random_lists(seed, n, longest=12):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 10, rng.integers(1, longest)).tolist() for _ in range(n)]


def faulty_log(seed, n):
    """Sequences of ten texts; the abnormal fifth of them holds one of two others."""
    rng = np.random.default_rng(seed)
    lists, labels = random_lists(seed, n), (np.arange(n) % 5 == 0).astype(np.int8)
    for row, label in zip(lists, labels, strict=True):
        if label:
            row[rng.integers(len(row))] = int(rng.integers(10, 12))
    return of(lists), labels


TRAIN, LABELS = faulty_log(0, 300)
TEST, TEST_LABELS = faulty_log(1, 100)


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return LogRobust(QUICK).fit(TRAIN, LABELS)


def same_state(a, b):
    return all(np.array_equal(value, b.state()[name]) for name, value in a.state().items())


def test_a_learned_fault_is_found_in_other_sequences(fitted):
    scores = fitted.score(TEST)
    assert np.mean((scores > fitted.native_threshold_) == TEST_LABELS) > 0.95


def test_a_reworded_template_changes_the_score_little(fitted):
    lists = [[3, *row, 3] for row in random_lists(2, 40)]
    reworded = [[20 if key == 3 else key for key in row] for row in lists]
    replaced = [[10 if key == 3 else key for key in row] for row in lists]
    near = np.abs(fitted.score(of(reworded)) - fitted.score(of(lists)))
    far = np.abs(fitted.score(of(replaced)) - fitted.score(of(lists)))
    assert near.max() > 0
    assert near.mean() < 0.1 * far.mean()


def test_attention_sums_to_one_over_the_events(fitted):
    lists = [*random_lists(3, 30), [], [4]]
    weights = fitted.explain(of(lists))
    sums = np.bincount(of(lists).sequence_of_event, weights, minlength=len(lists))
    np.testing.assert_allclose(sums, [float(bool(row)) for row in lists], atol=1e-6)
    assert (weights >= 0).all()


def test_equal_sequences_are_explained_alike(fitted):
    weights = fitted.explain(of([[1, 2, 3], [5, 10], [1, 2, 3]]))
    np.testing.assert_allclose(weights[:3], weights[5:], atol=0)
    assert weights[3] != weights[4]


def test_64_labelled_sequences_are_learned_by_heart():
    train = of([[i % 8, i // 8, i % 3] for i in range(64)])
    labels = np.random.default_rng(0).integers(0, 2, 64).astype(np.int8)
    config = replace(QUICK, dropout=0.0, max_epochs=150, validation_fraction=0.0, batch_size=64)
    detector = LogRobust(config).fit(train, labels)
    assert ((detector.score(train) > 0) == labels).all()


def test_the_score_is_the_log_odds_of_the_network(fitted):
    with torch.no_grad():
        reading = semantic.read(of([[1, 10, 2]]), INPUTS, "cpu")
        logits = fitted.net_(reading.vectors[reading.bags.ids][None], torch.tensor([3]))[0]
    p = torch.softmax(logits, 0)
    assert fitted.score(of([[1, 10, 2]]))[0] == pytest.approx(float(torch.log(p[1] / p[0])), abs=1e-5)
    assert fitted.native_threshold_ == 0


def test_an_empty_sequence_gets_the_score_of_no_evidence(fitted):
    bias = fitted.net_.outlet.bias.detach().numpy()
    assert fitted.score(of([[], [1]]))[0] == pytest.approx(bias[1] - bias[0], abs=1e-6)
    assert fitted.score(of([])).shape == (0,)
    assert fitted.represent(of([])).shape == (0, 32)


def test_sequences_without_a_label_are_left_out(fitted):
    unlabelled = of([[10] * 5] * 100)
    lists = [TRAIN.text_ids[a:b].tolist() for a, b in zip(TRAIN.offsets, TRAIN.offsets[1:], strict=False)]
    train = of(lists + [unlabelled.text_ids[:5].tolist()] * 100)
    labels = np.concatenate([LABELS, np.full(100, -1, np.int8)])
    assert same_state(LogRobust(QUICK).fit(train, labels), fitted)


@pytest.mark.parametrize("labels", [None, np.zeros(300, np.int8), np.ones(300, np.int8), np.full(300, -1, np.int8)])
def test_one_kind_of_labels_is_refused(labels):
    with pytest.raises(ValueError, match="both normal and abnormal"):
        LogRobust(QUICK).fit(TRAIN, labels)


def test_both_classes_weigh_the_same():
    classes, counts = np.array([0, 1, 0]), np.array([70, 20, 10])
    balanced = logrobust._class_weights(classes, counts, "balanced")
    assert balanced[0] * 80 == pytest.approx(balanced[1] * 20)
    assert balanced[0] * 80 + balanced[1] * 20 == pytest.approx(100)
    assert logrobust._class_weights(classes, counts, "none").tolist() == [1, 1]


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = AttentiveClassifier(nn.LSTM, 20, 8, 2, dropout=0.5)
        logits = net(torch.randn(4, 6, 20), torch.ones(4, dtype=torch.int64))
        classes = torch.zeros(4, dtype=torch.int64)
        logrobust.objective(logits, classes, torch.full((4,), 0.25), torch.ones(2))["loss"].backward()
    assert logits.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_saved_and_loaded_it_scores_the_same(fitted):
    loaded = LogRobust(QUICK).load_state(fitted.state())
    assert loaded.score(TEST).tolist() == fitted.score(TEST).tolist()
    json.dumps(fitted.monitor())
    assert fitted.represent(TEST).shape == (100, 32)


def test_same_seed_same_network_another_seed_another(fitted):
    assert same_state(LogRobust(QUICK).fit(TRAIN, LABELS), fitted)
    assert not same_state(LogRobust(QUICK, seed=1).fit(TRAIN, LABELS), fitted)


def test_before_fit():
    for call in (lambda: LogRobust().score(TEST), lambda: LogRobust().state(), lambda: LogRobust().explain(TEST)):
        with pytest.raises(NotFittedError):
            call()
    assert LogRobust().skip(of([[]])) is not None


def test_the_profiles_are_configs():
    assert Config() == Config(learning_rate=1e-3, batch_size=128, steps=600, dropout=0.5, hidden=128, layers=2)
    assert Config(**LogRobust.profiles["original"]).batch_size == 256
    with pytest.raises(ValueError, match="hidden"):
        Config(hidden=0)


def test_both_classes_weigh_the_same_in_the_loss_however_rare_one_is():
    class_of, counts = np.array([0, 1]), np.array([97, 3])
    balance = torch.as_tensor(logrobust._class_weights(class_of, counts, "balanced"))
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    of_each = nn.functional.cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    weights = torch.tensor([0.97, 0.03])
    loss = logrobust.objective(logits, torch.tensor([0, 1]), weights, balance)["loss"]
    torch.testing.assert_close(loss, of_each.mean())
    even = torch.as_tensor(logrobust._class_weights(class_of, counts, "none"))
    torch.testing.assert_close(
        logrobust.objective(logits, torch.tensor([0, 1]), weights, even)["loss"], weights @ of_each
    )


def test_as_many_of_each_class_are_drawn():
    class_of, counts = np.array([0, 0, 0, 1, 1]), np.array([500, 300, 1, 20, 10])
    drawn = logrobust.as_many_of_each(class_of, counts, 6000, 0)
    assert np.bincount(class_of, drawn).tolist() == [30, 30]
    assert drawn[3:].tolist() == [20, 10]
    fewer = logrobust.as_many_of_each(class_of, counts, 12, 0)
    assert np.bincount(class_of, fewer).tolist() == [12, 12]
    assert (fewer <= counts).all()
    train, labels = faulty_log(0, 100)
    sampled = LogRobust(replace(QUICK, per_class=9)).fit(train, labels)
    assert np.isfinite(sampled.score(train)).all()
    with pytest.raises(ValueError, match="per_class 0"):
        replace(QUICK, per_class=0)
