"""Words taken out of the source's texts: which ones there are, where they go, and what their absence does."""

from typing import Any, cast

import numpy as np
import pytest

from bench.detector import Evidence
from bench.errors import BenchError
from bench.evaluation.blocks import ONE_BY_ONE
from bench.experiment.told import Handout
from bench.probes.words import N_WORDS, compared, source_words, without_word, word_options
from bench.types import Sequences

TEXTS = ("hda: drive not ready", "session opened <*>", "session closed", "12 not", "hda: hda: lost", "ready")
# Sequences 0 to 3 are of the source, 4 of the target; the third is not labelled.
TRAIN = Sequences.from_lists(
    [[0, 0, 4], [1, 2, 2], [4], [2, 3], [5, 2]], TEXTS, system=np.array([0, 0, 0, 0, 1], np.uint8)
)
LABELS = np.array([1, 0, -1, 0, -1], np.int8)


def given(labels=LABELS):
    evidence = Evidence(roles=("source", "target"))
    return Handout(data=cast(Any, None), train=TRAIN, labels=labels, evidence=evidence)


def test_shares_count_sequences_of_the_source_whose_label_is_known():
    found = source_words(given())
    assert found.facts("hda:") == {"word": "hda:", "n_texts": 2, "abnormal": 1.0, "normal": 0.0}
    assert found.facts("session") == {"word": "session", "n_texts": 2, "abnormal": 0.0, "normal": 1.0}
    assert found.facts("opened") == {"word": "opened", "n_texts": 1, "abnormal": 0.0, "normal": 0.5}
    assert dict(zip(found.words, found.n_events.tolist(), strict=True))["hda:"] == 3
    assert source_words(given(np.array([0, 0, -1, 0, -1], np.int8))).facts("hda:")["abnormal"] is None


def test_the_most_telling_words_come_first_and_of_equal_ones_the_frequent():
    found = source_words(given()).most_telling(100)
    assert found[:6] == ["session", "closed", "hda:", "drive", "ready", "lost"]  # by 4, 3, 3, 2, 2 and 1 events
    assert found[6:] == ["not", "opened"]  # which half of the normal sequences hold


def test_a_word_goes_from_the_texts_of_the_source_alone():
    assert without_word(TRAIN, "hda:", [0]).texts == ("drive not ready", *TEXTS[1:4], "lost", "ready")
    assert without_word(TRAIN, "ready", [0]).texts[-1] == "ready"
    assert without_word(TRAIN, "ready", [1]).texts == (*TEXTS[:5], "<*>")
    assert without_word(TRAIN, "rea", [0]).texts == TEXTS
    assert TRAIN.texts == TEXTS


def test_what_falls_without_a_word_is_told_from_what_stays():
    labels = (np.arange(200) % 2).astype(np.int8)
    noise = np.random.default_rng(0).random((2, 200))
    good = labels + noise[0]
    found = compared([good, noise[1], good, -good], labels, ONE_BY_ONE)
    without, same, turned = found["rows"]
    assert found["auroc"] > 0.99
    assert without["change"]["high"] < -0.3
    assert without["change"]["value"] == pytest.approx(without["auroc"] - found["auroc"], abs=1e-5)
    assert (same["change"]["low"], same["change"]["value"], same["change"]["high"]) == (0, 0, 0)
    assert turned["auroc"] < 0.01


def test_words_are_named_or_counted():
    assert word_options(()) == {"words": N_WORDS}
    assert word_options(("3",)) == {"words": 3}
    assert word_options(("hda:", "3")) == {"words": ["hda:", "3"]}
    with pytest.raises(BenchError, match="--words 0 takes no word out"):
        word_options(("0",))
