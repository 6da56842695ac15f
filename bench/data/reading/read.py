"""Readers: the files of an edition -> `Log`, one row per line or event, as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.builder import Gathering
from bench.data.reading.columns import Columns
from bench.data.reading.ids import read_id_sessions, read_id_splits, read_id_stream
from bench.data.reading.labels import SessionLabels, label_file, session_labels
from bench.data.reading.lines import Source, files, read_lines
from bench.data.reading.log import Log
from bench.data.reading.streams import BLOCK_BYTES, whole_lines
from bench.errors import BenchError


def read(card: Card, catalogue: Catalogue, columns: Columns | None = None) -> Log:
    """Read an edition into columns, in memory where none are given.

    Every problem with its files is a BenchError that names the file.
    """
    columns = columns or Columns()
    if card.kind == "id-stream":
        return columns.fill(read_id_stream(card, catalogue))
    if card.kind == "id-sessions":
        return columns.fill(read_id_sessions(card, catalogue))
    if card.kind == "id-splits":
        return columns.fill(read_id_splits(card, catalogue))
    made = simulated_files(card) if card.kind == "simulated" else {}
    gathering = Gathering(card, columns)
    read_lines(card, line_sources(card, catalogue, made), gathering)
    return gathering.finish(_label_table(card, catalogue, made))


def line_sources(card: Card, catalogue: Catalogue, made: Mapping[str, bytes] | None = None) -> Iterable[Source]:
    """The lines of an edition, file by file; made: what `simulated_files` gave, where that was asked already."""
    if card.kind != "simulated":
        return files(card, catalogue)
    return [Source(card.key, _blocks((made or simulated_files(card))["lines"]))]


def simulated_files(card: Card) -> dict[str, bytes]:
    """What the generator of a simulated edition makes: `lines`, and `labels` where the system keeps them apart."""
    from bench.data.simulation.simulate import simulate

    made = simulate(card.simulate, seed=card.seed)
    files = {"lines": made.lines} | ({"labels": made.label_file} if made.label_file is not None else {})
    for name, content in files.items():
        found = hashlib.sha256(content).hexdigest()
        if found != card.sha256.get(name):
            raise BenchError(
                f"the {name} simulated for '{card.key}' have SHA-256 {found[:12]}..., the card says "
                f"{card.sha256.get(name, 'nothing')[:12]}...: after a change of its grammar, correct the card"
            )
    return files


def _label_table(card: Card, catalogue: Catalogue, made: dict[str, bytes]) -> SessionLabels | None:
    if card.format.label not in ("label-file", "session-list"):
        return None
    return session_labels(card, made["labels"] if made else label_file(card, catalogue))


def _blocks(content: bytes) -> Iterator[bytes]:
    return whole_lines(content[start : start + BLOCK_BYTES] for start in range(0, len(content), BLOCK_BYTES))
