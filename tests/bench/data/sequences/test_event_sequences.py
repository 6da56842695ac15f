"""Events with fields as detectors see them: keys, texts, numbers and lines, and the same for lines that come later."""

import dataclasses
import json
import re

import numpy as np
import pytest

from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import DataSpec, Loader
from bench.data.sequences.vocabulary import Vocabulary
from bench.errors import BenchError
from bench.types import UNKNOWN_KEY

FORM = {
    "label": "first-token",
    "header": "^(?P<time>[0-9]+) (?P<level>[A-Z]+) (?P<message>.*)$",
    "time": "epoch",
    "skip": r"^\s*$",
    "begins": "^[0-9]+ ",
    "event": ["level", "message"],
}
PAIRS = Grouping(2, 2)
MASKS = {"masks": [r"\b[0-9]+\b"]}


def content(level="INFO"):
    """Twenty events in pairs; the last pair but one is abnormal, and of a level that training has not."""
    lines = []
    for i in range(20):
        word, label = ("ERROR", "BAD") if i == 17 else (level, "-")
        lines += [f"{label} {i} {word} job {i} of user {'ab'[i % 2]} done", "-   at x", "- "]
    return "\n".join(lines).encode()


def prepared(own_system, **form):
    found = own_system({"a.log": content()}, format={**FORM, **form}, parser=MASKS)
    card = found.resolve("app")
    return Loader(found).prepare(DataSpec((card,), (card,), grouping=PAIRS)), card


def test_a_level_is_never_merged(own_system):
    made, _ = prepared(own_system)
    test = made.test.sequences
    assert made.vocabulary.texts == ["INFO job <*> of user <*> done"]
    assert made.test.labels.tolist() == [1, 0]
    assert test.log_keys.tolist() == [0, UNKNOWN_KEY, 0, 0]
    assert test.texts[test.text_ids[1]] == "ERROR job <*> of user b done"
    assert test.lines.tolist() == [16, 17, 18, 19]
    merged, _ = prepared(own_system, event=["message"])
    assert merged.test.sequences.log_keys.tolist() == [0, 0, 0, 0]


def test_numbers_words_and_lines_of_events(own_system):
    made, card = prepared(own_system)
    numbers = made.with_parameters.test.sequences.parameters
    assert [numbers.values[start] for start in numbers.offsets[:-1]] == [16, 17, 18, 19]
    words = made.with_words.test.sequences.words
    assert words.values.gather(words.ids).to_list() == ["16", "a", "17", "18", "a", "19", "b"]
    raw = made.with_raw.test.sequences.raw
    assert raw.values.to_list()[1] == "17 ERROR job 17 of user b done"
    assert made.sources[0].log.numbers_of(np.array([17])).tolist() == [52]
    assert made.sources[0].log.n_lines == 60
    assert card.counts == {}


def test_lines_that_come_later_have_the_same_keys(own_system):
    made, card = prepared(own_system)
    stored = json.loads(json.dumps(made.vocabulary.state()))
    again = Vocabulary.from_state(stored, card.parser)
    system = made.sources[0]
    expected = made.vocabulary.encode(system)
    assert again.encode(system).log_keys.tolist() == expected.log_keys.tolist()
    form = json.loads(json.dumps(dataclasses.asdict(card.format)))
    assert type(card.format)(**form) == card.format


def test_systems_of_as_many_fields_are_combined_others_are_not(own_system):
    own_system({"a.log": content()}, format=FORM, parser=MASKS)
    own_system({"b.log": content("WARN")}, name="twin", format=FORM, parser=MASKS)
    found = own_system({"c.log": content()}, name="odd", format={**FORM, "event": ["message"]}, parser=MASKS)
    app, twin, odd = map(found.resolve, ("app", "twin", "odd"))
    made = Loader(found).prepare(DataSpec((app, twin), (app, twin), grouping=PAIRS))
    assert made.vocabulary.texts == ["INFO job <*> of user <*> done", "WARN job <*> of user <*> done"]
    with pytest.raises(BenchError, match=re.escape("have events of different fields (`event` in their cards)")):
        Loader(found).prepare(DataSpec((app, odd), (app, odd), grouping=PAIRS))
