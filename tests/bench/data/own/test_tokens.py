"""First tokens of lines that are labels, or are none."""

import pytest

from bench.data.own.format import Given
from bench.data.own.guess import guess
from bench.data.own.tokens import require_token
from bench.errors import BenchError


def lines(*words, n=40, time="2024-05-01 10:00:00 "):
    return [f"{words[i % len(words)]} {time}got order {i}" for i in range(n)]


@pytest.mark.parametrize(
    ("words", "normal"),
    [
        (("-", "DISK"), "-"),
        (("ok", "ok", "x"), "ok"),
        (("x", "x", "Ok"), "Ok"),
        (("0", "1", "1"), "0"),
        (("a", "a", "b"), "a"),
    ],
)
def test_the_normal_word(words, normal):
    assert guess(lines(*words), "first-token").form.normal == normal


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([f"2024-05-0{1 + i % 2} 10:00:00 got {i}" for i in range(40)], "'2024-05-01' of the first line"),
        ([f"10:00:{i} got {i}" for i in range(10, 50)], "which is a time"),
        ([f"{1714558140 + i // 30} got {i}" for i in range(40)], "which is a time"),
        ([f"user{i} got {i}" for i in range(200)], "200 different first tokens"),
        (lines("ok", "normal", "DISK"), "several words for normal (normal, ok)"),
        (lines("failed", "failed", "x"), "no word for normal"),
    ],
)
def test_tokens_that_are_no_labels_are_refused(found, expected):
    with pytest.raises(BenchError) as refused:
        guess(found, "first-token")
    assert expected in str(refused.value)
    assert "give --" in str(refused.value)


def test_a_given_word_needs_no_guess():
    assert guess(lines("ok", "normal", "DISK"), "first-token", normal="ok").form.normal == "ok"


def test_a_token_for_no_label_is_said():
    assert "20 lines begin with 'NaN'" in guess(lines("ok", "NaN"), "first-token").notes[1]


def test_a_normal_word_that_begins_no_line():
    require_token(lines("ok", "DISK"), "OK")
    with pytest.raises(
        BenchError, match="none of the first 40 lines begins with 'fine' of --normal: they begin with 'ok'"
    ):
        require_token(lines("ok", "DISK"), "fine")


def test_columns_are_of_a_file():
    with pytest.raises(BenchError, match="--columns names columns of a file"):
        Given(columns=("a", "b"))
