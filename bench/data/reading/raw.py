"""Lines as they were written, without their label: read from an edition's files on request, kept beside its log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from bench._sealed import filling, unseal
from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.lines import Source, lines_without_label
from bench.data.reading.log import Log
from bench.data.reading.prepared import kept_or_made, prepared_folder, unchanged, unwritable
from bench.data.reading.read import line_sources
from bench.errors import BenchError
from bench.types import RawLines, Sequences

_NAME: Final = "raw-1.arrow"
"""Another number when the same files come to give other lines."""
_SEAL: Final = "raw-1.json"
_COLUMN: Final = "raw"


def open_raw(card: Card, catalogue: Catalogue, log: Log) -> pl.Series | None:
    """The lines of a log as a column of texts, memory-mapped; read first where that was not done. None for event ids.

    Reading takes the memory of the log's text once, but no Python object per line.
    """
    if log.is_parsed:
        return None
    return kept_or_made(
        card,
        f"the lines of {card.key}",
        lambda: _open(prepared_folder(card), len(log)),
        lambda: _prepare(card, catalogue, log),
    )


def read_raw(card: Card, sources: Iterable[Source]) -> pl.Series:
    """The same in memory, for lines that are in no edition."""
    return pl.concat([pl.Series(dtype=pl.String), *lines_without_label(card, sources)])


def raw_of(sequences: Sequences, systems: Mapping[int, pl.Series | None]) -> RawLines | None:
    """The lines of all events; systems: by `Sequences.system`. None where one of them has no lines."""
    system = np.repeat(sequences.system, sequences.lengths)
    present = np.unique(system).tolist()
    columns = [systems[index] for index in present]
    if any(column is None for column in columns):
        return None
    places = [np.flatnonzero(system == index) for index in present]
    parts = [
        column.gather(sequences.lines[events])
        for column, events in zip(columns, places, strict=True)
        if column is not None
    ]
    if len(parts) <= 1:
        return RawLines(parts[0] if parts else pl.Series(dtype=pl.String))
    return RawLines(pl.concat(parts).gather(np.argsort(np.concatenate(places), kind="stable")))


def _open(folder: Path, n_lines: int) -> pl.Series | None:
    if unseal(folder / _SEAL) is None:
        return None
    column = pl.read_ipc(folder / _NAME)[_COLUMN]
    return column if len(column) == n_lines else None


def _prepare(card: Card, catalogue: Catalogue, log: Log) -> pl.Series:
    folder = prepared_folder(card)
    with unchanged(card, catalogue):
        column = read_raw(card, line_sources(card, catalogue))
    if len(column) != len(log):
        raise BenchError(f"the lines of '{card.key}' changed while they were read: run the command again")
    try:
        with filling(folder / _SEAL) as new:
            column.to_frame(_COLUMN).write_ipc(new / _NAME)
    except OSError as error:
        raise unwritable(folder, error) from None
    found = _open(folder, len(log))
    return column if found is None else found
