"""The manifest of an export: what was exported, of which data, and the names of its sequences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench._plain import jsonable
from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Prepared
from bench.data.sequences.vocabulary import Part
from bench.errors import BenchError
from bench.exchange.outsider import cell_of
from bench.experiment.scenario import Scenario
from bench.experiment.spec import PROTOCOL_VERSION, Cell
from bench.records.record import content_digest
from bench.types import Sequences

NAME: Final = "manifest.json"
VERSION: Final = 1
TO_SCORE: Final = ("validation", "target-validation", "test")
"""The parts whose scores make a record, as far as there are any."""
_DIGITS: Final = 8


def export_id(cell: Cell) -> str:
    """8 hex digits of all that decides which sequences are exported, and what is told of them."""
    spec = cell.spec()
    data = {name: spec[name] for name in spec.keys() - {"detector", "seed"}}
    return content_digest(jsonable({**data, "seed": cell.data_seed, "told": cell.told}))[:_DIGITS]


def sequence_id(export: str, part: str, number: int) -> str:
    """`9f8e7d6c.test.12`: the name of a sequence, which no other export has."""
    return f"{export}.{part}.{number}"


def parts_of(prepared: Prepared) -> dict[str, Part]:
    """The parts that are to be scored, by the names that exports give them; those that are not empty."""
    found = {
        "validation": prepared.validation,
        "target-validation": prepared.target_validation,
        "test": prepared.test,
    }
    return {name: part for name, part in found.items() if part is not None and len(part.labels)}


def places_digest(sequences: Sequences) -> str:
    """SHA-256 of which lines of which system the sequences are: equal for equal sequences in equal order."""
    digest = hashlib.sha256()
    for array in (sequences.system, sequences.offsets, sequences.lines):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def make(cell: Cell, parts: Mapping[str, Sequences], files: Mapping[str, str]) -> dict[str, Any]:
    """The manifest of an export.

    parts: all that were exported, training too;  files: SHA-256 by name
    """
    spec = cell.spec()
    content: dict[str, Any] = {
        "version": VERSION,
        "export": export_id(cell),
        "protocol_version": PROTOCOL_VERSION,
        "train": [card.key for card in cell.scenario.train],
        "test": [card.key for card in cell.scenario.test],
        "auxiliary": [card.key for card in cell.scenario.auxiliary],
        "split": cell.split,
        "seed": cell.seed,
        "grouping": [cell.grouping.window_size, cell.grouping.window_step],
        "told": cell.told,
        "data": {part["edition"]: part["sha256"] for part in (*spec["train"], *spec["test"])},
        "to_score": [name for name in TO_SCORE if name in parts],
        "parts": {
            name: {"sequences": len(found), "events": found.n_events, "places": places_digest(found)}
            for name, found in parts.items()
        },
        "files": dict(files),
    }
    return {**jsonable(content), "digest": content_digest(jsonable(content))}


def read(folder: Path) -> dict[str, Any]:
    """The manifest of an export's folder; BenchError where there is none, or it is not what was written."""
    path = folder / NAME
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(
            f"'{path}' cannot be read ({reason}): give the folder of `bench data export` with --export"
        ) from None
    known = content.get("version") if isinstance(content, dict) else None
    if known != VERSION:
        raise BenchError(f"'{path}' is of version {known}, this program reads {VERSION}: export again")
    if content.get("digest") != content_digest({k: v for k, v in content.items() if k != "digest"}):
        raise BenchError(f"'{path}' was changed after the export (its digest is not that of its content): export again")
    if content["protocol_version"] != PROTOCOL_VERSION:
        raise BenchError(
            f"'{path}' is of protocol {content['protocol_version']}, this program of {PROTOCOL_VERSION}: export again"
        )
    return content


def cell_of_manifest(name: str, manifest: Mapping[str, Any], catalogue: Catalogue, seed: int | None) -> Cell:
    """The cell of scores for an export; BenchError where the data or the program here would export others.

    seed: of the training, where it is not that of the export
    """
    train, test, helpers = (
        tuple(catalogue.resolve(key) for key in manifest[role]) for role in ("train", "test", "auxiliary")
    )
    cell = cell_of(
        name,
        Scenario(train, test, helpers),
        split=manifest["split"],
        grouping=Grouping(*manifest["grouping"]),
        seed=manifest["seed"] if seed is None else seed,
        told=manifest["told"],
    )
    if cell.data_seed is not None and cell.seed != manifest["seed"]:
        raise BenchError(
            f"--seed {cell.seed}: under the split {cell.split} the seed draws the data, and the export is of seed "
            f"{manifest['seed']}: export with that seed too"
        )
    if export_id(cell) != manifest["export"]:
        raise BenchError(
            f"the export {manifest['export']} is not of the data that are here (another file, card or setting of "
            f"{' or '.join(manifest['data'])}): export again"
        )
    return cell


def require_same_sequences(manifest: Mapping[str, Any], prepared: Prepared) -> None:
    """Raise BenchError where the parts are not those that were exported."""
    for name, part in parts_of(prepared).items():
        if places_digest(part.sequences) != manifest["parts"].get(name, {}).get("places"):
            raise BenchError(
                f"the sequences of the part '{name}' are not those of the export {manifest['export']}: export again"
            )
