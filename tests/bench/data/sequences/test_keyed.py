"""Events with fields: no template merges two of them, and what was learned can be stored and matched."""

import json

import numpy as np
import pytest

from bench.data.cards.card import Card, Format, ParserSettings
from bench.data.sequences.drain import DrainParser, TooManyTemplates
from bench.data.sequences.keyed import KeyedParser, parser_for, parser_from_state
from bench.types import UNKNOWN_KEY

SETTINGS = ParserSettings()
TEXTS = [
    "INFO db user ann logged in",
    "ERROR db user ann logged in",
    "INFO db user bob logged in",
    "INFO web user cid logged in",
    "INFO db",
    "ERROR db user bob logged in",
]


def learned(texts, n_words=2, limit=20_000):
    parser = KeyedParser(SETTINGS, n_words, limit)
    return parser, parser.learn(np.arange(len(texts), dtype=np.int32), texts).tolist()


def test_no_template_merges_two_fields():
    parser, keys = learned(TEXTS)
    assert keys == [0, 1, 0, 2, 3, 1]
    assert parser.templates == [
        "INFO db user <*> logged in",
        "ERROR db user <*> logged in",
        "INFO web user cid logged in",
        "INFO db",
    ]
    # One Drain for all merges what the fields tell apart.
    plain = DrainParser(SETTINGS)
    assert len(set(plain.learn(np.arange(6, dtype=np.int32), TEXTS).tolist())) < 4


def test_matching_learns_nothing():
    parser, _ = learned(TEXTS)
    asked = [
        "ERROR db user eve logged in",
        "WARN db user ann logged in",
        "INFO db",
        "ERROR db",
        "INFO db disk full",
        "odd",
    ]
    assert parser.match(asked).tolist() == [1, UNKNOWN_KEY, 3, UNKNOWN_KEY, UNKNOWN_KEY, UNKNOWN_KEY]
    assert len(parser.templates) == 4
    assert parser.match([]).tolist() == []


def test_a_later_line_changes_no_earlier_key():
    _, keys = learned(TEXTS)
    for n in range(1, 6):
        assert learned(TEXTS[:n])[1] == keys[:n]


def test_a_second_log_goes_on_with_what_the_first_taught():
    parser, _ = learned(TEXTS)
    more = ["INFO db user eve logged in", "DEBUG x y"]
    assert parser.learn(np.array([1, 0, 1], np.int32), more).tolist() == [4, 0, 4]
    assert parser.templates[4] == "DEBUG x y"


def test_what_was_learned_survives_as_json():
    parser, _ = learned(TEXTS)
    again = parser_from_state(SETTINGS, json.loads(json.dumps(parser.state())))
    assert isinstance(again, KeyedParser)
    assert again.templates == parser.templates
    assert again.match(TEXTS).tolist() == parser.match(TEXTS).tolist()
    plain = DrainParser(SETTINGS)
    plain.learn(np.arange(6, dtype=np.int32), TEXTS)
    assert isinstance(parser_from_state(SETTINGS, json.loads(json.dumps(plain.state()))), DrainParser)


def test_fields_alone_count_to_the_limit():
    with pytest.raises(TooManyTemplates):
        learned([f"GET /{i}" for i in range(30)], limit=20)


def test_the_limit_names_the_line_of_the_log():
    unlike = [f"{word} {word}" for word in ("ab", "cd", "ef", "gh")]
    texts = [text for word in unlike for text in ("INFO x all well", f"ERROR x {word}")]
    with pytest.raises(TooManyTemplates) as stopped:
        learned(texts, limit=3)
    assert stopped.value.n_lines == 8
    learned(texts, limit=5)


def test_clusters_of_one_text_do_not_count_to_the_limit():
    parser, keys = learned(["INFO x <*> <*>"] * 30, limit=5)
    assert (len(set(keys)), len(set(parser.templates))) == (30, 1)


@pytest.mark.parametrize(
    ("event", "kind"), [(("message",), DrainParser), (("level", "message"), KeyedParser), (("level",), KeyedParser)]
)
def test_which_parser_a_card_has(event, kind):
    form = Format(fields=("json",), event=event)
    card = Card("app", "m", "t", "smoke", 1, "lines", "MIT", "n", format=form)
    assert type(parser_for(card)) is kind
