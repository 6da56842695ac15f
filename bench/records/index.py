"""Where the line of each run stands, so that one record is found without reading all of them."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._files import put_text
from bench.records.archive import Archive

IN_SEVERAL_LINES: Final = -1
"""Offset of a run that git left in two lines of a file: that file must be read as a whole."""

_VERSION: Final = 1
_RUN_ID: Final = re.compile(rb'\{"run_id":"([^"\\]*)"')


class _Entry(NamedTuple):
    """One file: what it looked like when it was read, and the offset of each run."""

    mtime_ns: int
    size: int
    runs: dict[str, int]


class Index:
    """`{run_id: (file, offset)}` of an archive, kept in `cache/`; a file that changed is looked at again."""

    def __init__(self, archive: Archive, cache: Path) -> None:
        self._archive = archive
        self._path = cache / "index.json"
        self._entries: dict[str, _Entry] | None = None
        self._places: dict[str, tuple[Path, int]] = {}

    def places(self) -> dict[str, tuple[Path, int]]:
        """Of every archived run its file and the byte at which its line begins."""
        if self._entries is None:
            self._entries = self._load()
        known, fresh = self._entries, {}
        for path in self._archive.files():
            state = path.stat()
            entry = known.get(path.name)
            if entry is None or (entry.mtime_ns, entry.size) != (state.st_mtime_ns, state.st_size):
                entry = _Entry(state.st_mtime_ns, state.st_size, _scan(path))
            fresh[path.name] = entry
        if fresh != known:
            self._save(fresh)
            self._archive.forget()
        if fresh != known or not self._places:
            self._entries = fresh
            self._places = {
                run_id: (self._archive.folder / name, offset)
                for name, entry in fresh.items()
                for run_id, offset in entry.runs.items()
            }
        return self._places

    def rebuild(self) -> None:
        """Forget what was kept: a line was not where it should be."""
        self._entries = {}

    def _load(self) -> dict[str, _Entry]:
        """What was kept; nothing where it is damaged."""
        try:
            content: Any = json.loads(self._path.read_text(encoding="utf-8"))
            if content["version"] != _VERSION:
                return {}
            entries = {name: _Entry(*values) for name, values in content["files"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}
        return {name: entry for name, entry in entries.items() if _is_sound(entry)}

    def _save(self, entries: dict[str, _Entry]) -> None:
        text = json.dumps({"version": _VERSION, "files": entries}, separators=(",", ":"))
        with contextlib.suppress(OSError):  # it can be made again, and the folder may be read-only
            put_text(self._path, text)


def _is_sound(entry: _Entry) -> bool:
    return isinstance(entry.runs, dict) and all(isinstance(n, int) for n in entry.runs.values())


def _scan(path: Path) -> dict[str, int]:
    """The offset of each run of a file; a line without a run_id at its start is left to whoever reads the file."""
    runs: dict[str, int] = {}
    offset = 0
    for line in path.read_bytes().splitlines(keepends=True):
        found = _RUN_ID.match(line)
        if found:
            run_id = found[1].decode(errors="replace")
            runs[run_id] = IN_SEVERAL_LINES if run_id in runs else offset
        offset += len(line)
    return runs
