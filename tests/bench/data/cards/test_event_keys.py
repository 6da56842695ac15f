"""The keys of a card that say what an event is: a mistake is one sentence, and nothing else changes."""

from pathlib import Path

import pytest

from bench.data.cards.card import parse_card
from bench.errors import BenchError

SYSTEM = """
licence = "none"
citation = "none"
[format]
header = '^(?P<time>[0-9]+) (?P<level>[A-Z]+) (?P<message>.*)$'
time = "epoch"
"""
EDITION = """
title = "t"
tier = "smoke"
rank = 1
kind = "lines"
files = [{ name = "a.log", sha256 = "unpublished" }]
"""


def card(more, edition=EDITION):
    return parse_card(Path("app/a.toml"), SYSTEM + more, edition)


def test_what_a_card_may_say():
    form = card(
        "skip = '^$'\nbegins = '^[0-9]'\nfields = ['json', '(?P<route>/[a-z]*)']\n"
        "event = ['level', 'status:class', 'route:route', 'message']"
    ).format
    assert form.event == ("level", "status:class", "route:route", "message")
    assert form.fields == ("json", "(?P<route>/[a-z]*)")
    assert card("event = ['level']").format.event == ("level",)
    assert card("", "max_templates = 7" + EDITION).max_templates == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event = 'level'", "event = 'level': write a list of strings"),
        ("event = []", "empty `event`"),
        ("event = ['message', 'level']", "the message last"),
        ("event = ['level', 'level']", "each field once"),
        ("event = ['unit']", "'unit' in `event`, which no pattern gives: known are time, level, message"),
        ("event = ['level:upper']", "'level:upper' in `event`: choose one of class, route"),
        ("event = ['level', '']", "'' in `event`: name a field"),
        ("fields = ['json']\nevent = ['a b']", "'a b' in `event`: name a field"),
        ("fields = ['xml']", "'xml' among `fields`: give it a named group"),
        ("fields = ['(?P<unit>']", "bad regular expression '(?P<unit>'"),
        ("fields = ['(?P<label>[A-Z]+) ']\nevent = ['label']", "the label in its header"),
        ("skip = '('", "bad regular expression '('"),
        ("begins = '['", "bad regular expression '['"),
        ("skip = 1", "skip = 1: write a text in quotes"),
    ],
)
def test_mistakes(text, said):
    with pytest.raises(BenchError) as error:
        card(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_limit_is_a_whole_number_from_1():
    for value, said in (("0", "from 1"), ("'many'", "a whole number")):
        with pytest.raises(BenchError, match=said):
            card("", f"max_templates = {value}" + EDITION)
