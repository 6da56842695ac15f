"""Raw log lines -> a log's columns, block by block, so that memory does not grow with the file.

A line is cut into label, time and message by polars' regular expressions; the label is removed first, so that no
header, mask, parser or encoder can see it. What matches a mask becomes `<*>`, and only the distinct masked messages are
kept, with an index per line. Blocks are independent of each other but for the numbering of messages and sessions, so
they are worked on in as many threads as polars has, and numbered in their order.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading import streams
from bench.data.reading.builder import Block, BlockSessions, EventPlaces, Gathering, has_time
from bench.data.reading.events import event_rows, event_texts, events_of, has_events, values_in_events
from bench.data.reading.header import cut, has_plain_spaces, without_label
from bench.data.reading.label_rows import session_id
from bench.data.reading.log import WILDCARD, Defect, DefectKind
from bench.detector import report_progress
from bench.errors import BenchError
from bench.types import ABNORMAL

_Read = TypeVar("_Read")

_REPORT_EVERY: Final = 4
"""Blocks between two reports of progress."""


class Source(NamedTuple):
    """A file of lines: its name, and its content in blocks of whole lines."""

    name: str
    blocks: Iterator[bytes]


class LineValues(NamedTuple):
    """What stands behind the `<*>` of some lines."""

    values: NDArray[np.float64]
    """(n_values,) line by line; NaN where it is no number."""
    lengths: NDArray[np.int64]
    """(n_lines,) values of each line."""


class LineWords(NamedTuple):
    """The same as text."""

    texts: pl.Series
    """(n_values,) line by line"""
    lengths: NDArray[np.int64]
    """(n_lines,) texts of each line."""


class _Piece(NamedTuple):
    """Lines of one file; without any where a file begins."""

    file: str
    content: bytes
    starts: bool = False
    """Whether nothing of the file was read before."""


def files(card: Card, catalogue: Catalogue) -> Iterator[Source]:
    """The log files of an edition in the order of its card, those inside a zip in the order of their names."""
    for file in card.files_of("log"):
        path = catalogue.path(file)
        if "*" not in file.inside:
            yield Source("/".join(filter(None, (file.name, file.inside))), streams.blocks(path, file.inside))
            continue
        for member in streams.matching(path, file.inside):
            yield Source(f"{file.name}/{member}", streams.blocks(path, member))


def read_lines(card: Card, sources: Iterable[Source], gathering: Gathering) -> None:
    """Read all sources in their order."""
    for i, block in enumerate(_in_order(partial(_read_block, card), _pieces(sources, card))):
        gathering.add(block)
        if i % _REPORT_EVERY == 0:
            report_progress(f"reading {card.key}", gathering.n_lines, card.counts.get("lines", 0))


def values_behind_masks(card: Card, sources: Iterable[Source]) -> Iterator[LineValues]:
    """The numbers behind the `<*>` of all lines in their order, block by block."""
    return _in_order(partial(_values_of_block, card), _pieces(sources, card))


def words_behind_masks(card: Card, sources: Iterable[Source]) -> Iterator[LineWords]:
    """What stands behind the `<*>` of all lines in their order, block by block."""
    return _in_order(partial(_words_of_block, card), _pieces(sources, card))


def lines_without_label(card: Card, sources: Iterable[Source]) -> Iterator[pl.Series]:
    """All lines as they were written, their labels cut off, in their order, block by block."""
    return _in_order(partial(_raw_of_block, card), _pieces(sources, card))


def _pieces(sources: Iterable[Source], card: Card) -> Iterator[_Piece]:
    """The blocks of all files, of a slice only its lines; each file begins with an empty one."""
    first, stop = card.lines or (0, 0)
    passed = 0
    for name, blocks in sources:
        yield _Piece(name, b"")
        starts = True
        for content in _without_mark(blocks):
            if card.lines is None:
                yield _Piece(name, content, starts)
                starts = False
                continue
            n_lines = content.count(b"\n") + (not content.endswith(b"\n"))
            if passed + n_lines > first:
                yield _Piece(name, _lines_of(content, max(0, first - passed), stop - passed), starts)
                starts = False
            passed += n_lines
            if passed >= stop:
                return
    if card.lines is not None:
        raise BenchError(f"'{card.key}' ends at line {passed}, there are no lines up to {stop}: choose a smaller slice")


def _without_mark(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks of a file without the byte order mark that some programs begin it with."""
    first = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
    if first:
        yield first
    yield from blocks


def _lines_of(content: bytes, start: int, stop: int) -> bytes:
    """Lines start to stop - 1 of a block."""
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n")) + 1
    begin = int(ends[start - 1]) if start else 0
    return content[begin : int(ends[stop - 1])] if stop <= len(ends) else content[begin:]


def _in_order(read: Callable[[_Piece], _Read], pieces: Iterator[_Piece]) -> Iterator[_Read]:
    """Read pieces in polars' number of threads, a few ahead, and yield them in their order."""
    n_threads = pl.thread_pool_size()
    if n_threads == 1:
        yield from map(read, pieces)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        ahead: deque[Future[_Read]] = deque()
        for piece in pieces:
            ahead.append(pool.submit(read, piece))
            if len(ahead) > n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read_block(card: Card, piece: _Piece) -> Block:
    if not piece.content:
        return Block.start_of_file()
    content, long = cut_long(piece.content)
    utf8, replaced = decode(content)
    defects: list[tuple[DefectKind, NDArray[np.int64]]] = [("replaced", replaced), ("cut", long)]
    lines = text_lines(utf8)
    if b"\0" in utf8:
        defects.append(("nul", np.flatnonzero(lines["line"].str.contains("\0", literal=True).to_numpy())))
    with _patterns_of(card):
        places = _places(card, lines, piece)
        lines = lines if places is None else lines[places.rows]
        table, masked = _cut_and_mask(card, lines, plain_spaces=has_plain_spaces(utf8))
        sessions = _sessions(card, piece.file, table["message"]) if card.format.session else None
    headerless, times = table["headerless"].to_numpy(), table["time"].to_numpy()
    misread: list[tuple[DefectKind, NDArray[np.int64]]] = [("headerless", np.flatnonzero(headerless))]
    if has_time(card):
        misread.append(("timeless", np.flatnonzero(np.isnan(times) & ~headerless)))
    defects += misread if places is None else [(kind, places.rows[where]) for kind, where in misread]
    ids, messages = _factorise(masked)
    return Block(
        message_ids=ids,
        messages=messages,
        labels=table["label"].to_numpy(),
        times=times,
        defects=[Defect(kind, len(where), int(where[0])) for kind, where in defects if len(where)],
        alerts=_alerts(card, lines, table["label"]),
        sessions=sessions,
        places=places,
    )


def _places(card: Card, lines: pl.DataFrame, piece: _Piece) -> EventPlaces | None:
    if not has_events(card.format):
        return None
    found = events_of(lines, card.format, starts=piece.starts)
    return EventPlaces(found.rows, len(lines), found.n_skipped)


def _event_lines(card: Card, utf8: bytes, piece: _Piece) -> pl.DataFrame:
    """One row per event, in the column `line`."""
    lines = text_lines(utf8)
    return lines[event_rows(lines, card.format, starts=piece.starts)] if has_events(card.format) else lines


def _values_of_block(card: Card, piece: _Piece) -> LineValues:
    texts, lengths = _words_of_block(card, piece)
    return LineValues(numbers(texts), lengths)


def _words_of_block(card: Card, piece: _Piece) -> LineWords:
    utf8, _ = decode(cut_long(piece.content)[0])
    if not utf8:
        return LineWords(pl.Series(dtype=pl.String), np.empty(0, np.int64))
    # A message that holds the wildcard itself has one more place in its masked text, with no number behind it.
    pattern = "|".join([*(f"(?:{mask})" for mask in card.parser.masks), re.escape(WILDCARD)])
    with _patterns_of(card):
        lines = _event_lines(card, utf8, piece)
        messages = cut(lines, card.format, plain_spaces=has_plain_spaces(utf8))["message"]
        found = values_in_events(lines, card.format, messages, pattern)
    lengths = found.list.len().to_numpy().astype(np.int64)
    return LineWords(found.filter(lengths > 0).explode(), lengths)


def _raw_of_block(card: Card, piece: _Piece) -> pl.Series:
    utf8, _ = decode(cut_long(piece.content)[0])
    if not utf8:
        return pl.Series(dtype=pl.String)
    with _patterns_of(card):
        lines = _event_lines(card, utf8, piece).with_columns(pl.col("line").str.strip_chars_end("\r"))
    return lines.select(without_label(card.format)).to_series().rename("")


def numbers(texts: pl.Series) -> NDArray[np.float64]:
    """Decimal numbers, with sign, point and exponent where there are any; NaN for every other text."""
    values = texts.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _cut_and_mask(card: Card, lines: pl.DataFrame, *, plain_spaces: bool) -> tuple[pl.DataFrame, pl.Series]:
    masks = "|".join(f"(?:{mask})" for mask in card.parser.masks)
    table = cut(lines, card.format, plain_spaces=plain_spaces)
    masked = table["message"].str.replace_all(masks, WILDCARD) if masks else table["message"]
    return table, event_texts(lines, card.format, masked)


@contextmanager
def _patterns_of(card: Card) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        # Python accepts patterns that polars' linear-time engine refuses.
        text = str(error).splitlines()
        reason = next((line for line in text if line.startswith("error: ")), text[0])
        raise BenchError(f"the card '{card.key}' has a pattern that cannot be used ({reason}): rewrite it") from None


def decode(content: bytes) -> tuple[bytes, NDArray[np.int64]]:
    """Content that is valid UTF-8, and which lines had to be repaired for it."""
    if content.isascii():
        return content, np.empty(0, np.int64)
    try:
        content.decode()
    except UnicodeDecodeError:
        lines = content.split(b"\n")
        repaired = [line.decode(errors="replace").encode() for line in lines]
        changed = [old != new for old, new in zip(lines, repaired, strict=True)]
        return b"\n".join(repaired), np.flatnonzero(changed)
    return content, np.empty(0, np.int64)


def cut_long(content: bytes) -> tuple[bytes, NDArray[np.int64]]:
    """Content whose lines are cut off at `MAX_LINE_BYTES`, and which lines these are; no character is cut through."""
    limit = streams.MAX_LINE_BYTES
    kept: list[bytes] = []
    numbers: list[int] = []
    position = copied = 0
    while len(content) - position > limit:
        if (newline := content.rfind(b"\n", position, position + limit + 1)) >= 0:
            position = newline + 1
            continue
        end = content.find(b"\n", position)
        end = len(content) if end < 0 else end
        numbers.append(content.count(b"\n", 0, position))
        kept.append(content[copied : position + _whole_characters(content[position : position + limit + 1])])
        position = copied = end
    return b"".join([*kept, content[copied:]]) if kept else content, np.array(numbers, np.int64)


def _whole_characters(line: bytes) -> int:
    """How many bytes to keep of a line that is one byte too long, so that no UTF-8 character is cut through."""
    for n in range(len(line) - 1, max(0, len(line) - 5), -1):
        if line[n] & 0xC0 != 0x80:
            return n
    return len(line) - 1


def text_lines(utf8: bytes) -> pl.DataFrame:
    """One row per line, in the column `line`."""
    # Polars takes a text that begins with `x^` for zlib's; an empty line in front of it prevents that.
    if utf8.startswith(b"x"):
        return pl.read_lines(io.BytesIO(b"\n" + utf8), name="line").slice(1)
    return pl.read_lines(io.BytesIO(utf8), name="line")


def _factorise(values: pl.Series) -> tuple[NDArray[np.int32], list[str]]:
    """Index per row and the distinct values in order of first occurrence."""
    distinct = values.unique(maintain_order=True)
    table = pl.DataFrame({"value": distinct, "id": np.arange(len(distinct), dtype=np.int32)})
    ids = values.to_frame("value").join(table, on="value", how="left", maintain_order="left")["id"]
    return ids.to_numpy(), distinct.to_list()


def _alerts(card: Card, lines: pl.DataFrame, label: pl.Series) -> list[tuple[str, int]]:
    """The first tokens that mean abnormal, with their number of lines."""
    if card.format.label != "first-token":
        return []
    tokens = lines["line"].filter(label == ABNORMAL).str.extract(r"^(\S*)", 1)
    return tokens.value_counts().rows()


def _sessions(card: Card, name: str, messages: pl.Series) -> BlockSessions | None:
    """A line belongs to every session whose id it names, once; a line that names none to no session."""
    number = np.arange(len(messages), dtype=np.int64)
    if card.format.session_from == "file":
        found = re.search(card.format.session, name)
        return BlockSessions(number, np.zeros(len(number), np.int32), [session_id(found)]) if found else None
    ids = session_ids(card.format.session).list.unique(maintain_order=True)
    table = pl.DataFrame({"line": number, "message": messages}).select("line", ids)
    pairs = table.explode("message").drop_nulls()
    if pairs.is_empty():
        return None
    codes, names = _factorise(pairs["message"])
    return BlockSessions(pairs["line"].to_numpy(), codes, names)


def session_ids(pattern: str) -> pl.Expr:
    """All ids that the pattern finds in `message`, as a list."""
    found = pl.col("message").str.extract_all(pattern)
    group = re.compile(pattern).groupindex.get("session")
    return found if group is None else found.list.eval(pl.element().str.extract(pattern, group))
