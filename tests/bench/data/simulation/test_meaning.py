"""What the simulated pair asks of a method: its texts have to be understood, and that is neither impossible nor all."""

import dataclasses

import numpy as np
import pytest

import bench
from bench.evaluation.metrics import ranking_metrics
from methods.controls import Length, NewEvent
from methods.labelled_controls import MeanDifference

pytestmark = pytest.mark.trains  # loads the sentence encoder


@pytest.fixture(scope="module", params=["bgl@simulated2tbird@simulated", "tbird@simulated2bgl@simulated"])
def parts(request):
    return bench.load_sequences(request.param, split="transfer")


def auroc(detector, parts, sequences):
    return ranking_metrics(detector.score(sequences), parts.test.labels)["auroc"]


def told_labels(parts):
    return MeanDifference().fit(parts.train.sequences, parts.train.labels.astype(np.int8))


def test_the_meaning_of_texts_carries_over_and_leaves_much_to_gain(parts):
    assert 0.65 < auroc(told_labels(parts), parts, parts.test.sequences) < 0.9


def test_without_their_meaning_texts_carry_nothing_over(parts):
    tested, detector, found = parts.test.sequences, told_labels(parts), []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(tested.texts))
        strange = dataclasses.replace(tested, texts=tuple(tested.texts[i] for i in order))
        found.append(auroc(detector, parts, strange))
    assert np.mean(found) < 0.6


@pytest.mark.parametrize("control", [NewEvent, Length])
def test_what_reads_no_text_ranks_as_chance(parts, control):
    assert auroc(control().fit(parts.train.normals), parts, parts.test.sequences) == pytest.approx(0.5, abs=0.05)
