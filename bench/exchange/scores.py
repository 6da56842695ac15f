"""`bench results import`: scores that a program in any language gave to exported sequences become a record."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.loader import Loader, Prepared
from bench.errors import BenchError
from bench.evaluation.thresholds import ThresholdRule
from bench.exchange import manifest as manifests
from bench.exchange.export import TRAIN
from bench.exchange.outsider import Outsider, require_certified, require_name
from bench.experiment.cell import Data, Settings, new_record
from bench.experiment.code import InstalledCode
from bench.experiment.measure import default_rules, measure
from bench.experiment.scoring import score_parts
from bench.experiment.spec import Cell
from bench.records.record import SCORES_ONLY, Certifies, Record, Scores, scores_digest
from bench.records.store import Store

Floats = NDArray[np.float64]
_COLUMNS: Final = 2


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    record: Record
    is_new: bool
    """False where these very scores were imported before: nothing was written."""
    n_unused: int
    """Scores of training sequences, which no record needs."""


def import_scores(
    name: str,
    file: Path,
    folder: Path,
    catalogue: Catalogue,
    store: Store,
    *,
    seed: int | None = None,
    native: float | None = None,
    rules: Sequence[ThresholdRule] = (),
    replace: bool = False,
    certifies: Certifies | None = None,
) -> Imported:
    """Make a record of scores, in the division of those that are scores only.

    name: of the row;  file: CSV of sequence id and score;  folder: of the export
    seed: of the training, where not that of the export;  native: the method's own threshold
    certifies: which method here the code that gave them is for
    replace: put it over a record of other scores of the same name, split and seed
    Raises BenchError, and writes nothing, for scores that are not complete, finite, and of this export.
    """
    require_name(name)
    if certifies is not None:
        require_certified(certifies)
    if native is not None and not math.isfinite(native):
        raise BenchError(f"--native {native} is no threshold: give a finite number")
    manifest = manifests.read(folder)
    found, n_unused = read_scores(file, manifest)
    cell = manifests.cell_of_manifest(name, manifest, catalogue, seed)
    for card in cell.scenario.cards:
        for needed in card.files if card.kind != "simulated" else ():
            catalogue.path(needed)
    store.require_writable()
    start = time.perf_counter()
    prepared = Loader(catalogue).prepare(cell.data)
    manifests.require_same_sequences(manifest, prepared)
    data = Data(prepared, time.perf_counter() - start)
    record, scores = _made(cell, data, found, native, rules)
    if certifies is not None:
        record["detector"]["certifies"] = certifies
    known = store.read(cell.run_id)
    is_same = known is not None and known.get("scores_sha256") == scores_digest(scores)
    if known is not None and is_same and known["detector"].get("certifies") == certifies:
        return Imported(known, is_new=False, n_unused=n_unused)
    if known is not None and not is_same and not replace:
        raise BenchError(
            f"'{name}' has other scores of {cell.scenario.key}, {cell.split}, seed {cell.seed} already (record "
            f"{cell.run_id}): give another name or --seed, or add --replace"
        )
    return Imported(store.write(record, scores), is_new=True, n_unused=n_unused)


def _made(
    cell: Cell,
    data: Data,
    found: Mapping[str, Floats],
    native: float | None,
    rules: Sequence[ThresholdRule],
) -> tuple[Record, Scores]:
    """The record as a run would leave it, but for what only a run knows: times, memory and code."""
    prepared: Prepared = data.prepared
    answers = {id(part.sequences): found[name] for name, part in manifests.parts_of(prepared).items()}
    record = new_record(cell, data, Settings(), InstalledCode())
    record.pop("code", None)
    record["detector"]["division"] = SCORES_ONLY
    record["seconds"], record["cpu_seconds"], record["memory_mib"] = {}, {}, {}
    scores = score_parts(Outsider(answers=answers, native=native), prepared, cell)
    wanted = list(dict.fromkeys([*default_rules(is_transfer=cell.scenario.is_transfer), *rules]))
    record |= measure(scores, prepared.systems, wanted, split=cell.split)
    return record, scores


def read_scores(file: Path, manifest: Mapping[str, Any]) -> tuple[dict[str, Floats], int]:
    """Scores of each part that makes a record, in the order of the export; and how many of training there were."""
    sizes = {name: manifest["parts"][name]["sequences"] for name in manifest["to_score"]}
    scores = {name: np.full(size, np.nan) for name, size in sizes.items()}
    n_unused = 0
    for number, text, value in _rows(file):
        part, place = _place_of(text, manifest, f"{file}, line {number}")
        if part == TRAIN:
            n_unused += 1
            continue
        if not np.isnan(scores[part][place]):
            raise BenchError(f"{file}, line {number}: the sequence '{text}' has a score already: give one of each")
        scores[part][place] = value
    _require_complete(file, scores, manifest["export"])
    return scores, n_unused


def _rows(file: Path) -> Iterator[tuple[int, str, float]]:
    """Line number, id and score of each row; a first line that names its columns is passed over."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), 1):
                if row and not (number == 1 and row[-1].strip().lower() == "score"):
                    yield number, *_row(row, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"'{file}' cannot be read ({reason}): give a CSV file of sequence id and score") from None


def _row(row: Sequence[str], where: str) -> tuple[str, float]:
    if len(row) != _COLUMNS:
        raise BenchError(f"{where} has {len(row)} columns: write a sequence id and a score, with a comma between")
    try:
        value = float(row[1])
    except ValueError:
        raise BenchError(f"{where}: '{row[1].strip()}' is no number: write a score for each sequence") from None
    if not math.isfinite(value):
        raise BenchError(f"{where}: the score of '{row[0].strip()}' is {row[1].strip()}: every score must be finite")
    return row[0].strip(), value


def _place_of(text: str, manifest: Mapping[str, Any], where: str) -> tuple[str, int]:
    """Part and position of a sequence; BenchError where it is none of this export."""
    export, _, rest = text.partition(".")
    part, _, number = rest.rpartition(".")
    size = manifest["parts"].get(part, {}).get("sequences", 0)
    if export != manifest["export"] and part in (TRAIN, *manifests.TO_SCORE):
        raise BenchError(
            f"{where}: the scores are of the export '{export}', and the folder is of {manifest['export']} "
            f"({manifest['split']}, seed {manifest['seed']}): another scenario, split, seed or told; give its folder"
        )
    if not size or not number.isdecimal() or int(number) >= size:
        raise BenchError(
            f"{where}: '{text}' is no sequence of the export {manifest['export']}: write its ids unchanged"
        )
    return part, int(number)


def _require_complete(file: Path, scores: Mapping[str, Floats], export: str) -> None:
    missing = [
        manifests.sequence_id(export, name, int(place))
        for name, values in scores.items()
        for place in np.flatnonzero(np.isnan(values))
    ]
    if missing:
        total = sum(map(len, scores.values()))
        raise BenchError(
            f"{file} leaves out {len(missing)} of {total} sequences, the first is '{missing[0]}': score all of "
            f"{_listed(scores)}"
        )


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)
