"""Files that come out of a downloaded archive: what their card declares, and the note that is kept beside each.

Only the checksum of the archive is published. So `<file>.fetched.json` keeps the SHA-256 that was computed once while
the file was unpacked from the verified archive, with what it looked like then: a 30 GB file is not hashed at each run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from bench._files import put_text
from bench._sealed import State
from bench.data.cards.checksums import file_sha256
from bench.errors import BenchError

ARCHIVES: Final = (".zip", ".tar.gz", ".tgz")
_ALGORITHMS: Final = {"md5": 32, "sha256": 64}
"""Hex digits of each checksum."""


@dataclass(frozen=True)
class Download:
    """Where the archive of an edition is, and what it must be."""

    url: str
    md5: str = ""
    sha256: str = ""
    """One of the two, as published. MD5 finds damage; it does not resist a forger."""
    bytes: int = 0
    """Exact size of the archive; 0 where it is not published."""

    @property
    def checksum(self) -> str:
        """`sha256:...` or `md5:...`: the identity of the archive."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}"

    @property
    def file_name(self) -> str:
        """`BGL.zip`."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


@dataclass(frozen=True)
class Note:
    """What is known of a fetched file."""

    sha256: str
    size: int
    """Bytes."""
    archive: str
    """Checksum of the archive it came from, such as `md5:...`."""
    member: str
    state: list[int] = dataclasses.field(default_factory=list)
    """What it looked like (`State.facts`)."""


def note_path(path: Path) -> Path:
    """`BGL.log` -> `BGL.log.fetched.json`."""
    return path.with_name(f"{path.name}.fetched.json")


def write_note(path: Path, note: Note) -> None:
    """Keep the note beside the file; it appears whole or not at all."""
    target = note_path(path)
    put_text(target, json.dumps(dataclasses.asdict(note), indent=1) + "\n")


def read_note(path: Path) -> Note | None:
    """The note of a fetched file; None where there is none that can be read."""
    try:
        values = json.loads(note_path(path).read_text(encoding="utf-8"))
        values.pop("mtime_ns", None)  # all that an earlier version knew of the state, which does not suffice
        note = Note(**values)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    is_sound = isinstance(note.size, int) and isinstance(note.sha256, str)
    return note if is_sound else None


def require_intact(path: Path, name: str, archive: str, member: str, *, thorough: bool = False) -> Note:
    """The note of a file that is what was unpacked from this archive; anything else is a BenchError.

    It is trusted while inode, size and times are those of the note; after a copy, or when `thorough`, it is hashed.
    """
    way_out = "run `bench data fetch` for it again"
    note = read_note(path)
    if note is None:
        raise BenchError(f"'{name}' has no readable note {note_path(path).name} of where it came from: {way_out}")
    if (note.archive, note.member) != (archive, member):
        raise BenchError(
            f"'{name}' was fetched as {note.member} of the archive {note.archive}, the card says {member} of "
            f"{archive}: {way_out}"
        )
    state = State.of(path)
    if state.size != note.size:
        raise BenchError(f"'{name}' has {state.size} bytes, {note.size} were fetched: {way_out}")
    if not thorough and state.facts == note.state:
        return note
    found = file_sha256(path, again=thorough)
    if found != note.sha256:
        raise BenchError(
            f"'{name}' has the wrong checksum (SHA-256 {found[:12]}..., {note.sha256[:12]}... was fetched): {way_out}"
        )
    if state.facts != note.state:
        note = dataclasses.replace(note, state=state.facts)
        with contextlib.suppress(OSError):  # of a data folder that is read-only the cache keeps a note
            write_note(path, note)
    return note


def check_download(path: Path, download: Download) -> None:
    """Refuse a `[download]` that cannot be used; `path` is the card."""
    parts = urlsplit(download.url) if isinstance(download.url, str) else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BenchError(f"the card {path} has the download url = '{download.url}': write one of http or https")
    if not download.file_name.endswith(ARCHIVES):
        raise BenchError(f"the card {path} downloads '{download.url}': only {', '.join(ARCHIVES)} can be unpacked")
    given = [name for name in _ALGORITHMS if getattr(download, name)]
    if len(given) != 1:
        raise BenchError(f"the card {path} has a download with {len(given)} checksums: give one of md5 and sha256")
    value, digits = getattr(download, given[0]), _ALGORITHMS[given[0]]
    if not isinstance(value, str) or re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is None:
        raise BenchError(f"the card {path} has {given[0]} = '{value}': write {digits} hex digits in lower case")
    if not isinstance(download.bytes, int) or download.bytes < 0:
        raise BenchError(
            f"the card {path} has bytes = {download.bytes!r}: write the size of the archive, or leave it out"
        )


def check_name(path: Path, name: str) -> None:
    """Refuse a file that could lie outside the data folder; `path` is the card."""
    where = PurePosixPath(name)
    if where.is_absolute() or ".." in where.parts or "\\" in name or ":" in name or not where.name:
        raise BenchError(f"the card {path} has a file at '{name}': write a name inside the data folder")


def check_member(path: Path, name: str, member: str, max_bytes: int) -> None:
    """Refuse a file of an archive that has no limit; `path` is the card."""
    if not isinstance(member, str) or not member:
        raise BenchError(f"the card {path} has no member for '{name}': write its name inside the archive")
    if not isinstance(max_bytes, int) or max_bytes <= 0:
        raise BenchError(f"the card {path} has no max_bytes for '{name}': write how large it may be, in bytes")
