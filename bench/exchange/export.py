"""`bench data export`: the sequences of a scenario for a program in any language, as parquet and JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bench._files import replace_file, replace_text
from bench.data.cards.catalogue import Catalogue
from bench.data.cards.checksums import file_sha256
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.detector import report_progress
from bench.errors import BenchError, choose_one
from bench.exchange import manifest
from bench.exchange.outsider import Outsider, cell_of
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import Cell
from bench.experiment.told import hand_out
from bench.records.record import record_text
from bench.types import NORMAL, UNLABELLED, Sequences

if TYPE_CHECKING:
    import polars as pl

FORMATS: Final = ("parquet", "jsonl")
TRAIN: Final = "train"


def export(
    scenario: str,
    folder: Path,
    catalogue: Catalogue,
    *,
    split: str = "chronological",
    grouping: Grouping | None = None,
    seed: int = 0,
    told: dict[str, str] | None = None,
    formats: Sequence[str] = FORMATS,
    raw: bool = False,
) -> dict[str, Any]:
    """Write the sequences of all parts into a folder, and return its manifest, which is written last.

    told: text of each role, as records hold it; the source's normal sequences if not given. Labels are written of
    training sequences alone, and only as far as this goes. BenchError where such a method could not run, or the folder
    holds something else.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise BenchError(f"--format {unknown[0]} is not known: {choose_one(unknown[0], FORMATS)}")
    _require_free(folder)
    cell = cell_of(
        "exported",
        parse_scenario(scenario, catalogue),
        split=split,
        grouping=grouping or Grouping(),
        seed=seed,
        told={"source": "normals"} if told is None else told,
    )
    for card in cell.scenario.cards:
        for file in card.files if card.kind != "simulated" else ():
            catalogue.path(file)
    given = hand_out(cell, Loader(catalogue).prepare(cell.data), Outsider(raw=raw))
    if given.reason is not None:
        raise BenchError(f"a method that is told this cannot run on {cell.scenario.key}, {cell.split}: {given.reason}")
    if raw and given.train.raw is None:
        raise BenchError(f"{cell.scenario.key} is event ids, which have no raw lines: leave --raw out")
    parts = {TRAIN: given.train} | {n: part.sequences for n, part in manifest.parts_of(given.data).items()}
    labels = _labels_of(cell, given.train, given.labels)
    files: dict[str, str] = {}
    for done, (name, sequences) in enumerate(parts.items()):
        report_progress(f"writing {name}", done, len(parts))
        known = labels if name == TRAIN else None
        frame = frame_of(sequences, manifest.export_id(cell), name, given.data.systems, known)
        files |= _write(frame, folder, name, formats)
    made = manifest.make(cell, parts, files)
    replace_text(folder / manifest.NAME, record_text(made))
    return made


def _require_free(folder: Path) -> None:
    """An earlier export may be written over, other files may not."""
    if folder.exists() and not folder.is_dir():
        raise BenchError(f"'{folder}' is no folder: give another --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / manifest.NAME).is_file():
        raise BenchError(f"the folder '{folder}' holds something else than an export: give a new one with --out")
    (folder / manifest.NAME).unlink(missing_ok=True)  # a folder without it is no export


def _labels_of(cell: Cell, train: Sequences, labels: NDArray[np.int8] | None) -> NDArray[np.int8]:
    """int8 (n_sequences,): -1 unlabelled, 0 normal, 1 abnormal; where one kind says it all, that."""
    if labels is not None:
        return labels
    only = UNLABELLED if "unlabelled" in cell.told.values() else NORMAL
    return np.full(len(train), only, np.int8)


def frame_of(
    sequences: Sequences, export: str, part: str, systems: Sequence[str], labels: NDArray[np.int8] | None
) -> pl.DataFrame:
    """A row for each sequence: id, system, session, start (Unix seconds), elapsed (since then), keys, texts, lines.

    The last four are lists, an entry for each event; a key of -1 is a message that training did not have. `raw` stands
    there where the sequences have it, `label` where labels are given. What is not known is null.
    """
    import polars as pl

    n = len(sequences)
    events = pl.DataFrame(
        {
            "number": sequences.sequence_of_event,
            "elapsed": pl.Series(sequences.elapsed_s).fill_nan(None),
            "keys": sequences.log_keys,
            "texts": pl.Series(list(sequences.texts), dtype=pl.String).gather(sequences.text_ids.astype(np.int64)),
            "lines": sequences.lines,
            **({} if sequences.raw is None else {"raw": sequences.raw.values}),
        }
    )
    lists = events.group_by("number", maintain_order=True).agg(pl.all())
    rows = pl.DataFrame(
        {
            "number": np.arange(n, dtype=np.int64),
            "id": [manifest.sequence_id(export, part, number) for number in range(n)],
            "system": pl.Series(list(systems), dtype=pl.String).gather(sequences.system.astype(np.int64)),
            "session": pl.Series(list(sequences.ids), dtype=pl.String),
            "start": pl.Series(sequences.start_time).fill_nan(None),
            **({} if labels is None else {"label": labels}),
        }
    )
    joined = rows.join(lists, on="number", how="left", maintain_order="left").drop("number")
    names = [name for name in events.columns if name != "number"]
    return joined.with_columns(pl.col(name).fill_null([]) for name in names)


def _write(frame: pl.DataFrame, folder: Path, name: str, formats: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each file that was written."""
    writers: dict[str, Callable[[Path], object]] = {"parquet": frame.write_parquet, "jsonl": frame.write_ndjson}
    found = {}
    for ending in FORMATS:
        if ending in formats:
            path = folder / f"{name}.{ending}"
            replace_file(path, writers[ending])
            found[path.name] = file_sha256(path)
    return found
