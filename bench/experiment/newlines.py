"""New raw lines -> scored sequences, by a saved detector; a stream is scored as its windows fill."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from bench.data.cards import Card
from bench.data.columns import Columns
from bench.data.gathering import Gathering
from bench.data.grouping import group
from bench.data.lines import Source, read_lines
from bench.data.log import Log
from bench.data.parameters import NumberedLog, parameters_of
from bench.data.splits import Split
from bench.data.streams import BLOCK_BYTES, blocks, whole_lines
from bench.data.values import read_values
from bench.data.vocabulary import System
from bench.errors import BenchError
from bench.evaluation.thresholds import flag
from bench.experiment.artifact import Fitted
from bench.types import Sequences

_NOTHING: Final = np.empty(0, np.int64)
_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class ScoredSequence:
    """One session or window of new lines."""

    id: str
    first_line: int
    """From 1, as all line numbers here."""
    last_line: int
    score: float
    flagged: bool
    events: tuple[tuple[int, float, str], ...] = ()
    """Line, weight and text of the events that contributed most, where the method can tell."""


def score_file(fitted: Fitted, path: Path, *, system: str | None = None, n_events: int = 0) -> Iterator[ScoredSequence]:
    """Score the lines of a file; sessions when all lines are read, windows block by block."""
    return _score(fitted, blocks(path), system, n_events)


def score_stream(
    fitted: Fitted, stream: IO[bytes], *, system: str | None = None, n_events: int = 0
) -> Iterator[ScoredSequence]:
    """Score the lines of a pipe as they come."""
    return _score(fitted, _arriving(stream), system, n_events)


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


def _score(fitted: Fitted, parts: Iterator[bytes], system: str | None, n_events: int) -> Iterator[ScoredSequence]:
    index, card = fitted.card_of(system)
    # Labels of new lines, where they stand in the line, are cut off; a label file is not asked for.
    card = replace(card, format=replace(card.format, label=_label_place(card)))
    first = 0
    for content, n_dropped in _whole_sequences(parts, card, fitted):
        for row in _score_lines(fitted, content, index, card, n_events):
            yield replace(
                row,
                id=row.id if card.format.session else str(row.first_line + first),
                first_line=row.first_line + first,
                last_line=row.last_line + first,
                events=tuple((line + first, weight, text) for line, weight, text in row.events),
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


def _score_lines(fitted: Fitted, content: bytes, index: int, card: Card, n_events: int) -> Iterator[ScoredSequence]:
    log = _read(card, content)
    groups = group(log, fitted.grouping)
    split = Split(_NOTHING, _NOTHING, _NOTHING, _NOTHING, {})
    sequences = fitted.vocabulary.encode(System(card, log, groups, split, index))
    if "parameters" in fitted.detector.uses():
        numbers = read_values(card, [_source(content)], log)
        sequences = replace(sequences, parameters=parameters_of(sequences, {index: NumberedLog(log, numbers)}))
    scores = fitted.detector.score(sequences)
    assert fitted.threshold.value is not None
    flagged = flag(scores, fitted.threshold.value)
    weights = fitted.detector.explain(sequences) if n_events else None
    if n_events and weights is None:
        raise BenchError(f"'{fitted.facts['method']}' cannot say which events weigh most: leave out --explain")
    for i, name in enumerate(sequences.ids):
        lines = groups.lines[groups.offsets[i] : groups.offsets[i + 1]]
        events = _strongest(sequences, weights, i, n_events) if weights is not None else ()
        yield ScoredSequence(name, int(lines[0]) + 1, int(lines[-1]) + 1, float(scores[i]), bool(flagged[i]), events)


def _strongest(sequences: Sequences, weights: Any, i: int, n: int) -> tuple[tuple[int, float, str], ...]:
    start, end = int(sequences.offsets[i]), int(sequences.offsets[i + 1])
    order = np.argsort(-weights[start:end], kind="stable")[:n] + start
    return tuple(
        (int(sequences.lines[e]) + 1, float(weights[e]), sequences.texts[sequences.text_ids[e]]) for e in order
    )
