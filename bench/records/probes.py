"""Records of probes: a file `probes/<probe_id>.json` of a results folder each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench._files import replace_text
from bench.errors import BenchError
from bench.records.record import record_text

ProbeRecord = dict[str, Any]
"""What a probe found, as plain JSON."""


def read_probe(root: Path, probe_id: str) -> ProbeRecord | None:
    """The stored record of a probe, or None."""
    path = _path_of(root, probe_id)
    return _read(path) if path.is_file() else None


def every_probe(root: Path) -> Iterator[ProbeRecord]:
    """All that are stored, in the order of their ids."""
    for path in sorted(_path_of(root, "any").parent.glob("*.json")):
        yield _read(path)


def write_probe(root: Path, record: ProbeRecord) -> tuple[Path, ProbeRecord]:
    """Keep the record of a probe; returns where, and the record as it reads back."""
    path = _path_of(root, record["probe_id"])
    text = record_text(record)
    replace_text(path, text)
    stored: ProbeRecord = json.loads(text)
    return path, stored


def take_probes(root: Path, other: Path) -> int:
    """Copy the probes of another results folder that are not here; returns how many. One that is here stays."""
    new = [record for record in every_probe(other) if not _path_of(root, record["probe_id"]).is_file()]
    for record in new:
        write_probe(root, record)
    return len(new)


def _path_of(root: Path, probe_id: str) -> Path:
    return root / "probes" / f"{probe_id}.json"


def _read(path: Path) -> ProbeRecord:
    try:
        record: ProbeRecord = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"the record {path} is damaged ({error}): delete it and run again") from None
    return record
