"""A log without labels: detectors fitted on its earlier part, what they say of the later one, and how loud they are.

An alert is no anomaly: a sequence is flagged because its score is above nearly all of the earlier part's. Labels, where
there are any, only judge: nothing is fitted on them, so that the page is worth the same without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.data.cards.card import Card
from bench.data.reading.builder import Gathering
from bench.data.reading.columns import Columns
from bench.data.reading.labels import SessionLabels
from bench.data.reading.lines import Source, read_lines
from bench.data.reading.log import Log
from bench.data.reading.numbers import read_values
from bench.data.reading.raw import raw_of, read_raw
from bench.data.reading.words import read_words
from bench.data.sequences.grouping import Groups
from bench.data.sequences.loader import Prepared
from bench.data.sequences.parameters import NumberedLog, parameters_of
from bench.data.sequences.splits import Split
from bench.data.sequences.vocabulary import System, Vocabulary
from bench.data.sequences.words import WordedLog, words_of
from bench.deploy.arriving import file_blocks
from bench.deploy.context import iso
from bench.deploy.fitting import needs_labels, provenance, threshold_of
from bench.deploy.judged import Judged, judge
from bench.deploy.loudness import (
    LOOSE,
    Agreement,
    Loud,
    Scored,
    agreement,
    cut_at,
    known_day,
    levels,
    loose_cut,
    loudness,
)
from bench.deploy.saved import Fitted
from bench.deploy.surprises import Judge, Surprise, strongest
from bench.deploy.unlike import Unlike, how_unlike
from bench.deploy.windows import Windows, grouped
from bench.errors import BenchError, shown
from bench.evaluation.thresholds import flag, parse_rule
from bench.experiment.cell import Settings, fit_again
from bench.experiment.scenario import Scenario
from bench.experiment.scoring import scores_of
from bench.experiment.spec import Cell, Method
from bench.types import NORMAL, UNLABELLED, Sequences

EARLIER: Final = 60
"""Percent of the lines that are the earlier part, where no time is given."""
FITTED: Final = 75
"""Percent of the earlier part that detectors are fitted on; the rest of it sets thresholds."""
_DAY_S: Final = 86_400.0


@dataclass(frozen=True)
class Question:
    """What is asked of a log."""

    methods: tuple[Method, ...]
    """Fitted for the user; the strongest surprises are theirs."""
    cheap: tuple[Method, ...]
    """Fitted to see how far simple detectors agree."""
    windows: Windows = field(default_factory=Windows)
    before: float | None = None
    """Unix seconds at which the later part begins."""
    seed: int = 0
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Triage:
    """The page."""

    log: str
    layout: str
    """How the lines are read, with the share that match."""
    notes: tuple[str, ...]
    n_lines: int
    n_events: int
    """Lines without those that continue another or are blank; the parts are counted in them."""
    n_fitted: int
    n_earlier: int
    begins: str
    cut: str
    """Time of the first line of the later part; empty without times."""
    ends: str
    unit: str
    """What a sequence is: `windows of 20 lines`, `sessions`."""
    n_held_out: int
    n_scored: int
    days: float | None
    """That the later part takes; None without times."""
    loud: tuple[Loud, ...]
    agreement: Agreement
    unlike: Unlike
    surprises: tuple[Surprise, ...]
    n_kinds: int
    """Distinct kinds of surprises of which these are the strongest."""
    judged: Judged | None
    """What would have been caught; None without labels."""


def triage(
    path: Path, card: Card, table: SessionLabels | None, question: Question, *, layout: str, notes: Sequence[str]
) -> tuple[Triage, tuple[Fitted, ...]]:
    """The page of a log, and the detectors that were asked for, with the usual threshold.

    card: how it is read;  table: labels of its sessions, where a file has them
    layout, notes: what is known of the reading, for the page
    """
    for method in question.methods:
        _require_no_labels(method)
    log = _read(path, card, table)
    groups = grouped(log, question.windows)
    split = _split(log, groups, question.before)
    system = System(card, log, replace(groups, labels=np.full(len(groups), NORMAL, np.int8)), split, 0)
    prepared = _prepared(path, card, system)
    wanted = {method.label: method for method in (*question.methods, *question.cheap)}
    done = [_fit(method, prepared, question) for method in wanted.values()]
    asked, cheap = (_of(some, done) for some in (question.methods, question.cheap))
    days = _days(log, split, groups)
    test = prepared.test.sequences
    surprises, n_kinds = strongest(
        path,
        card.format,
        log,
        [Judge(one.method.label, one.detector, one.sequences, one.later, loose_cut(one)) for one in asked],
        train=prepared.train.sequences,
    )
    page = Triage(
        log=path.name,
        layout=layout,
        notes=(*notes, *(text.replace("the card", "its layout") for text in (*log.notes, *map(str, log.defects)))),
        n_lines=log.n_lines,
        n_events=len(log),
        n_fitted=len(split.parser_lines),
        n_earlier=int(split.facts["cut_lines"][1]),
        begins=_time_at(log, 0, 1),
        cut=_time_at(log, int(split.facts["cut_lines"][1]), 1),
        ends=_time_at(log, len(log) - 1, -1),
        unit="sessions" if log.session_codes is not None else f"windows of {question.windows}",
        n_held_out=len(split.validation),
        n_scored=len(split.test),
        days=days,
        loud=tuple(loudness(one, test, known_day(days)) for one in done),
        agreement=agreement(cheap),
        unlike=how_unlike(prepared.train.sequences, test),
        surprises=surprises,
        n_kinds=n_kinds,
        judged=_judged(system, groups, test, done, known_day(days)),
    )
    return page, tuple(_kept(one, prepared, card, question) for one in asked)


def _of(methods: Sequence[Method], done: Sequence[Scored]) -> list[Scored]:
    labels = [method.label for method in methods]
    return [one for one in done if one.method.label in labels]


def _require_no_labels(method: Method) -> None:
    if method.description.error:
        raise BenchError(f"'{method.ref.name}' cannot be imported ({method.description.error}): correct it")
    if needs_labels(_cell(method, Card(**_BARE), Windows(), 0)):
        told = " and ".join(sorted(set(method.description.told.values())))
        raise BenchError(
            f"'{method.label}' is told {told}, and here nothing is fitted on labels: choose a method that is told "
            "normals or nothing, such as new-event or ecvc, or use `bench data new` and `bench fit`"
        )


_BARE: Final[dict[str, Any]] = {
    "name": "log",
    "edition": "log",
    "title": "",
    "tier": "development",
    "rank": 0,
    "kind": "lines",
    "licence": "",
    "citation": "",
}


def _cell(method: Method, card: Card, windows: Windows, seed: int) -> Cell:
    return Cell(Scenario((card,), (card,)), method, "chronological", windows.lines, seed)


def _read(path: Path, card: Card, table: SessionLabels | None) -> Log:
    gathering = Gathering(card, Columns())
    read_lines(card, [Source(path.name, file_blocks(path))], gathering)
    return gathering.finish(table)


def _split(log: Log, groups: Groups, before: float | None) -> Split:
    """The earlier sequences train and set thresholds, the later ones are scored; a sequence counts where it ends."""
    cut = len(log) * EARLIER // 100 if before is None else _first_line_from(log, before)
    fitted = cut * FITTED // 100
    last = groups.last_lines
    split = Split(
        train=np.flatnonzero(last < fitted),
        validation=np.flatnonzero((last >= fitted) & (last < cut)),
        test=np.flatnonzero(last >= cut),
        parser_lines=np.arange(fitted),
        facts={"cut_lines": [fitted, cut]},
    )
    for part, what in ((split.train, "to fit on"), (split.validation, "to set thresholds"), (split.test, "to score")):
        if not len(part):
            raise BenchError(
                f"{len(log):,} lines make too few sequences ({len(groups):,}): none is left {what}; give a longer log, "
                "a smaller --window, or another --before"
            )
    return split


def _first_line_from(log: Log, before: float) -> int:
    known = np.flatnonzero(~np.isnan(log.times))
    if not len(known):
        raise BenchError("no line has a time that is read, so --before means nothing: leave it out")
    later = known[log.times[known] >= before]
    if not len(later) or later[0] == known[0]:
        first, last = iso(float(log.times[known[0]])), iso(float(log.times[known[-1]]))
        raise BenchError(f"--before {iso(before)} does not lie within the log, {first} to {last}: give a time in it")
    return int(later[0])


def _prepared(path: Path, card: Card, system: System) -> Prepared:
    """What detectors are fitted and scored on; lines are read again for those that want more than their messages."""

    def source() -> list[Source]:
        return [Source(path.name, file_blocks(path))]

    try:
        vocabulary = Vocabulary.learn([system])
    except BenchError as error:
        raise BenchError(f"{error}; `bench data new NAME {path.name}` writes a card of this log") from None
    return Prepared(
        train=vocabulary.assemble([system], "train", fitted=True),
        validation=vocabulary.assemble([system], "validation"),
        test=vocabulary.assemble([system], "test"),
        target_validation=None,
        systems=(card.key,),
        facts={"n_log_keys": len(vocabulary.texts)},
        vocabulary=vocabulary,
        sources=(system,),
        parameters_of=lambda some: parameters_of(
            some, {0: NumberedLog(system.log, read_values(card, source(), system.log))}
        ),
        raw_of=lambda some: raw_of(some, {0: read_raw(card, source())}),
        words_of=lambda some: words_of(some, {0: WordedLog(system.log, read_words(card, source(), system.log))}),
    )


def _fit(method: Method, prepared: Prepared, question: Question) -> Scored:
    """Fit one detector and score the held-out and the later sequences; what it raises is one BenchError."""
    cell = _cell(method, prepared.sources[0].card, question.windows, question.seed)
    try:
        detector, visible = fit_again(cell, prepared, question.settings)
        held_out, _ = scores_of(detector, visible.validation.sequences)
        later, _ = scores_of(detector, visible.test.sequences)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"'{method.label}' cannot be fitted on this log ({type(error).__name__}: {shown(error)}): choose another"
        ) from None
    return Scored(method, detector, held_out, later, visible.test.sequences)


def _judged(
    system: System, groups: Groups, test: Sequences, done: Sequence[Scored], days: float | None
) -> Judged | None:
    """None where the log has no label."""
    if not (groups.labels != UNLABELLED).any():
        return None
    flags = {}
    for one in done:
        cuts = [(alpha, cut_at(one, alpha)) for alpha in levels(len(one.held_out))]
        flags[one.method.label] = [(alpha, flag(one.later, cut)) for alpha, cut in cuts if cut is not None]
    return judge(replace(system, groups=groups), test, groups.labels, flags, days)


def _days(log: Log, split: Split, groups: Groups) -> float | None:
    times = log.times[int(split.facts["cut_lines"][1]) :]
    times = times[~np.isnan(times)]
    return float(times.max() - times.min()) / _DAY_S if len(times) and times.max() > times.min() else None


def _time_at(log: Log, line: int, step: int) -> str:
    """Of the first line from there on that has a time."""
    times = log.times[line:] if step > 0 else log.times[line::-1]
    known = np.flatnonzero(~np.isnan(times[:10_000]))
    return iso(float(times[known[0]])) if len(known) else ""


def _kept(one: Scored, prepared: Prepared, card: Card, question: Question) -> Fitted:
    """As `bench fit` makes it, to score new lines."""
    is_usual = cut_at(one, LOOSE) is not None
    rule = parse_rule(f"conformal:{LOOSE}" if is_usual else f"fixed:{loose_cut(one)!r}")
    return Fitted(
        one.detector,
        prepared.vocabulary,
        (card,),
        question.windows,
        str(rule),
        threshold_of(one.detector, prepared, rule),
        provenance(_cell(one.method, card, question.windows, question.seed), prepared, question.settings),
    )
