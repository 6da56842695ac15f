"""SHA-256 of the files of editions: computed once for each state of a file, and remembered across processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Final

from bench._files import cache_dir
from bench._sealed import State, file_digest, recall, seal
from bench.errors import BenchError

_NOTED_BYTES: Final = 1 << 20
"""The checksum of a larger file is noted on disk: hashing is slower than reading what was prepared from it."""


def file_sha256(path: Path, *, again: bool = False) -> str:
    """SHA-256 of a file; OSError where there is none.

    It is hashed where inode, size or times are not those of the last time, or nothing is known; again: in any case.
    """
    state = State.of(path)
    note = cache_dir() / "checksums" / f"{_name(path)}.json"
    known = recall(note, f"the checksum of {path.name}") if state.size >= _NOTED_BYTES else None
    if known and not again and known["state"] == state.facts and re.fullmatch("[0-9a-f]{64}", known["sha256"]):
        return str(known["sha256"])
    found = file_digest(path, "sha256", again=again)
    if State.of(path).facts != state.facts:
        raise BenchError(f"'{path.name}' changed while it was read: run the command again")
    if state.size >= _NOTED_BYTES and state.is_settled:
        with contextlib.suppress(OSError):  # without a note it is hashed again
            seal(note, {"sha256": found, "state": state.facts})
    return found


def _name(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
