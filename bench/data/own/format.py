"""The format of a log of one's own: what a guess or the system's card says, and what the user said about it."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from bench.data.cards.card import Format, parse_card
from bench.data.cards.clocks import has_zone, is_zone, lacks_year
from bench.data.own.guess import MIN_SHARE, GivenLabel, Guess
from bench.data.own.incidents import Incidents, read_incidents
from bench.data.own.labels import LabelFile, describe_label_file
from bench.data.own.layouts import UNKNOWN
from bench.data.own.tokens import require_token
from bench.data.own.years import require_year, year_of
from bench.data.reading.header import cut
from bench.data.reading.lines import session_ids
from bench.errors import BenchError

_ANY_EDITION: Final = """
title = "any"
tier = "development"
rank = 0
kind = "lines"
files = [{ name = "any", sha256 = "unpublished" }]
incidents = [{ start = 0, end = 0 }]
"""
"""What an edition must have, for a look at its system alone."""


@dataclass(frozen=True)
class Given:
    """What a user says about a log; the rest is guessed."""

    label: GivenLabel | None = None
    labels: Path | None = None
    """A table or list of labelled sessions."""
    incidents: Path | None = None
    """A file of time ranges."""
    session: str | None = None
    normal: str | None = None
    year: int | None = None
    """Of the first line, where times have none."""
    zone: str | None = None
    """Where clocks stood that name no zone."""
    columns: tuple[str, str] | None = None
    """Names of columns: session and label of a label file, or start and end of incidents."""

    def __post_init__(self) -> None:
        ways = {"--label": self.label, "--labels": self.labels, "--incidents": self.incidents}
        told = [way for way, value in ways.items() if value is not None]
        if len(told) > 1:
            raise BenchError(f"{' and '.join(told)} both say where labels stand: give one of them")
        if self.year is not None and not 1970 <= self.year <= 9998:
            raise BenchError(f"--year is {self.year}: give the year of the log's first line, such as 2024")
        if self.zone is not None and not is_zone(self.zone):
            raise BenchError(f"--zone is '{self.zone}': write +05:30, or a name such as Europe/Berlin")
        if self.columns is not None and not (self.labels or self.incidents):
            raise BenchError("--columns names columns of a file: give it with --labels or --incidents")
        if self.session is not None:
            _require_pattern(self.session)

    @property
    def read_as(self) -> GivenLabel | None:
        """How the first token of lines is taken: labels from elsewhere never stand there."""
        return "none" if self.labels or self.incidents else self.label


def known_format(system: Path, given: Given) -> tuple[Format, tuple[str, ...]]:
    """Format and masks of the `_system.toml` that is there; a BenchError where what is given cannot go with them."""
    card = parse_card(system.with_name("any.toml"), system.read_text(encoding="utf-8"), _ANY_EDITION)
    form, name = card.format, card.name
    if given.read_as is not None and "first-token" in {form.label, given.read_as} and form.label != given.read_as:
        raise BenchError(
            f"'{name}' exists with label = '{form.label}', and lines with and without a label in front are no one "
            f"format: choose another name, or give --force to write the cards anew"
        )
    if form.label == "incidents" and not (given.incidents or given.read_as):
        raise BenchError(f"labels of '{name}' are time ranges of incidents: give those of this log by --incidents FILE")
    if form.label in ("label-file", "session-list") and not given.read_as:
        raise BenchError(f"labels of '{name}' stand in a file: give that of this log by --labels FILE")
    return form, card.parser.masks


def adapted(found: Guess, lines: list[str], log: Path, given: Given) -> tuple[Guess, Incidents]:
    """The guess with what the user said, with notes of what follows from it, and the incidents."""
    changes: dict[str, Any] = {}
    notes: list[str] = []
    incidents: Incidents = ()
    if found.matched < MIN_SHARE and found.name != UNKNOWN:
        notes.append(f"Only {found.matched:.1%} of the lines match: is it another format? Then choose another name.")
    if found.form.time and lacks_year(found.form.time):
        changes["year"], note = _year(found, lines, log, given.year)
        notes += [note] if note else []
    elif given.year is not None:
        raise BenchError(
            f"--year is {given.year}, but the times of '{log.name}' are not read without one: leave it out"
        )
    if given.zone is not None:
        if not found.form.time or has_zone(found.form.time):
            why = "name their zone themselves" if found.form.time else "are not read"
            raise BenchError(f"--zone is '{given.zone}', but the times of '{log.name}' {why}: leave it out")
        changes["zone"] = given.zone
    if given.session is not None:
        changes["session"] = given.session
    if given.labels is not None:
        described = _labelled(found, lines, given.labels, given)
        changes |= described.form
        notes += described.notes
    elif given.incidents is not None:
        if not found.form.time:
            raise BenchError(
                f"no time of '{log.name}' is read, so --incidents cannot be found in it: give other labels"
            )
        changes["label"], incidents = "incidents", read_incidents(given.incidents, given.columns)
    elif given.label is not None:
        changes["label"] = given.label
    if given.normal is not None and given.labels is None:
        changes["normal"] = given.normal
    form = replace(found.form, **changes)
    if given.normal is not None and given.labels is None:
        _require_label(form, lines, given.normal)
    return replace(found, form=form, session=form.session or found.session, notes=(*notes, *found.notes)), incidents


def _require_label(form: Format, lines: list[str], normal: str) -> None:
    """Refuse a word for normal where no label is read, or where it is none of them."""
    if form.label != "first-token":
        raise BenchError(
            f"--normal is '{normal}', and no label is read that could be it: give --label first-token or --labels FILE "
            "with it, or leave it out"
        )
    require_token(lines, normal)


def _labelled(found: Guess, lines: list[str], labels: Path, given: Given) -> LabelFile:
    session = given.session or found.session
    if not session:
        raise BenchError("no session id was found in the messages, and --labels needs one: give --session REGEX")
    messages = cut(pl.DataFrame({"line": lines}), found.form).select("message")
    ids = messages.select(session_ids(session)).to_series().explode().drop_nulls().unique(maintain_order=True)
    if ids.is_empty():
        raise BenchError(f"no message of the first lines holds a session id like '{session}': give another --session")
    return describe_label_file(labels, session, ids, given.normal, given.columns)


def _year(found: Guess, lines: list[str], log: Path, given: int | None) -> tuple[int, str]:
    """The year of the first line, and how it was found where nobody gave it."""
    if given is not None:
        require_year(found.form, lines, given)
        return given, ""
    changed = log.stat().st_mtime
    year = year_of(found.form, lines, changed)
    day = datetime.datetime.fromtimestamp(changed, datetime.UTC)
    return (
        year,
        f"The times have no year: {year} is taken, as the file was last changed on {day:%Y-%m-%d}; else --year.",
    )


def _require_pattern(session: str) -> None:
    """A session id must be understood by Python and by polars."""
    try:
        re.compile(session)
        pl.Series([""]).str.contains(session)
    except (re.error, pl.exceptions.ComputeError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"--session '{session}' is no pattern that can be used ({reason}): correct it") from None
