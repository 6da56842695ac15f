"""The quick way through simple headers gives what the card's expression gives, on every line."""

import random

import polars as pl
import pytest

from bench.data.cards.card import Format
from bench.data.cards.catalogue import catalogue
from bench.data.reading import header
from bench.data.reading.header import cut, has_plain_spaces

BGL = r"^(?P<time>[0-9]+) \S+ \S+ (?P<message>.*)$"
FORMATS = [
    Format(label="first-token", header=BGL, time="epoch"),
    Format(label="none", header=BGL, time="epoch"),
    Format(label="first-token", header=r"^(?P<time>\S+) (?P<message>.*)$", time="%Y-%m-%d"),
    Format(label="first-token", header=r"^\S+ [0-9]+ (?P<message>.*)$"),
    Format(label="first-token", header=BGL, time="epoch", normal="ok"),
]
PIECES = ["-", "ok", "APPREAD", "17", "1700000000", "12a", "2030-01-02", "", " ", "  ", "word", "<*>", "é", "٣", "a=b"]


def lines(n, rng):
    return pl.DataFrame({"line": [" ".join(rng.choices(PIECES, k=rng.randrange(8))) for _ in range(n)]})


@pytest.mark.parametrize("form", FORMATS)
def test_every_line_is_cut_as_by_the_expression(form):
    rng = random.Random(1)
    made = lines(4000, rng)
    quick, slow = cut(made, form, plain_spaces=True), cut(made, form)
    assert quick.equals(slow, null_equal=True)
    assert 0 < int(slow["headerless"].sum()) < len(made)
    assert quick.schema == slow.schema


def test_lines_that_all_fit_never_see_the_expression(monkeypatch):
    made = pl.DataFrame({"line": ["- 17 a b text of  it", "X 18 a b "]})
    expected = cut(made, FORMATS[0])
    monkeypatch.setattr(header, "_by_pattern", lambda *seen: pytest.fail("the expression was used"))
    found = cut(made, FORMATS[0], plain_spaces=True)
    assert found.equals(expected, null_equal=True)
    assert found["message"].to_list() == ["text of  it", ""]
    assert found["label"].to_list() == [0, 1]


def test_no_lines():
    empty = pl.DataFrame({"line": []}, schema={"line": pl.String})
    assert len(cut(empty, FORMATS[0], plain_spaces=True)) == 0


@pytest.mark.parametrize("content", [b"a\tb", b"a\x0bb", b"a\x0cb", b"a\r\n", "a\u00a0b".encode(), "a\u2028b".encode()])
def test_other_white_space_takes_the_slow_way(content):
    assert not has_plain_spaces(content)


def test_plain_spaces():
    assert has_plain_spaces(b"a b\n c\x1c\x00")


def test_which_shipped_headers_are_simple():
    simple = {card.name for card in catalogue().cards if header._simple_header(card.format) is not None}
    assert simple == {"bgl", "spirit"}
