"""SHA-256 of the files of editions: computed once for each state of a file, and remembered across processes.

A file that was packed again has other bytes around the same content: `content_sha256` is the digest of that.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from bench._files import cache_dir
from bench._sealed import State, file_digest, recall, seal
from bench.errors import BenchError

_NOTED_BYTES: Final = 1 << 20
"""The checksum of a larger file is noted on disk: hashing is slower than reading what was prepared from it."""


_OPENERS: Final[dict[bytes, Callable[[IO[bytes]], IO[bytes]]]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),  # type: ignore[dict-item, return-value]
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""How a packed file is opened, by what it begins with."""
_ZIP: Final = b"PK\x03\x04"
_DAMAGE: Final = (OSError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def file_sha256(path: Path, *, again: bool = False) -> str:
    """SHA-256 of a file; OSError where there is none.

    It is hashed where inode, size or times are not those of the last time, or nothing is known; again: in any case.
    """
    return _noted(path, _name(path), lambda: file_digest(path, "sha256", again=again), again=again)


def content_sha256(path: Path, *, again: bool = False) -> str:
    """SHA-256 of what is packed in a file (gz, bz2, xz), of a plain file its own; empty where it is damaged.

    Of a zip file, npz too, it is that of lines `<SHA-256>  <name>` of its files, in the order of their names.
    """
    return _noted(path, f"{_name(path)}-content", lambda: _content_sha256(path), again=again)


def _noted(path: Path, name: str, compute: Callable[[], str], *, again: bool) -> str:
    state = State.of(path)
    note = cache_dir() / "checksums" / f"{name}.json"
    known = recall(note, f"the checksum of {path.name}") if state.size >= _NOTED_BYTES else None
    if known and not again and known["state"] == state.facts and re.fullmatch("[0-9a-f]{64}", known["sha256"]):
        return str(known["sha256"])
    found = compute()
    if State.of(path).facts != state.facts:
        raise BenchError(f"'{path.name}' changed while it was read: run the command again")
    if state.size >= _NOTED_BYTES and state.is_settled:
        with contextlib.suppress(OSError):  # without a note it is hashed again
            seal(note, {"sha256": found, "state": state.facts})
    return found


def _content_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        mark = stream.read(len(_ZIP) + 1)
        stream.seek(0)
        try:
            if mark.startswith(_ZIP):
                return _zip_sha256(path)
            for packing, opened in _OPENERS.items():
                if mark.startswith(packing):
                    return _digest(opened(stream))
            return _digest(stream)
        except _DAMAGE:
            return ""


def _zip_sha256(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        lines = [f"{_digest(archive.open(name))}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(stream: IO[bytes]) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _name(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
