"""What a method prints: passed on line by line, cleaned and bounded, so that it spoils no table and no terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from bench.isolation.frames import readable

_PIECE: Final = 2**16
_MAX_PIECES: Final = 16
"""Read at once: one that never stops printing must not keep its reader from looking at the clock."""
_MAX_LINES: Final = 50
_MAX_LINE: Final = 500


class Prints:
    """Reads a pipe; each line is given to `tell`."""

    def __init__(self, output: int) -> None:
        self.tell: Callable[[str], None] = lambda line: None
        self.is_over = False
        """Whether nobody can print any more."""
        self._output = output
        self._rest = b""
        self._n_told = 0

    def begin(self) -> None:
        """A new cell: its lines are counted from none."""
        self.read()
        self._n_told = 0

    def read(self) -> None:
        """Pass on what has come; waits for nothing."""
        for _ in range(_MAX_PIECES):
            if self.is_over or not readable([self._output], 0):
                return
            content = os.read(self._output, _PIECE)
            self.is_over = not content
            if self._n_told > _MAX_LINES:
                self._rest = b""
                continue
            *lines, self._rest = (self._rest + content).split(b"\n")
            self._rest = self._rest[-_PIECE:]
            for line in lines:
                self._pass_on(line)

    def _pass_on(self, line: bytes) -> None:
        if self._n_told > _MAX_LINES:
            return
        self._n_told += 1
        text = line[:_MAX_LINE].decode(errors="backslashreplace")
        clean = "".join(sign if sign.isprintable() else " " for sign in text).rstrip()
        if self._n_told > _MAX_LINES:
            clean = "... what else it prints is left out"
        if clean:
            self.tell(clean)
