"""Whether templates tell lines apart, and whether they end: what to know of a log before anything is fitted on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.card import Card, LabelPlace
from bench.data.reading.builder import Gathering
from bench.data.reading.columns import Columns
from bench.data.reading.lines import Source, read_lines
from bench.data.reading.log import Log
from bench.data.sequences.drain import TooManyTemplates
from bench.data.sequences.keyed import parser_for

_FEW_LINES: Final = 20
"""Fewer lines may well have one template."""
_ENOUGH_LINES: Final = 100
"""In fewer lines many templates are seen once, and will be seen again."""
_FEW_TEMPLATES: Final = 50
"""So few cost nothing and are no growth."""
_GROWING: Final = 0.4
"""Share of the templates that only the second half of the lines brings; a third where they grow with the root."""
_SEEN_ONCE: Final = 0.5
_SLOW_S: Final = 5.0

MASK: Final = "mask what varies in them (`masks` of the card)"
NARROW: Final = "let the fields of `event` match less of what varies (`fields` of the card), or leave one out"
"""What to do about templates that are too many."""


def distinct_keys(log: Log, card: Card) -> tuple[NDArray[np.int32], list[str]]:
    """The log key of every event when the parser learns from all of them, and the text of each; equal texts are one.

    `TooManyTemplates` where the limit of the card is passed.
    """
    if log.is_parsed:
        return log.message_ids, list(log.messages)
    parser = parser_for(card)
    clusters = parser.learn(log.message_ids, log.messages)
    position = {text: key for key, text in enumerate(dict.fromkeys(parser.templates))}
    return np.array([position[text] for text in parser.templates], np.int32)[clusters], list(position)


def template_warnings(keys: NDArray[np.int32], texts: list[str], card: Card, seconds: float = 0.0) -> list[str]:
    """What is odd about templates; keys: of all events in their order, seconds: that parsing took."""
    way_out = _way_out(card)
    n_lines, n_templates = len(keys), len(texts)
    found: list[str] = []
    if n_templates == 1 and n_lines >= _FEW_LINES:
        found.append(
            f"all {n_lines:,} lines have one template, '{texts[0][:80]}', so nothing tells them apart: name the fields "
            "that matter in `event` of the card, or correct `header` and `masks`"
        )
    late = _only_late(keys, n_templates)
    if late >= _FEW_TEMPLATES and late >= _GROWING * n_templates:
        slow = f"; parsing took {seconds:.0f} s, and takes the square of the templates" if seconds > _SLOW_S else ""
        found.append(
            f"templates grow with the lines: the first half has {n_templates - late:,}, all {n_lines:,} lines have "
            f"{n_templates:,}{slow}: {way_out}"
        )
    once = int((np.bincount(keys, minlength=n_templates) == 1).sum())
    if n_lines >= _ENOUGH_LINES and n_templates >= _FEW_LINES and once >= _SEEN_ONCE * n_templates:
        found.append(f"{once:,} of {n_templates:,} templates are seen once, so no later line is like them: {way_out}")
    return found


def sequence_warnings(n_sequences: int, n_distinct: int) -> list[str]:
    """What is odd about sequences of log keys."""
    if n_sequences < 2 or n_distinct > 1:
        return []
    return [f"all {n_sequences:,} sequences are the same, so no detector can tell them apart"]


def warnings_of_lines(lines: Iterable[str], card: Card) -> list[str]:
    """What is odd about the templates of these lines, were they all of an edition."""
    label: LabelPlace = "first-token" if card.format.label == "first-token" else "none"
    form = replace(card.format, label=label, session="", session_from="message", time="", year=0)
    alone = replace(card, format=form, lines=None)
    content = "\n".join(lines).encode()
    gathering = Gathering(alone, Columns())
    read_lines(alone, [Source("lines", iter([content]))], gathering)
    try:
        return template_warnings(*distinct_keys(gathering.finish(None), alone), alone)
    except TooManyTemplates as error:
        return [limit_warning(error, alone)]


def _way_out(card: Card) -> str:
    return MASK if "message" in card.format.event else NARROW


def limit_warning(error: TooManyTemplates, card: Card) -> str:
    """What to say where parsing was stopped."""
    return (
        f"parsing was stopped: the first {error.n_lines:,} lines have more than {error.limit:,} templates, and it "
        f"takes their square: {_way_out(card)}, or raise max_templates in it"
    )


def _only_late(keys: NDArray[np.int32], n_templates: int) -> int:
    """Templates that the first half of the lines does not have."""
    return n_templates - len(np.unique(keys[: len(keys) // 2]))
