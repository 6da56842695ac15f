"""What a detector must not depend on, made worthless: parts that its tags do not name, evidence that it is not told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.detector import Evidence, Incident
from bench.testing.trial import TEMPLATES, UNSEEN_TEXTS, Trial
from bench.types import UNKNOWN_KEY, Parameters, RawLines, Sequences


def scrubbed(test: Sequences) -> dict[str, Sequences]:
    """The sequences without each part that `tags.uses` can name."""
    return {
        "log_keys": test.with_log_keys(np.full_like(test.log_keys, UNKNOWN_KEY)),
        "texts": replace(test, texts=("",) * len(test.texts)),
        "elapsed_s": replace(test, elapsed_s=np.full_like(test.elapsed_s, np.nan)),
        "parameters": replace(test, parameters=None),
        "raw": replace(test, raw=None),
        "words": replace(test, words=None),
        "lines": replace(test, lines=test.lines[::-1]),
    }


def renamed(train: Sequences) -> dict[str, dict[str, Any]]:
    """Other fields for each part, under which the same sequences are equal as before."""
    fields: dict[str, dict[str, Any]] = {
        "log_keys": {"log_keys": (len(TEMPLATES) - 1 - train.log_keys).astype(np.int32)},
        "texts": {"texts": tuple(text[::-1] for text in train.texts)},
        "elapsed_s": {"elapsed_s": 3 * train.elapsed_s},
        "lines": {"lines": train.lines[::-1] + 7},
    }
    if train.parameters is not None:
        fields["parameters"] = {"parameters": Parameters(3 * train.parameters.values, train.parameters.offsets)}
    if train.raw is not None:
        fields["raw"] = {"raw": RawLines(_backwards(train.raw.values))}
    if train.words is not None:
        fields["words"] = {"words": replace(train.words, values=_backwards(train.words.values))}
    return fields


def renumbered(test: Sequences) -> Sequences:
    """The same sequences under other numbers of the texts without a key and of the words."""
    n = len(TEMPLATES)
    ids = np.where(test.text_ids < n, test.text_ids, 2 * n + len(UNSEEN_TEXTS) - 1 - test.text_ids)
    words = test.words
    if words is not None:
        last = np.int32(len(words.values) - 1)
        words = replace(words, values=words.values.reverse(), ids=last - words.ids)
    return replace(test, texts=TEMPLATES + UNSEEN_TEXTS[::-1], text_ids=ids.astype(np.int32), words=words)


def _backwards(texts: pl.Series) -> pl.Series:
    return texts.str.reverse()


class _NobodyToAsk:
    """A language model that must not be asked."""

    def ask(self, prompts: Sequence[str]) -> list[str]:
        raise AssertionError("fit asks evidence.teacher, but the tags do not say teacher=True")


def poisoned_evidence(trial: Trial) -> Evidence:
    """Evidence of everything that the detector's tags do not name."""
    tags, known = trial.cls.tags, trial.log.evidence
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, trial.log.train.n_events).astype(np.int8)
    return replace(
        known,
        incidents=known.incidents if tags.incidents else (Incident(0.0, 4e9),),
        event_labels=known.event_labels if tags.unit == "line" else labels,
        files=known.files if tags.files else {"weights": Path("no-such-file")},
        teacher=known.teacher if tags.teacher else _NobodyToAsk(),
    )
