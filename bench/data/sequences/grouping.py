"""Log lines -> sequences: sessions, or fixed and sliding windows. Parsing plays no part in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.reading.log import Log, take
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL, UNLABELLED


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which sequences are made; part of every run's identity. Size and step count lines; sessions ignore both."""

    window_size: int = 20
    window_step: int = 20

    def __post_init__(self) -> None:
        for name, value in (("--window-size", self.window_size), ("--window-step", self.window_step)):
            if value < 1:
                raise BenchError(f"{name} is {value}: choose a whole number of lines from 1")

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring windows share lines."""
        return self.window_step < self.window_size


@dataclass(frozen=True, slots=True)
class Groups:
    """The sequences of one edition as line numbers, in CSR form.

    lines: int64 (n_events,);  offsets: int64 (n_sequences + 1,)
    labels: int8 (n_sequences,) a window is abnormal when any line is
    ids: Sequence[str]         session ids, () for windows
    parts: int8 (n_sequences,) position in `PARTS` where the files say it, else None
    """

    lines: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int8]
    ids: Sequence[str] = ()
    parts: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def last_lines(self) -> NDArray[np.int64]:
        """int64 (n_sequences,): number of each sequence's last line; a sequence counts where it ends."""
        return self.lines[self.offsets[1:] - 1]


def group(log: Log, grouping: Grouping) -> Groups:
    """Sessions where the log has them, else windows of `grouping`, which restart at each file; the tail is dropped."""
    return _sessions(log) if log.session_codes is not None else _windows(log, grouping)


def _windows(log: Log, grouping: Grouping) -> Groups:
    size, step = grouping.window_size, grouping.window_step
    stops = np.append(log.file_starts[1:], len(log))
    starts = np.concatenate(
        [np.arange(start, stop - size + 1, step) for start, stop in zip(log.file_starts, stops, strict=True)]
    ).astype(np.int64)
    if len(starts) == 0:
        raise BenchError(f"no window of {size} lines fits into {len(log)} lines: choose a smaller --window-size")
    lines = starts[:, None] + np.arange(size)
    labels = log.labels[lines]
    window_labels = np.where((labels == ABNORMAL).any(axis=1), ABNORMAL, NORMAL)
    window_labels[(labels == UNLABELLED).any(axis=1) & (window_labels == NORMAL)] = UNLABELLED
    offsets = np.arange(len(starts) + 1, dtype=np.int64) * size
    return Groups(lines.reshape(-1), offsets, window_labels.astype(np.int8))


def _sessions(log: Log) -> Groups:
    assert log.session_codes is not None
    assert log.session_lines is not None
    assert log.session_labels is not None
    order = np.argsort(log.session_codes, kind="stable")
    counts = np.bincount(log.session_codes, minlength=len(log.session_ids))
    present = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[present])]).astype(np.int64)
    ids = log.session_ids if present.all() else tuple(take(log.session_ids, np.flatnonzero(present)))
    parts = None if log.session_parts is None else log.session_parts[present]
    return Groups(log.session_lines[order], offsets, log.session_labels[present], ids, parts)
