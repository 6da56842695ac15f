"""What is scored together where a log has no sessions: so many lines, or so much time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.data.reading.log import Log
from bench.data.sequences.grouping import Grouping, Groups, group
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL, UNLABELLED

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SPAN: Final = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)(?P<unit>[smhd])")
_LINES: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Windows:
    """Windows of lines, or where `seconds` is not 0 of time; sessions ignore both."""

    lines: Grouping = field(default_factory=Grouping)
    seconds: float = 0.0
    """Windows begin at whole multiples of it in Unix time: those of 5 minutes at the full five minutes."""

    def __str__(self) -> str:
        """`20 lines`, `5m`."""
        if not self.seconds:
            return f"{self.lines.window_size} lines"
        unit = max((unit for unit, length in _UNITS.items() if self.seconds % length == 0), key=_length, default="s")
        return f"{self.seconds / _UNITS[unit]:g}{unit}"


def _length(unit: str) -> float:
    return _UNITS[unit]


def parse_windows(text: str) -> Windows:
    """`20` are lines, `5m` is time; anything else is a BenchError."""
    if _LINES.fullmatch(text.strip()):
        size = int(text)
        return Windows(Grouping(size, size))
    return Windows(seconds=parse_span(text, "--window", "20 for lines, or 5m for time"))


def parse_span(text: str, option: str, example: str) -> float:
    """Seconds of `60s`, `5m`, `1h`; anything else, and 0, is a BenchError."""
    match = _SPAN.fullmatch(text.strip())
    seconds = float(match["number"]) * _UNITS[match["unit"]] if match else 0.0
    if not seconds:
        raise BenchError(f"{option} {text} is no number with s, m, h or d behind it: write e.g. {example}")
    return seconds


def grouped(log: Log, windows: Windows) -> Groups:
    """Sessions where the log has them, else windows; of time only those that hold a line."""
    if log.session_codes is None and not windows.seconds and len(log) < windows.lines.window_size:
        size = windows.lines.window_size
        raise BenchError(f"no window of {size:,} lines fits into {len(log):,} lines: choose a smaller --window")
    if log.session_codes is not None or not windows.seconds:
        return group(log, windows.lines)
    if np.isnan(log.times).all():
        raise BenchError("no line has a time that is read, so there are no windows of time: give --window 20 for lines")
    starts = np.flatnonzero(np.diff(numbers_of(log.times, windows.seconds), prepend=-np.inf))
    offsets = np.append(starts, len(log)).astype(np.int64)
    return Groups(np.arange(len(log), dtype=np.int64), offsets, _labels(log.labels, starts))


def numbers_of(times: NDArray[np.float64], seconds: float, last: float = -np.inf) -> NDArray[np.float64]:
    """The number of each line's window, float64 (n_lines,), never falling.

    last: the number of the line before. A line without a time, or whose time goes back, belongs to the window before
    it; the first lines without one to that of the first time.
    """
    numbers = np.floor(times / seconds)
    numbers[np.isnan(numbers)] = -np.inf
    numbers = np.maximum.accumulate(np.maximum(numbers, last))
    known = numbers[np.isfinite(numbers)]
    return np.where(np.isfinite(numbers), numbers, known[0]) if len(known) else numbers


def _labels(labels: NDArray[np.int8], starts: NDArray[np.int64]) -> NDArray[np.int8]:
    """int8 (n_windows,): abnormal where any line is, else unlabelled where any line is."""
    abnormal = np.logical_or.reduceat(labels == ABNORMAL, starts)
    unlabelled = np.logical_or.reduceat(labels == UNLABELLED, starts)
    return np.where(abnormal, ABNORMAL, np.where(unlabelled, UNLABELLED, NORMAL)).astype(np.int8)
