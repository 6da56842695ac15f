"""Pre-parsed editions: streams and sessions of event ids instead of lines."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card, Role
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.labels import read_csv, require_columns
from bench.data.reading.lines import decode, text_lines
from bench.data.reading.log import PARTS, Log
from bench.data.reading.streams import content
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL, UNLABELLED

_DAMAGE = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    SyntaxError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What numpy raises for a file that is no npz."""


def read_id_stream(card: Card, catalogue: Catalogue) -> Log:
    """A stream of event ids, one row per event: columns `event_id` and `label`."""
    file = card.files_of("events")[0]
    table = read_csv(content(catalogue.path(file), file.inside), card)
    require_columns(table, ("event_id", "label"), card)
    table = table.slice(card.drop_events)
    if card.lines is not None:
        first, stop = card.lines
        if stop > len(table):
            raise BenchError(f"'{card.key}' has {len(table)} events, not {stop}: choose a smaller slice")
        table = table.slice(first, stop - first)
    labels = _whole_numbers(table, "label", card)
    wrong = labels.drop_nulls().filter(~labels.drop_nulls().is_in([NORMAL, ABNORMAL, UNLABELLED]))
    if len(wrong):
        raise BenchError(
            f"a table of '{card.key}' has the label {wrong[0]}: write 0 normal, 1 abnormal, nothing or -1 unlabelled"
        )
    events = _whole_numbers(table, "event_id", card)
    if events.is_empty():
        raise BenchError(f"'{card.key}' holds no event: put the right file in its place")
    if events.null_count():
        raise BenchError(f"a table of '{card.key}' has an event without event_id: correct it")
    ids, distinct = _codes(events.to_numpy())
    return Log(
        message_ids=ids,
        messages=_template_texts(distinct, card, catalogue),
        labels=labels.cast(pl.Int8).fill_null(UNLABELLED).to_numpy(),
        times=np.full(len(ids), np.nan),
        file_starts=np.zeros(1, np.int64),
        is_parsed=True,
    )


def read_id_sessions(card: Card, catalogue: Catalogue) -> Log:
    """Sessions of event ids as arrays: X (n, length) with 0 as padding, y (n,)."""
    path = catalogue.path(card.files_of("sessions")[0])
    try:
        with np.load(path) as arrays:
            events, labels = arrays["X"], arrays["y"]
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BenchError(f"'{path.name}' holds no arrays X and y ({reason}): fetch it again") from None
    if events.ndim != 2 or labels.shape != events.shape[:1]:
        raise BenchError(
            f"'{path.name}' holds X {events.shape} and y {labels.shape}: one row of X for each y is needed"
        )
    for name, values in (("X", events), ("y", labels)):
        if values.dtype.kind not in "iu":
            raise BenchError(f"'{path.name}' holds {name} of type {values.dtype}: whole numbers are needed")
    if wrong := set(np.unique(labels).tolist()) - {NORMAL, ABNORMAL, UNLABELLED}:
        raise BenchError(f"'{path.name}' holds the label {min(wrong)} in y: write 0 normal, 1 abnormal, -1 unlabelled")
    first, stop = card.lines or (0, len(events))
    if stop > len(events):
        raise BenchError(f"'{card.key}' has {len(events)} sessions, not {stop}: choose a smaller slice")
    events, labels = events[first:stop], labels[first:stop]
    is_event = events != 0
    if not is_event.any():
        raise BenchError(f"'{card.key}' holds no event: put the right file in the place of '{path.name}'")
    ids, distinct = _codes(events[is_event])
    return Log(
        message_ids=ids,
        messages=_template_texts(distinct, card, catalogue),
        labels=np.full(len(ids), UNLABELLED, np.int8),
        times=np.full(len(ids), np.nan),
        file_starts=np.zeros(1, np.int64),
        session_lines=np.arange(len(ids), dtype=np.int64),
        session_codes=np.repeat(np.arange(len(events), dtype=np.int32), is_event.sum(axis=1)),
        session_ids=tuple(map(str, range(first, stop))),
        session_labels=labels.astype(np.int8),
        is_parsed=True,
    )


def read_id_splits(card: Card, catalogue: Catalogue) -> Log:
    """Sequences that come in files for training and test: one a line, its ids between blanks.

    A name may stand before them, with a comma behind it.
    """
    roles: tuple[tuple[Role, int, int], ...] = (
        ("train", PARTS.index("train"), NORMAL),
        ("validation", PARTS.index("validation"), NORMAL),
        ("test-normal", PARTS.index("test"), NORMAL),
        ("test-abnormal", PARTS.index("test"), ABNORMAL),
    )
    tables = [
        _sequence_lines(content(catalogue.path(file), file.inside), card).with_columns(part=part, label=label)
        for role, part, label in roles
        for file in card.files_of(role)
    ]
    table = pl.concat(tables)
    events = table["ids"].explode()
    distinct = events.unique(maintain_order=True)
    numbers = pl.DataFrame({"id": distinct, "number": np.arange(len(distinct), dtype=np.int32)})
    ids = events.to_frame("id").join(numbers, on="id", how="left", maintain_order="left")["number"].to_numpy()
    return Log(
        message_ids=ids,
        messages=_named_events(distinct, card, catalogue),
        labels=np.full(len(ids), UNLABELLED, np.int8),
        times=np.full(len(ids), np.nan),
        file_starts=np.zeros(1, np.int64),
        session_lines=np.arange(len(ids), dtype=np.int64),
        session_codes=np.repeat(np.arange(len(table), dtype=np.int32), table["ids"].list.len().to_numpy()),
        session_ids=tuple(table["name"].fill_null("").to_list()),
        session_labels=table["label"].to_numpy().astype(np.int8),
        session_parts=table["part"].to_numpy().astype(np.int8),
        is_parsed=True,
    )


def _sequence_lines(text: bytes, card: Card) -> pl.DataFrame:
    """Columns name and ids, a row for each line that is not blank."""
    lines = text_lines(decode(text)[0])["line"].str.strip_chars()
    lines = lines.filter(lines != "")
    if not len(lines):
        raise BenchError(f"a file of '{card.key}' holds no sequence: its lines must hold ids with blanks between them")
    named = lines.to_frame("line").select(
        name=pl.col("line").str.extract("^([^,]*),", 1),
        ids=pl.col("line").str.replace("^[^,]*,", "").str.strip_chars().str.replace_all(r"\s+", " ").str.split(" "),
    )
    empty = named.with_row_index(offset=1).filter(pl.col("ids").list.first() == "")
    if len(empty):
        raise BenchError(f"a sequence of '{card.key}' has a name but no ids ('{empty['name'][0]}'): remove the line")
    return named


def _named_events(ids: pl.Series, card: Card, catalogue: Catalogue) -> tuple[str, ...]:
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count():
        return tuple(f"event {name}" for name in ids.to_list())
    return _template_texts(numbers.to_numpy(), card, catalogue)


def _codes(values: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Index of each value among the distinct ones, and these, ascending; several times faster than np.unique."""
    distinct = pl.Series(values).unique().sort().to_numpy()
    return np.searchsorted(distinct, values).astype(np.int32), distinct


def _whole_numbers(table: pl.DataFrame, column: str, card: Card) -> pl.Series:
    """A column of text as Int64; null where the cell is empty."""
    numbers = table[column].cast(pl.Int64, strict=False)
    wrong = table[column].filter(numbers.is_null() & table[column].is_not_null())
    if len(wrong):
        raise BenchError(f"a table of '{card.key}' has the {column} '{wrong[0]}': only whole numbers are understood")
    return numbers


def _template_texts(event_ids: NDArray[np.int64], card: Card, catalogue: Catalogue) -> tuple[str, ...]:
    """Text of each event id; ids without a text of their own stay apart from each other by their number."""
    files = card.files_of("templates")
    known: dict[int, str] = {}
    if files:
        table = read_csv(content(catalogue.path(files[0])), card)
        require_columns(table, ("event_id", card.template_column), card)
        numbers = _whole_numbers(table, "event_id", card).to_list()
        texts = table[card.template_column].str.strip_chars().to_list()
        known = {number: text for number, text in zip(numbers, texts, strict=True) if number is not None and text}
    return tuple(known.get(event_id, f"unknown event {event_id}") for event_id in event_ids.tolist())
