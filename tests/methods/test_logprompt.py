import re

import pytest

from bench.types import Sequences
from methods.logprompt import Config, LogPrompt, packs, parse_items

TEXTS = ("user <*> came", "user <*> went", "kernel panic", "all is well", "data TLB error interrupt")


def made(stub, **fields):
    return LogPrompt(Config(base_url=stub.url, backoff_s=0.01, **fields)).fit(log_of([0, 1], [3]))


def log_of(*rows, texts=TEXTS):
    return Sequences.from_lists(rows, texts)


def test_a_prompt_has_a_number_for_every_distinct_line(stub):
    made(stub).score(log_of([0, 2, 0, 3]))
    (prompt,) = stub.prompts
    assert "There are 3 logs, the logs begin:" in prompt
    assert re.findall(r"^\((\d)\) (.*)$", prompt, re.MULTILINE) == [("1", TEXTS[0]), ("2", TEXTS[2]), ("3", TEXTS[3])]


@pytest.mark.parametrize(("strategy", "asks"), [("cot", "reason"), ("in-context", "likeness"), ("plain", "(i)x")])
def test_strategies_put_the_task_in_their_own_way(stub, strategy, asks):
    made(stub, strategy=strategy).score(log_of([0]))
    task = stub.prompts[0].rpartition("LOG>>>")[2]
    assert asks in task
    assert ("rule" in task.lower()) == (strategy == "cot")


def test_a_task_of_ones_own_replaces_the_wording(stub):
    made(stub, instruction="Tell (i)x.").score(log_of([0]))
    assert stub.prompts[0].endswith("LOG>>>\nTell (i)x.")


def test_examples_are_numbered_normal_lines(stub):
    made(stub, strategy="in-context", k=2).score(log_of([2]))
    found = re.findall(r"^\((\d)\) Log: (.*) Category: 0$", stub.prompts[0], re.MULTILINE)
    assert sorted(line for _, line in found) == sorted([TEXTS[0], TEXTS[1], TEXTS[3]])
    assert [number for number, _ in found] == ["1", "2", "3"]


def test_the_score_is_the_share_of_abnormal_events(stub):
    scores = made(stub).score(log_of([0, 1, 3], [0, 2, 2, 1], [4], []))
    assert scores.tolist() == pytest.approx([-1.0, 0.5, 1.0, -1.0])


def test_packs_respect_the_limit():
    lines = ["x" * n for n in (10, 20, 5, 40, 1, 1)]
    made_packs = list(packs(lines, 30))
    assert [[len(line) for line in pack] for pack in made_packs] == [[10, 20], [5], [40], [1, 1]]
    assert list(packs([], 30)) == []


def test_long_sequences_take_several_prompts(stub):
    texts = (*(f"{i} " + "w" * 80 for i in range(30)), "kernel panic")
    scores = made(stub, prompt_chars=1000).score(log_of(list(range(31)), texts=texts))
    assert len(stub.prompts) == 3
    assert scores.tolist() == pytest.approx([1 / 31])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(1)normal-fine\n(2)abnormal-panic", {0: False, 1: True}),
        ("(2) abnormal - it says so\n(1) Normal", {0: False, 1: True}),
        ("1. normal\n2: ABNORMAL", {0: False, 1: True}),
        ("(1)0\n(2)1", {0: False, 1: True}),
        ("(2)normal", {1: False}),
        ("(0)abnormal (3)abnormal (99)abnormal", {}),
        ("(1)normal (1)abnormal (2)normal", {1: False}),
        ("(1)abnormally quiet", {}),
        ("I see nothing wrong", {}),
        ("", {}),
    ],
)
def test_answers_are_mapped_back_by_number(text, found):
    assert parse_items(text, 2) == found


def test_missing_lines_are_asked_for_again_and_warmer(stub):
    stub.behave = lambda prompt, nth: "(1)normal (3)normal" if "3 logs" in prompt else "(1)abnormal"
    fitted = made(stub)
    assert fitted.score(log_of([0, 1, 3])).tolist() == pytest.approx([1 / 3])
    assert [body["temperature"] for body in stub.bodies] == [0.0, 0.4]
    assert TEXTS[1] in stub.prompts[1]
    assert TEXTS[0] not in stub.prompts[1]


@pytest.mark.parametrize(("rule", "score"), [("as-normal", -1.0), ("as-anomalous", 1.0)])
def test_what_stays_without_category_follows_the_rule(stub, rule, score):
    stub.behave = lambda prompt, nth: "no idea"
    fitted = made(stub, unparsable=rule)
    assert fitted.score(log_of([0, 1])).tolist() == [score]
    assert fitted.monitor()["unparsable_share"] == 1.0
    assert len(stub.prompts) == 3
