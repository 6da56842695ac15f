"""Grades of an anomaly, and what is said of scores that rise with them and of scores that cannot."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.data.embedding import FALLBACK_ENCODER, embed
from bench.evaluation.thresholds import Threshold
from bench.probes import shortcut
from bench.probes.probe import Subject
from bench.probes.shortcut import (
    DISTANCES,
    SHARES,
    candidates,
    judged,
    measure_shortcut,
    mix,
    rank_correlations,
    replaced,
    shortcut_options,
)
from bench.types import UNKNOWN_KEY, Parameters, Sequences

TEXTS = ("user <*> logged in", "user <*> logged out", "disk check passed", "request <*> answered in <*> ms")


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    monkeypatch.setattr(shortcut, "embed", lambda texts: embed(texts, encoder=FALLBACK_ENCODER))


def of(rows, **fields):
    return Sequences.from_lists(rows, TEXTS, **fields)


def rows(seed, n):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 4, rng.integers(4, 21)).tolist() for _ in range(n)]


class Detector:
    """Scores by what it is given; remembers what it was shown."""

    def __init__(self, score):
        self._score, self.seen, self.config = score, [], None

    def score(self, sequences):
        self.seen.append(sequences)
        return self._score(sequences)


def unseen(sequences):
    """The number of events that are not of training."""
    new = np.concatenate([[0], np.cumsum(sequences.text_ids >= len(TEXTS))])
    return (new[sequences.offsets[1:]] - new[sequences.offsets[:-1]]).astype(float)


def measured(score, *, sample=30, uses=("texts",), seed=0, value=0.5):
    test = SimpleNamespace(sequences=of(rows(1, 80)), labels=(np.arange(80) % 2).astype(np.int8))
    prepared = SimpleNamespace(train=SimpleNamespace(sequences=of(rows(0, 50))), test=test, facts={})
    method = SimpleNamespace(description=SimpleNamespace(uses=frozenset(uses)))
    request = SimpleNamespace(sample=sample, cell=SimpleNamespace(seed=seed, method=method), options=shortcut_options())
    detector = Detector(score)
    threshold = Threshold(value, "validation", 10, None)
    return measure_shortcut(request, Subject(detector, prepared), threshold), detector.seen


def test_a_score_that_counts_what_is_new_rises():
    found, seen = measured(unseen)
    share, distance = found["ways"]["share"], found["ways"]["distance"]
    assert share["rises"] == "yes"
    assert share["correlation"]["low"] > 0.8
    assert [row["grade"] for row in share["grades"]] == list(SHARES)
    assert [row["auroc"] for row in share["grades"]] == [1.0] * 5
    assert np.all(np.diff([row["mean"] for row in share["grades"]]) >= 0)
    assert (share["untouched"]["flagged"], share["grades"][0]["flagged"]) == (0.0, 1.0)
    # It counts texts and does not ask how unlike they are: only the step from untouched to changed is seen.
    assert len({row["mean"] for row in distance["grades"]}) == 1
    assert found["n"] == 30
    assert len(seen) == 2 + len(SHARES) + len(DISTANCES)


def test_a_score_that_cannot_rise_is_found():
    found, _ = measured(lambda sequences: sequences.lengths.astype(float))
    for way in found["ways"].values():
        assert way["rises"] == "flat"
        assert way["correlation"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert {row["auroc"] for row in way["grades"]} == {0.5}


def test_a_score_that_takes_the_new_for_normal_falls():
    found, _ = measured(lambda sequences: -unseen(sequences))
    assert {way["rises"] for way in found["ways"].values()} == {"falls"}


def test_a_score_by_chance_is_neither():
    rng = np.random.default_rng(4)
    found, _ = measured(lambda sequences: rng.random(len(sequences)))
    assert {way["rises"] for way in found["ways"].values()} == {"unclear"}


def test_only_normal_sequences_are_graded_and_each_grade_holds_the_one_before():
    _, seen = measured(unseen)
    untouched, grades = seen[0], seen[1 : 1 + len(SHARES)]
    normal = {tuple(row) for row in rows(1, 80)[::2]}
    ends = untouched.offsets.tolist()
    assert all(tuple(untouched.log_keys[a:b].tolist()) in normal for a, b in pairwise(ends))
    changed = np.zeros(untouched.n_events, bool)
    for grade, share in zip(grades, SHARES, strict=True):
        now = grade.text_ids != untouched.text_ids
        assert (now | ~changed).all()
        assert np.array_equal(unseen(grade), np.maximum(1, np.round(share * untouched.lengths)))
        assert (grade.log_keys[now] == UNKNOWN_KEY).all()
        assert np.array_equal(grade.log_keys[~now], untouched.log_keys[~now])
        assert np.array_equal(grade.lines, untouched.lines)
        changed = now
    assert changed.all()


def test_no_graded_event_has_a_text_of_training():
    _, seen = measured(unseen)
    for grade in seen[1:]:
        new = {grade.texts[i] for i in np.unique(grade.text_ids) if i >= len(TEXTS)}
        assert new.isdisjoint(TEXTS)


def test_texts_of_a_distance_are_ever_less_like_training():
    found, _ = measured(unseen)
    distances = [row["distance"] for row in found["ways"]["distance"]["grades"]]
    assert np.all(np.diff(distances) >= 0)
    assert distances[-1] > distances[0] + 0.1
    texts, distance = candidates(TEXTS, shortcut._FOREIGN, np.random.default_rng(0))
    vectors, known = (embed(list(given), encoder=FALLBACK_ENCODER) for given in (texts, TEXTS))
    np.testing.assert_allclose(distance, 1 - (vectors @ known.T).max(1), atol=1e-6)


def test_a_method_without_texts_is_graded_by_new_keys_alone():
    found, _ = measured(unseen, uses=("log_keys",))
    assert list(found["ways"]) == ["share"]


def test_the_draw_follows_the_seed():
    same = [measured(unseen, seed=seed)[1][1].text_ids.tolist() for seed in (3, 3, 4)]
    assert same[0] == same[1] != same[2]


def test_replaced_events_have_no_parameters():
    log = of([[0, 3], [1]], parameters=Parameters(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 3, 4])))
    made = replaced(log, np.array([False, True, False]), np.zeros(3, np.int64), ["new"])
    assert made.parameters.values.tolist() == [1.0, 4.0]
    assert np.diff(made.parameters.offsets).tolist() == [1, 0, 1]
    assert [made.texts[i] for i in made.text_ids] == [TEXTS[0], "new", TEXTS[1]]
    assert replaced(replace(log, parameters=None), np.ones(3, bool), np.zeros(3, np.int64), ["new"]).parameters is None


def test_rank_correlations_are_those_of_scipy():
    scores = np.random.default_rng(0).integers(0, 4, (6, 20)).astype(float)
    scores[:, 0] = 1.0
    expected = [spearmanr(np.arange(6), column).statistic for column in scores.T[1:]]
    np.testing.assert_allclose(rank_correlations(scores), [0.0, *expected], atol=1e-12)


def test_without_a_threshold_nothing_is_flagged_or_not():
    made = judged(np.arange(12.0).reshape(3, 4), (0.1, 0.2), None)
    assert made["untouched"] == {"mean": 1.5, "flagged": None}
    assert made["correlation"]["value"] == 1


@pytest.mark.parametrize(("share", "mixed"), [(0.01, "a b c one"), (0.5, "a b one two"), (1.0, "one two three four")])
def test_a_mixed_text_ends_in_words_of_another(share, mixed):
    assert mix("a b c d", "one two three four", share) == mixed
