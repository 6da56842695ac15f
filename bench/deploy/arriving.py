"""Bytes of a file or a pipe -> pieces that hold whole windows or sessions; what cannot be read is refused or said."""

from __future__ import annotations

import codecs
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.reading.streams import BLOCK_BYTES, MAX_LINE_BYTES, blocks
from bench.data.sequences.grouping import Grouping
from bench.deploy.windows import Windows, numbers_of
from bench.errors import BenchError

_READ_BYTES: Final = 1 << 16
_TICK_S: Final = 1.0
"""A quiet pipe is looked at so often."""
_PACKED: Final = {
    b"\x1f\x8b\x08": "zcat",
    b"BZh": "bzcat",
    b"\xfd7zXZ\x00": "xzcat",
    b"\x28\xb5\x2f\xfd": "zstdcat",
    b"PK\x03\x04": "unzip -p",
}
_MOST_NUL: Final = 0.1
"""UTF-16 has a NUL in every other byte of Latin text."""

TimesOf = Callable[[bytes], NDArray[np.float64]]


class Piece(NamedTuple):
    """Lines that are scored at once."""

    content: bytes
    windows: Windows
    """How they are grouped."""
    n_passed: int
    """Lines that do not come again: the next piece begins behind them."""


@dataclass
class Cutter:
    """Cuts lines into pieces of whole windows, as they come."""

    windows: Windows
    has_sessions: bool
    times_of: TimesOf
    flush_s: float | None = None
    """Lines that have waited so long are scored though their window is not full, and so are the last ones."""
    n_unscored: int = 0
    """Lines at the end that filled no window; known when all is read."""

    def pieces(self, parts: Iterator[bytes]) -> Iterator[Piece]:
        """Pieces of these blocks of whole lines; an empty block is a look at the clock."""
        if self.has_sessions:
            return self._of_sessions(parts)
        return self._of_time(parts) if self.windows.seconds else self._of_lines(parts)

    def _of_sessions(self, parts: Iterator[bytes]) -> Iterator[Piece]:
        """All in one piece, or what came until nothing was scored for so long."""
        waiting: list[bytes] = []
        since = time.monotonic()
        for part in parts:
            since = since if waiting else time.monotonic()
            waiting += [part] if part else []
            if waiting and self._is_due(since):
                yield self._whole(b"".join(waiting))
                waiting = []
        if waiting:
            yield self._whole(b"".join(waiting))

    def _of_lines(self, parts: Iterator[bytes]) -> Iterator[Piece]:
        size, step = self.windows.lines.window_size, self.windows.lines.window_step
        waiting, n_old, n_skipped = (
            b"",
            0,
            0,
        )  # of the waiting lines so many were scored; so many to come are not wanted
        since = time.monotonic()
        for part in parts:
            since = since if waiting else time.monotonic()
            waiting += part
            ends = _ends(waiting)
            if n_skipped and len(ends):
                n_gone = min(n_skipped, len(ends))
                waiting, n_skipped = waiting[ends[n_gone - 1] :], n_skipped - n_gone
                ends = _ends(waiting)
            n_windows = (len(ends) - size) // step + 1 if len(ends) >= size else 0
            if n_windows:
                n_used, n_passed = size + (n_windows - 1) * step, n_windows * step
                yield Piece(waiting[: ends[n_used - 1]], self.windows, n_passed)
                n_gone = min(n_passed, len(ends))
                waiting, n_skipped = waiting[ends[n_gone - 1] :], n_passed - n_gone
                n_old, since = max(0, n_used - n_passed), time.monotonic()
                ends = ends[n_gone:] - ends[n_gone - 1]
            if len(ends) > n_old and self._is_due(since):
                yield self._whole(waiting[: ends[-1]])
                waiting, n_old = waiting[ends[-1] :], 0
        yield from self._tail(waiting, n_old)

    def _tail(self, waiting: bytes, n_old: int) -> Iterator[Piece]:
        n_lines = _count(waiting)
        if n_lines > n_old and (self.flush_s is not None or n_lines >= self.windows.lines.window_size):
            yield self._whole(waiting)
        else:
            self.n_unscored += max(0, n_lines - n_old)

    def _of_time(self, parts: Iterator[bytes]) -> Iterator[Piece]:
        waiting: list[bytes] = []
        last, since = -np.inf, time.monotonic()
        for part in parts:
            since = since if waiting else time.monotonic()
            if part:
                numbers = numbers_of(self.times_of(part), self.windows.seconds, last)
                # All but the newest window is whole: a line of a later one has come.
                n_whole = int(np.searchsorted(numbers, numbers[-1])) if np.isfinite(numbers[-1]) else 0
                end = int(_ends(part)[n_whole - 1]) if n_whole else 0
                if end or (waiting and numbers[0] > last > -np.inf):
                    yield self._whole(b"".join([*waiting, part[:end]]))
                    waiting, since = [], time.monotonic()
                waiting.append(part[end:])
                last = float(numbers[-1])
            if waiting and self._is_due(since):
                yield self._whole(b"".join(waiting))
                waiting = []
        if waiting:  # the window that is open when the log ends
            yield self._whole(b"".join(waiting))

    def _is_due(self, since: float) -> bool:
        return self.flush_s is not None and time.monotonic() - since >= self.flush_s

    def _whole(self, content: bytes) -> Piece:
        """All of these lines; windows of lines are as long as there are lines."""
        n_lines = _count(content)
        windows = self.windows if self.has_sessions or self.windows.seconds else Windows(Grouping(n_lines, n_lines))
        return Piece(content, windows, n_lines)


def file_blocks(path: Path) -> Iterator[bytes]:
    """The lines of a file in blocks, unpacked."""
    return _readable(blocks(path), f"'{path.name}'")


def pipe_blocks(stream: IO[bytes], flush_s: float | None = None) -> Iterator[bytes]:
    """Whole lines of a pipe: all that is there, waiting only when nothing is.

    flush_s: an empty block is given now and then while nothing comes, so that waiting lines can be looked at
    """
    tick = None if flush_s is None else min(_TICK_S, max(0.02, flush_s / 4))
    return _readable(_lines_or_ticks(stream.fileno(), tick), "standard input")


def _lines_or_ticks(descriptor: int, tick: float | None) -> Iterator[bytes]:
    """Blocks of whole lines, and an empty one for each tick without any."""
    rest = b""
    while True:
        if tick is not None and not select.select([descriptor], [], [], tick)[0]:
            yield b""
            continue
        part = _all_there(descriptor)
        if not part:
            break
        end = part.rfind(b"\n") + 1
        if end:
            yield rest + part[:end]
            rest = part[end:]
        elif len(rest) <= MAX_LINE_BYTES:  # more of such a line is not read
            rest += part
    if rest:
        yield rest


def _all_there(descriptor: int) -> bytes:
    """What can be read at once, waiting for the first byte; empty at the end."""
    gathered = [os.read(descriptor, _READ_BYTES)]
    while gathered[-1] and sum(map(len, gathered)) < BLOCK_BYTES and select.select([descriptor], [], [], 0)[0]:
        gathered.append(os.read(descriptor, _READ_BYTES))
    return b"".join(gathered)


def _readable(parts: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same blocks; a BenchError where they are packed or no UTF-8."""
    first = next((part for part in parts if part), b"")
    _require_text(first, name)
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from parts


def _require_text(part: bytes, name: str) -> None:
    for mark, program in _PACKED.items():
        if part.startswith(mark):
            raise BenchError(f"{name} is packed: unpack it first, as in `{program} FILE | bench score MODEL -`")
    is_wide = part.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if is_wide or part[:10_000].count(b"\0") > _MOST_NUL * len(part[:10_000]):
        raise BenchError(
            f"{name} is no UTF-8 (it is UTF-16, or binary): convert it first, as in "
            "`iconv -f UTF-16 -t UTF-8 FILE | bench score MODEL -`"
        )


def _ends(content: bytes) -> NDArray[np.int64]:
    """int64 (n_lines,): where each line that is whole ends."""
    return np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n")) + 1


def _count(content: bytes) -> int:
    return content.count(b"\n") + (bool(content) and not content.endswith(b"\n"))
