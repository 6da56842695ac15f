"""Ott et al. after its sheet: what the prediction sees, both objectives, the rule, and each pair computed once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.detector import NotFittedError
from bench.types import Sequences
from methods import ott_plm
from methods.ott_plm import Config, OttPLM, backwards, histories_of
from methods.shared import text_inputs
from methods.shared.histories import FIRST_KEY, PAD

pytestmark = pytest.mark.trains

TEXTS = (*(f"template {key}" for key in range(12)), "template 2 reworded", "template 1 failed", "TEMPLATE 5")
REWORDED, FAILED, SAME_AS_5 = 12, 13, 14
NOISE = {"reworded": 0.1, "failed": 0.6}
QUICK = Config(width=20, history=4, hidden=24, steps=250, batch_size=32, learning_rate=0.01)
CYCLE = [[(start + i) % 6 for i in range(12)] for start in range(6)] * 10


def fake_embed(texts):
    """Templates are unlike each other, what is reworded or failed is like its template, and case is not read."""
    rows = []
    for text in texts:
        name, _, changed = text.lower().rpartition(" ") if text.split()[-1] in NOISE else (text.lower(), "", "")
        row = np.random.default_rng(list(name.encode())).standard_normal(384)
        noise = np.random.default_rng(1).standard_normal(384)
        rows.append(row + NOISE.get(changed, 0.0) * noise)
    rows = np.reshape(rows, (-1, 384))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def no_sentence_encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", fake_embed)
        yield


def of(lists):
    return Sequences.from_lists(lists, TEXTS)


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    """Trained on a cycle of six texts, from each of its starts."""
    return OttPLM(QUICK).fit(of(CYCLE))


@pytest.fixture(scope="module")
def classes(no_sentence_encoder):
    return OttPLM(replace(QUICK, objective="classes")).fit(of(CYCLE))


def test_on_a_constant_sequence_the_error_goes_to_zero():
    """A text that is the only one is nothing but the centre, so vectors are left as they are."""
    config = replace(QUICK, whitened=False)
    untrained, trained = (OttPLM(replace(config, steps=steps)).fit(of([[1] * 15] * 40)) for steps in (0, 250))
    lines = trained.score_lines(of([[1] * 15]))
    assert lines[1:].max() < 1e-3
    assert untrained.score_lines(of([[1] * 15])).min() > 0.2


def test_what_follows_in_the_cycle_is_predicted_and_another_event_is_not(fitted):
    right, wrong = fitted.score_lines(of([[0, 1, 2, 3, 4], [0, 1, 2, 3, 1]]))[[4, 9]]
    assert right < 0.02
    assert wrong > 20 * right


def test_a_paraphrase_changes_the_error_less_than_a_random_template(fitted):
    plain, paraphrase, random = fitted.score_lines(of([[0, 1, 2], [0, 1, REWORDED], [0, 1, 9]]))[[2, 5, 8]]
    assert plain < paraphrase < plain + 0.2 * (random - plain)


def test_a_paraphrase_in_the_past_changes_the_prediction_little(fitted):
    plain, paraphrase, random = fitted.score_lines(of([[1, 2, 3], [1, REWORDED, 3], [1, 9, 3]]))[[2, 5, 8]]
    assert paraphrase < plain + 0.2 * (random - plain)


@pytest.mark.parametrize("is_whitened", [True, False])
def test_a_new_text_like_the_expected_one_is_worse_than_a_rare_one_that_is_known(is_whitened):
    """Without whitening the error of the rare one is larger, as it is unlike what else follows."""
    often, rarely = [0, 1, 2, 3, 4, 5], [0, 5, 2, 3, 4, 1]
    detector = OttPLM(replace(QUICK, whitened=is_whitened)).fit(of([often] * 90 + [rarely] * 10))
    known, new = detector.score_lines(of([[0, 5], [0, FAILED]]))[[1, 3]]
    assert (new > known) == is_whitened


@pytest.mark.parametrize("place", [5, 6, 9])
def test_the_prediction_of_an_event_sees_nothing_from_itself_on(fitted, place):
    events = [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    changed = [*events[:place], *([9] * (10 - place))]
    before, after = fitted.score_lines(of([events])), fitted.score_lines(of([changed]))
    np.testing.assert_allclose(before[:place], after[:place], rtol=1e-9)
    assert (np.abs(before[place:] - after[place:]) > 1e-3).all()


def test_the_prediction_sees_w_events_and_none_before_them(fitted):
    before, after = (fitted.score_lines(of([[first, 0, 1, 2, 3, 4]])) for first in (5, 9))
    assert abs(before[4] - after[4]) > 1e-6
    assert before[5] == pytest.approx(after[5], rel=1e-9)


def test_both_directions_are_read_in_their_order():
    found = histories_of(np.array([2, 3, 4, 5]), np.array([0, 4]), 2)
    assert found.histories.tolist() == [[1, PAD, PAD], [1, 2, PAD], [1, 2, 3], [1, 3, 4]]
    assert backwards(found.histories).tolist() == [[1, PAD, PAD], [2, 1, PAD], [3, 2, 1], [4, 3, 1]]


@pytest.mark.parametrize("name", ["fitted", "classes"])
def test_steps_that_are_shared_give_what_the_network_gives(name, request):
    net = request.getfixturevalue(name).net_
    vectors = torch.randn(7, 20, dtype=torch.float64)
    events = np.random.default_rng(0).integers(0, 7, 60) + FIRST_KEY
    rows = histories_of(events, np.array([0, 3, 30, 60]), 4).histories
    with torch.inference_mode():
        shared = net.stepwise(vectors)(rows)
        whole = net(torch.as_tensor(rows), torch.as_tensor(backwards(rows)), vectors)
    np.testing.assert_allclose(shared, whole, atol=1e-12)


def test_a_sequence_has_the_score_of_its_worst_event(fitted):
    log = of([[0, 1, 9, 3], [0, 1, 2]])
    lines = fitted.score_lines(log)
    assert fitted.score(log).tolist() == [lines[:4].max(), lines[4:].max()]
    assert lines[:4].argmax() == 2
    np.testing.assert_allclose(fitted.explain(log), lines, rtol=1e-6)


def test_equal_sequences_and_pairs_are_computed_once(fitted, monkeypatch):
    seen = []
    spied = ott_plm.Predictor.__call__

    def spy(self, rows):
        seen.append(len(rows))
        return spied(self, rows)

    monkeypatch.setattr(ott_plm.Predictor, "__call__", spy)
    fitted.score_lines(of([[0, 1, 2, 3] * 5] * 300))
    assert sum(seen) == 4 + 4


def test_the_score_by_classes_is_minus_log_p(classes):
    log = of([[0, 1, 2]])
    rows = torch.as_tensor(histories_of(np.array([2, 3, 4]), np.array([0, 3]), 4).histories)
    vectors = torch.as_tensor(classes.inputs_.features(TEXTS[:3]))
    with torch.inference_mode():
        logits = classes.net_(rows, torch.as_tensor(backwards(rows.numpy())), vectors)
    expected = -torch.log_softmax(logits, 1)[torch.arange(3), torch.arange(3)]
    np.testing.assert_allclose(classes.score_lines(log), expected, atol=1e-10)
    assert classes.score_lines(log)[2] < 0.05 < classes.score_lines(of([[0, 1, 4]]))[2]


def test_by_classes_an_unknown_text_counts_as_the_most_alike_one(classes):
    plain, reworded = classes.score_lines(of([[0, 1, 2], [0, 1, REWORDED]]))[[2, 5]]
    assert reworded == pytest.approx(plain, abs=1e-9)


def test_by_classes_texts_of_one_vector_are_one_class():
    """An encoder that reads no case cannot tell them apart; the first is rare, and so is its row."""
    renamed = [[SAME_AS_5 if event == 5 else event for event in row] for row in CYCLE]
    detector = OttPLM(replace(QUICK, objective="classes")).fit(of([*renamed, [0, 5]]))
    rare, common, wrong = detector.score_lines(of([[3, 4, 5], [3, 4, SAME_AS_5], [3, 4, 1]]))[[2, 5, 8]]
    assert rare == pytest.approx(common, abs=1e-9)
    assert common < 0.05 < wrong


def test_the_native_rule_flags_the_share_of_held_out_events_that_was_asked_for():
    train = of([np.random.default_rng(i).integers(0, 8, 20).tolist() for i in range(60)])
    config = replace(QUICK, steps=20, validation_fraction=0.0)
    for quantile in (0.5, 0.9):
        detector = OttPLM(replace(config, quantile=quantile)).fit(train)
        flagged = detector.score_lines(train) > detector.native_threshold_
        assert flagged.mean() == pytest.approx(1 - quantile, abs=0.02)


def test_held_out_sequences_make_the_rule():
    """A sequence that is copied a thousand times stays in training; the rule is that of the others."""
    rng = np.random.default_rng(0)
    train = of([rng.integers(0, 8, 20).tolist() for _ in range(40)] + [[0, 1, 2] * 6] * 4000)
    detector = OttPLM(replace(QUICK, steps=30, validation_fraction=0.2)).fit(train)
    common, rare = (detector.score_lines(of([row])) for row in ([0, 1, 2] * 6, rng.integers(0, 8, 18).tolist()))
    assert np.median(common) < detector.native_threshold_
    assert detector.native_threshold_ > 0.5 * rare.max()


def test_the_state_holds_no_text_and_gives_the_same_scores(fitted, classes):
    log = of([[0, 1, 9, 3], [REWORDED, 1]])
    for detector in (fitted, classes):
        state = detector.state()
        assert all(value.dtype.kind == "f" for value in state.values())
        again = OttPLM(detector.config).load_state(state)
        assert np.array_equal(again.score_lines(log), detector.score_lines(log))
        assert again.native_threshold_ == detector.native_threshold_


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_network_and_objective_run_on_meta(kind):
    with torch.device("meta"):
        net = ott_plm.Network(replace(QUICK, objective=kind, dropout=0.3), 7)
        rows, vectors = torch.randint(1, 9, (5, 5)), torch.randn(7, 20)
        one, many = torch.randint(5, (4,)), torch.randint(4, (9,))
        batch = ott_plm.Batch(torch.arange(5), one, torch.randint(7, (4,)), many, torch.randint(3, (9,)))
        loss = ott_plm.objective(net, ott_plm.Ways(rows, rows), batch, vectors, torch.rand(3))["loss"]
        loss.backward()
    assert loss.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_original_names_bert_and_is_skipped_without_its_weights(tmp_path):
    config = Config(**OttPLM.profiles["original"])
    reason = OttPLM(config).skip(of(CYCLE))
    assert "bert-base-uncased" in reason
    assert "weights" in reason
    assert "is no folder" in OttPLM(replace(config, weights=str(tmp_path / "none"))).skip(of(CYCLE))
    with pytest.raises(ValueError, match="bert-base-uncased"):
        OttPLM(config).fit(of(CYCLE))


@pytest.mark.parametrize(
    "wrong", [{"history": 0}, {"quantile": 1.0}, {"objective": "both"}, {"hidden": 0}, {"width": 0}]
)
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)


def test_nothing_to_learn_and_not_fitted():
    assert OttPLM().skip(of([[], []])) == "no training sequence has an event"
    for call in (lambda: OttPLM().score(of([[0]])), lambda: OttPLM().state()):
        with pytest.raises(NotFittedError):
            call()
