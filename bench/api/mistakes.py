"""What a run got wrong: its false positives and negatives, from the scores that its record was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.errors import BenchError
from bench.experiment.cuts import cut_of, flagged_at, judged_of
from bench.records.record import scores_digest
from bench.types import ABNORMAL

if TYPE_CHECKING:
    from bench.records.record import Record, Scores

_WORDS: Final = ("false positive", "false negative")


def mistakes(record: Record, scores: Scores, rule: str) -> Any:
    """A polars frame with a row for each wrong decision of the test part, those farthest from the threshold first.

    Columns: error, score, threshold, system, sequence (its id), first_line, last_line (raw line numbers from 0), start
    (UTC; null where the log has no time). BenchError where the rule has no threshold, or the scores are not the run's.
    """
    import polars as pl

    known = record.get("scores_sha256")
    if known is not None and scores_digest(scores) != known:
        raise BenchError(f"the stored scores of {record['run_id']} are not those of its record: run it again")
    cut = cut_of(record, scores, rule)
    if isinstance(cut, str):
        raise BenchError(f"'{record['method']}' has no threshold by the rule {rule} ({cut}): choose another rule")
    is_abnormal = scores["test_labels"] == ABNORMAL
    wrong = np.flatnonzero(judged_of(scores) & (flagged_at(scores["test"], cut) != is_abnormal))
    far = wrong[np.argsort(-np.abs(scores["test"][wrong] - cut[wrong]), kind="stable")]
    systems = np.array(record["systems"])
    start = scores["test_start_time"][far] if "test_start_time" in scores else np.full(len(far), np.nan)
    frame = pl.DataFrame(
        {
            "error": [_WORDS[int(is_abnormal[i])] for i in far],
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
