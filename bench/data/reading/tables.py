"""Small tables of text as people write them: any usual separator and encoding, remarks, and titles above the names."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

SEPARATORS: Final = (",", ";", "\t", "|", "=", ":", " ")
"""In the order in which they are tried."""
REMARK: Final = re.compile(r"\s*(?:#(?:[\s#!-]|$)|//|sep=.\s*$)")
"""A line that says something to people or to a spreadsheet; `#12` is none, it may be an id."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAX_ABOVE: Final = 50
"""Lines that are searched for the names of columns."""
_NUL_SHARE: Final = 0.25
_RULE: Final = re.compile("[+:]?(?:-{2,}|={2,})[+:]?|")
"""A cell of the line below the names of a table in Markdown and the like."""


class Misread(ValueError):
    """Why a table cannot be read, with its line; begins behind the name of the file."""


class Text(NamedTuple):
    """What a file holds, as text."""

    text: str
    n_replaced: int
    """Lines with bytes that are not of its encoding; they are read as U+FFFD."""


class Row(NamedTuple):
    """Cells without the white space and quotes around them."""

    line: int
    """From 1; of a row that goes over several lines the last."""
    cells: list[str]


class Head(NamedTuple):
    """The row that names the columns."""

    line: int
    separator: str
    names: list[str]


def decoded(content: bytes) -> Text:
    """Text in the encoding that its first bytes tell: UTF-8, or UTF-16 and UTF-32 with a mark, UTF-16 also without."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), _encoding_by_nuls(content))
    text = content.decode(encoding, errors="replace")
    n_replaced = 0
    if "\N{REPLACEMENT CHARACTER}" in text:
        n_replaced = sum("\N{REPLACEMENT CHARACTER}" in line for line in lines_of(text))
    return Text(text, n_replaced)


def _encoding_by_nuls(content: bytes) -> str:
    """Latin letters in UTF-16 have a NUL in every second byte."""
    nuls = content.count(0)
    if nuls < _NUL_SHARE * len(content) or not nuls:
        return "utf-8"
    return "utf-16-be" if content[::2].count(0) > content[1::2].count(0) else "utf-16-le"


def lines_of(text: str) -> list[str]:
    """Its lines, however they end; the last may be empty."""
    return re.split("\r\n|\n|\r", text)


def rows(text: str, separator: str) -> Iterator[Row]:
    """The rows of a table in order, without remarks, blank lines and rules; `Misread` where quotes do not fit."""
    lines = ("\n" if REMARK.match(line) else _blanks_cut(line, separator) for line in io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for found in reader:
            cells = [_bare(cell) for cell in found]
            if any(cells) and not all(map(_RULE.fullmatch, cells)):
                yield Row(reader.line_num, cells)
    except csv.Error as error:
        raise Misread(f"cannot be read at line {reader.line_num} ({error})") from None


def head_with(text: str, names: Collection[str]) -> Head | None:
    """The first row that names all these columns, by whichever separator; it may be a remark."""
    for number, line in enumerate(lines_of(text)[:_MAX_ABOVE], 1):
        for candidate in dict.fromkeys((line.strip(), line.strip().lstrip("#").strip())):
            for separator in SEPARATORS:
                cells = cells_of(candidate, separator)
                if set(names) <= set(cells):
                    return Head(number, separator, cells)
    return None


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of one line; one cell where its quotes do not fit."""
    try:
        found = next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True), [])
    except csv.Error:
        return [line.strip()]
    return [_bare(cell) for cell in found]


def rows_below(text: str, head: Head) -> Iterator[Row]:
    """The rows below the names; one that has more cells, or fewer, than there are names is `Misread`."""
    n_names = max((i for i, name in enumerate(head.names, 1) if name), default=0)
    for row in rows(text, head.separator):
        if row.line <= head.line or row.cells == head.names:
            continue
        is_whole = len(row.cells) >= n_names and not any(row.cells[len(head.names) :])
        if is_whole:
            yield row
        elif not row.cells[0].startswith("#"):
            raise Misread(
                f"has {len(row.cells)} cells in line {row.line} ('{shown(row.cells)}'), and {n_names} columns in line "
                f"{head.line}: put what holds a separator in quotes, and add what is missing"
            )


def shown(cells: Collection[str]) -> str:
    """The beginning of a row, for a message."""
    return ", ".join(cells)[:80] or "nothing"


def _bare(cell: str) -> str:
    cell = cell.strip()
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == "'" else cell


def _blanks_cut(line: str, separator: str) -> str:
    """Between words any number of blanks is one separator."""
    return line.strip() + "\n" if separator == " " else line
