"""New raw lines -> scored sequences, by a saved detector; a stream is scored as its windows fill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.contract import require_weights
from bench.data.cards.card import Card
from bench.data.reading.builder import Clock, Gathering
from bench.data.reading.columns import Columns
from bench.data.reading.event_lines import EventLines
from bench.data.reading.lines import Source, read_lines
from bench.data.reading.log import Log
from bench.data.reading.numbers import read_values
from bench.data.reading.raw import raw_of, read_raw
from bench.data.reading.words import read_words
from bench.data.sequences.grouping import Groups
from bench.data.sequences.parameters import NumberedLog, parameters_of
from bench.data.sequences.splits import Split
from bench.data.sequences.vocabulary import System
from bench.data.sequences.words import WordedLog, words_of
from bench.deploy.arriving import Cutter, Piece, file_blocks, pipe_blocks
from bench.deploy.context import LogLine, headerless_share, in_present, iso, logline, times_of
from bench.deploy.saved import Fitted
from bench.deploy.tally import Tally
from bench.deploy.windows import grouped
from bench.detector import Detector
from bench.errors import BenchError, shown
from bench.evaluation.thresholds import flag
from bench.experiment.scoring import scores_of
from bench.types import UNKNOWN_KEY, Sequences

_NOTHING: Final = np.empty(0, np.int64)
_ENOUGH: Final = 20
"""Lines without one normal label in front that tell that no line has a label, where the header does not tell."""


class StrongEvent(NamedTuple):
    """A text that weighs much in the score of a sequence."""

    line: int
    """Where it weighs most in the sequence, from 1."""
    weight: float
    """There, as the method's `explain` gives it; scales differ from method to method."""
    text: str
    n_lines: int
    """Events of the sequence that have it."""
    attention: float | None
    """How much of the method's attention the event receives, where it has one."""


@dataclass(frozen=True, slots=True)
class ScoredSequence:
    """One session or window of new lines."""

    id: str
    first_line: int
    """From 1, as all line numbers here."""
    last_line: int
    score: float
    flagged: bool
    events: tuple[StrongEvent, ...] = ()
    """Those that contributed most, strongest first, each text once; empty where nobody asked."""
    time: str = ""
    """Of its first line; empty where none was read."""
    alert: LogLine | None = None
    """Where it is flagged: the line that weighs most, where the method can say it, else the first that the model does
    not know, else its first line."""


@runtime_checkable
class Attending(Protocol):
    """A detector that can tell how much attention each event receives."""

    def attention(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,)."""


class Explained(NamedTuple):
    """Which sequences are explained, and how far."""

    n_events: int = 0
    """Strongest texts of each."""
    flagged_only: bool = False


_NOT_EXPLAINED: Final = Explained()


@dataclass(frozen=True)
class Asked:
    """How new lines are scored."""

    system: str | None = None
    """Whose lines these are, where the detector knows several."""
    explained: Explained = _NOT_EXPLAINED
    flush_s: float | None = None
    """Lines that have waited so long are scored though their window is not full, and so are the last ones."""


_AS_EVER: Final = Asked()


def score_file(
    fitted: Fitted, path: Path, asked: Asked = _AS_EVER, tally: Tally | None = None
) -> Iterator[ScoredSequence]:
    """Score the lines of a file; sessions when all lines are read, windows block by block."""
    return _score(fitted, file_blocks(path), asked, tally or Tally(), path.stat().st_mtime)


def score_stream(
    fitted: Fitted, stream: IO[bytes], asked: Asked = _AS_EVER, tally: Tally | None = None
) -> Iterator[ScoredSequence]:
    """Score the lines of a pipe as they come."""
    return _score(fitted, pipe_blocks(stream, asked.flush_s), asked, tally or Tally(), time.time())


def _score(
    fitted: Fitted, parts: Iterator[bytes], asked: Asked, tally: Tally, latest: float
) -> Iterator[ScoredSequence]:
    if asked.explained.n_events and type(fitted.detector).explain is Detector.explain:
        raise _unexplained(fitted)
    index, card = fitted.card_of(asked.system)
    first_part = next((part for part in parts if part), b"")
    card = _card_for(card, first_part, tally, latest)
    clock, places = Clock(card.format.year, card.format.zone), EventLines(card.format)
    cutter = Cutter(
        fitted.windows,
        bool(card.format.session),
        lambda content: times_of(clock, card.format, content),
        asked.flush_s,
    )
    scorer, first = _Scorer(fitted, index, card, asked.explained, tally), 0
    for piece in cutter.pieces(places.only_events(_counted(first_part, parts, tally))):
        for row in _score_lines(scorer, piece):
            yield _moved(row, first, places, is_session=bool(card.format.session))
        first += piece.n_passed
    tally.n_unscored += cutter.n_unscored


def _counted(first: bytes, parts: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    for part in (part for source in ((first,), parts) for part in source):
        tally.n_lines += part.count(b"\n") + (bool(part) and not part.endswith(b"\n"))
        yield part


def _moved(row: ScoredSequence, first: int, places: EventLines, *, is_session: bool) -> ScoredSequence:
    """The row of a piece that begins behind so many events, by the numbers of lines."""

    def line(event: int) -> int:
        return places.number(event + first)

    return replace(
        row,
        id=row.id if is_session else str(line(row.first_line)),
        first_line=line(row.first_line),
        last_line=line(row.last_line),
        events=tuple(event._replace(line=line(event.line)) for event in row.events),
        alert=None if row.alert is None else replace(row.alert, number=line(row.alert.number)),
    )


def _card_for(card: Card, content: bytes, tally: Tally, latest: float) -> Card:
    """The card by which new lines are read.

    Labels of new lines, where they stand in the line, are cut off; where new lines have none, nothing is cut off. A
    label file is not asked for.
    """
    label: Any = "first-token" if card.format.label == "first-token" else "none"
    form = replace(card.format, label=label)
    if label == "first-token" and content:
        bare = replace(form, label="none")
        with_label, without = headerless_share(form, content), headerless_share(bare, content)
        tokens = [line.split(b" ", 1)[0] for line in content.split(b"\n")]
        looks_bare = len(tokens) > _ENOUGH and form.normal.encode() not in tokens
        if without < with_label or (without == with_label and looks_bare):
            form = bare
            tally.notes.append(
                "the lines have no label in front, as those had that the model was fitted on: they are read without"
            )
    return in_present(replace(card, format=form), content, latest)


def _read(card: Card, content: bytes) -> Log:
    gathering = Gathering(card, Columns())
    read_lines(card, [_source(content)], gathering)
    return gathering.finish(None)


def _source(content: bytes) -> Source:
    return Source("new lines", iter([content]))


class _Scorer(NamedTuple):
    """What stays the same from piece to piece."""

    fitted: Fitted
    system: int
    card: Card
    explained: Explained
    tally: Tally


def _score_lines(scorer: _Scorer, piece: Piece) -> Iterator[ScoredSequence]:
    fitted, card, explained = scorer.fitted, scorer.card, scorer.explained
    with _one_sentence(fitted):
        scored = _scored(fitted, piece, scorer.system, card)
    assert fitted.threshold.value is not None
    sequences, groups = scored.sequences, scored.groups
    flagged = flag(scored.scores, fitted.threshold.value)
    _count(scorer.tally, scored, flagged)
    chosen = np.flatnonzero(flagged) if explained.flagged_only else np.arange(len(sequences))
    with _one_sentence(fitted):
        strongest = _strongest(fitted, sequences.select(chosen), explained.n_events)
        events = dict(zip(chosen.tolist(), strongest, strict=False))
    raw = read_raw(card, [_source(piece.content)]) if flagged.any() else None
    alerting = _alerting(fitted, sequences, np.flatnonzero(flagged), events)
    for i, name in enumerate(sequences.ids):
        lines = groups.lines[groups.offsets[i] : groups.offsets[i + 1]]
        first, last = int(lines[0]) + 1, int(lines[-1]) + 1
        number = alerting.get(i, first)
        yield ScoredSequence(
            name,
            first,
            last,
            float(scored.scores[i]),
            bool(flagged[i]),
            events.get(i, ()),
            iso(float(scored.log.times[first - 1])),
            None
            if raw is None or not flagged[i]
            else logline(card.format, number, float(scored.log.times[number - 1]), raw[number - 1]),
        )


def _alerting(
    fitted: Fitted, sequences: Sequences, flagged: NDArray[np.int64], events: Mapping[int, tuple[StrongEvent, ...]]
) -> dict[int, int]:
    """The line that is shown of each flagged sequence, from 1."""
    weights = None
    chosen = sequences.select(flagged)
    if len(flagged) and not events and type(fitted.detector).explain is not Detector.explain:
        # What it is scored is known already: a method that fails to explain it leaves the first line to be shown.
        with suppress(Exception):
            weights = require_weights(fitted.detector.explain(chosen), chosen.n_events, "explain")
    found = {}
    for k, i in enumerate(flagged.tolist()):
        start, end = chosen.offsets[k : k + 2].tolist()
        if events.get(i):
            found[i] = events[i][0].line
        elif weights is not None and weights[start:end].max() > 0:
            found[i] = int(chosen.lines[start + int(np.argmax(weights[start:end]))]) + 1
        else:
            unknown = np.flatnonzero(chosen.log_keys[start:end] == UNKNOWN_KEY)
            found[i] = int(chosen.lines[start + (int(unknown[0]) if len(unknown) else 0)]) + 1
    return found


def _count(tally: Tally, scored: _Scored, flagged: NDArray[np.bool_]) -> None:
    tally.n_sequences += len(flagged)
    tally.n_flagged += int(flagged.sum())
    tally.n_events += scored.sequences.n_events
    tally.n_unknown += int((scored.sequences.log_keys == UNKNOWN_KEY).sum())
    tally.n_headerless += scored.log.n_headerless
    if scored.log.session_lines is not None:
        tally.n_unscored += len(scored.log) - len(np.unique(scored.log.session_lines))


class _Scored(NamedTuple):
    """The sequences of some lines with their scores, float64 (n_sequences,) finite."""

    log: Log
    groups: Groups
    sequences: Sequences
    scores: NDArray[np.float64]


def _scored(fitted: Fitted, piece: Piece, index: int, card: Card) -> _Scored:
    content = piece.content
    log = _read(card, content)
    groups = grouped(log, piece.windows)
    split = Split(_NOTHING, _NOTHING, _NOTHING, _NOTHING, {})
    sequences = fitted.vocabulary.encode(System(card, log, groups, split, index))
    if "parameters" in fitted.detector.uses():
        numbers = read_values(card, [_source(content)], log)
        sequences = replace(sequences, parameters=parameters_of(sequences, {index: NumberedLog(log, numbers)}))
    if "raw" in fitted.detector.uses():
        sequences = replace(sequences, raw=raw_of(sequences, {index: read_raw(card, [_source(content)])}))
    if "words" in fitted.detector.uses():
        words = read_words(card, [_source(content)], log)
        sequences = replace(sequences, words=words_of(sequences, {index: WordedLog(log, words)}))
    scores, _ = scores_of(fitted.detector, sequences)
    return _Scored(log, groups, sequences, scores)


@contextmanager
def _one_sentence(fitted: Fitted) -> Iterator[None]:
    """What a method raises, perhaps since its folder was altered, as one BenchError."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"'{fitted.facts.get('method')}' cannot score these lines ({type(error).__name__}: {shown(error)}): "
            "its folder is damaged, or the method is; fit it again"
        ) from None


def _strongest(fitted: Fitted, sequences: Sequences, n: int) -> Iterator[tuple[StrongEvent, ...]]:
    """The strongest events of each sequence, each text once; nothing at all where none are wanted."""
    if not n or not len(sequences):
        return
    found, attention = fitted.detector.explain(sequences), None
    if found is None:
        raise _unexplained(fitted)
    weights = require_weights(found, sequences.n_events, "explain")
    if isinstance(fitted.detector, Attending):
        attention = require_weights(fitted.detector.attention(sequences), sequences.n_events, "attention")
    for start, end in pairwise(sequences.offsets.tolist()):
        order = start + np.argsort(-weights[start:end], kind="stable")
        texts, first, counts = np.unique(sequences.text_ids[order], return_index=True, return_counts=True)
        yield tuple(
            StrongEvent(
                int(sequences.lines[event := order[first[j]]]) + 1,
                float(weights[event]),
                sequences.texts[texts[j]],
                int(counts[j]),
                None if attention is None else float(attention[event]),
            )
            for j in np.argsort(first)[:n]
        )


def _unexplained(fitted: Fitted) -> BenchError:
    return BenchError(f"'{fitted.facts.get('method')}' cannot say which events weigh most: leave out --explain")
