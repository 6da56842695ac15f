"""What an edition holds, for `bench data info` and its picture, and what its log is made of.

A composition counts sequences, templates and words, and which of these only the test part has; it needs no fit. Its
templates are those of one Drain over all lines in their order, so that training and test share a numbering; a word is a
run of at least two letters in a template, in lower case. What is only in test occurs in no sequence that trains or
validates.
"""

from __future__ import annotations

import datetime
import math
import re
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.card import Card, DataFile
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.log import Log
from bench.data.reading.prepared import open_prepared
from bench.data.sequences.ceiling import ceiling, flag_all
from bench.data.sequences.drain import TooManyTemplates
from bench.data.sequences.grouping import Grouping, Groups, group
from bench.data.sequences.loader import Loader
from bench.data.sequences.splits import split
from bench.data.sequences.variety import distinct_keys, limit_warning, sequence_warnings, template_warnings
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences

MAX_ALERTS: Final = 10
_WORD: Final = re.compile(r"[^\W\d_]{2,}")


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
    start = time.thread_time()
    warnings = []
    try:
        keys, texts = distinct_keys(log, card)
        n_templates: int | str = len(texts)
        warnings += template_warnings(keys, texts, card, time.thread_time() - start)
    except TooManyTemplates as error:
        keys, n_templates = log.message_ids, f"more than {error.limit:,}"
        warnings.append(limit_warning(error, card))
    sequences = _sequence_facts(groups, keys)
    warnings += sequence_warnings(len(groups), sequences["distinct sequences (as log keys)"])
    return {
        "edition": card.key,
        "title": card.title,
        "system": catalogue.editions(card.name)[0].name,
        "tier": card.tier,
        "kind": card.kind,
        "lines": log.n_lines,
        **({"events": len(log)} if log.other_lines else {}),
        "time range (UTC)": _span(log.times),
        "distinct masked messages": len(log.messages),
        "templates": n_templates,
        "unit": "sessions" if card.has_sessions else "windows of 20 lines",
        **sequences,
        "warnings": warnings,
        "incidents": incident_facts(log, groups, card),
        "abnormal lines": _share(log.labels) if (log.labels != UNLABELLED).any() else "lines carry no labels",
        "alert types": dict(log.alerts[:MAX_ALERTS]),
        "defects": [str(defect) for defect in log.defects],
        "notes on the log": list(log.notes),
        "files": [file.name for file in card.files] or ["made by the simulator"],
        "origin": [origin_of_file(file, card) for file in card.files],
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


def log_keys(log: Log, card: Card) -> tuple[NDArray[np.int32], int]:
    """The log key of every line when the parser learns from all of them, and how many texts there are."""
    keys, texts = distinct_keys(log, card)
    return keys, len(texts)


def sequence_prints(groups: Groups, keys: NDArray[np.int32]) -> Sequences:
    """The sequences of an edition as log keys alone, which tell equal ones."""
    found = keys[groups.lines]
    return Sequences(
        log_keys=found,
        text_ids=found,
        texts=(),
        offsets=groups.offsets,
        elapsed_s=np.empty(0),
        start_time=np.empty(0),
        system=np.zeros(len(groups), np.uint8),
        lines=np.empty(0, np.int64),
    )


def incident_facts(log: Log, groups: Groups, card: Card) -> str:
    """How many independent failures stand behind the abnormal sequences, as far as that is known."""
    if card.incidents:
        met = sum(bool(((log.times >= start) & (log.times <= end)).any()) for start, end in card.incidents)
        return f"{len(card.incidents)} declared, {met} with lines"
    if card.has_sessions or not (groups.labels == ABNORMAL).any():
        return "none declared"
    is_abnormal = np.concatenate([[False], groups.labels == ABNORMAL])
    n_runs = int((is_abnormal[1:] & ~is_abnormal[:-1]).sum())
    return f"none declared; {n_runs:,} runs of neighbouring abnormal windows"


def origin_of_file(file: DataFile, card: Card) -> str:
    """In one line where a file comes from."""
    if file.origin is not None:
        found = file.origin
        at = f" @ {found.commit}" if found.commit else ""
        return f"{file.name}: {found.repository}{at} {found.path}".rstrip() + f" (licence: {found.licence})"
    if card.download is not None and file.member:
        return f"{file.name}: {file.member} of {card.download.url} ({card.download.checksum})"
    return f"{file.name}: {card.origin or 'not stated'}"


def _f1(value: float) -> str:
    return "no abnormal sequence" if math.isnan(value) else f"{value:.4f}"


def _sequence_facts(groups: Groups, keys: NDArray[np.int32]) -> dict[str, Any]:
    sequences = sequence_prints(groups, keys)
    distinct, inverse = np.unique(sequences.fingerprints(), return_inverse=True)
    is_normal, is_abnormal = (
        np.bincount(inverse[groups.labels == label], minlength=len(distinct)) > 0 for label in (NORMAL, ABNORMAL)
    )
    return {
        "sequences": len(groups),
        "abnormal sequences": _share(groups.labels),
        "distinct sequences (as log keys)": len(distinct),
        "duplicates (sequences that equal an earlier one)": f"{1 - len(distinct) / len(groups):.1%}",
        "distinct sequences with both labels": int((is_normal & is_abnormal).sum()),
        "ceiling (best F1 of any function of the event sequence)": _f1(ceiling(groups.labels, inverse)),
        "F1 of flagging every sequence": _f1(flag_all(groups.labels)),
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


@dataclass(frozen=True, slots=True)
class Composition:
    """Counts of one edition under one split; `words` are all its words, for comparisons with other editions."""

    edition: str
    split: str
    n_lines: int
    n_abnormal_lines: int | None
    """None where sessions are labelled, not lines."""
    n_sequences: int
    n_abnormal: int
    n_train: int
    n_validation: int
    n_test: int
    n_test_abnormal: int
    n_templates: int
    n_templates_only_in_test: int
    n_words: int
    n_words_only_in_test: int
    words: frozenset[str]


def composition(card: Card, loader: Loader, protocol: str, grouping: Grouping, seed: int = 0) -> Composition:
    """Read, group and split an edition, and count; a split that is not possible is a BenchError."""
    log, groups = loader.log(card), loader.groups(card, grouping)
    overlapping = grouping.overlaps and not card.has_sessions
    starts = log.file_starts if card.cut == "file" else None
    parts = split(groups, len(log), protocol, seed=seed, overlapping=overlapping, file_starts=starts)
    keys, templates = distinct_keys(log, card)
    words = [set(_WORD.findall(template.lower())) for template in templates]

    def keys_of(which: NDArray[np.int64]) -> set[int]:
        chosen = np.zeros(len(groups), bool)
        chosen[which] = True
        return set(np.unique(keys[groups.lines[np.repeat(chosen, np.diff(groups.offsets))]]).tolist())

    before, test = keys_of(np.concatenate([parts.train, parts.validation])), keys_of(parts.test)
    earlier_words = set().union(*(words[key] for key in before))
    all_words = earlier_words.union(*(words[key] for key in test))
    return Composition(
        edition=card.key,
        split=protocol,
        n_lines=len(log),
        n_abnormal_lines=None if log.session_labels is not None else int((log.labels == ABNORMAL).sum()),
        n_sequences=len(groups),
        n_abnormal=int((groups.labels == ABNORMAL).sum()),
        n_train=len(parts.train),
        n_validation=len(parts.validation),
        n_test=len(parts.test),
        n_test_abnormal=int((groups.labels[parts.test] == ABNORMAL).sum()),
        n_templates=len(before | test),
        n_templates_only_in_test=len(test - before),
        n_words=len(all_words),
        n_words_only_in_test=len(all_words - earlier_words),
        words=frozenset(all_words),
    )
