"""ADLILog after its sheet: levels are learned first and frozen, normal lines pulled in, severe ones pushed out."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from bench.detector import Evidence
from bench.types import RawLines, Sequences
from methods import adlilog
from methods.adlilog import ADLILog, Config, Network, severe_and_harmless
from methods.shared.layers import arrays_of
from methods.shared.line_detector import Sides
from methods.shared.line_tokens import Vocabulary, words_of

pytestmark = pytest.mark.trains

INSTRUCTIONS = ("opened session", "closed file", "sent request", "reading configuration")
SEVERE = ("failed to open session", "error in file", "cannot send request", "giving up")
OWN = ("session of user opened", "file was closed", "block sent to node")
ROLES = ("source", "auxiliary")
QUICK = Config(steps=200, batch_size=32, learning_rate=0.01)


def of(rows, system):
    """Sequences of lines."""
    lines = [line for row in rows for line in row]
    texts = tuple(dict.fromkeys(lines)) or ("",)
    log = Sequences.from_lists([[texts.index(line) for line in row] for row in rows], texts)
    return replace(log, raw=RawLines(pl.Series(lines, dtype=pl.String)), system=np.array(system, np.uint8))


def lines(*texts):
    return of([list(texts)], [0])


N = 20
TRAIN = of([*[list(OWN)] * N, *[list(INSTRUCTIONS)] * N, *[list(SEVERE)] * N], np.repeat([0, 1, 1], N))
LABELS = np.repeat([0, 0, 1], N).astype(np.int8)
EVIDENCE = Evidence(roles=ROLES)


@pytest.fixture(scope="module")
def fitted():
    return ADLILog(QUICK).fit(TRAIN, LABELS, evidence=EVIDENCE)


def test_normal_lines_are_pulled_in_and_severe_instructions_pushed_out(fitted):
    frozen = ADLILog(replace(QUICK, tuning_share=0.0)).fit(TRAIN, LABELS, evidence=EVIDENCE)
    assert fitted.score_lines(lines(*OWN)).max() < frozen.score_lines(lines(*OWN)).max()
    assert fitted.score_lines(lines(*SEVERE)).min() > 2 * fitted.score_lines(lines(*OWN)).max()


def test_levels_are_learned_first_and_then_frozen(monkeypatch):
    kept = {}
    freeze = Network.freeze

    def freeze_and_look(net):
        freeze(net)
        kept.update(arrays_of(net))

    monkeypatch.setattr(Network, "freeze", freeze_and_look)
    detector = ADLILog(QUICK).fit(TRAIN, LABELS, evidence=EVIDENCE)
    moved = {name for name, value in arrays_of(detector.net_).items() if not np.allclose(value, kept[name], atol=1e-7)}
    assert moved == {name for name in kept if name.startswith("net.sphere.")}
    found = words_of(lines(*INSTRUCTIONS, *SEVERE), "line", "words")
    reading = detector.vocabulary_.read(found)
    with torch.no_grad():
        net = detector.net_
        batch = adlilog.batch_of(reading.bags, np.arange(8), torch.device("cpu"))
        levels = adlilog.encode_batch(net.levels, net.words.weight, batch).argmax(1)
    assert levels.tolist() == [0] * 4 + [1] * 4


def test_the_words_are_those_of_the_auxiliary(fitted):
    known = set(fitted.vocabulary_.inputs.vocabulary)
    assert known == {word for line in (*INSTRUCTIONS, *SEVERE) for word in line.split()} - {"to", "in"}
    assert "block" not in known
    assert np.isfinite(fitted.score_lines(lines("quux wibble", "", "12"))).all()


def test_which_lines_are_severe_and_which_harmless():
    found = words_of(of([["own line"], ["good line", "bad line"], ["worse line"]], [0, 1, 1]), "line", "words")
    reading = Vocabulary.learn(found, 10).read(found)
    helps = np.array([False, True, True, True])
    sides = Sides(np.array([1, 0, 0, 0]), np.array([0, 0, 0, 7]), {})
    levels = severe_and_harmless(reading, sides, helps)
    assert levels.line.tolist() == [1, 2, 3]
    assert levels.is_severe.tolist() == [0, 0, 1]
    assert levels.counts.tolist() == [1, 1, 7]
    for helpers, abnormal in ((helps, [0, 0, 0, 0]), (np.zeros(4, bool), [0, 0, 0, 7])):
        with pytest.raises(ValueError, match="one kind is missing: name another --auxiliary"):
            severe_and_harmless(reading, Sides(sides.normal, np.array(abnormal), {}), helpers)


def test_both_levels_weigh_the_same():
    parts = adlilog.HeldOut(np.array([90, 10]), np.zeros(2, np.int64))
    balance = adlilog._balance(parts, np.array([0, 1]))
    assert balance[0] * 90 == pytest.approx(balance[1] * 10)
    assert balance[0] * 90 + balance[1] * 10 == pytest.approx(100)


def test_the_budget_is_shared_by_both_stages(fitted):
    for share, first in ((0.5, 100), (0.25, 150), (1.0, 0)):
        config = replace(QUICK, tuning_share=share)
        steps = [adlilog.stage_of(config, first=is_first).steps for is_first in (True, False)]
        assert steps == [first, 200 - first]
    published = Config(**{**ADLILog.profiles["original"], "tuning_epochs": 7})
    assert [adlilog.stage_of(published, first=is_first).max_epochs for is_first in (True, False)] == [30, 7]
    facts = json.loads(json.dumps(fitted.monitor()))
    assert (facts["steps_run"], facts["pretraining_steps"]) == (200, 100)
    assert (facts["distinct_auxiliary_lines"], facts["distinct_harmless_lines"]) == (4, 4)


def test_saved_and_loaded_it_scores_the_same(fitted):
    tested = lines(*OWN, *SEVERE, "quux")
    loaded = ADLILog(QUICK).load_state(fitted.state())
    assert loaded.score_lines(tested).tolist() == fitted.score_lines(tested).tolist()
    again = ADLILog(QUICK).fit(TRAIN, LABELS, evidence=EVIDENCE)
    assert again.score_lines(tested).tolist() == fitted.score_lines(tested).tolist()


def test_without_an_auxiliary_it_is_skipped_with_the_way_out():
    alone = TRAIN.select(TRAIN.system == 0)
    assert "name one that does by --auxiliary" in ADLILog().skip(alone)
    with pytest.raises(ValueError, match="name one that does by --auxiliary"):
        ADLILog(QUICK).fit(TRAIN, np.zeros(len(TRAIN), np.int8), evidence=EVIDENCE)
    for wrong in ({"tuning_share": 1.5}, {"tuned_layers": 0}, {"tuning_epochs": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**wrong)


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = Network(9, QUICK)
        tokens, lengths = net.words(torch.zeros(4, 6, dtype=torch.int64)), torch.ones(4, dtype=torch.int64)
        (net(tokens, lengths).sum() + net.levels(tokens, lengths).sum()).backward()
    assert all(parameter.grad.is_meta for parameter in net.parameters())
