"""What an edition holds, for `bench data info` and its picture."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards import Card
from bench.data.catalogue import Catalogue
from bench.data.grouping import Grouping, Groups, group
from bench.data.log import Log
from bench.data.parsing import DrainParser
from bench.data.prepared import open_prepared
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences

MAX_ALERTS: Final = 10


@dataclass(frozen=True, slots=True)
class Timeline:
    """Units (lines, or sessions by their first line) along an axis.

    position: float64 (n,) Unix seconds, or line numbers where the log has no time;  is_abnormal: bool (n,)
    """

    unit: str
    position: NDArray[np.float64]
    is_abnormal: NDArray[np.bool_]
    is_time: bool
    cuts: tuple[float, ...]
    """Where `chronological` ends training and validation."""


def edition_facts(card: Card, catalogue: Catalogue) -> dict[str, Any]:
    """Facts by name, for people and programs alike."""
    log = open_prepared(card, catalogue)
    groups = group(log, Grouping())
    keys, n_templates = _log_keys(log, card)
    return {
        "edition": card.key,
        "title": card.title,
        "system": catalogue.editions(card.name)[0].name,
        "tier": card.tier,
        "kind": card.kind,
        "lines": len(log),
        "time range (UTC)": _span(log.times),
        "distinct masked messages": len(log.messages),
        "templates": n_templates,
        "unit": "sessions" if card.has_sessions else "windows of 20 lines",
        **_sequence_facts(groups, keys),
        "abnormal lines": _share(log.labels) if (log.labels != UNLABELLED).any() else "lines carry no labels",
        "alert types": dict(log.alerts[:MAX_ALERTS]),
        "defects": [str(defect) for defect in log.defects],
        "notes on the log": list(log.notes),
        "files": [file.name for file in card.files] or ["made by the simulator"],
        "licence": card.licence,
        "citation": card.citation,
        "notes": " ".join(card.notes.split()),
    }


def timeline(card: Card, catalogue: Catalogue, cuts: tuple[float, ...]) -> Timeline:
    """Where the lines or sessions of an edition stand, and which are abnormal."""
    log = open_prepared(card, catalogue)
    groups = group(log, Grouping())
    is_time = not np.isnan(log.times).all()
    axis = log.times if is_time else np.arange(len(log), dtype=np.float64)
    lines, labels, unit = np.arange(len(log)), log.labels, "lines"
    if card.has_sessions:
        lines, labels, unit = groups.lines[groups.offsets[:-1]], groups.labels, "sessions"
    ends = [axis[min(int(cut * len(log)), len(log) - 1)] for cut in cuts]
    known = ~np.isnan(axis[lines])
    return Timeline(unit, axis[lines][known], labels[known] == ABNORMAL, is_time, tuple(map(float, ends)))


def _log_keys(log: Log, card: Card) -> tuple[NDArray[np.int32], int]:
    """The log key of every line when the parser learns from all of them, and how many texts there are."""
    if log.is_parsed:
        return log.message_ids, len(log.messages)
    parser = DrainParser(card.parser)
    keys = parser.learn(log.message_ids, log.messages)
    texts = {text: key for key, text in enumerate(dict.fromkeys(parser.templates))}
    return np.array([texts[text] for text in parser.templates], np.int32)[keys], len(texts)


def _sequence_facts(groups: Groups, keys: NDArray[np.int32]) -> dict[str, Any]:
    found = keys[groups.lines]
    sequences = Sequences(
        log_keys=found,
        text_ids=found,
        texts=(),
        offsets=groups.offsets,
        elapsed_s=np.empty(0),
        start_time=np.empty(0),
        system=np.zeros(len(groups), np.uint8),
        lines=np.empty(0, np.int64),
    )
    prints = sequences.fingerprints()
    distinct, inverse = np.unique(prints, return_inverse=True)
    is_normal, is_abnormal = (
        np.bincount(inverse[groups.labels == label], minlength=len(distinct)) > 0 for label in (NORMAL, ABNORMAL)
    )
    return {
        "sequences": len(groups),
        "abnormal sequences": _share(groups.labels),
        "distinct sequences (as log keys)": len(distinct),
        "duplicates (sequences that equal an earlier one)": f"{1 - len(distinct) / len(groups):.1%}",
        "distinct sequences with both labels": int((is_normal & is_abnormal).sum()),
        "sequence length": f"{int(sequences.lengths.min())} to {int(sequences.lengths.max())}, "
        f"median {int(np.median(sequences.lengths))}",
    }


def _share(labels: NDArray[np.int8]) -> str:
    labelled = labels[labels != UNLABELLED]
    if not len(labelled):
        return "no labels"
    return f"{int((labelled == ABNORMAL).sum()):,} ({(labelled == ABNORMAL).mean():.2%})"


def _span(times: NDArray[np.float64]) -> str:
    if not len(times) or np.isnan(times).all():
        return "no time"
    return " to ".join(_iso(float(t)) for t in (np.nanmin(times), np.nanmax(times)))


def _iso(seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s" if math.isfinite(seconds) else "no time"
