"""Planned lines -> their bytes, column by column: no Python object for a line."""

from __future__ import annotations

import functools
import io
import string
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from bench.data.simulation.draws import MILLION, Keys, Whole, between, derive
from bench.data.simulation.plan import Lines, Salt
from bench.data.simulation.records import Grammar
from bench.data.simulation.scripts import Form

_LARGEST_TABLE: Final = 1 << 14
"""Ranges up to this size are formatted once for each value."""
_DAY_S: Final = 86_400
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OF_DATE: Final = frozenset({"yyyy", "yy", "mm", "dd", "mon", "d"})
_OF_DAY: Final = frozenset({"HH", "MM", "SS"})


class _Piece(NamedTuple):
    """A literal, and the placeholder behind it with its format; an empty name is none."""

    literal: str
    name: str
    form: str


def day_fields(day: int) -> dict[str, str]:
    """Return the placeholders of a date, given in days since 1970."""
    # Not strftime: its month names follow the locale.
    date = datetime.fromtimestamp(day * _DAY_S, UTC)
    return {
        "yyyy": str(date.year),
        "yy": f"{date.year % 100:02d}",
        "mm": f"{date.month:02d}",
        "dd": f"{date.day:02d}",
        "mon": _MONTHS[date.month - 1],
        "d": str(date.day),
    }


class Renderer:
    """Text of lines and of session ids for one grammar."""

    def __init__(self, grammar: Grammar, forms: Sequence[Form]) -> None:
        self._parameters, self._session = grammar.parameters, grammar.labels.session
        self._salts = {name: Salt.PARAMETER + i for i, name in enumerate(grammar.parameters)}
        self._header, self._forms = _merged(_pieces(grammar.header)), forms
        self._bodies = [_pieces(form.text) for form in forms]
        # The normal label stands last, where the index -1 finds it.
        self._labels = pl.Series([anomaly.alert for anomaly in grammar.anomalies] + [grammar.labels.normal])
        of_form = [grammar.messages[form.message].fields for form in forms]
        names = {piece.name for piece in self._header} & {name for fields in of_form for name in fields}
        self._fields = {name: pl.Series([fields[name] for fields in of_form]) for name in names}
        self._tables: dict[tuple[str, str], pl.Series] = {}

    def lines(self, lines: Lines) -> bytes:
        """Return the bytes of the lines, each with a newline at its end."""
        if not len(lines.time_us):
            return b""
        columns = self._header_columns(lines)
        parts = [part for piece in self._header for part in (piece.literal, columns.get(piece.name, ""))]
        whole = _concat([*parts, self._body(lines)], len(lines.time_us))
        stream = io.BytesIO()
        whole.to_frame().write_csv(stream, include_header=False, quote_style="never")
        return stream.getvalue()

    def sessions(self, keys: Keys) -> pl.Series:
        """Return the ids of the sessions whose episodes have these keys."""
        return self._drawn(self._session, "", keys, keys)

    def _header_columns(self, lines: Lines) -> dict[str, pl.Series]:
        columns = self._time_columns(lines.time_us)
        columns["label"] = self._labels.gather(lines.anomaly % len(self._labels))
        for piece in self._header:
            if piece.name in self._fields:
                columns[piece.name] = self._fields[piece.name].gather(lines.form)
            elif piece.name and piece.name not in columns:
                columns[piece.name] = self._drawn(piece.name, piece.form, lines.episode_key, lines.key)
        return columns

    def _time_columns(self, time_us: Whole) -> dict[str, pl.Series]:
        seconds, micros = np.divmod(time_us, MILLION)
        days, of_day = np.divmod(seconds, _DAY_S)
        distinct, day = np.unique(days, return_inverse=True)
        fields = [day_fields(int(number)) for number in distinct]
        columns = dict[str, pl.Series]()
        for layout in {piece.name for piece in self._header}:
            if _names(layout) & _OF_DAY:
                columns[layout] = _clock_table(layout).gather(of_day)
            elif _names(layout):
                columns[layout] = pl.Series([layout.format(**date) for date in fields]).gather(day)
            elif layout == "epoch":
                columns[layout] = pl.Series(seconds).cast(pl.String)
            elif layout == "ffffff":
                columns[layout] = pl.Series(micros).cast(pl.String).str.zfill(6)
        return columns

    def _body(self, lines: Lines) -> pl.Series:
        order = np.argsort(lines.form.astype(np.uint16), kind="stable")
        forms, starts = np.unique(lines.form[order], return_index=True)
        bodies = []
        for form, rows in zip(forms, np.split(order, starts[1:]), strict=True):
            values, parts = self._forms[form].values, list[pl.Series | str]()
            for piece in self._bodies[form]:
                parts.append(piece.literal)
                if piece.name:
                    name = values.get(piece.name, piece.name)
                    parts.append(self._drawn(name, piece.form, lines.episode_key[rows], lines.key[rows]))
            bodies.append(_concat(parts, len(rows)))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return pl.concat(bodies).gather(place)

    def _drawn(self, name: str, form: str, episode_key: Keys, key: Keys) -> pl.Series:
        keys = episode_key if self._parameters[name].per_episode else key
        return self._value(name, form, derive(keys, self._salts[name]))

    def _value(self, name: str, form: str, keys: Keys) -> pl.Series:
        parameter = self._parameters[name]
        if parameter.text:
            parts = list[pl.Series | str]()
            for piece in _pieces(parameter.text):
                parts.append(piece.literal)
                if piece.name:
                    parts.append(self._value(piece.name, piece.form, derive(keys, self._salts[piece.name])))
            return _concat(parts, len(keys))
        low, high = (0, len(parameter.values) - 1) if parameter.values else parameter.range
        drawn = between(keys, low, high)
        if not parameter.values and high - low >= _LARGEST_TABLE:
            return _numbers(drawn, form, high)
        if (name, form) not in self._tables:
            texts = parameter.values or [format(number, form) for number in range(low, high + 1)]
            self._tables[name, form] = pl.Series(texts)
        return self._tables[name, form].gather(drawn - low)


def _pieces(layout: str) -> list[_Piece]:
    return [_Piece(literal, name or "", form or "") for literal, name, form, _ in string.Formatter().parse(layout)]


def _names(layout: str) -> set[str]:
    return {piece.name for piece in _pieces(layout) if piece.name}


def _merged(pieces: list[_Piece]) -> list[_Piece]:
    """Let neighbours of one date, or of one time of day, be one column; its name is their layout."""
    merged = list[_Piece]()
    for piece in pieces:
        part = next((part for part in (_OF_DATE, _OF_DAY) if piece.name in part), None)
        if part is None:
            merged.append(piece)
        elif merged and _names(merged[-1].name) & part:
            last = merged.pop()
            merged.append(_Piece(last.literal, f"{last.name}{piece.literal}{{{piece.name}}}", ""))
        else:
            merged.append(_Piece(piece.literal, f"{{{piece.name}}}", ""))
    return merged


@functools.cache
def _clock_table(layout: str) -> pl.Series:
    """A layout for each second of a day."""
    second = np.arange(_DAY_S)
    digits = pl.Series([f"{i:02d}" for i in range(60)])
    columns = {"HH": digits.gather(second // 3600), "MM": digits.gather(second // 60 % 60)}
    columns["SS"] = digits.gather(second % 60)
    parts = [part for piece in _pieces(layout) for part in (piece.literal, columns.get(piece.name, ""))]
    return _concat(parts, _DAY_S)


@functools.cache
def _hex_table() -> pl.Series:
    return pl.Series([f"{i:04x}" for i in range(1 << 16)])


def _concat(parts: Sequence[pl.Series | str], n: int) -> pl.Series:
    """Join columns of n texts and literals to one column."""
    columns = [part.alias(str(i)) for i, part in enumerate(parts) if isinstance(part, pl.Series)]
    if not columns:
        return pl.repeat("".join(map(str, parts)), n, dtype=pl.String, eager=True)
    # An empty literal costs as much as a column.
    filled = [(i, part) for i, part in enumerate(parts) if not isinstance(part, str) or part]
    expressions = [pl.lit(part) if isinstance(part, str) else pl.col(str(i)) for i, part in filled]
    return pl.DataFrame(columns).select(pl.concat_str(expressions).alias("text"))["text"]


def _numbers(values: Whole, form: str, high: int) -> pl.Series:
    """Whole numbers from 0 as text, in the formats d, x, 04d, 08x."""
    width = int(form[:-1] or 1) if form else 1
    if not form.endswith("x"):
        texts = pl.Series(values).cast(pl.String)
        return texts.str.zfill(width) if width > 1 else texts
    words = range((high.bit_length() + 15) // 16 - 1, -1, -1)
    digits = _concat([_hex_table().gather(values >> 16 * word & 0xFFFF) for word in words], len(values))
    return digits.str.strip_chars_start("0").str.zfill(width)
