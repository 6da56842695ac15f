"""A small file that a process writes anew while it lives, for `bench results status` and for other machines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench._files import temporary_beside
from bench._plain import jsonable

TICK_S: Final = 1.0
"""How often what is told is written, at most."""


class Pulse:
    """What a process tells of itself; told from any thread, written by one."""

    def __init__(self, path: Path, beat_s: float) -> None:
        self.path = path
        self.is_told = False
        """Whether anything was ever told."""
        self._beat_s = beat_s
        self._began = time.monotonic()
        self._content: Mapping[str, Any] = {}
        self._beat = 0
        self._written_at = float("-inf")
        self._written: Mapping[str, Any] | None = None

    def tell(self, content: Mapping[str, Any]) -> None:
        """Say what the file is to hold; it is written with the next tick."""
        self._content, self.is_told = jsonable(content), True

    def write_if_due(self) -> None:
        """Write the file where there is something new, or time for a beat; an OSError passes through."""
        now, content = time.monotonic(), self._content
        if content is self._written and now - self._written_at < self._beat_s:
            return
        self._beat += 1
        elapsed_s = round(now - self._began, 1)
        text = json.dumps({**content, "beat": self._beat, "elapsed_s": elapsed_s})
        temporary = temporary_beside(self.path)
        try:
            temporary.write_text(text)  # not synced: after a power cut nobody lives who could have written it
            temporary.replace(self.path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._written, self._written_at = content, now
