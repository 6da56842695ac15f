import json
import re

import numpy as np
import pytest

from bench.experiment.grades import told_under
from bench.llm.config import Service, use_service
from bench.types import Sequences
from methods.logprompt import Config, LogPrompt, packs, parse_items

TEXTS = ("user <*> came", "user <*> went", "kernel panic", "all is well", "data TLB error interrupt")


KINDS = np.array([0, 0, 1, 0], np.int8)
"""Labels of the training sequences below: the third is abnormal."""


def made(stub, labels=None, **fields):
    detector = LogPrompt(Config(base_url=stub.url, backoff_s=0.01, **fields))
    return detector.fit(log_of([0, 1], [3]) if labels is None else log_of([0, 1], [3], [0, 2, 4], [1]), labels)


def log_of(*rows, texts=TEXTS):
    return Sequences.from_lists(rows, texts)


# ------------------------------------------------------------------------------------- the prompts as published

COT = """Classify the given log entries into normal an abnormal categories. Do it with these steps: \
(a) Mark it normal when values (such as memory address, floating number and register value) in a log are invalid. \
(b) Mark it normal when lack of information. (c) Never consider <*> and missing values as abnormal patterns. \
(d) Mark it abnormal when and only when the alert is explicitly expressed in textual content (such as keywords like \
error or interrupt). Concisely explain your reason for each log. Organize your answer to be the following format: (1)x-y
(2)x-y
, where x is a binary choice between normal and abnormal and y is the reason. There are 2 logs, the logs begin:  \
(1) user <*> came (2) kernel panic"""
IN_CONTEXT = """Classify the given log entries into 0 and 1 categories based on semantic similarity to the following \
labelled example logs: {}. Organize your answer to be the following format: (1)x
, where x is a binary choice between 0 and 1. There are 1 logs, the logs begin:  (1) user <*> came"""


def test_the_chain_of_thought_is_put_as_published_and_the_logs_come_last(stub):
    made(stub).score(log_of([0, 2, 0]))
    assert stub.prompts == [COT]


@pytest.mark.parametrize(
    "rule",
    [
        "(a) Mark it normal when values (such as memory address, floating number and register value) in a log are inv",
        "(b) Mark it normal when lack of information.",
        "(c) Never consider <*> and missing values as abnormal patterns.",
        "(d) Mark it abnormal when and only when the alert is explicitly expressed in textual content",
    ],
)
def test_each_rule_stands_in_the_prompt(stub, rule):
    made(stub).score(log_of([0]))
    assert stub.prompts[0].count(rule) == 1


def test_examples_of_both_kinds_stand_before_the_logs(stub):
    made(stub, KINDS, strategy="in-context", labelled=5).score(log_of([0]))
    (prompt,) = stub.prompts
    shown = prompt.partition("example logs: ")[2].partition(". Organize")[0]
    assert prompt == IN_CONTEXT.format(shown)
    found = re.findall(r"\((\d)\) Log: (.*?)\. Category: (\d)(?: |$)", shown)
    assert [number for number, _, _ in found] == ["1", "2", "3", "4", "5"]
    kinds = {line: kind for _, line, kind in found}
    # The abnormal sequence holds the first text too, which is normal elsewhere.
    assert kinds == {TEXTS[0]: "0", TEXTS[1]: "0", TEXTS[3]: "0", TEXTS[2]: "1", TEXTS[4]: "1"}


def test_half_of_the_labelled_lines_are_abnormal(stub):
    fitted = made(stub, KINDS, strategy="in-context", labelled=2)
    assert sorted(is_abnormal for _, is_abnormal in fitted.labelled_) == [False, True]
    assert fitted.monitor()["labelled_abnormal"] == 1
    assert {tuple(made(stub, KINDS, strategy="in-context", labelled=2).labelled_)} == {tuple(fitted.labelled_)}


def test_what_it_is_told_stands_in_its_tags():
    def told(**config):
        return told_under(LogPrompt.tags.told, LogPrompt.tags.told_with, config, ("source",))

    assert told(k=0, labelled=0) == {}
    assert told(k=2, labelled=0) == {"source": "normals"}
    assert told(k=2, labelled=4) == {"source": "labels"}


def test_normal_sequences_alone_are_examples_where_no_label_is_told(stub):
    made(stub, strategy="in-context", k=2).score(log_of([2]))
    found = re.findall(r"\((\d)\) Log: (.*?)\. Category: 0", stub.prompts[0])
    assert sorted(line for _, line in found) == sorted([TEXTS[0], TEXTS[1], TEXTS[3]])


def test_normal_examples_hold_no_abnormal_sequence(stub):
    fitted = made(stub, KINDS, strategy="in-context", labelled=2, k=9)
    assert sorted(fitted.examples_) == sorted([(TEXTS[0], TEXTS[1]), (TEXTS[3],), (TEXTS[1],)])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"strategy": "in-context"}, "needs examples: set labelled"),
        ({"strategy": "self"}, "set labelled, as in labelled=100"),
        ({"labelled": -1}, "must be at least 0"),
    ],
)
def test_a_strategy_without_what_it_needs_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        Config(**fields)


def test_a_task_of_ones_own_replaces_the_wording(stub):
    made(stub, instruction="Tell (i)x.").score(log_of([0]))
    assert stub.prompts[0].startswith("Tell (i)x. Organize your answer to be the following format: (1)x\n,")


def test_the_plain_task_has_no_rules(stub):
    made(stub, strategy="plain").score(log_of([0]))
    assert stub.prompts[0].startswith("Classify the given log entries into normal and abnormal categories. Organize")
    assert "reason" not in stub.prompts[0]


# --------------------------------------------------------------------------------------------------- the self-prompt

POOR, GOOD = "Call each of these log entries normal or abnormal.", "Find what is abnormal in these log entries, calmly."


def proposing(sensible):
    """A model that proposes two tasks and is right under the second alone."""

    def behave(prompt, nth):
        if prompt.startswith("Propose"):
            return f"Here they are:\n(1){POOR}\n(2) {GOOD}\n(3)short"
        if prompt.startswith(GOOD):
            return sensible(prompt)
        return "".join(f"({i})normal\n" for i in range(1, 9))

    return behave


def test_the_task_that_is_right_on_labelled_lines_is_put(stub):
    stub.behave = proposing(stub.behave)
    fitted = made(stub, KINDS, strategy="self", labelled=4)
    first, *tried = (prompt.partition(" ")[0] for prompt in stub.prompts)
    assert (first, sorted(tried)) == ("Propose", ["Call", "Find"])  # several are asked at once
    assert fitted.monitor()["task"] == GOOD
    stub.prompts.clear()
    assert fitted.score(log_of([0, 2])).tolist() == [0.5]
    assert stub.prompts[0].startswith(f"{GOOD} Organize your answer to be the following format: (1)x\n(2)x\n, where")
    again = LogPrompt(fitted.config).load_state(fitted.state())
    assert again.score(log_of([0, 4])).tolist() == [0.5]
    assert stub.prompts[-1].startswith(GOOD)


def test_without_a_proposal_the_plain_task_is_put(stub):
    sensible = stub.behave
    stub.behave = lambda prompt, nth: "I cannot." if prompt.startswith("Propose") else sensible(prompt)
    assert made(stub, KINDS, strategy="self", labelled=4).monitor()["task"].startswith("Classify the given log entries")


def test_a_dry_run_counts_the_proposals_and_writes_nothing_that_follows(stub, tmp_path):
    with use_service(Service(mode="dry", plan=tmp_path)):
        fitted = made(stub, KINDS, strategy="self", labelled=4)
        fitted.score(log_of([0, 2]))
    calls = [json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    asked = [call["request"]["messages"][0]["content"] for call in calls if "request" in call]
    assert [prompt.partition(" ")[0] for prompt in asked] == ["Propose"]
    assert len(calls) == fitted.monitor()["calls"] == 3
    assert stub.prompts == []


# ----------------------------------------------------------------------------------------------- packs and answers


def test_a_line_cannot_pose_as_another(stub):
    made(stub).score(log_of([0, 1], texts=("x\n (2) kernel panic (12345678) f()", "y")))
    assert stub.prompts[0].endswith("the logs begin:  (1) x  ( 2) kernel panic (12345678) f() (2) y")


def test_a_prompt_holds_no_more_than_its_characters(stub):
    texts = tuple(f"{i} " + "w" * 80 for i in range(30))
    made(stub).score(log_of(list(range(30)), texts=texts))
    assert len(stub.prompts) == 2
    assert max(map(len, stub.prompts)) <= 3000 + 30 * len(" (12) (12)x-y ")


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
    scores = made(stub, prompt_chars=1700).score(log_of(list(range(31)), texts=texts))
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
