"""What a record got wrong: false positives and false negatives by score, with time and the log lines behind each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.catalogue import Catalogue
from bench.errors import BenchError
from bench.evaluation.thresholds import DEFAULT_RULE, parse_rule
from bench.experiment.behind import LogLine, TestedLines
from bench.records.record import Record, Scores
from bench.records.store import Store
from bench.reporting.errors.wrong import decisions_of
from bench.reporting.tables.choose import Asked, Chosen, choose_record, scores_of_record

TOP: Final = 5
"""Sequences that are shown of each kind, unless more are asked for."""
LINES: Final = 3
"""Log lines that are shown of each sequence."""

Kind = Literal["false positive", "false negative"]


@dataclass(frozen=True)
class Mistake:
    """One test sequence that was flagged and is normal, or is abnormal and was not flagged."""

    kind: Kind
    rank: int
    """Among its kind, from 1: false positives from the highest score, false negatives from the lowest."""
    system: str
    sequence: str
    """Session id, or the number of the window's first line, from 0; empty where the scores are too old to say."""
    score: float
    time: float | None
    """Of its first line, in Unix seconds."""
    first_line: int | None
    """From 1, through all files of its edition."""
    last_line: int | None
    n_lines: int | None
    """None where no lines were asked for."""
    lines: tuple[LogLine, ...] = ()
    """Of more than were asked for those that are rarest in the log, in their order."""


@dataclass(frozen=True)
class Errors:
    """What one record got wrong at one threshold."""

    record: Record
    rule: str
    thresholds: dict[str, float]
    """By system where each has its own, else by `all`."""
    counts: dict[str, int]
    """tp, fp, fn, tn: of the sequences that were tested and judged, whatever their weight."""
    n_seeds: int
    """Finished runs of its row."""
    false_positives: tuple[Mistake, ...]
    false_negatives: tuple[Mistake, ...]
    notes: tuple[str, ...] = ()

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Of both kinds."""
        return (*self.false_positives, *self.false_negatives)

    def rows(self) -> list[dict[str, Any]]:
        """A row of plain values for each mistake, as for a data frame; lines as one text."""
        return [{**_plain(mistake), "lines": [line.text for line in mistake.lines]} for mistake in self.mistakes]

    def as_json(self) -> dict[str, Any]:
        """All of it for programs."""
        spec = self.record["spec"]
        return {
            "run_id": self.record["run_id"],
            "method": self.record["method"],
            "scenario": self.record["scenario"],
            "split": spec["split"],
            "protocol_version": spec["protocol_version"],
            "seed": spec["seed"],
            "rule": self.rule,
            "thresholds": {name: _finite(value) for name, value in self.thresholds.items()},
            "counts": self.counts,
            "false_positives": [_with_lines(mistake) for mistake in self.false_positives],
            "false_negatives": [_with_lines(mistake) for mistake in self.false_negatives],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Depth:
    """How much is shown."""

    top: int = TOP
    """Sequences of each kind."""
    lines: int = LINES
    """Log lines of each sequence; 0 opens no data."""

    def __post_init__(self) -> None:
        for name, value, least in (("--top", self.top, 1), ("--lines", self.lines, 0)):
            if value < least:
                raise BenchError(f"{name} is {value}: give a whole number from {least}")


def find_errors(
    store: Store, asked: Asked, catalogue: Catalogue, *, rule: str = DEFAULT_RULE, depth: Depth | None = None
) -> Errors:
    """The mistakes of the record that is meant, from its stored scores; nothing is fitted.

    BenchError where there is no such record, its scores or its data are not here, or its rule has no threshold.
    """
    chosen = choose_record(store, asked)
    return errors_of(chosen, scores_of_record(chosen.record, store), catalogue, rule=rule, depth=depth or Depth())


def errors_of(chosen: Chosen, scores: Scores, catalogue: Catalogue, *, rule: str, depth: Depth) -> Errors:
    """The same of a record and its scores."""
    record = chosen.record
    rule = str(parse_rule(rule))
    decided = decisions_of(record, scores, rule)
    wrong: dict[Kind, NDArray[np.int64]] = {
        "false positive": decided.false_positives,
        "false negative": decided.false_negatives,
    }
    look = _Look(record, scores, TestedLines(record, scores, catalogue) if depth.lines else None, depth)
    found = {kind: look.mistakes(kind, positions) for kind, positions in wrong.items()}
    return Errors(
        record=record,
        rule=rule,
        thresholds=_thresholds(record, scores, decided.cut),
        counts={
            "tp": int((decided.counted & decided.flagged & decided.is_abnormal).sum()),
            "fp": len(wrong["false positive"]),
            "fn": len(wrong["false negative"]),
            "tn": int((decided.counted & ~decided.flagged & ~decided.is_abnormal).sum()),
        },
        n_seeds=len(chosen.row.finished),
        false_positives=found["false positive"],
        false_negatives=found["false negative"],
        notes=(*chosen.notes, *_notes(record)),
    )


def _thresholds(record: Record, scores: Scores, cut: NDArray[np.float64]) -> dict[str, float]:
    if len(np.unique(cut)) == 1:
        return {"all": float(cut[0])}
    index, first = np.unique(scores["test_system"], return_index=True)
    return {record["systems"][i]: float(cut[at]) for i, at in zip(index.tolist(), first.tolist(), strict=True)}


class _Look(NamedTuple):
    """How mistakes of one record are made from positions in its scores."""

    record: Record
    scores: Scores
    lines: TestedLines | None
    depth: Depth

    def mistakes(self, kind: Kind, positions: NDArray[np.int64]) -> tuple[Mistake, ...]:
        """The worst of them, the worst first; of equal scores in the order of the test part."""
        values = self.scores["test"][positions]
        order = np.argsort(values if kind == "false negative" else -values, kind="stable")
        shown = positions[order[: self.depth.top]].tolist()
        return tuple(self._mistake(kind, rank, position) for rank, position in enumerate(shown, 1))

    def _mistake(self, kind: Kind, rank: int, at: int) -> Mistake:
        scores = self.scores
        shown, n_lines = ([], None) if self.lines is None else self.lines.of(at, self.depth.lines)
        known = "test_sequence" in scores
        time = float(scores["test_start_time"][at]) if known else math.nan
        return Mistake(
            kind=kind,
            rank=rank,
            system=self.record["systems"][scores["test_system"][at]],
            sequence=scores["test_sequence"][at].decode() if known else "",
            score=float(scores["test"][at]),
            time=None if math.isnan(time) else time,
            first_line=int(scores["test_first_line"][at]) + 1 if known else None,
            last_line=int(scores["test_last_line"][at]) + 1 if known else None,
            n_lines=n_lines,
            lines=tuple(shown),
        )


def _notes(record: Record) -> list[str]:
    sample, excluded = record.get("sample"), record.get("excluded")
    notes = [f"counted are the {sample['drawn']} drawn of {sample['of']} test sequences"] if sample else []
    return notes + ([f"{excluded['n']} test sequences that it declined to judge are left out"] if excluded else [])


def _plain(mistake: Mistake) -> dict[str, Any]:
    return {name: value for name, value in asdict(mistake).items() if name != "lines"}


def _with_lines(mistake: Mistake) -> dict[str, Any]:
    lines = [{**line._asdict(), "time": _finite(line.time)} for line in mistake.lines]
    return {**_plain(mistake), "lines": lines}


def _finite(value: float) -> float | str | None:
    """JSON has no infinity and no NaN."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
