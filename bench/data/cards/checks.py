"""What a card's patterns and labels must be, so that nothing is misread in silence and no label is seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.data.cards.clocks import has_zone, is_zone
from bench.data.cards.events import check_events, expressions
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.card import Card

_LABEL_IN_HEADER: Final = re.compile(r"\(\?P<(label|alert|anomaly)>|^\^\(?(\?:)?\[?(-|\\-)\]?( |\\s|\))")
"""A group for the label, or the mark of normal lines in front: `^- `, `^(?:- )?`."""


def check_numbers(path: Path, card: Card) -> None:
    """Refuse numbers that mean nothing; `path` is the card."""
    numbers: list[tuple[str, float, float, float]] = [
        ("year", card.format.year, 0, 9999),
        ("tolerance", card.tolerance, 0, 1),
        ("max_templates", card.max_templates, 1, 2**63 - 1),
        ("drop_events", card.drop_events, 0, 2**63 - 1),
        ("depth", card.parser.depth, 3, 100),
        ("similarity", card.parser.similarity, 0, 1),
        ("max_children", card.parser.max_children, 1, 2**63 - 1),
    ]
    for name, number, lowest, highest in numbers:
        if not lowest <= number <= highest:
            raise BenchError(f"the card {path} has {name} = {number}: write a number from {lowest} to {highest}")


def check_patterns(path: Path, card: Card) -> None:
    """Refuse a pattern that is none, and labels that would be misread or seen; `path` is the card."""
    form = card.format
    own = (form.header, form.session, form.section, form.listed, form.mark, form.skip, form.begins)
    for pattern in (*own, *expressions(form.fields), *card.parser.masks):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise BenchError(
                f"the card {path} has the bad regular expression '{pattern}' ({error}): correct it"
            ) from None
    if "message" not in re.compile(card.format.header).groupindex:
        raise BenchError(
            f"the card {path} has a header without a message: add the group (?P<message>.*) to '{card.format.header}'"
        )
    check_events(path, form)
    if form.zone and not is_zone(form.zone):
        raise BenchError(f"the card {path} has zone = '{form.zone}': write +05:30, or a name such as Europe/Berlin")
    if form.zone and (not form.time or has_zone(form.time)):
        why = "says the zone of each time" if form.time else "reads no time"
        raise BenchError(f"the card {path} has zone = '{form.zone}', but time = '{form.time}' {why}: leave zone out")
    if card.kind == "lines":
        _check_labels(path, card)


def _check_labels(path: Path, card: Card) -> None:
    form = card.format
    patterns = " ".join((form.header, *form.fields))
    if found := _LABEL_IN_HEADER.search(patterns):
        raise BenchError(
            f"the card {path} has the label in its header ('{found[0]}'), where methods that read whole lines see it: "
            "cut it off by label = 'first-token', or by mark = '^- ' where labels come from elsewhere"
        )
    if card.cut == "file" and form.session:
        raise BenchError(
            f"the card {path} has cut = 'file' and sessions, which may go through several files: leave it out"
        )
    if form.mark and form.label == "first-token":
        raise BenchError(f"the card {path} has mark = '{form.mark}': leave it out, the first token is cut off already")
    if form.label == "label-file" and not (form.session and form.label_key and form.label_value):
        raise BenchError(f"the card {path} has label = 'label-file': give session, label_key and label_value with it")
    if form.label == "session-list" and not form.session:
        raise BenchError(f"the card {path} has label = 'session-list': give session with it")
    if form.session_from == "file" and not form.session:
        raise BenchError(f"the card {path} has session_from = 'file': give session with it")
    if form.label == "incidents" and not (card.incidents and form.time and "(?P<time>" in form.header):
        raise BenchError(f"the card {path} has label = 'incidents': give [[incidents]] and a time with it")
