"""What a log is made of: sequences, templates and words, and which of these only its test part has. Needs no fit.

Templates are those of one Drain over all lines in their order, so that training and test share a numbering; a word is a
run of at least two letters in a template, in lower case. What is only in test occurs in no sequence that trains or
validates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards import Card
from bench.data.grouping import Grouping
from bench.data.log import Log
from bench.data.parsing import DrainParser
from bench.data.prepare import Loader
from bench.data.splits import split
from bench.types import ABNORMAL

_WORD: Final = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Vocabulary:
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


def describe(card: Card, loader: Loader, protocol: str, grouping: Grouping, seed: int = 0) -> Vocabulary:
    """Read, group and split an edition, and count; a split that is not possible is a BenchError."""
    log, groups = loader.log(card), loader.groups(card, grouping)
    overlapping = grouping.overlaps and not card.has_sessions
    parts = split(groups, len(log), protocol, seed=seed, overlapping=overlapping)
    keys, templates = _templates(log, card)
    words = [set(_WORD.findall(template.lower())) for template in templates]

    def keys_of(which: NDArray[np.int64]) -> set[int]:
        chosen = np.zeros(len(groups), bool)
        chosen[which] = True
        return set(np.unique(keys[groups.lines[np.repeat(chosen, np.diff(groups.offsets))]]).tolist())

    before, test = keys_of(np.concatenate([parts.train, parts.validation])), keys_of(parts.test)
    earlier_words = set().union(*(words[key] for key in before))
    all_words = earlier_words.union(*(words[key] for key in test))
    return Vocabulary(
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


def _templates(log: Log, card: Card) -> tuple[NDArray[np.int32], list[str]]:
    """The template of each line, and their texts; clusters of one text are one template."""
    if log.is_parsed:
        return log.message_ids, list(log.messages)
    drain = DrainParser(card.parser)
    clusters = drain.learn(log.message_ids, log.messages)
    position = {text: key for key, text in enumerate(dict.fromkeys(drain.templates))}
    return np.array([position[text] for text in drain.templates], np.int32)[clusters], list(position)
