"""Raw lines -> label, time and message, by the card's header.

Most headers are words with single spaces between them. Such a line is split at spaces, which takes half the time of a
regular expression with groups; every line that does not fit that form goes through the expression, so that the result
is the expression's on every line.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Format
from bench.data.reading.label_words import is_normal
from bench.data.reading.zones import seconds
from bench.types import UNLABELLED

_MESSAGE: Final = "(?P<message>.*)$"
_WORDS: Final = {r"\S+": "", "[0-9]+": r"^[0-9]+$", r"(?P<time>\S+)": "", "(?P<time>[0-9]+)": r"^[0-9]+$"}
"""Fields of a simple header, and what a word must match besides holding no white space."""


HALF_YEAR_S: Final = 15_768_000
"""A jump back by more than this means that the next year has begun."""
ALMOST_YEAR_S: Final = 350 * 86_400
"""A jump ahead by more than this is a line of the year before that came late."""
_YEAR_2_S: Final = -62_104_060_800
"""Polars reads a time without a year as one of the year 1."""
_YEAR_10000_S: Final = 253_402_300_799
"""Later times are none, but milliseconds taken for seconds, say."""
LEAP_YEAR: Final = 2000
"""In which times without a year are read at first, because it has all days."""
_LEAP_START_S: Final = 946_684_800
_DAY_S: Final = 86_400
_MARCH_S: Final = 60 * _DAY_S


class _Word(NamedTuple):
    field: int
    pattern: str
    is_time: bool


def cut(lines: pl.DataFrame, form: Format, *, plain_spaces: bool = False) -> pl.DataFrame:
    """Columns label (int8), time (float64), message (str), headerless (bool), a row for each `line`.

    plain_spaces: no line holds white space other than the plain space, see `has_plain_spaces`
    """
    words = _simple_header(form) if plain_spaces else None
    if words is None:
        return _by_pattern(lines, form)
    fast = _by_spaces(lines, form, words)
    fits = fast["fits"]
    fast = fast.drop("fits")
    if fits.all():
        return fast
    position = pl.int_range(pl.len()).alias("position")
    parts = [
        fast.with_columns(position).filter(fits),
        _by_pattern(lines.filter(~fits), form).with_columns((~fits).arg_true().cast(pl.Int64).alias("position")),
    ]
    return pl.concat(parts).sort("position").drop("position")


def has_plain_spaces(content: bytes) -> bool:
    """Whether the only white space in it are spaces and line feeds."""
    return content.isascii() and not any(byte in content for byte in (b"\t", b"\x0b", b"\x0c", b"\r"))


def _simple_header(form: Format) -> list[_Word] | None:
    """The words before the message, the label included, or None where the header is another kind of pattern."""
    if form.mark or not (form.header.startswith("^") and form.header.endswith(f" {_MESSAGE}")):
        return None
    fields = form.header[1 : -len(_MESSAGE) - 1].split(" ")
    if any(field not in _WORDS for field in fields):
        return None
    first = 1 if form.label == "first-token" else 0
    return [_Word(first + i, _WORDS[field], field.startswith("(?P<time>")) for i, field in enumerate(fields)]


def _by_spaces(lines: pl.DataFrame, form: Format, words: list[_Word]) -> pl.DataFrame:
    """All lines split at single spaces; `fits` tells where that is what the pattern would have found."""
    n_words = words[-1].field + 1
    fields = [pl.col("fields").struct.field(f"field_{i}") for i in range(n_words + 1)]
    fits = fields[n_words].is_not_null()
    for field in fields[:n_words]:
        fits = fits & (field != "")
    for word in words:
        if word.pattern:
            fits = fits & fields[word.field].str.contains(word.pattern)
    time = next((fields[word.field] for word in words if word.is_time), None)
    frame = lines.lazy().select(pl.col("line").str.splitn(" ", n_words + 1).alias("fields"))
    return (
        frame.with_columns(fields[0].alias("token"))
        .select(
            _label(form).alias("label"),
            _time(form, time).alias("time"),
            fields[n_words].alias("message"),
            pl.lit(False).alias("headerless"),
            fits.fill_null(False).alias("fits"),
        )
        .collect()
    )


def _by_pattern(lines: pl.DataFrame, form: Format) -> pl.DataFrame:
    """Every line by the card's regular expression."""
    frame = lines.lazy().with_columns(pl.col("line").str.strip_chars_end("\r"))
    if form.label == "first-token":
        frame = frame.with_columns(pl.col("line").str.extract(r"^(\S*)", 1).alias("token"), without_label(form))
    elif form.mark:
        frame = frame.with_columns(without_label(form))
    fields = pl.col("line").str.extract_groups(form.header)
    frame = frame.with_columns(fields.alias("fields"))
    message = pl.col("fields").struct.field("message")
    time = pl.col("fields").struct.field("time") if "(?P<time>" in form.header else None
    return frame.select(
        _label(form).alias("label"),
        _time(form, time).alias("time"),
        pl.coalesce(message, pl.col("line")).alias("message"),
        message.is_null().alias("headerless"),
    ).collect()


def without_label(form: Format) -> pl.Expr:
    """The column `line` without its label, or what marks it."""
    pattern = r"^\S*\s?" if form.label == "first-token" else form.mark
    return pl.col("line").str.replace(pattern, "") if pattern else pl.col("line")


def _label(form: Format) -> pl.Expr:
    """From the column `token`; a blank line, or one that begins with a space, carries no label."""
    unlabelled = pl.lit(UNLABELLED, pl.Int8)
    if form.label != "first-token":
        return unlabelled
    abnormal = (~is_normal(pl.col("token"), form.normal)).cast(pl.Int8)
    return pl.when(pl.col("token") != "").then(abnormal).otherwise(unlabelled)


def _time(form: Format, text: pl.Expr | None) -> pl.Expr:
    if text is None or not form.time:
        return pl.lit(float("nan"), pl.Float64)
    # Without a year the time is read in a leap year, which has all days; `in_year` puts it into its own.
    pattern, text = (f"%Y {form.time}", pl.format(f"{LEAP_YEAR} {{}}", text)) if form.year else (form.time, text)
    found = seconds(text, pattern)
    return pl.when(found.is_between(_YEAR_2_S, _YEAR_10000_S)).then(found).otherwise(float("nan"))


def in_year(times: NDArray[np.float64], years: NDArray[np.int64]) -> NDArray[np.float64]:
    """Move times, Unix seconds within the leap year 2000, to the same day and clock of other years.

    NaN for a 29 February in a year that has none.
    """
    starts = (years - 1970).astype("datetime64[Y]").astype("datetime64[s]")
    lengths = (years - 1969).astype("datetime64[Y]").astype("datetime64[s]") - starts
    passed = times - _LEAP_START_S
    is_common = lengths.astype(np.int64) == 365 * _DAY_S
    shift = np.where((passed >= _MARCH_S) & is_common, _DAY_S, 0)
    found = starts.astype(np.float64) + passed - shift
    is_no_day = is_common & (passed >= _MARCH_S - _DAY_S) & (passed < _MARCH_S)
    return np.where(is_no_day, np.nan, found)
