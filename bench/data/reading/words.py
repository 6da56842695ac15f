"""What stands behind the `<*>` of all lines of an edition, as text: read on request, kept beside its log.

As the numbers it depends on the card's masks and on no template. Each distinct text is kept once, as polars keeps it,
with a number for each place: no Python object per line. Editions of event ids have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench._sealed import filling, unseal
from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.columns import map_array
from bench.data.reading.lines import Source, words_behind_masks
from bench.data.reading.log import Log
from bench.data.reading.numbers import fitted, places_of
from bench.data.reading.prepared import kept_or_made, prepared_folder, unchanged, unwritable
from bench.data.reading.read import line_sources
from bench.detector import report_progress
from bench.errors import BenchError
from bench.types import Words

_VERSION: Final = 1
"""Raise it when the same lines come to give other words."""
_TEXTS: Final = f"words-{_VERSION}.arrow"
_IDS, _OFFSETS = f"word-ids-{_VERSION}.bin", f"word-offsets-{_VERSION}.bin"
_SEAL: Final = f"words-{_VERSION}.json"
_COLUMN: Final = "words"
_NOT_KNOWN: Final = 0
"""Number of the empty text, which stands first."""


def open_words(card: Card, catalogue: Catalogue, log: Log) -> Words | None:
    """The words of each line of a log from left to right, memory-mapped; read first where that was not done.

    Line l has as many as its masked message has `<*>`. None for pre-parsed events.
    """
    if log.is_parsed:
        return None
    return kept_or_made(
        card,
        f"the words of {card.key}",
        lambda: _open(prepared_folder(card), len(log)),
        lambda: _prepare(card, catalogue, log),
    )


def read_words(card: Card, sources: Iterable[Source], log: Log) -> Words:
    """The same in memory, for lines that are in no edition."""
    expected = places_of(log)
    texts, ids, lengths = [pl.Series([""], dtype=pl.String)], [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
    n_lines, n_texts = 0, len(texts[0])
    for part in words_behind_masks(card, sources):
        distinct, numbers = distinct_texts(part.texts)
        wanted = expected[log.message_ids[n_lines : n_lines + len(part.lengths)]]
        own, own_lengths = fitted(numbers + n_texts, part.lengths, wanted, _NOT_KNOWN)
        texts.append(distinct)
        ids.append(own)
        lengths.append(own_lengths)
        n_lines, n_texts = n_lines + len(part.lengths), n_texts + len(distinct)
        report_progress(f"reading words of {card.key}", n_lines, len(log))
    distinct, number_of = distinct_texts(pl.concat(texts))
    return Words(distinct, number_of[np.concatenate(ids)].astype(np.int32), np.cumsum(np.concatenate(lengths)))


def distinct_texts(texts: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """The distinct ones in order of first occurrence, and int64 (n_texts,): the number of each."""
    distinct = texts.rename("text").unique(maintain_order=True)
    table = pl.DataFrame({"text": distinct, "id": np.arange(len(distinct))})
    return distinct, texts.to_frame("text").join(table, on="text", how="left", maintain_order="left")["id"].to_numpy()


def _open(folder: Path, n_lines: int) -> Words | None:
    if unseal(folder / _SEAL) is None:
        return None
    texts = pl.read_ipc(folder / _TEXTS)[_COLUMN]
    ids, offsets = map_array(folder / _IDS, np.int32), map_array(folder / _OFFSETS, np.int64)
    whole = len(offsets) == n_lines + 1 and offsets[-1] == len(ids)
    return Words(texts, ids, offsets) if whole else None


def _prepare(card: Card, catalogue: Catalogue, log: Log) -> Words:
    folder = prepared_folder(card)
    with unchanged(card, catalogue):
        made = read_words(card, line_sources(card, catalogue), log)
    if len(made.offsets) != len(log) + 1:
        raise BenchError(f"the lines of '{card.key}' changed while they were read: run the command again")
    try:
        with filling(folder / _SEAL) as new:
            made.values.to_frame(_COLUMN).write_ipc(new / _TEXTS)
            (new / _IDS).write_bytes(made.ids.data)
            (new / _OFFSETS).write_bytes(made.offsets.data)
    except OSError as error:
        raise unwritable(folder, error) from None
    found = _open(folder, len(log))
    return made if found is None else found
