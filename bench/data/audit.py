"""What a reader must know of an edition before believing a number on it: `bench audit data`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from bench.data.cards.card import Card, DataFile
from bench.data.cards.catalogue import Catalogue
from bench.data.facts import edition_facts, log_keys, origin_of_file, sequence_prints
from bench.data.reading.log import Log
from bench.data.reading.prepared import open_prepared
from bench.data.sequences.grouping import Grouping, Groups, group
from bench.data.sequences.splits import Split, split
from bench.errors import BenchError
from bench.types import ABNORMAL

_COUNTED: Final = (
    "lines",
    "abnormal lines",
    "unit",
    "sequences",
    "abnormal sequences",
    "alert types",
    "incidents",
    "distinct sequences (as log keys)",
    "distinct sequences with both labels",
    "ceiling (best F1 of any function of the event sequence)",
    "F1 of flagging every sequence",
    "defects",
)
_SPLITS: Final = ("given", "chronological", "paper")
"""Tried in this order: the first that an edition allows is the one to run it with."""


def audit_facts(card: Card, catalogue: Catalogue) -> dict[str, Any]:
    """Facts by name; without the edition's files only what its card says."""
    facts: dict[str, Any] = {
        "edition": card.key,
        "title": card.title,
        "good for": card.standing,
        "files": [_described(file, card) for file in card.files] or ["made by the simulator"],
        "licence": card.licence,
        "citation": card.citation,
        "notes": " ".join(card.notes.split()),
    }
    if not catalogue.is_available(card):
        return facts | {"counts": f"nothing was counted, its files are not here: {catalogue.how_to_get(card)}"}
    found = edition_facts(card, catalogue)
    log = open_prepared(card, catalogue)
    return facts | {name: found[name] for name in _COUNTED} | _between_parts(card, log)


def _described(file: DataFile, card: Card) -> dict[str, Any]:
    """One file: its identity, its origin and how it is made."""
    facts: dict[str, Any] = {"file": file.name, "origin": origin_of_file(file, card).partition(": ")[2]}
    facts["sha256"] = file.sha256 or "published for its archive only" if file.archive else file.sha256 or "unpublished"
    if file.content:
        facts["content"] = file.content
    if file.origin is not None:
        if file.origin.sha256:
            facts["made of"] = f"{file.origin.bytes:,} bytes, SHA-256 {file.origin.sha256}"
        facts["steps"] = [f"{step.name} {_value(step.value)}" for step in file.origin.steps]
        facts["recipe"] = " ".join(file.origin.recipe.split())
    return facts


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else repr(value)


def _between_parts(card: Card, log: Log) -> dict[str, Any]:
    """How much of the test part is known from training, under the first split that the edition allows."""
    groups = group(log, Grouping())
    kinds = sequence_prints(groups, log_keys(log, card)[0]).fingerprints()
    for protocol in _SPLITS:
        try:
            starts = log.file_starts if card.cut == "file" else None
            parts = split(groups, len(log), protocol, seed=0, file_starts=starts)
        except BenchError:
            continue
        if _is_usable(parts, groups):
            return {"split": protocol, **_duplicates(parts, groups, kinds)}
    return {"split": "none leaves normal training and both labels in the test part"}


def _is_usable(parts: Split, groups: Groups) -> bool:
    tested = groups.labels[parts.test] == ABNORMAL
    return bool(tested.any() and not tested.all() and len(parts.train))


def _duplicates(parts: Split, groups: Groups, kinds: Any) -> dict[str, str]:
    trained = parts.train[groups.labels[parts.train] != ABNORMAL]
    is_known = np.isin(kinds[parts.test], kinds[trained])
    is_abnormal = groups.labels[parts.test] == ABNORMAL
    return {
        "test sequences that equal a normal one of training": _of(is_known),
        "abnormal test sequences that equal a normal one of training": _of(is_known[is_abnormal]),
    }


def _of(which: Any) -> str:
    return f"{int(which.sum()):,} of {len(which):,} ({which.mean():.1%})"
