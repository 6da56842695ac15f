"""The numbers behind the `<*>` of all lines of an edition: read from its raw lines on request, kept beside its log.

They depend on the card's masks and on no template, so one pass over the files serves every split. Editions of event ids
have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench._sealed import filling, unseal
from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.columns import map_array
from bench.data.reading.lines import LineValues, Source, values_behind_masks
from bench.data.reading.log import WILDCARD, Log
from bench.data.reading.prepared import kept_or_made, prepared_folder, unchanged, unwritable
from bench.data.reading.read import line_sources
from bench.detector import report_progress
from bench.errors import BenchError
from bench.types import Parameters

_VERSION: Final = 1
"""Raise it when the same lines come to give other numbers."""
_VALUES, _OFFSETS = f"values-{_VERSION}.bin", f"value-offsets-{_VERSION}.bin"
_SEAL: Final = f"values-{_VERSION}.json"

Integers = NDArray[np.int64]


def open_values(card: Card, catalogue: Catalogue, log: Log) -> Parameters | None:
    """The numbers of each line of a log from left to right, memory-mapped; they are read first where that was not done.

    Line l has as many as its masked message has `<*>`, NaN where no number stands. None for pre-parsed events.
    """
    if log.is_parsed:
        return None
    return kept_or_made(
        card,
        f"the numbers of {card.key}",
        lambda: _open(prepared_folder(card), len(log)),
        lambda: _prepare(card, catalogue, log),
    )


def read_values(card: Card, sources: Iterable[Source], log: Log) -> Parameters:
    """The same in memory, for lines that are in no edition."""
    parts = list(_fitting(values_behind_masks(card, sources), log))
    lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
    return Parameters(np.concatenate([np.empty(0), *(part.values for part in parts)]), np.cumsum(lengths))


def _open(folder: Path, n_lines: int) -> Parameters | None:
    if unseal(folder / _SEAL) is None:
        return None
    offsets = map_array(folder / _OFFSETS, np.int64)
    values = map_array(folder / _VALUES, np.float64)
    whole = len(offsets) == n_lines + 1 and offsets[-1] == len(values)
    return Parameters(values, offsets) if whole else None


def _prepare(card: Card, catalogue: Catalogue, log: Log) -> Parameters:
    folder = prepared_folder(card)
    try:
        with filling(folder / _SEAL) as new, unchanged(card, catalogue):
            _write(new, card, catalogue, log)
    except OSError as error:
        raise unwritable(folder, error) from None
    made = _open(folder, len(log))
    if made is None:
        raise BenchError(f"the lines of '{card.key}' changed while they were read: run the command again")
    return made


def _write(folder: Path, card: Card, catalogue: Catalogue, log: Log) -> None:
    with (folder / _VALUES).open("wb") as values, (folder / _OFFSETS).open("wb") as offsets:
        n_lines = n_values = 0
        offsets.write(np.zeros(1, np.int64).data)
        for part in _fitting(values_behind_masks(card, line_sources(card, catalogue)), log):
            values.write(part.values.data)
            offsets.write((n_values + np.cumsum(part.lengths)).data)
            n_lines, n_values = n_lines + len(part.lengths), n_values + len(part.values)
            report_progress(f"reading numbers of {card.key}", n_lines, len(log))


def _fitting(parts: Iterable[LineValues], log: Log) -> Iterable[LineValues]:
    """As many values as the masked message of each line has wildcards; NaN for all of a line where that is not so."""
    expected = places_of(log)
    start = 0
    for part in parts:
        wanted = expected[log.message_ids[start : start + len(part.lengths)]]
        start += len(part.lengths)
        yield LineValues(*fitted(part.values, part.lengths, wanted, np.nan))


def places_of(log: Log) -> Integers:
    """int64 (n_messages,): how many `<*>` each masked message has."""
    messages = log.messages.values if hasattr(log.messages, "values") else pl.Series(log.messages, dtype=pl.String)
    return messages.str.count_matches(WILDCARD, literal=True).to_numpy().astype(np.int64)


def fitted(
    values: NDArray[Any], lengths: Integers, expected: Integers, missing: float
) -> tuple[NDArray[Any], Integers]:
    """As many values of each line as expected, and how many; `missing` for all of a line that has another number.

    A mask that cuts a wildcard which stood in the raw message itself can make such a line. Of more lines than the log
    has, nothing is changed, so that the caller finds it.
    """
    if len(expected) != len(lengths) or np.array_equal(expected, lengths):
        return values, lengths
    made = np.full(expected.sum(), missing, values.dtype)
    fits = expected == lengths
    made[np.repeat(fits, expected)] = values[np.repeat(fits, lengths)]
    return made, expected
