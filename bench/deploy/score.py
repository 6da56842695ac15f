"""New raw lines -> scored sequences, by a saved detector; a stream is scored as its windows fill."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.contract import require_weights
from bench.data.cards.card import Card
from bench.data.reading.builder import Gathering
from bench.data.reading.columns import Columns
from bench.data.reading.lines import Source, read_lines
from bench.data.reading.log import Log
from bench.data.reading.numbers import read_values
from bench.data.reading.raw import raw_of, read_raw
from bench.data.reading.streams import BLOCK_BYTES, blocks, whole_lines
from bench.data.reading.words import read_words
from bench.data.sequences.grouping import Groups, group
from bench.data.sequences.parameters import NumberedLog, parameters_of
from bench.data.sequences.splits import Split
from bench.data.sequences.vocabulary import System
from bench.data.sequences.words import WordedLog, words_of
from bench.deploy.saved import Fitted
from bench.detector import Detector
from bench.errors import BenchError, shown
from bench.evaluation.thresholds import flag
from bench.experiment.scoring import scores_of
from bench.types import Sequences

_NOTHING: Final = np.empty(0, np.int64)
_READ_BYTES: Final = 1 << 16


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


def score_file(
    fitted: Fitted, path: Path, *, system: str | None = None, explained: Explained = _NOT_EXPLAINED
) -> Iterator[ScoredSequence]:
    """Score the lines of a file; sessions when all lines are read, windows block by block."""
    return _score(fitted, blocks(path), system, explained)


def score_stream(
    fitted: Fitted, stream: IO[bytes], *, system: str | None = None, explained: Explained = _NOT_EXPLAINED
) -> Iterator[ScoredSequence]:
    """Score the lines of a pipe as they come."""
    return _score(fitted, _arriving(stream), system, explained)


def _arriving(stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines of a pipe: all that is there, waiting only when nothing is."""

    def parts() -> Iterator[bytes]:
        descriptor = stream.fileno()
        while part := os.read(descriptor, _READ_BYTES):
            gathered = [part]
            while sum(map(len, gathered)) < BLOCK_BYTES and select.select([descriptor], [], [], 0)[0]:
                more = os.read(descriptor, _READ_BYTES)
                if not more:
                    break
                gathered.append(more)
            yield b"".join(gathered)

    return whole_lines(parts())


def _score(
    fitted: Fitted, parts: Iterator[bytes], system: str | None, explained: Explained
) -> Iterator[ScoredSequence]:
    if explained.n_events and type(fitted.detector).explain is Detector.explain:
        raise _unexplained(fitted)
    index, card = fitted.card_of(system)
    # Labels of new lines, where they stand in the line, are cut off; a label file is not asked for.
    card = replace(card, format=replace(card.format, label=_label_place(card)))
    first = 0
    for content, n_dropped in _whole_sequences(parts, card, fitted):
        for row in _score_lines(fitted, content, index, card, explained):
            yield replace(
                row,
                id=row.id if card.format.session else str(row.first_line + first),
                first_line=row.first_line + first,
                last_line=row.last_line + first,
                events=tuple(event._replace(line=event.line + first) for event in row.events),
            )
        first += n_dropped


def _label_place(card: Card) -> Any:
    return "first-token" if card.format.label == "first-token" else "none"


def _whole_sequences(parts: Iterator[bytes], card: Card, fitted: Fitted) -> Iterator[tuple[bytes, int]]:
    """Lines that hold whole windows, and how many of them are not needed again; sessions come in one piece."""
    if card.format.session:
        yield b"".join(parts), 0
        return
    size, step = fitted.grouping.window_size, fitted.grouping.window_step
    waiting = b""
    for part in parts:
        waiting += part
        ends = np.flatnonzero(np.frombuffer(waiting, np.uint8) == ord("\n")) + 1
        n_windows = (len(ends) - size) // step + 1 if len(ends) >= size else 0
        if n_windows:
            n_used, n_dropped = size + (n_windows - 1) * step, n_windows * step
            yield waiting[: ends[n_used - 1]], n_dropped
            waiting = waiting[ends[min(n_dropped, len(ends)) - 1] :]
    if waiting and not waiting.endswith(b"\n") and waiting.count(b"\n") + 1 >= size:
        yield waiting, 0


def _read(card: Card, content: bytes) -> Log:
    gathering = Gathering(card, Columns())
    read_lines(card, [_source(content)], gathering)
    return gathering.finish(None)


def _source(content: bytes) -> Source:
    return Source("new lines", iter([content]))


def _score_lines(
    fitted: Fitted, content: bytes, index: int, card: Card, explained: Explained
) -> Iterator[ScoredSequence]:
    with _one_sentence(fitted):
        groups, sequences, scores = _scored(fitted, content, index, card)
    assert fitted.threshold.value is not None
    flagged = flag(scores, fitted.threshold.value)
    chosen = np.flatnonzero(flagged) if explained.flagged_only else np.arange(len(sequences))
    with _one_sentence(fitted):
        strongest = _strongest(fitted, sequences.select(chosen), explained.n_events)
        events = dict(zip(chosen.tolist(), strongest, strict=False))
    for i, name in enumerate(sequences.ids):
        lines = groups.lines[groups.offsets[i] : groups.offsets[i + 1]]
        first, last = int(lines[0]) + 1, int(lines[-1]) + 1
        yield ScoredSequence(name, first, last, float(scores[i]), bool(flagged[i]), events.get(i, ()))


def _scored(fitted: Fitted, content: bytes, index: int, card: Card) -> tuple[Groups, Sequences, NDArray[np.float64]]:
    """The sequences of these lines, and float64 (n_sequences,) finite."""
    log = _read(card, content)
    groups = group(log, fitted.grouping)
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
    return groups, sequences, scores


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
