"""Templates and words of a toy log, counted by hand."""

import pytest

from bench.data.facts import composition
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.errors import BenchError

# 20 lines in windows of 2: lines 0 to 11 train, 12 to 15 validate, 16 to 19 test.
ROWS = [
    *[("-", "start job 1"), ("-", "stop job 2")] * 6,
    *[("-", "start job 4"), ("-", "stop job 4")],
    *[("-", "start job 5"), ("-", "fan 7 slow now ok")],
    *[("-", "start job 6"), ("-", "fan 7 slow now ok")],
    *[("BAD", "disk 5 broken"), ("-", "Start of x1 JOB queue")],
]


@pytest.fixture
def described(own_system):
    text = "".join(f"{label} {100 + i} {message}\n" for i, (label, message) in enumerate(ROWS)).encode()
    form = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
    known = own_system({"a.log": text}, format=form, parser={"masks": ["[0-9]+"]})
    card = known.resolve("app@mine")
    return lambda protocol="chronological": composition(card, Loader(known), protocol, Grouping(2, 2))


def test_counts(described):
    found = described()
    assert (found.n_lines, found.n_abnormal_lines, found.n_sequences, found.n_abnormal) == (20, 1, 10, 1)
    assert (found.n_train, found.n_validation, found.n_test, found.n_test_abnormal) == (6, 2, 2, 1)


def test_templates_and_those_only_in_test(described):
    found = described()
    # start job, stop job, fan; disk and the queue line stand in the test part alone.
    assert (found.n_templates, found.n_templates_only_in_test) == (5, 2)


def test_words_have_two_letters_and_no_case(described):
    found = described()
    # `x1` is masked or too short; `Start` and `JOB` are words of training.
    assert found.words == {"start", "stop", "job", "fan", "slow", "now", "ok", "disk", "broken", "of", "queue"}
    assert (found.n_words, found.n_words_only_in_test) == (11, 4)


def test_an_impossible_split_is_one_sentence(described, own_system):
    with pytest.raises(BenchError, match="unknown split"):
        described("nope")
