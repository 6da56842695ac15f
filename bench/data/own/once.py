"""A log that is read once, by its recognised layout: the card that `bench data new` would write, not written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.data.cards.card import Card, ParserSettings
from bench.data.own.card import edition_of, guessed
from bench.data.own.format import Given, adapted
from bench.data.own.guess import Guess
from bench.data.own.heads import glance, head
from bench.data.reading.labels import SessionLabels, labels_in
from bench.data.reading.streams import content
from bench.errors import BenchError


class ReadOnce(NamedTuple):
    """How a log is read."""

    card: Card
    table: SessionLabels | None
    """Labels of its sessions, where a file has them."""
    layout: str
    """The layout in words, with the share of the first lines that match."""
    notes: tuple[str, ...]


def read_once(log: Path, given: Given) -> ReadOnce:
    """The card of a log by its first lines and what the user says of it; nothing is written."""
    if not log.is_file():
        raise BenchError(f"the log '{log}' does not exist or is no file: give one log file")
    lines, notes = head(log)
    further = glance(log).behind(len(lines))
    found, incidents = adapted(guessed(lines, further, log, given), [*lines, *further], log, given)
    card = Card(
        name="log",
        edition=edition_of(log),
        title="",
        tier="development",
        rank=0,
        kind="lines",
        licence="",
        citation="",
        format=found.form,
        parser=ParserSettings(masks=tuple(mask for mask, _ in found.masks)),
        incidents=incidents,
    )
    labels = given.labels
    table = None if labels is None else labels_in(content(labels), card.format, f"the label file '{labels}'")
    times = f"times of {found.timed:.0%} read" if found.form.time else "no times read"
    layout = f"{found.name} ({found.matched:.0%} of the first {found.n_lines:,} lines match, {times})"
    return ReadOnce(card, table, layout, (*notes, *found.notes, *_hint(found)))


def _hint(found: Guess) -> tuple[str, ...]:
    if found.form.session or not found.session:
        return ()
    return (f"Most messages hold what may name a session: --session '{found.session}' would score these, not windows.",)
