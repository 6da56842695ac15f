"""The message parameters of a line as fields: what kind each is, and the text that stands for its value.

Rules stand for a language model that tags fields. A value that holds digits counts as its kind and what is
left without them, so that a new address or identifier is no new word, while a new user or module is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.types import Words

Integers = NDArray[np.int64]

_ADDRESS: Final = r"^/?\d{1,3}(\.\d{1,3}){3}(:\d+)?$"
_NUMBER: Final = r"^[-+]?\d+(\.\d+)?$"
_CODE: Final = r"^(0x)?[0-9a-fA-F]*\d[0-9a-fA-F]*$"
_PATH: Final = r"^\.?/"
_DIGITS: Final = r"[^/\s]*\d[^/\s]*"


class Fields(NamedTuple):
    """The fields of events, in CSR form."""

    texts: tuple[str, ...]
    """Distinct texts of fields, sorted."""
    ids: Integers
    """(n_fields,) index into texts."""
    offsets: Integers
    """(n_events + 1,)"""


def fields_of(words: Words) -> Fields:
    """The fields of each event, in order; values that are not known are left out. Each distinct value is read once."""
    used, place = np.unique(words.ids, return_inverse=True)
    texts = field_texts(words.values.gather(used))
    distinct = texts.unique().sort()
    distinct = distinct.filter(distinct != "")
    number = texts.replace_strict(distinct, np.arange(len(distinct)), default=-1, return_dtype=pl.Int64)
    ids = number.to_numpy()[place] if len(used) else np.zeros(0, np.int64)
    known = ids >= 0
    kept = np.concatenate([[0], np.cumsum(known)]).astype(np.int64)
    return Fields(tuple(distinct.to_list()), ids[known].astype(np.int64), kept[words.offsets])


def field_texts(values: pl.Series) -> pl.Series:
    """Text of each value: its kind, and for paths and names what is left of it without words that hold digits."""
    value = values.str.strip_chars(" \t,;:.()[]\"'")
    bare = value.str.replace_all(_DIGITS, " ").str.replace_all(r"[^\p{L}]+", " ").str.strip_chars().str.to_lowercase()
    length = value.str.count_matches(r"\d").cast(pl.String)
    frame = pl.DataFrame({"value": value, "bare": bare, "length": length})
    kind = (
        pl.when(pl.col("value").str.contains(r"^$"))
        .then(pl.lit(""))
        .when(pl.col("value").str.contains(_ADDRESS))
        .then(pl.lit("address"))
        .when(pl.col("value").str.contains(_NUMBER))
        .then(pl.lit("number of ") + pl.col("length") + pl.lit(" digits"))
        .when(pl.col("value").str.contains(_CODE))
        .then(pl.lit("code"))
        .when(pl.col("value").str.contains(_PATH))
        .then(pl.lit("path ") + pl.col("bare"))
        .otherwise(pl.lit("name ") + pl.col("bare"))
    )
    return frame.select(kind.str.strip_chars().alias("text"))["text"]
