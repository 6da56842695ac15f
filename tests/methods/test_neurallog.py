"""NeuralLog after its sheet: cleaning, the last 75 lines, padding as published and masked, both ways to balance."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from bench.detector import NotFittedError
from bench.types import RawLines, Sequences
from methods import neurallog
from methods.neurallog import Config, Network, NeuralLog, cleaned, messages_of
from methods.shared import text_inputs
from methods.shared.layers import sinusoidal

pytestmark = pytest.mark.trains

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "fault", "reworded fault")
QUICK = Config(width=20, heads=2, head_width=8, ffn_width=24, hidden=12, steps=150, batch_size=32, learning_rate=5e-3)


def fake_embed(texts):
    rows = []
    for text in texts:
        row = np.random.default_rng(list(text.removeprefix("reworded ").encode())).standard_normal(384)
        noise = np.random.default_rng(1).standard_normal(384)
        rows.append(row + 0.05 * noise * text.startswith("reworded"))
    rows = np.reshape(rows, (-1, 384))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def no_sentence_encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", fake_embed)
        yield


def of(lists):
    """Sequences whose raw lines are words with a number each; log keys say nothing of them."""
    sequences = Sequences.from_lists([[0] * len(row) for row in lists], ("one template",))
    lines = [f"node-{i}: {WORDS[word]} {i}" for i, word in enumerate(word for row in lists for word in row)]
    return replace(sequences, raw=RawLines(pl.Series(lines, dtype=pl.String)))


def faulty_log(seed, n):
    """Sequences of eight words; the abnormal fifth of them holds the word fault."""
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, 8, rng.integers(1, 12)).tolist() for _ in range(n)]
    labels = (np.arange(n) % 5 == 0).astype(np.int8)
    for row, label in zip(lists, labels, strict=True):
        if label:
            row[rng.integers(len(row))] = 8
    return of(lists), labels


TRAIN, LABELS = faulty_log(0, 200)
TEST, TEST_LABELS = faulty_log(1, 100)


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return NeuralLog(QUICK).fit(TRAIN, LABELS)


@pytest.fixture(scope="module")
def as_published(no_sentence_encoder):
    config = replace(QUICK, padding="counted", balance="drawn", max_length=16)
    return NeuralLog(config).fit(TRAIN, LABELS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("081109 203518 143 INFO dfs.DataNode$DataXceiver: Receiving block blk_-16 src: /10.250.19.102:54106",
         "info dfs data node data xceiver receiving block src"),
        ("2005.06.03 R02-M1-N0 RAS KERNEL FATAL data TLB error interrupt", "ras kernel fatal data tlb error interrupt"),
        ("ciod: Error (code=17) [a,b]", "ciod error code a b"),
        ("0x0b85eee0 12:30:01", ""),
    ],
)  # fmt: skip
def test_a_line_loses_numbers_and_punctuation(line, message):
    assert cleaned(RawLines(pl.Series([line]))).to_list() == [message]


def test_lines_that_differ_in_numbers_are_one_message_and_are_embedded_once(fitted, monkeypatch):
    seen = []
    monkeypatch.setattr(text_inputs, "embed", lambda texts: seen.extend(texts) or fake_embed(texts))
    fitted.score(of([[0, 0, 1, 0], [1, 0]]))
    assert sorted(seen) == ["alpha", "beta"]


def test_the_last_lines_are_kept():
    found = messages_of(of([[0, 1, 2, 3], [4], []]), 2)
    assert [found.texts[i] for i in found.text_ids] == ["gamma", "delta", "epsilon"]
    assert found.offsets.tolist() == [0, 2, 3, 3]


@pytest.mark.parametrize("name", ["fitted", "as_published"])
def test_lines_before_the_last_ones_change_nothing(name, request):
    detector = request.getfixturevalue(name)
    n = detector.config.max_length
    last = [0, 1, 2, 8] * (n // 4) + [5] * (n % 4)
    alone, behind, cut = detector.score(of([last, [8, 8, 3, *last], last[1:]]))
    assert alone == pytest.approx(behind, abs=1e-12)
    assert alone != pytest.approx(cut, abs=1e-9)
    weights = detector.explain(of([[8, 8, 3, *last]]))
    assert weights[:3].tolist() == [0, 0, 0]
    assert weights[3:].min() > 0


@pytest.mark.parametrize("name", ["fitted", "as_published"])
def test_a_learned_fault_is_found_without_any_log_key(name, request):
    detector = request.getfixturevalue(name)
    scores = detector.score(TEST)
    assert np.mean((scores > detector.native_threshold_) == TEST_LABELS) > 0.95


def test_a_reworded_fault_is_found_too(fitted):
    plain, reworded, normal = fitted.score(of([[0, 1, 8, 2], [0, 1, 9, 2], [0, 1, 3, 2]]))
    assert min(plain, reworded) > 0 > normal


def test_padding_is_seen_by_the_mean_as_published_and_not_when_masked(fitted, as_published):
    tokens, lengths = torch.randn(3, 8, 20, dtype=torch.float64), torch.tensor([8, 5, 1])
    wider = torch.cat([tokens, torch.randn(3, 4, 20, dtype=torch.float64)], 1)
    for detector in (fitted, as_published):
        with torch.inference_mode():
            # What stands behind a sequence reaches nothing, in either form.
            np.testing.assert_allclose(detector.net_(tokens, lengths), detector.net_(wider, lengths), atol=1e-12)
    with torch.inference_mode():
        assert torch.equal(fitted.net_.vectors(tokens, torch.tensor([0, 0, 0])), torch.zeros(3, 20).double())
        assert as_published.net_.vectors(tokens, torch.tensor([0, 0, 0])).abs().min() > 0


def test_as_published_zeros_stand_before_the_first_line_up_to_the_longest_length():
    net = Network(replace(QUICK, padding="counted", max_length=6)).double()
    tokens, lengths = torch.randn(1, 4, 20, dtype=torch.float64), torch.tensor([3])
    x, seen = net._placed(tokens, lengths)
    found = x - sinusoidal(6, 20, x)
    assert seen.all()
    torch.testing.assert_close(found[0, 3:], tokens[0, :3])
    assert found[0, :3].abs().max() < 1e-12


def test_the_attention_that_lines_receive_sums_to_one_unless_padding_takes_its_share(fitted, as_published):
    log = of([[0, 1, 8], [], [2], [3, 4, 5, 6, 7]])
    sums = np.bincount(log.sequence_of_event, fitted.explain(log), len(log))
    np.testing.assert_allclose(sums, [1, 0, 1, 1], atol=1e-6)
    sums = np.bincount(log.sequence_of_event, as_published.explain(log), len(log))
    assert sums[1] == 0
    assert (sums[[0, 2, 3]] < 0.95).all()
    assert (sums[[0, 2, 3]] > 0).all()


def test_as_many_normal_sequences_are_drawn_as_there_are_abnormal_ones():
    counts = neurallog.as_many_normals(np.array([0, 1, 0, 1]), np.array([50, 3, 40, 4]), seed=0)
    assert counts[[1, 3]].tolist() == [3, 4]
    assert counts[[0, 2]].sum() == 7
    few = neurallog.as_many_normals(np.array([0, 1]), np.array([2, 9]), seed=0)
    assert few.tolist() == [2, 9]


def test_both_classes_weigh_the_same_in_the_loss():
    """Of one abnormal sequence among 19 equal normal ones the classifier is undecided, unless each weighs the same."""
    train, labels = of([[0]] * 19 + [[0]]), np.repeat([0, 1], [19, 1]).astype(np.int8)
    config = replace(QUICK, validation_fraction=0.0, dropout=0.0, steps=80, learning_rate=0.02)
    scores = [
        NeuralLog(replace(config, balance=how)).fit(train, labels).score(train)[0] for how in ("weighted", "none")
    ]
    assert scores[0] == pytest.approx(0, abs=0.1)
    assert scores[1] == pytest.approx(-np.log(19), abs=0.1)


def test_order_counts(fitted):
    one, other = fitted.score(of([[0, 1, 2, 3], [3, 2, 1, 0]]))
    assert one != pytest.approx(other, abs=1e-9)


def test_an_empty_sequence_has_a_score_and_moves_no_other(fitted, as_published):
    for detector in (fitted, as_published):
        empty, full = detector.score(of([[], [0, 8]]))
        assert np.isfinite(empty)
        assert full == pytest.approx(detector.score(of([[0, 8]]))[0], abs=1e-12)


def test_the_state_holds_no_text_and_gives_the_same_scores(fitted):
    state = fitted.state()
    assert all(value.dtype.kind == "f" for value in state.values())
    assert np.array_equal(NeuralLog(QUICK).load_state(state).score(TEST), fitted.score(TEST))


@pytest.mark.parametrize("padding", ["masked", "counted"])
def test_network_and_objective_run_on_meta(padding):
    with torch.device("meta"):
        net = Network(replace(QUICK, padding=padding, dropout=0.3))
        logits = net(torch.randn(4, 6, 20), torch.randint(7, (4,)))
        lesson = neurallog.Lesson(None, torch.randint(4, (5,)), torch.randint(2, (5,)))
        loss = neurallog.objective(logits, lesson, torch.rand(5), torch.ones(2))["loss"]
        loss.backward()
    assert loss.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_one_class_lacking_weights_and_lacking_raw_lines_are_one_sentence():
    with pytest.raises(ValueError, match="both normal and abnormal labels"):
        NeuralLog(QUICK).fit(TRAIN, np.zeros(len(TRAIN), np.int8))
    assert "bert-base-uncased" in NeuralLog(Config(**NeuralLog.profiles["original"])).skip(TRAIN)
    with pytest.raises(ValueError, match="raw lines"):
        NeuralLog(QUICK).fit(replace(TRAIN, raw=None), LABELS)
    with pytest.raises(NotFittedError):
        NeuralLog(QUICK).score(TEST)


def test_what_has_no_label_is_left_out():
    unlabelled = np.where(np.arange(len(LABELS)) < 100, LABELS, -1).astype(np.int8)
    config = replace(QUICK, steps=10)
    part = NeuralLog(config).fit(TRAIN.select(np.arange(100)), LABELS[:100])
    whole = NeuralLog(config).fit(TRAIN, unlabelled)
    assert np.array_equal(part.score(TEST), whole.score(TEST))


@pytest.mark.parametrize("wrong", [{"padding": "left"}, {"balance": "half"}, {"heads": 0}, {"max_length": 0}])
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
