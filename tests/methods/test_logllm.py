"""LogLLM after its sheet: masks, the answer that is learned, the draws of the rarer class, what each stage moves."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from bench.detector import NotFittedError
from bench.types import RawLines, Sequences
from methods import logllm
from methods.logllm import AFTER, ANSWERS, BEFORE, Config, LogLLM, Network
from methods.shared.decoders import TinyDecoder
from methods.shared.layers import Bags
from methods.shared.log_messages import masked, messages_of
from methods.shared.questions import NO_TARGET, lesson_of, objective
from methods.shared.stages import at_least

pytestmark = [pytest.mark.trains, pytest.mark.usefixtures("no_sentence_encoder")]

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "fault")
QUICK = Config(decoder="tiny", width=16, steps=60, batch_size=32, learning_rate=3e-3, dropout=0.0)


def of(lists):
    """Sequences whose raw lines are words with a number each; log keys say nothing of them."""
    sequences = Sequences.from_lists([[0] * len(row) for row in lists], ("one template",))
    lines = [f"node: {WORDS[word]} {i}" for i, word in enumerate(word for row in lists for word in row)]
    return replace(sequences, raw=RawLines(pl.Series(lines, dtype=pl.String)))


def faulty_log(seed, n):
    """Sequences of eight words; the abnormal fifth of them holds the word fault."""
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, 8, rng.integers(1, 6)).tolist() for _ in range(n)]
    labels = (np.arange(n) % 5 == 0).astype(np.int8)
    for row, label in zip(lists, labels, strict=True):
        if label:
            row[rng.integers(len(row))] = 8
    return of(lists), labels


TRAIN, LABELS = faulty_log(0, 100)
TEST, TEST_LABELS = faulty_log(1, 60)


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return LogLLM(QUICK).fit(TRAIN, LABELS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Receiving block blk_-160899 src: /10.250.19.102:54106 dest", "Receiving block <*> src: <*> dest"),
        ("connection from 10.1.2.3:80 at Tuesday, Jun  9 was True", "connection from <*> at <*>, <*> was <*>"),
        ("mac 00:1a:2b:3c:4d:5e lost seven packets", "mac <*> lost <*> packets"),
        ("core.2275 in /var/log/a.log by root@node-7 ended", "<*> in <*> by <*> ended"),
        ("at deadbeef and 00ffab1234  wait... done", "at <*> and <*> wait... done"),
        ("nothing varies here", "nothing varies here"),
    ],
)
def test_what_varies_in_a_line_is_masked(line, message):
    assert masked(pl.Series([line])).to_list() == [message]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("opened dir/name and C:\\Temp\\log", "opened <*> and <*>"),
        ("by root@host it failed", "by <*> it failed"),
        ("from 10.1.2.3 and 10.1.2.3:80", "from <*> and <*>"),
        ("nic aa:bb:cc:dd:ee:ff and aa-bb-cc-dd-ee-ff", "nic <*> and <*>"),
        ("at deadbeef, beefdeadff, not facade or deadbeeff", "at <*>, <*>, not facade or deadbeeff"),
        ("on March 9 and jun  21, in May or march", "on <*> and <*>, in May or march"),
        ("Sunday or tue, no monk or sunlight", "<*> or <*>, no monk or sunlight"),
        ("twelve of ninety thousand, seventeen; someone often", "<*> of <*> <*>, <*>; someone often"),
        ("was TRUE or false, truly", "was <*> or <*>, truly"),
        ("rts: core.2275 of R02-M1-N0 x1y", "rts: <*> of <*> <*>"),
    ],
)
def test_each_kind_that_the_sheet_names_is_masked_and_what_looks_like_it_is_kept(line, message):
    assert masked(pl.Series([line])).to_list() == [message]


def test_the_first_lines_are_read_and_those_behind_change_nothing():
    found = messages_of(of([[0, 1, 2, 3], [4], []]), "line", 2)
    assert [found.texts[i] for i in found.text_ids] == ["node: alpha <*>", "node: beta <*>", "node: epsilon <*>"]
    assert found.offsets.tolist() == [0, 2, 3, 3]
    detector = LogLLM(replace(QUICK, max_length=3, steps=8)).fit(TRAIN, LABELS)
    short, longer, other = detector.score(of([[0, 1, 2], [0, 1, 2, 8, 8], [8, 1, 2]]))
    assert short == longer != other


def test_texts_of_events_are_read_where_lines_are_masked():
    config = replace(QUICK, lines="masked")
    assert "raw" not in LogLLM(config).uses()
    assert "raw" in LogLLM(QUICK).uses()
    found = messages_of(replace(TRAIN, raw=None), "masked", 128)
    assert found.texts == ("<*> template",)
    with pytest.raises(ValueError, match="set lines=masked"):
        LogLLM(QUICK).fit(replace(TRAIN, raw=None), LABELS)


def question(class_of):
    decoder = TinyDecoder([BEFORE, AFTER, *ANSWERS])
    prompt = decoder.prompt(BEFORE, AFTER, ANSWERS)
    bags = Bags(np.array([4, 7, 4, 9]), np.ones(4, np.float32), np.array([0, 1, 4]))
    classes = None if class_of is None else np.array(class_of)
    return decoder, prompt, lesson_of(bags, np.array([0, 1]), classes, prompt, "cpu")


def words(decoder, ids):
    names = {number: word for word, number in decoder.number.items()} | {0: "END", 1: "BEGIN"}
    return [names[i] for i in ids]


def test_what_is_learned_is_the_answer_and_its_end_and_nothing_else():
    decoder, prompt, lesson = question([1, 0])
    for row, answer in zip(lesson.targets.tolist(), ("anomalous", "normal"), strict=True):
        assert words(decoder, [t for t in row if t != NO_TARGET]) == ["The", "sequence", "is", answer, ".", "END"]
    # Each target follows what stands in front of it: the last tokens that are read are the answer, one place earlier.
    tokens = np.array([*prompt.tokens, -4, -7, -9])
    for row, target in zip(tokens[lesson.places.numpy()], lesson.targets.tolist(), strict=True):
        assert row[-5:].tolist() == target[:-1][-5:]
    logits = torch.zeros(2, 6, 20).scatter_(2, lesson.targets[:, :, None], 50.0)
    assert float(objective(logits, lesson, torch.tensor([0.5, 0.5]))["loss"]) == pytest.approx(0, abs=1e-6)


def test_what_is_published_is_quoted_letter_by_letter():
    assert BEFORE == "Below is a sequence of system log messages:"
    assert AFTER == r". Is this sequence normal or anomalous? \n"
    assert ANSWERS == ("The sequence is normal.", "The sequence is anomalous.")
    wanted = {
        "encoder": "bert-base-uncased", "width": 768, "decoder": "Meta-Llama-3-8B", "max_length": 128, "max_words": 100,
        "encoder_rank": 4, "encoder_alpha": 32.0, "encoder_dropout": 0.01, "rank": 8, "alpha": 16.0, "dropout": 0.1,
        "learning_rate": 5e-4, "late_factor": 0.1, "tenth_decay": 0.7, "batch_size": 16, "minority": 0.3,
        "answer_samples": 1000, "max_epochs": 5, "shares": (0.2, 0.2, 0.2, 0.4), "lines": "line",
    }  # fmt: skip
    assert {name: LogLLM.profiles["original"][name] for name in wanted} == wanted
    assert logllm.STAGES == (
        ("decoder",), ("projector",), ("projector", "encoder"), ("projector", "encoder", "decoder"),
    )  # fmt: skip


def test_the_question_is_the_published_one_around_the_messages_of_a_sequence():
    decoder, prompt, lesson = question(None)
    assert words(decoder, prompt.before)[:3] == ["BEGIN", "Below", "is"]
    assert "".join(words(decoder, prompt.after)).endswith("anomalous?\\n")
    first = len(prompt.tokens)
    assert lesson.messages.tolist() == [4, 7, 9]
    for row, seen, expected in zip(lesson.places, lesson.seen, ([0], [1, 0, 2]), strict=True):
        read = row[seen].tolist()
        assert [place - first for place in read if place >= first] == expected
        place = read.index(first + expected[0])
        tokens = [prompt.tokens[i] for i in read if i < first]
        assert place == len(prompt.before)
        assert tokens == [*prompt.before, *prompt.after, *prompt.answers[0][: prompt.n_shared]]
    assert words(decoder, prompt.deciding) == ["normal", "anomalous"]


def test_the_rarer_class_has_its_share_of_the_draws():
    class_of = np.array([0, 0, 1, 1])
    counts = at_least(np.array([400, 300, 7, 3]), class_of, 0.3)
    assert counts[:2].tolist() == [400, 300]
    assert counts[2:].sum() == 300
    assert counts[2] == pytest.approx(210, abs=1)
    assert at_least(np.array([5, 1, 4, 2]), class_of, 0.3).tolist() == [5, 1, 4, 2]
    assert at_least(np.array([5, 1, 4, 2]), class_of, 0.0).tolist() == [5, 1, 4, 2]
    assert at_least(np.array([1, 0, 40, 30]), class_of, 0.3)[:2].tolist() == [30, 0]


def test_every_stage_draws_the_rarer_class_so_often(monkeypatch):
    drawn = []

    def spied(net, loss, parts, settings, **others):
        class_of = labels_of_items[0]
        drawn.append(parts.train[class_of == 1].sum() / parts.train.sum())
        return logllm.History((), 1, 0, "steps")

    labels_of_items = []
    made = LogLLM._material

    def material(*given):
        found = made(*given)
        labels_of_items.append(found.class_of)
        return found

    monkeypatch.setattr(LogLLM, "_material", material)
    monkeypatch.setattr(logllm, "train_network", spied)
    few = np.zeros(len(LABELS), np.int8)
    few[:3] = 1
    LogLLM(QUICK).fit(TRAIN, few)
    assert len(drawn) == 4
    assert min(drawn) >= 0.3
    assert max(drawn) < 0.35


@pytest.mark.parametrize(
    ("stage", "moved"),
    [(0, {"decoder"}), (1, {"projector"}), (2, {"projector"}), (3, {"decoder", "projector"})],
)
def test_each_stage_moves_what_it_should_and_nothing_else(stage, moved):
    shares = tuple(float(number == stage) for number in range(4))
    torch.manual_seed(0)
    before = Network(QUICK).state_dict()
    after = LogLLM(replace(QUICK, shares=shares, steps=3)).fit(TRAIN, LABELS).net_.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name].double(), after[name])}
    assert changed == moved


def test_steps_are_shared_out_and_rates_fall_as_published():
    config = Config(steps=600, learning_rate=5e-4, late_factor=0.1, tenth_decay=0.7)
    found = [logllm.stage_settings(config, stage, 1000) for stage in range(4)]
    assert [stage.steps for stage in found] == [120, 120, 120, 240]
    assert [stage.learning_rate for stage in found] == pytest.approx([5e-4, 5e-4, 5e-5, 5e-5])
    assert [(stage.decay, stage.decay_steps) for stage in found] == [(0.7, 12)] * 3 + [(0.7, 24)]
    published = Config(**LogLLM.profiles["original"])
    steps = [logllm.stage_settings(published, stage, 48_000).steps for stage in range(4)]
    assert steps == [math.ceil(1000 / 16), 3000, 3000, 6000]


def test_a_learned_fault_is_found_without_any_log_key(fitted):
    scores = fitted.score(TEST)
    assert np.mean((scores > fitted.native_threshold_) == TEST_LABELS) > 0.95


def test_the_native_rule_is_what_greedy_generation_says(fitted):
    net = fitted.net_
    reading = fitted._read_messages(net, messages_of(TEST, "line", 128))
    lesson = lesson_of(reading.bags, np.arange(len(reading.counts)), None, net.prompt, "cpu")
    said = net(lesson, reading.vectors[lesson.messages])[:, -1].argmax(1).numpy()[reading.inverse]
    normal, anomalous = net.prompt.deciding
    assert said.tolist() == np.where(fitted.score(TEST) > 0, anomalous, normal).tolist()


def test_an_empty_sequence_has_a_score_and_moves_no_other(fitted):
    empty, full = fitted.score(of([[], [0, 8]]))
    assert np.isfinite(empty)
    assert full == pytest.approx(fitted.score(of([[0, 8]]))[0], abs=1e-12)


def test_the_state_gives_the_same_scores(fitted):
    state = fitted.state()
    assert all(value.dtype.kind == "f" for value in state.values())
    assert np.array_equal(LogLLM(QUICK).load_state(state).score(TEST), fitted.score(TEST))


def test_network_and_objective_run_on_meta():
    with torch.device("meta"):
        net = Network(QUICK)
        lesson = question([1, 0])[2]
        lesson = lesson._replace(places=lesson.places.to("meta"), seen=lesson.seen.to("meta"),
                                 targets=lesson.targets.to("meta"))  # fmt: skip
        net.learn_only(("decoder", "projector"))
        loss = objective(net(lesson, torch.randn(3, 16)), lesson, torch.rand(2))["loss"]
        loss.backward()
    assert loss.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_what_lacks_is_one_sentence_with_the_way_out():
    reason = LogLLM(Config()).skip(TRAIN)
    assert "the weights of Meta-Llama-3-8B are needed and no folder is given" in reason
    assert "decoder=tiny" in reason
    assert "'nowhere' is no folder" in LogLLM(Config(decoder_weights="nowhere")).skip(TRAIN)
    assert "bert-base-uncased" in LogLLM(replace(QUICK, encoder="bert-base-uncased")).skip(TRAIN)
    with pytest.raises(ValueError, match="both normal and abnormal labels"):
        LogLLM(QUICK).fit(TRAIN, np.zeros(len(TRAIN), np.int8))
    with pytest.raises(NotFittedError):
        LogLLM(QUICK).score(TEST)


def test_what_has_no_label_is_left_out():
    unlabelled = np.where(np.arange(len(LABELS)) < 50, LABELS, -1).astype(np.int8)
    config = replace(QUICK, steps=4)
    part = LogLLM(config).fit(TRAIN.select(np.arange(50)), LABELS[:50])
    whole = LogLLM(config).fit(TRAIN, unlabelled)
    assert np.array_equal(part.score(TEST), whole.score(TEST))


@pytest.mark.parametrize(
    "wrong",
    [{"shares": (0.5, 0.5)}, {"minority": 0.7}, {"rank": 0}, {"max_length": 0}, {"tenth_decay": 0.0}, {"patience": 3}],
)
def test_impossible_configs_are_refused(wrong):
    extra = {"steps": None, "max_epochs": 5} if "patience" in wrong else {}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong, **extra)
