"""Named members of a zip or tar.gz archive, each written to a path that the caller chose, and nothing else.

No path is ever taken from an archive; links and devices are refused, and so is a member above its declared limit.
"""

from __future__ import annotations

import hashlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Final, Self

from bench.data.fetching.http import CHUNK_BYTES, Report, no_room
from bench.errors import BenchError

_HEADERS: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_MEMBERS: Final = 1_000_000
_MAX_HEADER_BYTES: Final = 1 << 20
"""Of a header that holds a long name or further fields of the member behind it."""

_DAMAGE: Final = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Wanted:
    """Where a member goes, and its limit in bytes."""

    path: Path
    max_bytes: int


@dataclass(frozen=True)
class Unpacked:
    """A member under its temporary name."""

    temporary: Path
    sha256: str
    size: int
    """Bytes."""


def unpack(archive: Path, wanted: Mapping[str, Wanted], report: Report) -> dict[str, Unpacked]:
    """Write the wanted members to `<path>.unpacking`; when one cannot be had, none of them is left."""
    done: dict[str, Unpacked] = {}
    try:
        _unpack(archive, wanted, report, done)
        if missing := [name for name in wanted if name not in done]:
            raise BenchError(
                f"'{archive.name}' holds no '{missing[0]}': look what it is called there and correct the card"
            )
    except BaseException as error:
        for target in wanted.values():
            _temporary(target).unlink(missing_ok=True)
        if isinstance(error, _DAMAGE):
            reason = str(error) or type(error).__name__
            raise BenchError(
                f"'{archive.name}' cannot be unpacked ({reason}): delete {archive} and fetch it again"
            ) from None
        raise
    return done


def _unpack(archive: Path, wanted: Mapping[str, Wanted], report: Report, done: dict[str, Unpacked]) -> None:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                name = _plain(info.filename)
                if name in wanted:
                    _require_file(archive, name, is_file=_is_file(info), is_first=name not in done)
                    _require_size(archive, name, info.file_size, wanted[name])
                    with opened.open(info) as stream:
                        done[name] = _write(archive, name, stream, wanted[name], report=report, total=info.file_size)
        return
    with tarfile.open(archive, "r|gz", tarinfo=_bounded(archive)) as stream_of_members:
        for member in stream_of_members:
            name = _plain(member.name)
            if name in wanted:
                _require_file(archive, name, is_file=member.isreg(), is_first=name not in done)
                _require_size(archive, name, member.size, wanted[name])
                content = stream_of_members.extractfile(member)
                assert content is not None  # it is a regular file
                done[name] = _write(archive, name, content, wanted[name], report=report, total=member.size)
            if len(done) == len(wanted):
                return


def _bounded(archive: Path) -> type[tarfile.TarInfo]:
    """Members whose headers are read within limits: endless names, or members, would fill the memory."""

    class Bounded(tarfile.TarInfo):
        n_members = 0

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            made = super().frombuf(buf, encoding, errors)
            cls.n_members += 1
            if cls.n_members > _MAX_MEMBERS:
                raise BenchError(f"'{archive.name}' holds more than {_MAX_MEMBERS:,} members: refused")
            if made.type in _HEADERS and made.size > _MAX_HEADER_BYTES:
                raise BenchError(
                    f"'{archive.name}' holds a header of {made.size:,} bytes, at most {_MAX_HEADER_BYTES:,} are read: "
                    "refused"
                )
            return made

    return Bounded


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _is_file(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return not info.is_dir() and kind in (0, stat.S_IFREG)


def _require_file(archive: Path, name: str, *, is_file: bool, is_first: bool) -> None:
    if not is_file:
        raise BenchError(f"'{name}' of '{archive.name}' is no plain file: refused, links and devices are not unpacked")
    if not is_first:
        raise BenchError(f"'{archive.name}' holds '{name}' twice: refused, it is unclear which is meant")


def _require_size(archive: Path, name: str, size: int, target: Wanted) -> None:
    if size > target.max_bytes:
        raise BenchError(
            f"'{name}' of '{archive.name}' unpacks to {size:,} bytes or more, the card allows {target.max_bytes:,}: "
            "refused; raise max_bytes in the card if it is right"
        )


def _write(archive: Path, name: str, source: IO[bytes], target: Wanted, *, report: Report, total: int) -> Unpacked:
    digest, size, temporary = hashlib.sha256(), 0, _temporary(target)
    try:
        # Unbuffered: closing a buffer that could not be written would raise once more.
        stream = temporary.open("wb", buffering=0)
    except OSError as error:
        raise no_room(target.path, error) from None
    with stream:
        while chunk := source.read(CHUNK_BYTES):
            size += len(chunk)
            _require_size(archive, name, size, target)
            digest.update(chunk)
            try:
                _write_all(stream, chunk)
            except OSError as error:
                raise no_room(target.path, error) from None
            report(f"unpack {name}", size, total)
    return Unpacked(temporary, digest.hexdigest(), size)


def _write_all(stream: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[stream.write(rest) :]


def _temporary(target: Wanted) -> Path:
    return target.path.with_name(f"{target.path.name}.unpacking")
