"""Which decisions of a record were wrong: the one place that holds its stored scores against its labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.experiment.cuts import cut_of, flagged_at, judged_of
from bench.records.record import Record, Scores
from bench.types import ABNORMAL


class Decisions(NamedTuple):
    """What a rule made of the test sequences of a record; arrays are (n_test,)."""

    cut: NDArray[np.float64]
    """The threshold that each is held against."""
    counted: NDArray[np.bool_]
    """Those that the method did not decline to judge."""
    is_abnormal: NDArray[np.bool_]
    flagged: NDArray[np.bool_]

    @property
    def false_positives(self) -> NDArray[np.int64]:
        """Their places."""
        return np.flatnonzero(self.counted & self.flagged & ~self.is_abnormal)

    @property
    def false_negatives(self) -> NDArray[np.int64]:
        """Their places."""
        return np.flatnonzero(self.counted & ~self.flagged & self.is_abnormal)


def decisions_of(record: Record, scores: Scores, rule: str) -> Decisions:
    """The decisions by a threshold rule; BenchError where it has no threshold here."""
    cut = cut_of(record, scores, rule)
    if isinstance(cut, str):
        raise BenchError(_no_threshold(record, rule, cut))
    return Decisions(cut, judged_of(scores), scores["test_labels"] == ABNORMAL, flagged_at(scores["test"], cut))


def _no_threshold(record: Record, rule: str, reason: str) -> str:
    known = [name for name, entry in record["thresholds"].items() if entry["value"] is not None or "systems" in entry]
    return (
        f"the rule {rule} gives '{record['method']}' no threshold here ({reason}): "
        f"choose another --threshold, such as {', '.join(known) or 'fixed:0.5'}"
    )
