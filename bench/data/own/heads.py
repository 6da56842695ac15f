"""The first lines of a log file, and a glance at the rest: its packing, its encoding, how many lines it has."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Final, NamedTuple

from bench.data.reading.lines import decode
from bench.data.reading.streams import PACKINGS, unpacked
from bench.errors import BenchError

HEAD_BYTES: Final = 4_000_000
HEAD_LINES: Final = 2_000
_SAMPLE: Final = 4_096
_BLOCK: Final = 1 << 20
_MAX_GLANCES: Final = 500
_CONTROL_BYTES: Final = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_MAX_CONTROL_SHARE: Final = 0.01
_PACKED: Final = (".7z", ".tar", ".tgz", ".rar", ".lz4", ".lzma", ".z", ".br", ".lzo", ".sz", ".zlib")
_FOREIGN: Final = {
    b"LPKSHHRH": "is the journal of systemd itself: write it with `journalctl -o short-iso-precise` or `-o json`",
    b"__CURSOR=": "is a journal export, whose records take many lines: write it with `journalctl -o json`",
    b"ElfFile\0": "is a Windows event log itself: save it as CSV or text from the event viewer",
    b"7z\xbc\xaf\x27\x1c": "is packed as 7z",
    b"Rar!\x1a\x07": "is packed as rar",
    b"\x04\x22\x4d\x18": "is packed as lz4",
    b"\x1f\x9d": "is packed as Z",
    b"SQLite format 3\0": "is a data base: export its lines as text",
    b"\xd4\xc3\xb2\xa1": "is a capture of packets: write what it says as text",
}
"""What files begin with that hold logs, but not as text."""
_TAR: Final = (257, b"ustar")


class Glance(NamedTuple):
    """A whole file at a glance."""

    n_lines: int
    """As the reader counts them."""
    numbered: list[tuple[int, str]]
    """A line of each MiB, at most 500 of them, in order, and the last one, with their numbers from 1."""

    def behind(self, n_lines: int) -> list[str]:
        """Those that stand behind the first so many lines."""
        return [line for number, line in self.numbered if number > n_lines]


def glance(path: Path) -> Glance:
    """Stream through a log file once."""
    count, last = 0, b"\n"
    found: list[tuple[int, bytes]] = []
    end = b""
    with unpacked(path) as stream:
        while block := stream.read(_BLOCK):
            pieces = block.split(b"\n", 2)
            # What stands before the first line feed may be the rest of a line.
            found += [(count + 2, pieces[1])] if len(pieces) > 2 else []
            count += block.count(b"\n")
            last = block[-1:]
            end = (end + block)[-_BLOCK:]
    n_lines = count + (last != b"\n")
    tail = end.removesuffix(b"\n").rpartition(b"\n")[2]
    kept = [*found[:: max(1, len(found) // _MAX_GLANCES)], (n_lines, tail)]
    texts = [(number, line.decode(errors="replace").rstrip("\r")) for number, line in kept]
    return Glance(n_lines, [(number, text) for number, text in texts if text.strip()])


def count_lines(path: Path) -> int:
    """Lines of a log file as the reader counts them; the file is streamed."""
    return glance(path).n_lines


def head(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """The first lines of a file, at most 2,000 and 4 MB, and what was odd about them."""
    if path.suffix.lower() in _PACKED:
        raise _unread(path, f"is packed in a way that is not read here: unpack it, or pack it as {_KNOWN}")
    with unpacked(path) as stream:
        content = stream.read(HEAD_BYTES)
    _require_text(path, content)
    notes = []
    if len(content) == HEAD_BYTES:
        whole, newline, _ = content.rpartition(b"\n")
        content = whole if newline else content
        if not newline:
            notes.append("The first line is longer than 4 MB and was looked at in part.")
    if n_holes := content.count(b"\0"):
        notes.append(f"{n_holes:,} NUL bytes stand in these lines, as a log has that was emptied while it was written.")
        content = content.replace(b"\0", b"")
    content, replaced = decode(content.removeprefix(codecs.BOM_UTF8))
    if len(replaced):
        notes.append(f"{len(replaced)} of these lines have bytes that are no UTF-8; they are read as U+FFFD.")
    lines = content.decode().removesuffix("\n").split("\n")[:HEAD_LINES]
    if not any(line.strip() for line in lines):
        raise BenchError(
            f"'{path.name}' has no line to look at among its first {HEAD_LINES}: give a log file with text"
        )
    return [line.rstrip("\r") for line in lines], tuple(notes)


_KNOWN: Final = ", ".join(PACKINGS)


def _unread(path: Path, why: str) -> BenchError:
    return BenchError(f"'{path.name}' {why}")


def require_utf8(path: Path) -> None:
    """Refuse a log in UTF-16 or UTF-32; what a zip holds is not looked at, as it may be several files."""
    if path.suffix.lower() == ".zip":
        return
    with unpacked(path) as stream:
        _require_encoding(path, stream.read(_SAMPLE))


def _require_encoding(path: Path, content: bytes) -> None:
    encoding = _encoding(content)
    if encoding is not None:
        raise _unread(path, f"is text in {encoding}, not in UTF-8: convert it, as by `iconv -f {encoding} -t UTF-8`")


def _require_text(path: Path, content: bytes) -> None:
    """Refuse what is no text in UTF-8 with lines, and say what it seems to be."""
    for mark, what in _FOREIGN.items():
        if content.startswith(mark):
            raise _unread(path, what if ":" in what else f"{what}: unpack it, or pack it as {_KNOWN}")
    if content[_TAR[0] :].startswith(_TAR[1]):
        raise _unread(path, "is an archive (tar) of files: unpack it, and give one log file")
    _require_encoding(path, content)
    text = content.replace(b"\0", b"") if _has_holes(content) else content
    n_control = len(text) - len(text.translate(None, _CONTROL_BYTES))
    if n_control > _MAX_CONTROL_SHARE * len(text):
        raise _unread(path, "is no text in UTF-8 (it has control bytes): convert it to UTF-8")
    n_returns = text.count(b"\r")
    if n_returns > 1 and b"\n" not in text:
        raise _unread(
            path,
            f"has {n_returns:,} carriage returns and no line feed, so it is one line: write it anew, as "
            "by `tr '\\r' '\\n'`",
        )


def _encoding(content: bytes) -> str | None:
    """The encoding of UTF-16 or UTF-32, by its mark or by the NUL bytes between its letters; None for others."""
    marks = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16"}
    for mark, name in (marks | {codecs.BOM_UTF16_BE: "UTF-16"}).items():
        if content.startswith(mark):
            return name
    sample = content[:_SAMPLE]
    for start, name in ((0, "UTF-16BE"), (1, "UTF-16LE")):
        if (
            len(sample) > 1
            and sample[start::2].count(0) > 0.8 * len(sample[start::2])
            and sample[1 - start :: 2].count(0) == 0
        ):
            return name
    return None


def _has_holes(content: bytes) -> bool:
    """Whether NUL bytes stand in few long runs, as where a log was emptied while a program wrote on."""
    n_runs = len(re.findall(rb"\0+", content))
    return 0 < n_runs <= max(1.0, _MAX_CONTROL_SHARE * (len(content) - content.count(b"\0")))
