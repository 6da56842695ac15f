"""Labels for logs of one's own, as `bench data new` is given them: a table of sessions, or a list of abnormal ones."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from bench.data.cards.card import Format
from bench.data.own.label_columns import Normal, Sheet, normal_word, value_column
from bench.data.own.texts import require_file, text_of
from bench.data.reading import streams
from bench.data.reading.label_rows import numbered
from bench.data.reading.label_words import meaning
from bench.data.reading.labels import labels_in
from bench.data.reading.tables import SEPARATORS, Head, Misread, Row, head_with, rows, rows_below, shown
from bench.errors import BenchError
from bench.types import ABNORMAL, UNLABELLED

_STRONG: Final = (",", ";", "\t", "|")
"""Separators that stand in a list for no other reason."""
_N_NAMED: Final = 5
_MANY: Final = 5
"""So many sessions that all of them cannot be abnormal."""


class LabelFile(NamedTuple):
    """How a label file is read: keys of the card's `[format]`, and what a user should know about it."""

    form: dict[str, str]
    notes: tuple[str, ...]


def describe_label_file(
    path: Path,
    session: str,
    ids: pl.Series,
    normal: str | None = None,
    columns: tuple[str, str] | None = None,
) -> LabelFile:
    """A table with a row for each session, or a list of the abnormal ones.

    session: the pattern of a session id in a message;  ids: those of the log's first lines;  columns: names of the
    columns of session and label, where they are not to be guessed
    """
    require_file(path, "label file")
    text, pattern = text_of(path), re.compile(session)
    if not text.strip():
        raise BenchError(f"the label file '{path}' is no CSV file, it is empty: give a table or a list of sessions")
    known = ids.to_list()
    sheet = _sheet_with(text, columns, path) if columns else _sheet_of(text, known, pattern, path)
    if sheet is None:
        return _described_list(path, text, pattern, known, normal)
    value = sheet.names.index(columns[1]) if columns else value_column(sheet, path)
    word = normal_word(sheet, value, path, normal)
    form = {
        "label": "label-file",
        "session": session,
        "label_key": sheet.names[sheet.key],
        "label_value": sheet.names[value],
        "normal": word.word,
    }
    _require_read_alike(path, sheet, value, form)
    return LabelFile(form, _notes_of_table(path, sheet, value, word, known))


def _sheet_with(text: str, columns: tuple[str, str], path: Path) -> Sheet:
    """The table below a row with these names."""
    head = head_with(text, columns)
    if head is None:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "nothing")
        raise BenchError(
            f"'{path}' has no row with the names {' and '.join(columns)} of --columns: it begins with '{first[:80]}'"
        )
    return _checked(Sheet(head.names, _below(text, head, path), head.names.index(columns[0])), path)


def _sheet_of(text: str, ids: list[str], pattern: re.Pattern[str], path: Path) -> Sheet | None:
    """The table by the separator that leaves most session ids alone in one of its columns; None of a list."""
    known, best = frozenset(ids), (0, "", 0)
    broken: Misread | None = None
    for separator in SEPARATORS:
        if separator not in text:
            continue
        try:
            found = [row for row in rows(text, separator) if len(row.cells) > 1]
        except Misread as error:
            broken = error if separator in _STRONG else broken
            continue
        hits = Counter(i for row in found for i, cell in enumerate(row.cells) if cell in known)
        n_hits, key = max(((n, -i) for i, n in hits.items()), default=(0, 0))
        is_list = all(cell in known for row in found for cell in row.cells)
        if n_hits > best[0] and not is_list and (separator != " " or _is_table(text, known)):
            best = n_hits, separator, -key
    if not best[0]:
        if broken is not None and not pattern.search(text):
            raise BenchError(f"'{path}' {broken}: correct its quotes")
        _require_list(text, ids, path, pattern)
        return None
    return _sheet_by(text, best[1], best[2], known, path)


def _is_table(text: str, known: frozenset[str]) -> bool:
    """Whether words with blanks between them are columns: as many in each row, and labels that are not all one."""
    found = list(rows(text, " "))
    first = next(i for i, row in enumerate(found) if any(cell in known for cell in row.cells))
    width = len(found[first].cells)
    is_even = all(len(row.cells) == width for row in found[first:])
    beside = [i for i, cell in enumerate(found[first].cells) if cell not in known]
    return is_even and any(len({row.cells[i] for row in found[first:]}) > 1 for i in beside)


def _require_list(text: str, ids: list[str], path: Path, pattern: re.Pattern[str]) -> None:
    """Refuse a table in which no cell is a session of the first lines."""
    for separator in _STRONG:
        try:
            found = list(rows(text, separator)) if separator in text else []
        except Misread:
            continue
        if found and len(found[0].cells) > 1 and all(len(row.cells) == len(found[0].cells) for row in found):
            if all(cell in ids or pattern.fullmatch(cell) for row in found for cell in row.cells):
                continue
            sample = shown(found[min(1, len(found) - 1)].cells)
            raise BenchError(
                f"no column of '{path}' names a session of the first lines, such as '{ids[0]}' (a row of it is "
                f"{sample}): correct it, or give another --session REGEX"
            )


def _sheet_by(text: str, separator: str, key: int, known: frozenset[str], path: Path) -> Sheet:
    """The table by this separator, whose names stand above the first session, in a remark, or nowhere."""
    found = list(rows(text, separator))
    first = next(i for i, row in enumerate(found) if len(row.cells) > key and row.cells[key] in known)
    width = len(found[first].cells)
    start = next(i for i, row in enumerate(found) if len(row.cells) == width)
    if start < first and _is_head(found[start], found[start + 1 :], key):
        return _checked(Sheet(found[start].cells, _whole(found[start + 1 :], found[start].cells, path), key), path)
    if start and len(found[start - 1].cells) > 1:
        above = found[start - 1]
        raise BenchError(
            f"line {above.line} of '{path}' has {len(above.cells)} cells ('{shown(above.cells)}') and line "
            f"{found[start].line} has {width}: give each column a name"
        )
    names = _names_in_a_remark(text, separator, width) or [numbered(i) for i in range(width)]
    return _checked(Sheet(names, _whole(found[start:], names, path), key), path)


def _whole(body: list[Row], names: list[str], path: Path) -> list[Row]:
    """Rows with a cell for each name; one that has fewer or more is a BenchError, unless it is a remark."""
    n_names = max((i for i, name in enumerate(names, 1) if name), default=0)
    is_whole = [len(row.cells) >= n_names and not any(row.cells[len(names) :]) for row in body]
    for row, fits in zip(body, is_whole, strict=True):
        if not fits and not row.cells[0].startswith("#"):
            raise BenchError(
                f"line {row.line} of '{path}' has {len(row.cells)} cells ('{shown(row.cells)}') and its columns are "
                f"{n_names}: put what holds a separator in quotes, and add what is missing"
            )
    return [row for row, fits in zip(body, is_whole, strict=True) if fits]


def _is_head(row: Row, below: list[Row], key: int) -> bool:
    """Whether a row names the columns: nothing that it says is said again below."""
    rest = [{other.cells[i] for other in below if i < len(other.cells)} for i in range(len(row.cells))]
    return bool(row.cells[key]) and not any(cell and cell in said for cell, said in zip(row.cells, rest, strict=True))


def _names_in_a_remark(text: str, separator: str, width: int) -> list[str] | None:
    """Names that stand behind `#` in the line above the rows."""
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line.lstrip().startswith("#"):
            return None
        cells = [cell.strip().strip('"') for cell in line.strip().lstrip("#").strip().split(separator)]
        if len(cells) == width and len(set(cells)) == width and all(cells):
            return cells
    return None


def _below(text: str, head: Head, path: Path) -> list[Row]:
    try:
        return list(rows_below(text, head))
    except Misread as error:
        raise BenchError(f"'{path}' {error}") from None


def _checked(sheet: Sheet, path: Path) -> Sheet:
    if not sheet.rows:
        raise BenchError(f"'{path}' names columns ({shown(sheet.names)}) and no session below them: add its rows")
    return sheet


def _require_read_alike(path: Path, sheet: Sheet, value: int, form: dict[str, str]) -> None:
    """Refuse a table that a card cannot describe, so that what is said here is what a run will read."""
    for place in (sheet.key, value):
        if not sheet.names[place] or sheet.names.count(sheet.names[place]) > 1:
            raise BenchError(
                f"column {place + 1} of '{path}' has the name '{sheet.names[place]}', which tells it from no other "
                f"(they are {shown(sheet.names)}): give each column a name of its own"
            )
    found = labels_in(streams.content(path), Format(**form), f"the label file '{path}'")  # type: ignore[arg-type]
    expected = {row.cells[sheet.key] for row in sheet.rows if row.cells[sheet.key]}
    if set(found.values["session"].to_list()) != expected:
        raise BenchError(f"'{path}' can be read in two ways: separate its columns by commas below a row with names")


def _notes_of_table(path: Path, sheet: Sheet, value: int, word: Normal, ids: list[str]) -> tuple[str, ...]:
    """Which words count as what, so that a wrong reading is seen at once."""
    counts = Counter(sheet.cells(value))
    bad = {text: n for text, n in counts.most_common() if meaning(text, word.word) == ABNORMAL}
    empty = {text: n for text, n in counts.most_common() if meaning(text, word.word) == UNLABELLED}
    n_bad, many = sum(bad.values()), ", ..." if len(bad) > _N_NAMED else ""
    named = ", ".join(f"'{text}' {n:,}" for text, n in list(bad.items())[:_N_NAMED])
    notes = [
        f"Labels: column '{sheet.names[value]}' of {path.name}, by '{sheet.names[sheet.key]}'; normal is "
        f"'{word.word}', abnormal are {n_bad:,} of {len(sheet.rows):,} rows ({named or 'none'}{many}).",
        *word.notes,
    ]
    if empty:
        words = ", ".join(f"'{text}'" for text in empty)
        notes.append(f"{sum(empty.values()):,} rows have no label ({words}); their sessions take no part.")
    missing = set(ids) - {row.cells[sheet.key] for row in sheet.rows}
    if missing:
        first = next(session for session in ids if session in missing)
        notes.append(
            f"{len(missing):,} of the {len(ids):,} sessions of the first lines have no row in {path.name}, such as "
            f"'{first}': they take no part."
        )
    return tuple(notes)


def _described_list(path: Path, text: str, pattern: re.Pattern[str], ids: list[str], normal: str | None) -> LabelFile:
    if normal is not None:
        raise BenchError(
            f"'{path}' has one column, a list of the abnormal sessions, in which --normal '{normal}' means nothing: "
            "leave it out, or give a table"
        )
    form = {"label": "session-list", "session": pattern.pattern}
    if not pattern.search(text) and "session" in pattern.groupindex:
        # What stands around the id in a message need not stand in a list.
        form["listed"] = r"[^\s,;|]+" if not re.search("[,;|]", "".join(ids)) else r"\S+"
    elif not pattern.search(text):
        raise BenchError(
            f"'{path}' has one column, and no row of it has a session id like '{pattern.pattern}': separate columns by "
            "commas, or give --session REGEX"
        )
    found = labels_in(streams.content(path), Format(**form), f"the label file '{path}'")  # type: ignore[arg-type]
    listed = set(found.values["session"].to_list())
    if "listed" in form and not listed & set(ids) and any(len(line.split()) > 1 for line in text.splitlines()):
        raise BenchError(
            f"no row of '{path}' is a session of the first lines, such as '{ids[0]}': write one on each line, as "
            f"--session finds them"
        )
    if len(ids) >= _MANY and set(ids) <= listed:
        raise BenchError(
            f"'{path}' lists all {len(ids):,} sessions of the first lines, such as '{ids[0]}', as abnormal: leave the "
            "normal ones out, or give a table with the label of each"
        )
    note = f"Labels: the {len(listed):,} sessions listed in {path.name} are abnormal, all others normal."
    return LabelFile(form, (note, *_notes_of_list(path, listed, ids)))


def _notes_of_list(path: Path, listed: set[str], ids: list[str]) -> tuple[str, ...]:
    if set(ids) <= listed:
        return (
            f"All {len(ids):,} sessions of the first lines are listed in {path.name}: is it a list of the abnormal?",
        )
    if not listed & set(ids):
        return (
            f"None of them is among the {len(ids):,} sessions of the first lines: they look like "
            f"'{min(listed)}', those of the log like '{ids[0]}'.",
        )
    return ()
