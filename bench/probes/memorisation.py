"""The memorisation probe: test windows beside twins that say the same in other words.

Public logs may be in a model's training data. A model that judges by what it reads should judge a twin alike; one that
has seen the very lines with their labels may do better on them. A difference is no proof of memory, since words alone
can sway a detector; a trained one has not seen the twin's words. No difference speaks against memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.evaluation.paired_scorings import Spread, compare_scorings, sampling_weights
from bench.evaluation.thresholds import Threshold
from bench.probes.paraphrase import CHANGES, paraphrase
from bench.probes.probe import ProbeRequest, Subject, draw, with_texts
from bench.types import ABNORMAL, NORMAL, Sequences


@dataclass(frozen=True)
class Twins:
    """Altered copies of sequences."""

    sequences: Sequences
    """The same events; one whose text was altered has the new text, and an unknown log key."""
    altered: NDArray[np.bool_]
    """(n_events,) where the text differs."""
    facts: Mapping[str, Any]
    """How many distinct texts there are, how many were altered, and by what."""

    @property
    def differs(self) -> NDArray[np.bool_]:
        """Where any event of a sequence differs, bool (n_sequences,)."""
        total = np.concatenate([[0], np.cumsum(self.altered)])
        offsets = self.sequences.offsets
        return np.asarray(total[offsets[1:]] > total[offsets[:-1]])


def memory_options() -> dict[str, Any]:
    """The part of a request's identity that says what is changed."""
    return {"changes": list(CHANGES)}


def twins(sequences: Sequences, seed: int) -> Twins:
    """Every sequence said otherwise; each distinct text is worked on once."""
    present, place = np.unique(sequences.text_ids, return_inverse=True)
    originals = [sequences.texts[i] for i in present.tolist()]
    said = paraphrase(originals, seed)
    differs = np.array([new != old for new, old in zip(said.texts, originals, strict=True)], dtype=bool)
    # Behind the templates, since text k is the template of log key k.
    new_ids = np.where(differs, len(sequences.texts) + np.cumsum(differs) - 1, present).astype(np.int32)
    altered = differs[place]
    new = [text for text, is_new in zip(said.texts, differs, strict=True) if is_new]
    made = with_texts(sequences, new_ids[place], new)
    facts = {"n_texts": len(originals), "n_texts_altered": int(differs.sum()), "texts_altered_by": said.n_changed}
    return Twins(made, altered, facts)


def measure_memory(request: ProbeRequest, fitted: Subject, threshold: Threshold) -> dict[str, Any]:
    """F1, AUROC and AP of windows and of their twins, as JSON.

    Returns {"n", "n_abnormal", "altered": shares and counts, "metrics": {name: {"original", "twin", "difference"}},
    "score_change": {"absolute", "signed"}}, each value with the ends of its 95 % interval. A sequence in which nothing
    can be altered has no twin: it is left out and counted. Weights restore the share of each label and system.
    """
    seed = request.cell.seed
    made = twins(fitted.test, seed)
    differs = made.differs
    drawn = draw(fitted.strata, request.sample, differs, seed=seed)
    labels = fitted.labels[drawn]
    for label, word in ((NORMAL, "normal"), (ABNORMAL, "abnormal")):
        if not (labels == label).any():
            raise BenchError(
                f"no {word} test sequence has a text that can be said otherwise: take another edition, or "
                "a larger --sample"
            )
    both = _one_behind_the_other(fitted.test, made.sequences, drawn)
    scores = fitted.score(both).reshape(2, len(drawn))
    strata = fitted.strata
    compared = compare_scorings(
        scores[0],
        scores[1],
        labels,
        strata[drawn],
        weights=sampling_weights(strata[differs], strata[drawn]),
        threshold=threshold.value,
        seed=seed,
    )
    named = {"first": "original", "second": "twin"}
    results = {
        metric: {named.get(key, key): _json(spread) for key, spread in values.items()}
        for metric, values in compared.items()
    }
    moved = results.pop("score_change")
    return {
        "n": len(drawn),
        "n_abnormal": int((labels == ABNORMAL).sum()),
        "altered": {
            **made.facts,
            "texts_share": _share(made.facts["n_texts_altered"], made.facts["n_texts"]),
            "events_share": _share(int(made.altered.sum()), len(made.altered)),
            "sequences_share": _share(int(differs.sum()), len(differs)),
            "n_without_twin": int((~differs).sum()),
        },
        "metrics": results,
        "score_change": moved,
    }


def _one_behind_the_other(originals: Sequences, altered: Sequences, drawn: NDArray[np.int64]) -> Sequences:
    """The drawn sequences, then their twins; texts are those of the twins, which begin with the originals'."""
    n = len(drawn)
    tiled = replace(originals, texts=altered.texts).select(np.tile(drawn, 2))
    twin = altered.select(drawn)
    start = tiled.offsets[n]
    keys, text_ids = tiled.log_keys.copy(), tiled.text_ids.copy()
    keys[start:], text_ids[start:] = twin.log_keys, twin.text_ids
    return replace(tiled, log_keys=keys, text_ids=text_ids)


def _json(spread: Spread) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in spread._asdict().items()}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
