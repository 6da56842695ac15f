"""What a record got wrong as a data frame: a row for each false positive and negative."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl

from bench.records.record import Record, Scores
from bench.reporting.errors.wrong import decisions_of

_WORDS: Final = ("false positive", "false negative")


def mistakes(record: Record, scores: Scores, rule: str) -> pl.DataFrame:
    """A row for each wrong decision of the test part, those farthest from the threshold first.

    Columns: error, score, threshold, system, sequence (its id), first_line, last_line (raw line numbers from 0), start
    (UTC; null where the log has no time). BenchError where the rule has no threshold.
    """
    decided = decisions_of(record, scores, rule)
    wrong = np.sort(np.concatenate([decided.false_positives, decided.false_negatives]))
    cut = decided.cut
    far = wrong[np.argsort(-np.abs(scores["test"][wrong] - cut[wrong]), kind="stable")]
    systems = np.array(record["systems"])
    start = scores["test_start_time"][far] if "test_start_time" in scores else np.full(len(far), np.nan)
    frame = pl.DataFrame(
        {
            "error": [_WORDS[int(decided.is_abnormal[i])] for i in far],
            "score": scores["test"][far],
            "threshold": cut[far],
            "system": systems[scores["test_system"][far]],
            **_places(scores, far),
            "start": pl.Series((start * 1e6).round(), nan_to_null=True, dtype=pl.Float64),
        }
    )
    moment = pl.col("start").cast(pl.Int64, strict=False).cast(pl.Datetime("us", "UTC"))
    return frame.with_columns(moment)


def _places(scores: Scores, which: Any) -> dict[str, Any]:
    """Where the sequences are; nothing of scores that were stored before they said so."""
    if "test_sequence" not in scores:
        return {}
    ids = scores["test_sequence"][which]
    return {
        "sequence": [text.decode("utf-8", "replace") for text in ids.tolist()],
        "first_line": scores["test_first_line"][which],
        "last_line": scores["test_last_line"][which],
    }
