"""Who judges what a source does not know: what is asked, what an answer means, and what was counted."""

from dataclasses import replace

import numpy as np
import pytest

from bench.types import Sequences
from methods.shared import router, teachers
from methods.shared.teachers import (
    LEAST,
    UNSAID,
    Distinct,
    Memory,
    TeacherSettings,
    Tutor,
    leaders,
    neighbours_share,
    prompt_of,
    read_verdict,
    require_teacher,
)

TEXTS = ("service started", "request served", "disk failed", "fan failed", "job ended", "never seen")


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    def fake(texts):
        rows = [np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts]
        rows = np.reshape(rows, (-1, 384))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(teachers, "embed", fake)
    monkeypatch.setattr(router, "embed", fake)


def of(rows, **fields):
    return Sequences.from_lists(rows, TEXTS, **fields)


SOURCE = of([[0, 1, 4], [0, 1, 1, 4], [0, 2], [2, 4], [0, 1, 4]])
LABELS = np.array([0, 0, 1, 1, 0], np.int8)
TARGET = of([[0, 5], [2, 5], [0, 5], [3], [0, 5], [3]])


class Model:
    def __init__(self, say=lambda prompt: "Answer: No\nConfidence: 80"):
        self.prompts, self.say = [], say

    def ask(self, prompts):
        self.prompts += prompts
        return [self.say(prompt) for prompt in prompts]


def tutor_of(model=None, **settings):
    settings = TeacherSettings(**({"teacher": "embedding"} if model is None else {}), **settings)
    return Tutor(settings, model and model.ask, Memory.of(SOURCE, LABELS, settings.memory, 0))


def test_equal_sequences_are_asked_once_the_commonest_first():
    model = Model()
    asked = Distinct.of(TARGET)
    assert asked.lines == [(TEXTS[0], TEXTS[5]), (TEXTS[3],), (TEXTS[2], TEXTS[5])]
    assert asked.counts.tolist() == [3, 2, 1]
    assert asked.first.tolist() == [0, 3, 1]
    assert [asked.lines[i][0] for i in asked.inverse] == [TEXTS[keys[0]] for keys in ([0], [2], [0], [3], [0], [3])]
    tutor = tutor_of(model)
    np.testing.assert_allclose(tutor.judge(asked, 100), 0.2)
    assert len(model.prompts) == 3
    facts = tutor.facts()
    assert (facts["teacher_sequences"], facts["teacher_distinct"], facts["teacher_questions"]) == (6, 3, 3)
    assert facts["teacher_reused_share"] == 0.5
    assert facts["teacher_said"] == ""


def test_other_systems_and_log_keys_are_no_other_sequences():
    twice = replace(TARGET, log_keys=np.arange(TARGET.n_events, dtype=np.int32), system=np.arange(6, dtype=np.uint8))
    assert Distinct.of(twice).lines == Distinct.of(TARGET).lines


def test_beyond_the_cap_nobody_is_asked_and_monitor_says_so():
    model = Model()
    tutor = tutor_of(model, max_teacher_calls=1)
    verdicts = tutor.judge(Distinct.of(TARGET), 1)
    assert np.isnan(verdicts).tolist() == [False, True, True]
    assert len(model.prompts) == 1
    facts = tutor.facts()
    assert (facts["teacher_unasked"], facts["teacher_questions"]) == (2, 1)
    assert "max_teacher_calls 1 left 2 distinct sequences (3 in all)" in facts["teacher_said"]
    assert not np.isnan(tutor_of().judge(Distinct.of(TARGET), 1)).any()


@pytest.mark.parametrize("nonsense", ["I cannot help with that.", "", "Yes or no", "there is no doubt", "7"])
def test_a_refusal_or_nonsense_is_no_verdict_and_is_counted(nonsense):
    tutor = tutor_of(Model(lambda prompt: nonsense if TEXTS[3] in prompt.rpartition("Is the following")[2] else "Yes"))
    verdicts = tutor.judge(Distinct.of(TARGET), 100)
    assert np.isnan(verdicts).tolist() == [False, True, False]
    assert tutor.facts()["teacher_unread"] == 1
    assert "1 answers were neither Yes nor No" in tutor.facts()["teacher_said"]


@pytest.mark.parametrize(
    ("answer", "p"),
    [
        ("Answer: Yes\nConfidence: 95", 0.95),
        ("Answer: No\nConfidence: 95", 0.05),
        ("Yes, 80", 0.8),
        ("No", 1 - UNSAID),
        ("Yes", UNSAID),
        ("Answer: No\nConfidence: 0.9", 0.1),
        ("Answer: Yes\nConfidence: 30", 0.5),
        ("Answer: Yes\nConfidence: 100%", 1 - LEAST),
        ('{"answer": "Yes", "confidence": 70}', 0.7),
        ("No\n(1)normal\n(2)normal", 1 - UNSAID),
    ],
)
def test_an_answer_is_a_probability(answer, p):
    assert read_verdict(answer) == pytest.approx(p)


def test_the_nearest_judged_sequences_stand_in_the_prompt_with_their_labels():
    model = Model()
    tutor_of(model, retrieved=2).judge(Distinct.of(of([[0, 2, 5]])), 5)
    (prompt,) = model.prompts
    head, _, question = prompt.partition("Is the following")
    assert head.count(", anomalous:\n") == 2 == head.count("Sequence ")
    assert TEXTS[2] in head
    assert "Sequence 3" not in head
    assert TEXTS[5] in question
    assert TEXTS[5] not in head


def test_a_long_prompt_is_cut_and_keeps_its_question():
    lines = tuple(f"line {i} " + "word " * 50 for i in range(300))
    prompt = prompt_of(lines, [(lines, 0.0)] * 5, 50, 1000)
    assert teachers.estimate_tokens(prompt) < 1100
    assert prompt.endswith("Confidence: a number from 50 to 100\n")


def test_the_stand_in_is_the_share_of_abnormal_neighbours():
    np.testing.assert_allclose(neighbours_share(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])), [2.5 / 4, 0.5 / 4])
    verdicts = tutor_of(retrieved=1).judge(Distinct.of(of([[0, 1, 4, 4], [2, 4, 4]])), 0)
    by_lines = dict(zip(Distinct.of(of([[0, 1, 4, 4], [2, 4, 4]])).lines, verdicts, strict=True))
    assert by_lines[(TEXTS[0], TEXTS[1], TEXTS[4], TEXTS[4])] == 0.25
    assert by_lines[(TEXTS[2], TEXTS[4], TEXTS[4])] == 0.75


def test_what_was_agreed_on_of_a_sequence_is_retrieved_for_others_only():
    tutor = tutor_of(retrieved=1)
    asked = Distinct.of(of([[3], [3, 3]]))  # the same mean vector
    before = tutor.judge(asked, 0)
    tutor.remember(asked, np.array([1.0, np.nan]))
    after = tutor.judge(asked, 0)
    assert asked.lines[0] == (TEXTS[3],)
    assert after.tolist() == [before[0], 0.75]
    tutor.remember(asked, np.array([np.nan, np.nan]))
    assert tutor.judge(asked, 0).tolist() == before.tolist()


def test_the_switch_takes_verdicts_of_near_sequences_over():
    model = Model()
    tutor = tutor_of(model, reuse_cosine=0.999)
    verdicts = tutor.judge(Distinct.of(of([[3], [3], [3, 3], [0, 5]])), 100)
    assert len(model.prompts) == 2
    assert not np.isnan(verdicts).any()
    assert tutor.facts()["teacher_reused_share"] == 0.5
    means = np.eye(3)[[0, 1, 0, 2, 1]]
    assert leaders(means, 0.9).tolist() == [0, 1, 0, 3, 1]
    assert leaders(means, None).tolist() == [0, 1, 2, 3, 4]


def test_memory_has_half_of_each_label_and_comes_back():
    many = of([[0] * (i + 1) for i in range(30)] + [[2] * (i + 1) for i in range(5)])
    labels = np.repeat([0, 1], [30, 5]).astype(np.int8)
    memory = Memory.of(many, labels, 20, 0)
    assert (len(memory.lines), int(memory.p.sum())) == (20, 5)
    assert int(Memory.of(many, labels, 6, 0).p.sum()) == 3
    again = Memory.from_state(memory.state())
    assert again.lines == memory.lines
    assert again.nearest(memory.means, 3).tolist() == memory.nearest(memory.means, 3).tolist()
    assert all(array.dtype.kind in "iuf" for array in memory.state().values())


def test_what_cannot_work_is_refused():
    for wrong in ({"retrieved": 0}, {"reuse_cosine": 0.0}, {"prompt_tokens": 10}, {"teacher": "oracle"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            require_teacher(TeacherSettings(**wrong))
    with pytest.raises(ValueError, match="needs a language model"):
        Tutor(TeacherSettings(), None, Memory.of(SOURCE, LABELS, 10, 0))
