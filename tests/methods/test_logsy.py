"""Logsy after its sheet: normal lines near the origin, auxiliary ones away, whose lines count, and finite losses."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from bench.detector import NOTHING_TO_SCORE, Evidence, NotFittedError
from bench.types import RawLines, Sequences
from methods.logsy import Config, Logsy
from methods.shared import line_detector
from methods.shared.line_detector import Pairs, abnormal_lines, drawn
from methods.shared.line_tokens import Vocabulary, words_of
from methods.shared.spheres import LineEncoder, distances, repulsion

pytestmark = pytest.mark.trains

NORMAL = tuple(f"{verb} {noun} {i}" for verb in ("opened", "closed", "sent") for noun in ("session", "block")
               for i in range(3))  # fmt: skip
FAILED = ("fatal error in memory", "kernel panic: fatal exception", "error: giving up")
FOREIGN = ("daemon started", "daemon stopped")
QUICK = Config(steps=150, batch_size=32, learning_rate=0.01)
ROLES = ("source", "auxiliary")


def of(rows, system):
    """Sequences of lines."""
    lines = [line for row in rows for line in row]
    texts = tuple(dict.fromkeys(lines)) or ("",)
    log = Sequences.from_lists([[texts.index(line) for line in row] for row in rows], texts)
    return replace(log, raw=RawLines(pl.Series(lines, dtype=pl.String)), system=np.array(system, np.uint8))


def source_and_auxiliary(n=40):
    """Normal sequences of a source; of the auxiliary normal ones, and abnormal ones with normal lines among theirs."""
    rng = np.random.default_rng(0)
    own = [[NORMAL[i] for i in rng.integers(0, len(NORMAL), 5)] for _ in range(n)]
    good = [[FOREIGN[i] for i in rng.integers(0, 2, 4)] for _ in range(n)]
    bad = [[FOREIGN[0], FAILED[i % 3], FOREIGN[1]] for i in range(n)]
    labels = np.repeat([0, 0, 1], n).astype(np.int8)
    return of([*own, *good, *bad], [0] * n + [1] * 2 * n), labels


TRAIN, LABELS = source_and_auxiliary()
EVENT_LABELS = np.array([1 if line in FAILED else 0 for line in TRAIN.raw.values], np.int8)
EVENT_LABELS[np.repeat(TRAIN.system, TRAIN.lengths) == 0] = -1
EVIDENCE = Evidence(roles=ROLES, event_labels=EVENT_LABELS)


@pytest.fixture(scope="module")
def fitted():
    return Logsy(QUICK).fit(TRAIN, LABELS, evidence=EVIDENCE)


def lines(*texts):
    return of([list(texts)], [0])


def test_normal_lines_are_pulled_in_and_auxiliary_ones_pushed_out(fitted):
    before = Logsy(replace(QUICK, steps=0)).fit(TRAIN, LABELS, evidence=EVIDENCE)
    good, bad = lines(*NORMAL), lines(*FAILED)
    assert fitted.score_lines(good).max() < 0.1 * before.score_lines(good).min()
    assert fitted.score_lines(bad).min() > 20 * fitted.score_lines(good).max()


def test_a_failure_of_the_source_that_shares_words_with_the_auxiliarys_is_far(fitted):
    assert fitted.score_lines(lines("fatal error while block 7 was sent"))[0] > fitted.score_lines(lines(*NORMAL)).max()


def test_the_loss_is_finite_at_the_origin_and_has_a_gradient_near_it():
    for kind in ("squared", "root"):
        vectors = torch.zeros(2, 4, requires_grad=True)
        value = repulsion(distances(vectors, kind)).sum() + distances(vectors, kind).sum()
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(vectors.grad).all()
    near = torch.full((1, 4), 0.1, requires_grad=True)
    repulsion(distances(near, "squared")).sum().backward()
    assert (near.grad < 0).all()  # descent moves it away
    values = torch.tensor([0.5, 2.0, 9.0, 90.0], dtype=torch.float64)
    torch.testing.assert_close(repulsion(values)[:3], -torch.log(1 - torch.exp(-values[:3])))
    assert repulsion(values)[3] >= 0


def test_distances_are_squared_lengths_or_lengths():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    torch.testing.assert_close(distances(vectors, "squared"), torch.tensor([25.0, 1.0]))
    torch.testing.assert_close(distances(vectors, "root"), torch.tensor([5.0, 1.0]))


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_loss_weighs_both_sides(weight):
    found = words_of(TRAIN, "line", "words")
    reading = Vocabulary.learn(found, 10).read(found)
    config = replace(QUICK, auxiliary_weight=weight)
    torch.manual_seed(0)
    net = LineEncoder(40, 16, 2, 16, 1, max_words=10, dropout=0.0)
    counts = np.bincount(reading.inverse)
    lesson = Pairs(reading, counts, 8, 0, "cpu")([np.arange(3)])[0]
    parts = line_detector.objective(net, net, config)(lesson, torch.full((3,), 1 / 3))
    torch.testing.assert_close(parts["loss"], (1 - weight) * parts["normal"] + weight * parts["auxiliary"])
    assert lesson.beside.sum() == 8


def test_whose_lines_are_abnormal():
    found = words_of(TRAIN, "line", "words")
    reading = Vocabulary.learn(found, 10).read(found)
    is_failure = np.array([line in FAILED for line in TRAIN.raw.values])
    # By labels of lines, and where only sequences have one, by what no normal sequence of the auxiliary has.
    for labels in (EVENT_LABELS, None, np.full(TRAIN.n_events, -1, np.int8)):
        known = Evidence(roles=ROLES, event_labels=labels)
        assert np.array_equal(abnormal_lines(TRAIN, LABELS, known, reading), is_failure)
    of_source = Evidence(roles=ROLES, event_labels=np.ones(TRAIN.n_events, np.int8))
    helps = np.repeat(TRAIN.system, TRAIN.lengths) == 1
    assert np.array_equal(abnormal_lines(TRAIN, LABELS, of_source, reading), helps)
    assert not abnormal_lines(TRAIN, None, EVIDENCE, reading).any()


def test_an_auxiliary_line_that_is_a_normal_line_of_the_source_counts_as_normal():
    own = [[FAILED[0], NORMAL[0]]] * 5
    train = of([*own, [FAILED[0]], [FAILED[1]]], [0] * 5 + [1, 1])
    labels = np.array([0] * 5 + [1, 1], np.int8)
    found = words_of(train, "line", "words")
    reading = Vocabulary.learn(found, 10).read(found)
    sides = line_detector.sides_of(train, labels, Evidence(roles=ROLES), reading)
    assert sides.normal[reading.inverse].tolist() == [5] * 11 + [0]
    assert sides.abnormal[reading.inverse].tolist() == [0] * 11 + [1]
    assert sides.facts["auxiliary_lines_also_normal"] == 1


def test_lines_of_unknown_words_or_of_none_have_finite_scores(fitted):
    scores = fitted.score_lines(lines("quux wibble", "12 34", "", "quux " * 200))
    assert np.isfinite(scores).all()
    assert fitted.score(of([[], [NORMAL[0]]], [0, 0]))[0] == NOTHING_TO_SCORE
    assert fitted.score_lines(of([], [])).shape == (0,)
    assert fitted.represent(of([[], [NORMAL[0]]], [0, 0])).shape == (2, 16)


def test_a_line_is_computed_once_and_its_company_moves_nothing(fitted, monkeypatch):
    asked = []
    real = line_detector.encode
    monkeypatch.setattr(line_detector, "encode", lambda net, table, bags, which: asked.append(len(which)) or real(
        net, table, bags, which))  # fmt: skip
    together = fitted.score_lines(lines(*NORMAL, *NORMAL, *FAILED))
    assert asked == [6 + 3]  # numbers are no words
    alone = [fitted.score_lines(lines(line))[0] for line in (*NORMAL, *NORMAL, *FAILED)]
    np.testing.assert_allclose(alone, together, rtol=1e-12)
    np.testing.assert_array_equal(fitted.explain(lines(*FAILED)), together[-3:].astype(np.float32))


def test_repeats_count_by_their_logarithm_or_in_full():
    counts = np.array([0, 1, 9, 999])
    assert drawn(counts, "all").tolist() == counts.tolist()
    assert drawn(counts, "log").tolist() == [0, 69, 230, 691]


def test_it_reads_raw_lines_or_texts_and_says_so():
    assert Logsy().uses() == {"raw"}
    masked = Logsy(Config(lines="masked", steps=2))
    assert masked.uses() == {"texts"}
    without = replace(TRAIN, raw=None)
    assert np.isfinite(masked.fit(without, LABELS, evidence=EVIDENCE).score(without)).all()
    with pytest.raises(ValueError, match="set lines=masked"):
        Logsy(QUICK).fit(without, LABELS, evidence=EVIDENCE)


def test_without_an_auxiliary_it_is_skipped_with_the_way_out():
    alone = TRAIN.select(TRAIN.system == 0)
    assert "name one that does by --auxiliary" in Logsy().skip(alone)
    assert Logsy().skip(TRAIN) is None
    for labels, train in ((np.zeros(len(alone), np.int8), alone), (np.zeros(len(TRAIN), np.int8), TRAIN)):
        with pytest.raises(ValueError, match="name one that does by --auxiliary"):
            Logsy(QUICK).fit(train, labels, evidence=Evidence(roles=ROLES))


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = LineEncoder(9, 16, 2, 16, 2, max_words=10, dropout=0.1)
        vectors = net(net.words(torch.zeros(4, 6, dtype=torch.int64)), torch.ones(4, dtype=torch.int64))
        (distances(vectors, "squared") + repulsion(distances(vectors, "root"))).sum().backward()
    assert vectors.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_saved_and_loaded_it_scores_the_same(fitted):
    state = fitted.state()
    loaded = Logsy(QUICK).load_state(state)
    tested = lines(*NORMAL, *FAILED, "quux")
    assert loaded.score_lines(tested).tolist() == fitted.score_lines(tested).tolist()
    facts = json.loads(json.dumps(fitted.monitor()))
    assert (facts["distinct_normal_lines"], facts["distinct_auxiliary_lines"], facts["steps_run"]) == (6, 3, 150)
    again = Logsy(QUICK).fit(TRAIN, LABELS, evidence=EVIDENCE)
    assert all(np.array_equal(value, state[name]) for name, value in again.state().items())
    other = Logsy(QUICK, seed=1).fit(TRAIN, LABELS, evidence=EVIDENCE)
    assert not np.array_equal(other.score_lines(tested), fitted.score_lines(tested))


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"width": 15}, {"heads": 0}, {"max_words": 0}, {"auxiliary_weight": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**wrong)
    for call in (lambda: Logsy().score(TRAIN), lambda: Logsy().state(), lambda: Logsy().represent(TRAIN)):
        with pytest.raises(NotFittedError):
            call()
