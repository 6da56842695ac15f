"""The predictions of a record, and its split, as parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from bench._files import replace_file
from bench.errors import BenchError
from bench.experiment.behind import OLD_SCORES
from bench.experiment.cuts import cut_of, flagged_at
from bench.records.record import Record, Scores
from bench.types import UNLABELLED

SUFFIX: Final = ".parquet"
_OTHER_PARTS: Final = ("validation", "target_validation")


def predictions(record: Record, scores: Scores, *, also: Sequence[str] = ()) -> pl.DataFrame:
    """A row for each scored sequence: where it stands, its label and score, and whether each rule flags it.

    part: test, validation, or target_validation in a transfer. Sequences of the last two have no name, as a record
    keeps none of them; the rules are judged by what they are for, the test part. label: 0, 1, or null. Lines count from
    0. A rule without a threshold here has null.

    also: threshold rules beside those of the record
    """
    if "test_sequence" not in scores:
        raise BenchError(f"the predictions of '{record['method']}' cannot be written, as {OLD_SCORES}")
    n = len(scores["test"])
    columns: dict[str, Any] = {
        "part": pl.Series(["test"]).new_from_index(0, n),
        "sequence": pl.Series([name.decode() for name in scores["test_sequence"]], dtype=pl.String),
        **_common(record, scores, "test"),
        "first_line": scores["test_first_line"],
        "last_line": scores["test_last_line"],
        "start_time": pl.Series(scores["test_start_time"]).fill_nan(None),
    }
    if "test_weights" in scores:
        columns["weight"] = scores["test_weights"]
    for rule in dict.fromkeys([*record["thresholds"], *also]):
        cut = cut_of(record, scores, rule)
        flagged = [None] * n if isinstance(cut, str) else flagged_at(scores["test"], cut).tolist()
        columns[f"flagged {rule}"] = pl.Series(flagged, dtype=pl.Boolean)
    frames = [pl.DataFrame(columns)]
    frames += [_other(record, scores, part) for part in _OTHER_PARTS if part in scores]
    whole = pl.concat(frames, how="diagonal")
    said = {"run_id": record["run_id"], "method": record["method"], "seed": record["spec"]["seed"]}
    return whole.select(*(pl.lit(value).alias(name) for name, value in said.items()), pl.all())


def write_frame(frame: pl.DataFrame, path: Path) -> int:
    """Write it as parquet, whole or not at all; returns how many rows it has."""
    require_parquet(path)
    replace_file(path, frame.write_parquet)
    return len(frame)


def require_parquet(path: Path) -> None:
    """Raise BenchError where a name does not say parquet: asked before any work."""
    if path.suffix != SUFFIX:
        raise BenchError(f"'{path}' is to be a parquet file: give a name that ends with {SUFFIX}")


def _other(record: Record, scores: Scores, part: str) -> pl.DataFrame:
    name = pl.Series([part]).new_from_index(0, len(scores[part]))
    return pl.DataFrame({"part": name, **_common(record, scores, part)})


def _common(record: Record, scores: Scores, part: str) -> dict[str, Any]:
    n = len(scores[part])
    labels = scores.get(f"{part}_labels", np.full(n, UNLABELLED))
    system = scores.get(f"{part}_system")
    names = pl.Series(record["systems"])
    return {
        "system": pl.Series([None], dtype=pl.String).new_from_index(0, n) if system is None else names.gather(system),
        "label": pl.Series(labels.astype(np.int8)).replace(UNLABELLED, None),
        "score": scores[part],
    }
