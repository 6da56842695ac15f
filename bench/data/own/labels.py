"""Labels for logs of one's own, as they are given to `bench data new`: a table or list of sessions, or incidents."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from bench.data.reading import streams
from bench.errors import BenchError

Incidents = tuple[tuple[float, float], ...]

_NORMAL_WORDS: Final = ("normal", "-", "0", "0.0", "false", "no", "none", "ok", "good", "benign", "success", "passed")
_EXAMPLE: Final = "2024-01-31T10:00:00Z,2024-01-31T10:20:00Z"
_LABEL_COLUMNS: Final = ("label", "labels", "class", "anomaly", "abnormal", "status", "result", "outcome", "target")


class LabelFile(NamedTuple):
    """How a label file is read: keys of the card's `[format]`, and what a user should know about it."""

    form: dict[str, str]
    notes: tuple[str, ...]


def describe_label_file(path: Path, session: str, ids: pl.Series, normal: str | None = None) -> LabelFile:
    """A table with a row for each session, or a list of the abnormal ones.

    session: the pattern of a session id in a message;  ids: those of the log's first lines
    """
    _require_file(path, "label file")
    try:
        table = pl.read_csv(
            streams.content(path), infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True
        )
    except pl.exceptions.PolarsError as error:
        raise BenchError(f"the label file '{path}' is no CSV file ({str(error).splitlines()[0]}): correct it") from None
    if table.width == 1:
        return _described_list(path, [*table.columns, *table.to_series().drop_nulls()], re.compile(session))
    key = _key_column(path, table, ids)
    value = _value_column(table.drop(key))
    word, notes = _normal_word(path, table[value], normal)
    form = {"label": "label-file", "session": session, "label_key": key, "label_value": value, "normal": word}
    return LabelFile(form, (f"Labels: column '{value}' of {path.name}, by '{key}'; normal is '{word}'.", *notes))


def read_incidents(path: Path) -> Incidents:
    """Rows of start and end, separated by comma, semicolon or tab; times as ISO text (UTC) or Unix seconds."""
    _require_file(path, "file of incidents")
    found: list[tuple[float, float]] = []
    lines = streams.content(path).decode("utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [field.strip().strip('"') for field in re.split("[,;\t]", line)]
        if not found and not any(character.isdigit() for character in line):
            continue  # the names of the columns
        found.append(_incident(path, number, fields))
    if not found:
        raise BenchError(f"'{path}' names no incident: write one start,end a line, such as {_EXAMPLE}")
    return tuple(found)


def incidents_toml(incidents: Incidents) -> str:
    """`[[incidents]]` of a card."""
    return "".join(f"\n[[incidents]]\nstart = {_time(start)}\nend = {_time(end)}\n" for start, end in incidents)


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def _incident(path: Path, number: int, fields: Sequence[str]) -> tuple[float, float]:
    if len(fields) < 2:
        raise BenchError(f"line {number} of '{path}' has no end: write start,end, such as {_EXAMPLE}")
    start, end = (_seconds(path, number, field) for field in fields[:2])
    if start > end:
        raise BenchError(f"line {number} of '{path}' has an incident that ends before it starts: exchange the two")
    return start, end


def _seconds(path: Path, number: int, text: str) -> float:
    try:
        moment = (
            datetime.datetime.fromtimestamp(float(text), datetime.UTC)
            if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
            else datetime.datetime.fromisoformat(text)
        )
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise BenchError(
            f"line {number} of '{path}' has the time '{text[:40]}': write ISO text or Unix seconds, such as {_EXAMPLE}"
        ) from None


def _described_list(path: Path, rows: list[str], pattern: re.Pattern[str]) -> LabelFile:
    form = {"label": "session-list", "session": pattern.pattern}
    n_found = sum(pattern.search(row) is not None for row in rows)
    if not n_found and "session" in pattern.groupindex:
        # What stands around the id in a message need not stand in a list.
        form["listed"], n_found = r"\S+", len(rows)
    if not n_found:
        raise BenchError(
            f"'{path}' has one column, and no row of it has a session id like '{pattern.pattern}': separate columns by "
            "commas, or give --session REGEX"
        )
    note = f"Labels: the {n_found:,} sessions listed in {path.name} are abnormal, all others normal."
    return LabelFile(form, (note,))


def _key_column(path: Path, table: pl.DataFrame, ids: pl.Series) -> str:
    """The column that names most sessions of the log's first lines: lines and labels are joined by it."""
    hits = {name: int(ids.is_in(table[name].drop_nulls().implode()).sum()) for name in table.columns}
    best = max(hits, key=lambda name: hits[name])
    if not hits[best]:
        cells = ", ".join(str(cell) for cell in table.row(0)) if len(table) else "nothing"
        raise BenchError(
            f"no column of '{path}' names a session of the first lines, such as '{ids[0]}' (its first row is "
            f"{cells[:80]}): correct it, or give another --session REGEX"
        )
    return best


def _value_column(table: pl.DataFrame) -> str:
    named = [name for name in table.columns if name.strip().lower() in _LABEL_COLUMNS]
    return named[0] if named else min(table.columns, key=lambda name: table[name].n_unique())


def _normal_word(path: Path, values: pl.Series, given: str | None) -> tuple[str, tuple[str, ...]]:
    """The value that means normal, and a remark where it was only guessed."""
    counts = Counter(values.drop_nulls().to_list())
    if given is not None:
        if given not in counts:
            known = ", ".join(value for value, _ in counts.most_common(5))
            raise BenchError(f"no row of '{path}' has the label '{given}' of --normal: it has {known}")
        return given, ()
    for value in counts:
        if value.strip().lower() in _NORMAL_WORDS:
            return value, ()
    if len(counts) < 2:
        raise BenchError(
            f"every session of '{path}' has the label '{next(iter(counts), '')}': give --normal if that is normal, add "
            "the normal sessions, or leave a single column with the abnormal ones"
        )
    word = counts.most_common(1)[0][0]
    return word, (f"No label is a usual word for normal, so the most frequent one, '{word}', is taken; else --normal.",)


def _require_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise BenchError(f"the {what} '{path}' does not exist or is no file: correct its name")
