"""Making a file by the steps that its card declares: bytes in, bytes out, every step a few lines.

Text is cut into rows at line feeds alone and is never decoded but for the fields of a CSV, so that bytes which are no
UTF-8 come through as they were.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from bench.data.cards.origin import Step
from bench.errors import BenchError

MAX_BYTES: Final = 1 << 30
"""What a step may make at most; larger files are described in words."""
_GZIP_LEVEL: Final = 9
_ASIS: Final = "surrogateescape"
_OPENERS: Final[dict[str, Callable[[Any], Any]]] = {
    "gz": lambda stream: gzip.GzipFile(fileobj=stream),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_DAMAGE: Final = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    IndexError,
    csv.Error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def follow(content: bytes, steps: Iterable[Step], name: str) -> bytes:
    """What the steps make of the content; a step that cannot be done is a BenchError that names it and the file."""
    for number, step in enumerate(steps, 1):
        try:
            content = _DO[step.name](content, step)
        except _DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BenchError(
                f"step {number} ({step.name}) of the recipe of '{name}' cannot be done ({reason}): correct its card"
            ) from None
    return content


def _unpack(content: bytes, step: Step) -> bytes:
    with _OPENERS[str(step.value)](io.BytesIO(content)) as stream:
        return _bounded(stream)


def _member(content: bytes, step: Step) -> bytes:
    name = str(step.value)
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(name) as stream:
            return _bounded(stream)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = tar.getmember(name)
        opened = tar.extractfile(found) if found.isreg() else None
        if opened is None:
            raise ValueError(f"{name} is no plain file")
        return _bounded(opened)


def _bounded(stream: Any) -> bytes:
    made: bytes = stream.read(MAX_BYTES + 1)
    if len(made) > MAX_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes")
    return made


def _columns(content: bytes, step: Step) -> bytes:
    """Columns of a CSV whose first row names them; no field may hold a line break."""
    assert isinstance(step.value, tuple)
    rows = csv.reader(io.StringIO(content.decode("utf-8", errors=_ASIS), newline=""))
    header = next(rows, [])
    if missing := [column for column in step.value if column not in header]:
        raise ValueError(f"there is no column {missing[0]}")
    places = [header.index(str(column)) for column in step.value]
    texts = [step.join.join(row[place] for place in places) for row in rows]
    if broken := next((i for i, text in enumerate(texts, 1) if "\n" in text), 0):
        raise ValueError(f"row {broken} holds a line break")
    return "".join(f"{text}\n" for text in texts).encode("utf-8", errors=_ASIS)


def _rows(content: bytes, step: Step) -> bytes:
    first, stop = step.value if isinstance(step.value, tuple) else (0, step.value)
    rows = _lines(content)
    if len(rows) < int(stop):
        raise ValueError(f"there are {len(rows)} rows")
    return b"".join(rows[int(first) : int(stop)])


def _after(content: bytes, step: Step) -> bytes:
    mark, rows = str(step.value).encode(), _lines(content)
    if without := next((i for i, row in enumerate(rows, 1) if mark not in row), 0):
        raise ValueError(f"row {without} has no such text")
    return b"".join(row.partition(mark)[2] for row in rows)


def _sort(content: bytes, step: Step) -> bytes:
    """Stable, so that equal numbers keep their order."""
    place = int(str(step.value)) - 1

    def field(row: bytes) -> int:
        return int(row.split(b" ")[place])

    rows: list[bytes] = sorted(_lines(content), key=field)
    return b"".join(rows)


def _number(content: bytes, step: Step) -> bytes:
    assert isinstance(step.value, tuple)
    made = io.StringIO()
    table = csv.writer(made, lineterminator="\n")
    table.writerow(step.value)
    texts = [row.decode("utf-8", errors=_ASIS).removesuffix("\n") for row in _lines(content)]
    table.writerows(enumerate(texts, 1))
    return made.getvalue().encode("utf-8", errors=_ASIS)


def _line_ends(content: bytes, step: Step) -> bytes:
    return content.replace(b"\r\n", b"\n")


def _final_newline(content: bytes, step: Step) -> bytes:
    return content.removesuffix(b"\n") + (b"\n" if step.value else b"")


def _gzip(content: bytes, step: Step) -> bytes:
    made = io.BytesIO()
    with gzip.GzipFile(str(step.value), "wb", _GZIP_LEVEL, made, mtime=0) as stream:
        stream.write(content)
    return made.getvalue()


def _lines(content: bytes) -> list[bytes]:
    """Rows with their line feeds; the last one may lack it."""
    rows = content.split(b"\n")
    return [row + b"\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])


_DO: Final[dict[str, Callable[[bytes, Step], bytes]]] = {
    "unpack": _unpack,
    "member": _member,
    "columns": _columns,
    "rows": _rows,
    "after": _after,
    "sort": _sort,
    "number": _number,
    "line_ends": _line_ends,
    "final_newline": _final_newline,
    "gzip": _gzip,
}
