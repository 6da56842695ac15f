"""A label file row by row: the sessions of a table, by the names of its columns, or those of a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import polars as pl

from bench.data.cards.card import Format
from bench.data.reading.label_words import NORMAL_WORDS, folded
from bench.data.reading.tables import (
    REMARK,
    SEPARATORS,
    Misread,
    Row,
    cells_of,
    head_with,
    lines_of,
    rows,
    rows_below,
    shown,
)
from bench.errors import BenchError

_NUMBERED: Final = re.compile("column ([0-9]{1,4})")
"""The name of a column of a table whose columns have none."""
_SCHEMA: Final = {"session": pl.String, "value": pl.String}
_LIST_REMARK: Final = re.compile(r"\s*[;#]")
_BEHIND: Final = re.compile(r"\s[#;].*|\s//.*")
"""A remark behind a session of a list."""
_WORD: Final = re.compile(r"\w")
_CELLS: Final = re.compile("[,;\t|:=]")


def session_id(match: re.Match[str]) -> str:
    """The session that a pattern found: its group `session`, or all that matched."""
    return match["session"] if "session" in match.re.groupindex else match[0]


def numbered(column: int) -> str:
    """The name of a column, from 0, of a table that names none."""
    return f"column {column + 1}"


def labelled_sessions(text: str, form: Format, called: str) -> pl.DataFrame:
    """Columns session and value of a table, a row for each row that names a session."""
    names = (form.label_key, form.label_value)
    head = head_with(text, names)
    places = [_NUMBERED.fullmatch(name) for name in names]
    try:
        if head is not None:
            key, value = (_place(head.names, name, called) for name in names)
            found = _pairs(rows_below(text, head), key, value)
        elif all(places):
            key, value = (int(place[1]) - 1 for place in places if place is not None)
            found = _pairs(_rows_without_head(text, key, value, form.session), key, value)
        else:
            first = next((cells_of(line, ",") for line in lines_of(text) if line.strip()), [])
            raise BenchError(
                f"{called} is no CSV file with the columns '{names[0]}' and '{names[1]}' (it begins with "
                f"{shown(first)}): correct it, or label_key and label_value in the card"
            )
    except Misread as error:
        raise BenchError(f"{called} {error}") from None
    return pl.DataFrame({"session": found[0], "value": found[1]}, schema=_SCHEMA)


def _pairs(table: Iterator[Row], key: int, value: int) -> tuple[list[str], list[str]]:
    sessions, values = list[str](), list[str]()
    for row in table:
        if row.cells[key]:
            sessions.append(row.cells[key])
            values.append(row.cells[value] if value < len(row.cells) else "")
    return sessions, values


def _place(names: list[str], name: str, called: str) -> int:
    if names.count(name) > 1:
        raise BenchError(f"{called} has {names.count(name)} columns called '{name}': give each a name of its own")
    return names.index(name)


def _rows_without_head(text: str, key: int, value: int, session: str) -> Iterator[Row]:
    """The rows by the separator that leaves a session id alone in its column in every row."""
    whole = re.compile(session)
    is_whole = "session" not in whole.groupindex
    for separator in SEPARATORS:
        try:
            found = list(rows(text, separator))
        except Misread:
            continue
        wide = found and all(len(row.cells) == len(found[0].cells) > max(key, value) for row in found)
        if wide and (not is_whole or all(whole.fullmatch(row.cells[key]) for row in found)):
            return iter(found)
    raise Misread(
        f"has no rows with a session in column {key + 1} and a label in column {value + 1}: give it a first row with "
        "the names of its columns"
    )


def listed_sessions(text: str, form: Format, called: str) -> pl.DataFrame:
    """Columns session and value of sessions below headings, or without headings of a list of the abnormal ones."""
    pattern, section = re.compile(form.listed or form.session), re.compile(form.section) if form.section else None
    heading, found = "" if section else "listed", list[tuple[str, str]]()
    for number, line in enumerate(lines_of(text), 1):
        if section and (match := section.match(line)):
            heading = match[1] if match.re.groups else match[0]
            continue
        bare = line if section else _without_remark(line, pattern)
        sessions = [session_id(match) for match in pattern.finditer(bare)] if heading else []
        if sessions:
            _require_sessions_alone(bare, pattern, sessions, f"line {number} of {called}", has_labels=bool(section))
        found += [(session, heading) for session in sessions]
    if not found:
        raise BenchError(f"{called} names no session: correct `session` or `section` in its card")
    return pl.DataFrame(found, schema=_SCHEMA, orient="row")


def _without_remark(line: str, pattern: re.Pattern[str]) -> str:
    """The line of a list without what it says to people; an id may begin as a remark does."""
    if pattern.match(line.lstrip()):
        return line if pattern.fullmatch(line.strip()) else _BEHIND.sub("", line)
    return "" if REMARK.match(line) or _LIST_REMARK.match(line) else _BEHIND.sub("", line)


def _require_sessions_alone(
    line: str, pattern: re.Pattern[str], sessions: list[str], called: str, *, has_labels: bool
) -> None:
    """Refuse a row of a table, of which all sessions would be abnormal, and one of which it is open whom it means."""
    rest = pattern.sub("\0", line).strip()
    word = None if has_labels else _word_for_normal(rest, sessions)
    if word is not None:
        raise BenchError(
            f"{called} is no row of a list of abnormal sessions, since it says '{word}' ('{line.strip()[:60]}'): leave "
            "the normal ones out, or read it as a table by label = 'label-file'"
        )
    if len(set(sessions)) > 1 and _WORD.search(rest):
        raise BenchError(
            f"{called} names {len(set(sessions))} sessions among other words ('{line.strip()[:60]}'): write each "
            "session on a line of its own"
        )


def _word_for_normal(rest: str, sessions: list[str]) -> str | None:
    """A cell beside the sessions, or the last word, that usually means normal."""
    before, _, behind = rest.rpartition("\0")
    cells = [folded(cell) for cell in _CELLS.split(behind)]
    named = [folded(cell) for cell in (*_CELLS.split(before.replace("\0", ",")), *sessions)]
    last = [folded(word) for word in behind.split()[-1:]]
    found = [cell for cell in cells if cell in NORMAL_WORDS]
    found += [cell for cell in named if cell in NORMAL_WORDS and cell.isalpha()]
    found += [word for word in last if (word in NORMAL_WORDS and len(word) > 2) or word in ("0", "ok")]
    return found[0] if found else None
