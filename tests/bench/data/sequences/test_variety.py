"""What is said of templates that tell nothing apart, or do not end."""

import random

import numpy as np
import pytest

from bench.data.cards.card import Card, Format, ParserSettings
from bench.data.sequences.variety import sequence_warnings, template_warnings, warnings_of_lines


def card_of(form=None, **fields):
    return Card("app", "m", "t", "smoke", 1, "lines", "MIT", "n", format=form or Format(), **fields)


def of(keys):
    keys = np.array(keys, np.int32)
    return template_warnings(keys, [f"t{i}" for i in range(keys.max() + 1)], card_of())


def test_one_template():
    assert "have one template, 't0'" in of([0] * 20)[0]
    assert of([0] * 19) == []
    assert of([0, 1] * 20) == []


def test_templates_that_grow_with_the_lines():
    assert "the first half has 100, all 200 lines have 200" in of(range(200))[0]
    few_late = [*range(70), *range(70), *range(70, 100), *range(100), *range(40)]
    assert of(few_late) == []
    assert of([*range(49), *range(49)] * 3) == []
    # Sixty of two hundred are late: fewer than where they grow with the root of the lines.
    assert of([*range(140), *range(140), *range(140, 200), *[0] * 220]) == []


def test_half_of_the_templates_seen_once():
    assert of([*range(20), *range(10), *[0] * 70]) == [
        "10 of 20 templates are seen once, so no later line is like them: mask what varies in them "
        "(`masks` of the card)"
    ]
    assert of([*range(20), *range(11), *[0] * 70]) == []
    assert of([*range(19), *[0] * 90]) == of(range(30)) == []


def test_one_distinct_sequence():
    assert sequence_warnings(7, 1) == ["all 7 sequences are the same, so no detector can tell them apart"]
    assert sequence_warnings(7, 2) == sequence_warnings(1, 1) == []


def test_fields_are_narrowed_where_there_is_no_message():
    form = Format(fields=("json",), event=("path",))
    assert "fields of `event`" in template_warnings(np.arange(200, dtype=np.int32), ["t"] * 200, card_of(form))[0]


@pytest.mark.parametrize("n", [300, 100])
def test_lines_by_their_card(n):
    rng = random.Random(0)
    lines = [" ".join("".join(rng.choices("abcdef", k=6)) for _ in range(6)) for _ in range(n)]
    assert any("seen once" in warning for warning in warnings_of_lines(lines, card_of()))
    stopped = warnings_of_lines(lines, card_of(max_templates=40))
    assert stopped[0].startswith("parsing was stopped: the first 41 lines have more than 40 templates")
    assert len(stopped) == 1


def test_lines_of_a_card_with_labels_sessions_and_times_are_looked_at_alone():
    form = Format(label="label-file", session="order-[0-9]+", label_key="a", label_value="b", time="epoch", year=2024)
    found = warnings_of_lines(["x 1"] * 30, card_of(form, parser=ParserSettings(("[0-9]+",))))
    assert "have one template, 'x <*>'" in found[0]
