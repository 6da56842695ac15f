"""The probe of the identical shortcut: does a score rise with the grade of an anomaly?

A network that learns to give back what it reads may give back anomalies as well, so that its error says
nothing. Here normal test sequences become anomalous by grades: more and more of their events are ones
that training never had, or a fixed part of them are texts ever less like those of training. Each grade
holds the changes of the one before. Untouched sequences are grade 0, so no label of the test decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.embedding import embed
from bench.errors import BenchError
from bench.evaluation.metrics import ranking_metrics
from bench.evaluation.paired_scorings import Z95
from bench.evaluation.thresholds import Threshold, flag
from bench.probes.probe import ProbeRequest, Subject, draw, with_texts
from bench.types import NORMAL, Sequences

SHARES: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of a sequence's events that are replaced, at least one event."""
DISTANCES: Final = (0.1, 0.2, 0.4, 0.6)
"""Cosine distances of the new texts to the nearest text of training."""
DISTANCE_SHARE: Final = 0.25
"""Share of the events that are replaced by texts of a distance."""

_FOREIGN: Final = (
    "the harvester reported an empty tank behind the north field",
    "patient moved from ward seven to surgery, chart signed twice",
    "violin section came in late at bar forty, tempo was reduced",
    "goalkeeper substituted after an injury in extra time",
    "oven door open, the dough is rising too fast",
    "customs seal broken on the container with ceramic tiles",
    "glacier camera shows fresh cracks near the upper station",
    "library card expired, three novels are overdue",
)
"""Texts of no computer's log; those that training has after all are left out."""
_MIXED: Final = (0.2, 0.4, 0.6, 0.8)
"""Shares of a training text's words that are taken from a foreign one."""
_MOST_TEXTS: Final = 40
"""Training texts that are mixed with foreign ones, at most."""
_CHOICE: Final = 8
"""Texts among which each replaced event draws, for a distance."""

Floats = NDArray[np.float64]


def shortcut_options() -> dict[str, Any]:
    """The part of a request's identity that says what the grades are."""
    return {"shares": list(SHARES), "distances": list(DISTANCES), "distance_share": DISTANCE_SHARE}


def measure_shortcut(request: ProbeRequest, fitted: Subject, threshold: Threshold) -> dict[str, Any]:
    """What the scores of untouched sequences and of each grade are, as JSON.

    Returns {"n", "n_abnormal": 0, "ways": {"share" or "distance": {"untouched", "grades", "correlation",
    "rises"}}}. A grade has its mean score, AUROC against the untouched ones, and the share flagged; the
    correlation is Spearman's between grade and score, the mean over sequences with its 95 % interval.
    """
    eligible = (fitted.test.lengths > 0) & (fitted.labels == NORMAL)
    drawn = draw(fitted.strata, request.sample, eligible, seed=request.cell.seed)
    if len(drawn) < 2:
        raise BenchError(
            "the test part holds fewer than two normal sequences with an event: use another edition or --split"
        )
    trained = _training_texts(fitted)
    foreign = [text for text in _FOREIGN if text not in set(trained)]
    grader = _Grader(fitted, fitted.test.select(drawn), request.cell.seed)
    ways = {"share": judged(grader.by_share(foreign), SHARES, threshold.value)}
    if "texts" in request.cell.method.description.uses:
        scores, distances = grader.by_distance(trained, foreign)
        ways["distance"] = judged(scores, DISTANCES, threshold.value)
        for row, distance in zip(ways["distance"]["grades"], distances, strict=True):
            row["distance"] = round(distance, 4)
    return {"n": len(drawn), "n_abnormal": 0, "ways": ways}


class _Grader:
    """Makes the grades of some sequences and has them scored; which events change is drawn once for all."""

    def __init__(self, fitted: Subject, sequences: Sequences, seed: int) -> None:
        self._fitted, self._sequences, self._rng = fitted, sequences, np.random.default_rng(seed)
        self._order = _order_in_sequence(sequences, self._rng)

    def by_share(self, foreign: Sequence[str]) -> Floats:
        """float64 (1 + n_shares, n_sequences): scores of the untouched sequences and of each grade."""
        text = self._rng.integers(len(foreign), size=self._sequences.n_events)
        return self._scores([replaced(self._sequences, self._first(share), text, foreign) for share in SHARES])

    def by_distance(self, trained: Sequence[str], foreign: Sequence[str]) -> tuple[Floats, list[float]]:
        """The same by distances, and the mean distance that each grade really has."""
        texts, distance = candidates(trained, foreign, self._rng)
        changed = self._first(DISTANCE_SHARE)
        which = self._rng.integers(min(_CHOICE, len(texts)), size=self._sequences.n_events)
        nearest = [np.argsort(np.abs(distance - wanted), kind="stable")[:_CHOICE][which] for wanted in DISTANCES]
        scores = self._scores([replaced(self._sequences, changed, text, texts) for text in nearest])
        return scores, [float(distance[text[changed]].mean()) for text in nearest]

    def _first(self, share: float) -> NDArray[np.bool_]:
        """Bool (n_events,): the events that are replaced, at least one of each sequence."""
        lengths = self._sequences.lengths
        n = np.maximum(1, np.round(share * lengths)).astype(np.int64)
        return np.asarray(self._order < np.repeat(n, lengths))

    def _scores(self, copies: Sequence[Sequences]) -> Floats:
        return np.stack([self._fitted.score(part) for part in (self._sequences, *copies)])


def candidates(trained: Sequence[str], foreign: Sequence[str], rng: np.random.Generator) -> tuple[list[str], Floats]:
    """Texts from known to foreign, and their cosine distance to the nearest training text, (n_texts,)."""
    chosen = rng.permutation(len(trained))[:_MOST_TEXTS]
    mixed = [mix(trained[number], other, share) for number in chosen for other in foreign for share in _MIXED]
    texts = list(dict.fromkeys([*mixed, *foreign]))
    texts = [text for text in texts if text not in set(trained)]
    nearest = (embed(texts).astype(np.float64) @ embed(list(trained)).astype(np.float64).T).max(axis=1)
    return texts, 1.0 - nearest


def mix(known: str, foreign: str, share: float) -> str:
    """The known text with its last words, so many as the share says, from the foreign one."""
    words, others = known.split(), foreign.split()
    n = max(1, round(share * len(words)))
    return " ".join([*words[: len(words) - n], *others[:n]])


def replaced(
    sequences: Sequences, changed: NDArray[np.bool_], text: NDArray[np.int64], texts: Sequence[str]
) -> Sequences:
    """The sequences with other events, of log keys and texts that training lacks, and without parameters.

    changed: bool (n_events,)  text: int64 (n_events,) index into texts, read where an event changes
    """
    ids = np.where(changed, len(sequences.texts) + text, sequences.text_ids).astype(np.int32)
    made = with_texts(sequences, ids, texts)
    if made.parameters is not None:
        kept, offsets = _kept(made.parameters.offsets, changed)
        made = replace(made, parameters=replace(made.parameters, values=made.parameters.values[kept], offsets=offsets))
    if made.words is not None:
        kept, offsets = _kept(made.words.offsets, changed)
        made = replace(made, words=replace(made.words, ids=made.words.ids[kept], offsets=offsets))
    return made


def judged(scores: Floats, grades: Sequence[float], threshold: float | None) -> dict[str, Any]:
    """What the scores (1 + n_grades, n_sequences) say, as JSON; row 0 is that of the untouched sequences."""
    labels = np.repeat([0, 1], scores.shape[1])
    rows = []
    for grade, row in zip(grades, scores[1:], strict=True):
        auroc = ranking_metrics(np.concatenate([scores[0], row]), labels)["auroc"]
        rows.append({"grade": grade, **_of(row, threshold), "auroc": round(float(auroc or 0.0), 6)})
    each = rank_correlations(scores)
    mean, half = float(each.mean()), Z95 * float(each.std(ddof=1)) / len(each) ** 0.5
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    rises = "yes" if low > 0 else "falls" if high < 0 else "flat" if not np.ptp(scores, axis=0).any() else "unclear"
    spread = {name: round(value, 6) for name, value in (("value", mean), ("low", low), ("high", high))}
    return {"untouched": _of(scores[0], threshold), "grades": rows, "correlation": spread, "rises": rises}


def rank_correlations(scores: Floats) -> Floats:
    """Spearman's correlation of grade and score in each sequence, (n_sequences,); 0 where all scores are equal.

    scores: (1 + n_grades, n_sequences)
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    ranks -= ranks.mean(axis=0)
    grades = np.arange(len(scores)) - (len(scores) - 1) / 2
    size = np.sqrt(np.square(ranks).sum(axis=0) * np.square(grades).sum())
    return np.asarray(grades @ ranks / np.where(size > 0, size, 1.0), np.float64)


def _of(scores: Floats, threshold: float | None) -> dict[str, float | None]:
    flagged = None if threshold is None else round(float(flag(scores, threshold).mean()), 6)
    return {"mean": float(f"{scores.mean():.6g}"), "flagged": flagged}


def _training_texts(fitted: Subject) -> list[str]:
    train = fitted.prepared.train.sequences
    return sorted({train.texts[i] for i in np.unique(train.text_ids).tolist()})


def _order_in_sequence(sequences: Sequences, rng: np.random.Generator) -> NDArray[np.int64]:
    """int64 (n_events,): when each event of a sequence is replaced, from 0; drawn once for all grades."""
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    drawn = np.lexsort([rng.random(sequences.n_events), owner])
    place = np.empty(sequences.n_events, np.int64)
    place[drawn] = np.arange(sequences.n_events) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    return place


def _kept(offsets: NDArray[np.int64], changed: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which values stay where changed events lose theirs, and the offsets then."""
    counts = np.diff(offsets)
    left = np.concatenate([[0], np.cumsum(np.where(changed, 0, counts))])
    return np.repeat(~changed, counts), left.astype(np.int64)
