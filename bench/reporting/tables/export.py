"""Records as one flat table for notebooks: a row for each run, system and threshold rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from bench._files import replace_file
from bench.errors import BenchError
from bench.experiment.groups import row_group
from bench.records.record import Record, standing

SUFFIXES: Final = (".csv", ".parquet")
_COUNTS: Final = ("n_train", "n_validation", "n_test", "n_test_abnormal", "n_log_keys")


def export(records: Iterable[Record], path: Path) -> int:
    """Write the rows to a CSV or parquet file, as its name says; returns how many."""
    import polars as pl

    if path.suffix not in SUFFIXES:
        raise BenchError(f"'{path}' does not say what to write: give a name that ends with {' or '.join(SUFFIXES)}")
    found = [row for record in records for row in rows(record)]
    if not found:
        raise BenchError("there is no record to export: run something first, or give another --out")
    frame = pl.DataFrame(found, infer_schema_length=None)
    write = frame.write_csv if path.suffix == ".csv" else frame.write_parquet
    replace_file(path, write)
    return len(found)


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """The rows of a record: one where it has no metrics."""
    facts = _facts(record)
    thresholds = record.get("thresholds", {})
    blocks = record.get("metrics", {})
    if not blocks:
        yield facts
    for name, block in blocks.items():
        ranking = {"system": name, "n": block["n"], "n_abnormal": block["n_abnormal"], **block["ranking"]}
        for rule, values in block["rules"].items():
            threshold = thresholds.get(rule, {}).get("value")
            yield {
                **facts,
                **ranking,
                "rule": rule,
                "threshold": None if threshold is None else float(threshold),
                **values,
            }


def _facts(record: Record) -> dict[str, Any]:
    spec, counts = record["spec"], record["counts"]
    return {
        "run_id": record["run_id"],
        "scenario": record["scenario"],
        "split": spec["split"],
        "protocol_version": spec["protocol_version"],
        "standing": standing(record),
        "method": record["method"],
        "told": row_group(record),
        "is_control": record["detector"]["is_control"],
        "seed": spec["seed"],
        "status": record["status"],
        "reason": record["reason"],
        "started_at": record["started_at"],
        **{name: counts.get(name) for name in _COUNTS},
        **{f"seconds_{name}": value for name, value in record["seconds"].items()},
        **{f"cpu_seconds_{name}": value for name, value in record.get("cpu_seconds", {}).items()},
        "beside": record.get("beside"),
    }
