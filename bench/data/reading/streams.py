"""Files of any packing as blocks of whole lines: memory stays bounded, whatever the file holds.

Plain, gz, bz2, xz, zst and members of zip files. A block ends with a newline, or with the file. Of a line longer than
`MAX_LINE_BYTES` only the beginning is kept: it stays one line.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

import zstandard

from bench.errors import BenchError

BLOCK_BYTES: Final = 1 << 24
"""Bytes read at a time: large enough that the cost per block vanishes, small enough that several fit anywhere."""
MAX_LINE_BYTES: Final = 1 << 20
"""Longer lines are cut off here."""
PACKINGS: Final = (".gz", ".bz2", ".xz", ".zst", ".zip")
_MARKS: Final = {
    b"\x1f\x8b\x08": ".gz",
    b"BZh91AY&SY": ".bz2",
    b"\xfd7zXZ\x00": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PK\x03\x04": ".zip",
}
"""What packed files begin with."""
_LONGEST_MARK: Final = max(map(len, _MARKS))
"""Endings of packed files that are read here."""

_UNPACKED_AT_ONCE: Final = 1 << 20
_PIECE: Final = 1 << 16
_ZST_PIECE: Final = 1 << 10
"""So much of a zst file unpacks to 32 MiB at most; the library knows no other bound."""
_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    MemoryError,
    struct.error,
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
    with _damage_of(path), _open(path, member) as stream:
        yield stream


def matching(path: Path, pattern: str) -> list[str]:
    """The members of a zip file that match a pattern, in the order of their names."""
    with _damage_of(path), zipfile.ZipFile(path) as archive:
        found = sorted(fnmatch.filter((info.filename for info in archive.infolist() if not info.is_dir()), pattern))
    if not found:
        raise BenchError(f"'{path.name}' holds no file that matches '{pattern}': correct `inside` in the card")
    return found


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


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BenchError(f"'{path.name}' cannot be unpacked ({reason}): it is damaged; fetch it again") from None


def _open(path: Path, member: str) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path))
        case ".bz2":
            return cast(IO[bytes], _Frames(path, bz2.BZ2Decompressor, piece=_PIECE, limit=(_UNPACKED_AT_ONCE,)))
        case ".xz":
            new = lzma.LZMADecompressor
            return cast(IO[bytes], _Frames(path, new, piece=_PIECE, limit=(_UNPACKED_AT_ONCE,), padding=b"\0"))
        case ".zst":
            frame = zstandard.ZstdDecompressor().decompressobj
            return cast(IO[bytes], _Frames(path, frame, piece=_ZST_PIECE, limit=()))
        case ".zip":
            return _zip_member(path, member)
        case _:
            return _plain(path)


def _plain(path: Path) -> IO[bytes]:
    stream = path.open("rb")
    start = stream.peek(_LONGEST_MARK)  # consumes nothing, since a pipe cannot go back
    suffix = next((suffix for mark, suffix in _MARKS.items() if start.startswith(mark)), None)
    if suffix is None:
        return stream
    stream.close()
    raise BenchError(f"'{path.name}' is packed, but its name does not say so: rename it to '{path.name}{suffix}'")


class _Frames:
    """Compressed streams behind each other, unpacked a little at a time; what is no whole stream is an error.

    The standard library ignores what follows a stream and is none, and zstandard takes an early end for the end.
    """

    def __init__(
        self, path: Path, new: Callable[[], Any], *, piece: int, limit: tuple[int, ...], padding: bytes = b""
    ) -> None:
        self._raw = path.open("rb")
        self._new, self._piece, self._limit, self._padding = new, piece, limit, padding
        self._decompressor: Any = None
        self._packed = b""
        self._ready = bytearray()

    def read(self, size: int = -1) -> bytes:
        """Like `read` of a binary file."""
        while (size < 0 or len(self._ready) < size) and self._unpack():
            pass
        size = len(self._ready) if size < 0 else size
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _unpack(self) -> bool:
        """Unpack some more; False at the end of the file."""
        if self._decompressor is None:
            while not (packed := self._packed.lstrip(self._padding)):
                self._packed = self._raw.read(self._piece)
                if not self._packed:
                    return False
            self._decompressor = self._new()
        elif getattr(self._decompressor, "needs_input", True):
            packed = self._raw.read(self._piece)
            if not packed:
                raise EOFError("the file ended before its last stream")
        else:
            packed = b""
        self._ready += self._decompressor.decompress(packed, *self._limit)
        self._packed = b""
        if self._decompressor.eof:
            self._packed, self._decompressor = self._decompressor.unused_data, None
        return True

    def __enter__(self) -> _Frames:
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
                f"'{path.name}' holds {len(members)} files: name the one that is meant as `inside` in the card"
            )
        # The member keeps the archive open until it is closed itself.
        return archive.open(member or members[0])
