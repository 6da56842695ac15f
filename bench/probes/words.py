"""One word taken out of the source's texts: on which words does a ranking of the test part hang?

The detector is fitted again with a word taken out of every text of its sources; the test part stays as it is. Where the
ranking is another one then, that word alone made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bench.data.sequences.loader import Prepared
from bench.errors import BenchError, did_you_mean
from bench.evaluation.blocks import ONE_BY_ONE, Resampling
from bench.evaluation.paired import Scored, difference, draw_seed, resample
from bench.evaluation.thresholds import Threshold
from bench.experiment.cell import Fitter, Settings
from bench.experiment.measure import resampling_of
from bench.experiment.told import Handout, hand_out
from bench.probes.probe import Measure, NotProbedError, ProbeRequest, Subject, draw, fit_altered
from bench.types import ABNORMAL, NORMAL, Sequences

N_WORDS: Final = 5
"""Words that are tried where none is named."""
WILDCARD: Final = "<*>"
"""What is left of a text whose only word was taken out."""

Floats = NDArray[np.float64]


class SourceWords(NamedTuple):
    """The words of the sources' texts, split at white space, in alphabetical order."""

    words: list[str]
    n_texts: NDArray[np.int64]
    """Texts that hold the word."""
    n_events: NDArray[np.int64]
    """Events that do."""
    abnormal: Floats
    """Share of the sources' abnormal sequences that hold it, NaN without one."""
    normal: Floats
    """The same of normal ones."""

    def facts(self, word: str) -> dict[str, Any]:
        """What is known of one of them, as JSON."""
        i = self.words.index(word)
        shares = {"abnormal": self.abnormal[i], "normal": self.normal[i]}
        known = {name: None if np.isnan(share) else round(float(share), 6) for name, share in shares.items()}
        return {"word": word, "n_texts": int(self.n_texts[i]), **known}

    def most_telling(self, n: int) -> list[str]:
        """The words whose presence tells most of a source's label; of equal ones the more frequent first."""
        apart = np.abs(np.nan_to_num(self.abnormal) - np.nan_to_num(self.normal))
        lettered = np.array([any(map(str.isalpha, word)) for word in self.words], np.bool_)
        order = np.lexsort((-self.n_events, -apart))
        return [self.words[i] for i in order if lettered[i]][:n]


def word_options(said: Sequence[str]) -> dict[str, Any]:
    """The part of a request's identity that says which words: names, or one whole number of them; empty: N_WORDS."""
    if len(said) == 1 and said[0].isdigit():
        if not int(said[0]):
            raise BenchError("--words 0 takes no word out: give a number from 1, or words, as --words hda:,status")
        return {"words": int(said[0])}
    return {"words": list(said) or N_WORDS}


def source_words(given: Handout) -> SourceWords:
    """What the labelled sequences of the sources hold."""
    train, labels = given.train, given.labels
    assert labels is not None
    kept = np.flatnonzero(np.isin(train.system, _sources(given)) & np.isin(labels, (NORMAL, ABNORMAL)))
    part, kinds = train.select(kept), labels[kept]
    used, where = np.unique(part.text_ids, return_inverse=True)
    held = [part.texts[i].split() for i in used.tolist()]
    words = sorted({word for text in held for word in text})
    number = {word: i for i, word in enumerate(words)}
    rows = np.repeat(np.arange(len(held)), [len(text) for text in held])
    columns = np.array([number[word] for text in held for word in text], np.int64)
    in_text = _present(rows, columns, (len(held), len(words)))
    in_sequence = _present(part.sequence_of_event, where, (len(part), len(held))) @ in_text
    in_sequence.data[:] = 1
    abnormal, normal = (_share_with(in_sequence, kinds == kind) for kind in (ABNORMAL, NORMAL))
    n_texts = np.asarray(in_text.sum(axis=0)).ravel()
    n_events = in_text.T @ np.bincount(where, minlength=len(held))
    return SourceWords(words, n_texts, n_events, abnormal, normal)


def _share_with(in_sequence: sparse.csr_array, which: NDArray[np.bool_]) -> Floats:
    """float64 (n_words,): in how many of these sequences each word stands; NaN where there is none of them."""
    if not which.any():
        return np.full(in_sequence.shape[1], np.nan)
    return np.asarray(in_sequence[which].mean(axis=0), np.float64).ravel()


def _present(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> sparse.csr_array:
    """A matrix with 1 wherever a pair stands, however often."""
    found = sparse.csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=shape)
    found.data[:] = 1
    return found


def without_word(train: Sequences, word: str, sources: Sequence[int]) -> Sequences:
    """The sequences with the word gone from every text that a sequence of these systems holds."""
    theirs = np.isin(train.system, sources)[train.sequence_of_event]
    altered = list(train.texts)
    for i in np.unique(train.text_ids[theirs]).tolist():
        words = altered[i].split()
        if word in words:
            altered[i] = " ".join(other for other in words if other != word) or WILDCARD
    return replace(train, texts=tuple(altered))


def require_words(request: ProbeRequest, prepared: Prepared, settings: Settings) -> None:
    """Refuse words that no text of the sources has, before anything is fitted."""
    named = request.options["words"]
    given = hand_out(request.cell, prepared, Fitter(settings).new(request.cell))
    if given.reason is not None or isinstance(named, int):
        return
    found = source_words(given)
    for word in named:
        if word not in found.words:
            raise NotProbedError(
                f"no text of the source has the word '{word}' (words are split at white space): "
                f"{did_you_mean(word, found.words)}those that tell most of its label are "
                f"{', '.join(found.most_telling(N_WORDS))}"
            )


def measure_words(settings: Settings) -> Measure:
    """The measure of a probe whose detectors are fitted with these settings."""

    def measure(request: ProbeRequest, fitted: Subject, threshold: Threshold) -> dict[str, Any]:
        which = _drawn(request, fitted)
        test, labels = fitted.test.select(which), fitted.labels[which]
        given = hand_out(request.cell, fitted.prepared, fitted.detector)
        found, sources = source_words(given), _sources(given)
        named = request.options["words"]
        words = found.most_telling(named) if isinstance(named, int) else list(named)
        if not words:
            raise BenchError("no text of the source has a word with a letter, so there is none to take out")
        scores = [fitted.score(test)]
        for word in words:

            def alter(told: Handout, word: str = word) -> Handout:
                return replace(told, train=without_word(told.train, word, sources))

            scores.append(fit_altered(request.cell, fitted, settings, alter).score(test))
        facts = compared(scores, labels, _resampling(request, test, labels))
        rows = [found.facts(word) | row for word, row in zip(words, facts["rows"], strict=True)]
        return {"n": len(which), "n_abnormal": int((labels == ABNORMAL).sum()), **facts, "rows": rows}

    return measure


def compared(scores: Sequence[Floats], labels: NDArray[np.int8], resampling: Resampling) -> dict[str, Any]:
    """AUROC as fitted (the first scores) and without each word, with the 95 % interval of the change.

    scores: (n,) each. The interval holds what other test sequences would do; how far any other fit would lie it
    does not know, which several seeds and the other words show.
    """
    drawn = resample([Scored(one, None) for one in scores], labels, seed=draw_seed(labels), resampling=resampling)
    first, *others = (each["auroc"] for each in drawn)
    rows = []
    for other in others:
        change = difference([(other, first)])
        spread = {"value": change.mean, "low": change.low, "high": change.high}
        rows.append({"auroc": round(other.point, 6), "change": {key: round(part, 6) for key, part in spread.items()}})
    return {"auroc": round(first.point, 6), "rows": rows}


def _drawn(request: ProbeRequest, fitted: Subject) -> NDArray[np.int64]:
    """Positions of the test sequences that are judged."""
    is_abnormal = fitted.labels == ABNORMAL
    if not is_abnormal.any() or is_abnormal.all():
        raise BenchError("the test part has sequences of one label only, so nothing ranks: use another --split")
    if not request.sample:
        return np.arange(len(is_abnormal))
    return draw(fitted.strata, request.sample, np.ones(len(is_abnormal), np.bool_), seed=request.cell.seed)


def _resampling(request: ProbeRequest, test: Sequences, labels: NDArray[np.int8]) -> Resampling:
    """In blocks of time, as the comparisons of tables, unless sequences were drawn."""
    if request.sample or not test.n_events:
        return ONE_BY_ONE
    last = test.lines[np.maximum(test.offsets[1:] - 1, 0)]
    arrays: dict[str, NDArray[Any]] = {
        "test": np.zeros(len(test)),
        "test_labels": labels,
        "test_last_line": last,
        "test_system": test.system,
    }
    return resampling_of(arrays, request.cell.split)


def _sources(given: Handout) -> list[int]:
    return [i for i, role in enumerate(given.evidence.roles) if role == "source"]
