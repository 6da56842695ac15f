"""What a card's patterns and labels must be, so that nothing is misread in silence and no label is seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.data.cards.events import check_events, expressions
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.card import Card

_LABEL_IN_HEADER: Final = re.compile(r"\(\?P<(label|alert|anomaly)>|^\^\(?(\?:)?\[?(-|\\-)\]?( |\\s|\))")
"""A group for the label, or the mark of normal lines in front: `^- `, `^(?:- )?`."""


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
