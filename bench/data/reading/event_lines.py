"""Lines of a stream that are events, where a card says that others continue them or are none."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.card import Format
from bench.data.reading.events import event_rows, has_events
from bench.data.reading.lines import decode, text_lines

_KEPT: Final = 1 << 20
"""Events whose lines are remembered."""
_NO_ROWS: Final = np.empty(0, np.int64)


class EventLines:
    """Takes the lines that are no events out of blocks, and knows where each of the latest events stood."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._parts: deque[tuple[int, NDArray[np.int64]]] = deque()
        """For each block how many events there were before it, and the lines of its own."""
        self._n_events = self._n_lines = 0

    def only_events(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks of whole lines, an event being one line; a block without events becomes an empty one."""
        if not has_events(self._form):
            yield from blocks
            return
        for block in blocks:
            lines = text_lines(decode(block)[0])
            rows = event_rows(lines, self._form, starts=not self._n_events) if len(lines) else _NO_ROWS
            self._parts.append((self._n_events, rows + self._n_lines + 1))
            self._n_events += len(rows)
            self._n_lines += len(lines)
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
            starts, stops = np.concatenate([[0], ends]), np.append(ends, len(block))
            yield b"".join(block[starts[row] : stops[row]] for row in rows.tolist())

    def number(self, event: int) -> int:
        """The number of an event's line, from 1; event: from 1, and none of long ago."""
        if not has_events(self._form):
            return event
        while len(self._parts) > 1 and self._parts[1][0] < event - _KEPT:
            self._parts.popleft()
        for before, numbers in reversed(self._parts):
            if before < event:
                return int(numbers[event - before - 1])
        raise IndexError(event)
