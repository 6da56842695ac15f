"""The strongest distinct surprises of a log: the line behind each, the lines around it, and how many are like it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.contract import require_weights
from bench.data.cards.card import Format
from bench.data.reading.log import Log
from bench.deploy.arriving import file_blocks
from bench.deploy.context import LogLine, bare, iso, logline
from bench.detector import Detector
from bench.evaluation.thresholds import flag
from bench.types import UNKNOWN_KEY, Sequences

SHOWN: Final = 5
_LOOKED_AT: Final = 400
"""Sequences whose strongest line is looked for; explaining costs some methods a score for each line."""
_FURTHER: Final = 20
"""Sequences that nobody flags, to fill the page."""
_NEAR: Final = 50
"""Lines so near to a stronger surprise are no further one."""
_BEFORE, _AFTER = 2, 1
_ALIKE: Final = 0.5
"""Messages of one length of which so many words are equal are of one kind."""


class Judge(NamedTuple):
    """A detector that was asked, with what it says of the later sequences."""

    method: str
    detector: Detector
    sequences: Sequences
    scores: NDArray[np.float64]
    threshold: float


@dataclass(frozen=True)
class Surprise:
    """One kind of line that makes sequences surprising."""

    line: LogLine
    """The strongest."""
    around: tuple[LogLine, ...]
    """Lines of the file next to it, itself among them."""
    sequence: str
    """Session id, or first and last line of the window."""
    methods: tuple[str, ...]
    """Those that flag it; none where it only ranks high."""
    is_new: bool
    """Whether the line matches no template of the fitted part."""
    n_alike: int
    """Further sequences that were looked at and whose strongest line is of this kind."""
    last_time: str
    """When the last of them was; empty without times."""


class _Found(NamedTuple):
    position: int
    event: int


def strongest(
    path: Path, form: Format, log: Log, judges: Sequence[Judge], *, train: Sequences
) -> tuple[tuple[Surprise, ...], int]:
    """The strongest kinds, and how many kinds there are among the sequences that were looked at."""
    sequences = judges[0].sequences
    order, votes = _order(judges)
    known = np.bincount(train.text_ids, minlength=len(sequences.texts))
    events = _strongest_events(judges, sequences, order, known)
    kinds = _kinds([_Found(*one) for one in zip(order.tolist(), events, strict=True)], sequences)
    shown, numbers = _apart(kinds, log, sequences)
    near = [range(n - _BEFORE, n + _AFTER + 1) for n in numbers]
    texts = lines_at(path, {number for stretch in near for number in stretch})
    made = []
    for found, number, stretch in zip(shown, numbers, near, strict=True):
        times = log.times[[int(sequences.lines[one.event]) for one in found]]
        seconds = {number: float(times[0])}  # of the lines around it the text is enough
        around = tuple(
            logline(form, n + 1, seconds.get(n, math.nan), bare(form, texts[n])) for n in stretch if n in texts
        )
        made.append(
            Surprise(
                next(line for line in around if line.number == number + 1),
                around,
                _name(log, sequences, found[0].position, has_sessions=bool(form.session)),
                tuple(judge.method for judge, vote in zip(judges, votes, strict=True) if vote[found[0].position]),
                bool(sequences.log_keys[found[0].event] == UNKNOWN_KEY),
                len(found) - 1,
                "" if np.isnan(times).all() else iso(float(np.nanmax(times))),
            )
        )
    return tuple(made), len(kinds)


def _apart(kinds: Sequence[list[_Found]], log: Log, sequences: Sequences) -> tuple[list[list[_Found]], list[int]]:
    """The strongest kinds whose lines do not lie close to a stronger one, and the line of each, from 0."""
    shown: list[list[_Found]] = []
    numbers: list[int] = []
    for found in kinds:
        number = _line_of(log, sequences, found[0].event)
        if len(shown) < SHOWN and all(abs(number - other) >= _NEAR for other in numbers):
            shown.append(found)
            numbers.append(number)
    return shown, numbers


def _line_of(log: Log, sequences: Sequences, event: int) -> int:
    """Where an event begins in the file, from 0."""
    return int(log.numbers_of(sequences.lines[event : event + 1])[0]) - 1


def _order(judges: Sequence[Judge]) -> tuple[NDArray[np.int64], list[NDArray[np.bool_]]]:
    """Positions of the sequences to look at, the most surprising first by the mean rank over detectors; who flags what.

    Those that any flags, and behind them the highest ranked of the others.
    """
    from scipy.stats import rankdata

    ranks = np.mean([rankdata(judge.scores) for judge in judges], axis=0)
    order = np.argsort(-ranks, kind="stable")
    votes = [flag(judge.scores, judge.threshold) for judge in judges]
    flagged = np.any(votes, axis=0)[order]
    others = order[~flagged][:_FURTHER]
    return np.concatenate([order[flagged][:_LOOKED_AT], others]), votes


def _strongest_events(
    judges: Sequence[Judge], sequences: Sequences, order: NDArray[np.int64], known: NDArray[np.int64]
) -> Iterator[int]:
    """The event of each of these sequences that weighs most by the first method that can say it.

    Where none can, or none weighs, the one whose text was rarest in the fitted part.
    """
    weights = _weights(judges, order)
    chosen = sequences.select(order)
    for i, start in enumerate(sequences.offsets[order].tolist()):
        first, last = (int(offset) for offset in chosen.offsets[i : i + 2])
        found = None if weights is None else weights[first:last]
        if found is not None and len(found) and found.max() > max(0.0, float(found.min())):
            yield start + int(np.argmax(found))
        else:
            yield start + int(np.argmin(known[chosen.text_ids[first:last]]))


def _weights(judges: Sequence[Judge], order: NDArray[np.int64]) -> NDArray[np.float32] | None:
    for judge in judges:
        if type(judge.detector).explain is Detector.explain:
            continue
        chosen = judge.sequences.select(order)
        found = judge.detector.explain(chosen)
        if found is not None:
            return require_weights(found, chosen.n_events, "explain")
    return None


def _kinds(found: Sequence[_Found], sequences: Sequences) -> list[list[_Found]]:
    """What was found in groups of messages that are alike, in the order of the first of each."""
    kinds: list[tuple[list[str], list[_Found]]] = []
    for one in found:
        words = sequences.texts[sequences.text_ids[one.event]].split()
        known = next((members for first, members in kinds if _alike(words, first)), None)
        if known is None:
            kinds.append((words, [one]))
        else:
            known.append(one)
    return [members for _, members in kinds]


def _alike(words: Sequence[str], others: Sequence[str]) -> bool:
    """As a parser of templates would say it: as many words, and most of them equal."""
    if len(words) != len(others):
        return False
    return sum(map(str.__eq__, words, others)) >= _ALIKE * len(words)


def _name(log: Log, sequences: Sequences, position: int, *, has_sessions: bool) -> str:
    if has_sessions:
        return sequences.ids[position]
    first, end = sequences.offsets[position : position + 2].tolist()
    return f"{_line_of(log, sequences, first) + 1}-{_line_of(log, sequences, end - 1) + 1}"


def lines_at(path: Path, numbers: set[int]) -> dict[int, str]:
    """Lines of a file by number, from 0; those that there are."""
    found: dict[int, str] = {}
    passed = 0
    for block in file_blocks(path):
        n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
        wanted = [number for number in numbers if passed <= number < passed + n_lines]
        if wanted:
            lines = block.split(b"\n")
            found |= {number: lines[number - passed].decode(errors="replace") for number in wanted}
        passed += n_lines
    return found
