"""Files of any packing as blocks of whole lines: memory stays bounded, whatever the file holds.

Plain, gz, bz2, xz, zst and members of zip files. A block ends with a newline, or with the file. Of a line longer than
`MAX_LINE_BYTES` only the beginning is kept: it stays one line.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import zstandard

from bench.errors import BenchError

BLOCK_BYTES: Final = 1 << 24
"""Bytes read at a time: large enough that the cost per block vanishes, small enough that several fit anywhere."""
MAX_LINE_BYTES: Final = 1 << 20
"""Longer lines are cut off here."""
PACKINGS: Final = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Endings of packed files that are read here."""

_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zstandard.ZstdError,
)


@contextmanager
def unpacked(path: Path, member: str = "") -> Iterator[IO[bytes]]:
    """The content of a file as a stream; what goes wrong in opening or reading it is a BenchError.

    member: which file of a zip is meant; may be empty where it holds one file only
    """
    try:
        with _open(path, member) as stream:
            yield stream
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BenchError(f"'{path.name}' cannot be unpacked ({reason}): it is damaged; fetch it again") from None


def blocks(path: Path, member: str = "", *, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the content in order, in blocks of whole lines of about `size` bytes."""
    with unpacked(path, member) as stream:
        yield from whole_lines(iter(lambda: stream.read(size), b""))


def whole_lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Join and cut parts of a stream anew so that every block ends with a newline, except at the end."""
    carry: list[bytes] = []
    carried = 0
    for part in parts:
        end = part.rfind(b"\n") + 1
        if end:
            yield b"".join([*carry, part[:end]])
            carry, carried = [part[end:]], len(part) - end
        elif carried <= MAX_LINE_BYTES:
            carry.append(part)
            carried += len(part)
    if carried:
        yield b"".join(carry)


def content(path: Path, member: str = "") -> bytes:
    """All of a small file, such as a table of labels."""
    with unpacked(path, member) as stream:
        return stream.read()


def members(path: Path, pattern: str) -> list[str]:
    """The files inside a zip whose names match a pattern with `*`, in the order of their names."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise BenchError(f"'{path.name}' cannot be unpacked ({error}): it is damaged; fetch it again") from None
    found = sorted(fnmatch.filter(names, pattern))
    if not found:
        raise BenchError(f"'{path.name}' holds no file that matches '{pattern}': correct `inside` in the card")
    return found


def _open(path: Path, member: str) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path))
        case ".xz":
            return lzma.open(path)
        case ".zst":
            return cast(IO[bytes], _ZstandardFile(path))
        case ".zip":
            return _zip_member(path, member)
        case _:
            return path.open("rb")


class _ZstandardFile:
    """A zst file; unlike the library's reader it notices a file that ends too early."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self._decompressor: zstandard.ZstdDecompressionObj | None = None
        self._ready = bytearray()

    def read(self, size: int = -1) -> bytes:
        """Like `read` of a binary file."""
        while size < 0 or len(self._ready) < size:
            packed = self._raw.read(1 << 17)
            if not packed:
                if self._decompressor is not None:
                    raise EOFError("the file ended before its last frame")
                break
            self._unpack(packed)
        size = len(self._ready) if size < 0 else size
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _unpack(self, packed: bytes) -> None:
        while packed:
            if self._decompressor is None:
                self._decompressor = zstandard.ZstdDecompressor().decompressobj()
            self._ready += self._decompressor.decompress(packed)
            packed = self._decompressor.unused_data
            if self._decompressor.eof:
                self._decompressor = None
            else:
                break

    def __enter__(self) -> _ZstandardFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._raw.close()


def _zip_member(path: Path, member: str) -> IO[bytes]:
    with zipfile.ZipFile(path) as archive:
        members = [info.filename for info in archive.infolist() if not info.is_dir()]
        if member and member not in members:
            raise BenchError(f"'{path.name}' holds no file '{member}': it holds {', '.join(members[:5])}")
        if not member and len(members) != 1:
            raise BenchError(
                f"'{path.name}' holds {len(members)} files: name the one that is meant as `member` in the card"
            )
        # The member keeps the archive open until it is closed itself.
        return archive.open(member or members[0])
