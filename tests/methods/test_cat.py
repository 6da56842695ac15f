"""CAT after its sheet: what [SEQ] and the events see, a target that is not zero, repeatable scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bench.detector import NotFittedError
from bench.types import Sequences
from methods import cat
from methods.cat import CAT, Config, Network, blocked, halves, objective
from methods.shared import text_inputs
from methods.shared.semantic import read
from methods.shared.training import hold_out

pytestmark = [pytest.mark.trains, pytest.mark.usefixtures("no_sentence_encoder")]

TEXTS = tuple(f"template {key}" for key in range(40))
INPUTS = text_inputs.TextInputs.sentence((), 20, centred=False)
QUICK = Config(
    width=20, hidden=16, heads=2, ffn_width=16, steps=None, max_epochs=5, batch_size=64, dropout=0.1, learning_rate=0.01
)


def of(lists):
    return Sequences.from_lists(lists, TEXTS)


def cycles(seed, n, step=1):
    rng = np.random.default_rng(seed)
    return of([(rng.integers(10) + step * np.arange(rng.integers(5, 13))).tolist() for _ in range(n)])


TRAIN, TEST = cycles(0, 400), cycles(1, 100)
STRANGE = of([(20 + np.random.default_rng(i).integers(0, 20, 8)).tolist() for i in range(100)])


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return CAT(QUICK).fit(TRAIN)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Network(replace(QUICK, decoder_layers=2)).eval()


def same_state(a, b):
    return all(np.array_equal(value, b.state()[name]) for name, value in a.state().items())


def test_halves_of_even_odd_and_short_sequences():
    tokens = torch.arange(5.0).expand(4, 5)[:, :, None]
    first, second = halves(tokens, torch.tensor([5, 4, 1, 2]))
    rows = [
        (half.tokens[i, :, 0][half.real[i]].tolist(), half.places[i][half.real[i]].tolist())
        for half in (first, second)
        for i in range(4)
    ]
    assert [values for values, _ in rows] == [[0, 1, 2], [0, 1], [0], [0], [3, 4], [2, 3], [], [1]]
    assert all(values == places for values, places in rows)


def test_the_status_token_sees_all_real_events_and_events_see_their_past():
    mask = blocked(torch.tensor([[True, True, False]]))[0]
    assert (~mask).int().tolist() == [[1, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]


@pytest.mark.parametrize("place", range(8))
def test_every_event_changes_the_status(net, place):
    tokens, lengths = torch.randn(1, 8, 20), torch.tensor([8])
    changed = tokens.clone()
    changed[0, place] += 1
    with torch.no_grad():
        assert not torch.allclose(net.status(tokens, lengths), net.status(changed, lengths), atol=1e-4)


@pytest.mark.parametrize("place", [5, 6, 7])
def test_no_prediction_sees_what_it_predicts(net, place):
    tokens, lengths = torch.randn(1, 8, 20), torch.tensor([8])
    changed = tokens.clone()
    changed[0, place] += 1
    with torch.no_grad():
        states, other = net._read(tokens, lengths)[0], net._read(changed, lengths)[0]
    before = place - 4
    torch.testing.assert_close(states[:, 1 : 1 + before], other[:, 1 : 1 + before], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(states[:, 1 + before], other[:, 1 + before], atol=1e-4)


def test_the_target_is_the_next_event_and_not_zero(net):
    tokens, lengths = torch.randn(2, 8, 20), torch.tensor([8, 7])
    with torch.no_grad():
        net.outlet.weight.zero_()
        net.outlet.bias.zero_()
        error = net(tokens, lengths)[:, 1]
        torch.testing.assert_close(error, torch.stack([tokens[0, 5:8].square().mean(), tokens[1, 5:7].square().mean()]))
        assert (error > 0).all()


def test_the_distance_is_squared_and_summed(net):
    tokens, lengths = torch.randn(2, 8, 20), torch.tensor([8, 3])
    with torch.no_grad():
        net.centre.fill_(0.5)
        expected = (net.status(tokens, lengths) - 0.5).square().sum(1)
        torch.testing.assert_close(net(tokens, lengths)[:, 0], expected)


def test_padding_changes_nothing(net):
    tokens, lengths = torch.randn(3, 6, 20), torch.tensor([6, 3, 1])
    padded = torch.cat([tokens, 1e3 * torch.ones(3, 4, 20)], 1)
    padded[1, 3:], padded[2, 1:] = -50, 70
    with torch.no_grad():
        torch.testing.assert_close(net(padded, lengths), net(tokens, lengths), atol=1e-4, rtol=1e-5)


def test_order_matters(fitted):
    a, b = fitted.score(of([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]))
    assert a != pytest.approx(b, rel=1e-3)


def test_scoring_twice_gives_the_same(fitted):
    assert fitted.score(TEST).tolist() == fitted.score(TEST).tolist()
    alone = [fitted.score(TEST.select(np.array([i])))[0] for i in range(20)]
    np.testing.assert_allclose(alone, fitted.score(TEST)[:20], rtol=1e-12)


def test_unlike_sequences_score_higher(fitted):
    scores = np.concatenate([fitted.score(TEST), fitted.score(STRANGE)])
    assert roc_auc_score([0] * 100 + [1] * 100, scores) > 0.9


def test_the_native_threshold_is_a_quantile_of_held_out_normals(fitted):
    unique, counts, _ = TRAIN.unique()
    held = hold_out(counts, 0.1, 0).held_out
    scores = np.repeat(fitted.score(unique), held)
    assert fitted.native_threshold_ == pytest.approx(np.quantile(scores, 0.9), rel=1e-9)
    all_flagged = CAT(replace(QUICK, normal_share=1e-9, max_epochs=1)).fit(TRAIN)
    assert all_flagged.native_threshold_ < CAT(replace(QUICK, max_epochs=1)).fit(TRAIN).native_threshold_


def test_the_centre_is_fixed_before_training(fitted):
    other = CAT(replace(QUICK, max_epochs=1)).fit(TRAIN)
    assert torch.equal(other.net_.centre, fitted.net_.centre)
    assert fitted.net_.centre.abs().min() >= 0.1 - 1e-7
    assert not torch.equal(other.net_.first, fitted.net_.first)


def test_weights_stand_for_repeats():
    found = torch.rand(3, 2)
    merged = objective(found, torch.tensor([0.5, 0.25, 0.25]), QUICK)
    expanded = objective(found[[0, 0, 1, 2]], torch.full((4,), 0.25), QUICK)
    torch.testing.assert_close(merged, expanded)
    torch.testing.assert_close(merged["loss"], merged["distance"] + merged["prediction"])


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = Network(QUICK)
        found = net(torch.randn(4, 6, 20), torch.full((4,), 6))
        objective(found, torch.full((4,), 0.25), QUICK)["loss"].backward()
    assert found.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_short_and_empty_sequences(fitted):
    scores = fitted.score(of([[], [1], [1, 2], list(range(40)) * 20]))
    assert np.isfinite(scores).all()
    assert scores[0] == 0 < scores[1]
    assert fitted.score(of([])).shape == (0,)
    assert fitted.represent(TEST).shape == (100, 16)
    assert read(of([]), INPUTS, "cpu").counts.shape == (0,)


def test_labels_are_not_read(fitted):
    assert same_state(CAT(QUICK).fit(TRAIN, np.ones(400, np.int8)), fitted)
    assert not same_state(CAT(QUICK, seed=1).fit(TRAIN), fitted)


def test_saved_and_loaded_it_scores_the_same(fitted):
    loaded = CAT(QUICK).load_state(fitted.state())
    assert loaded.score(STRANGE).tolist() == fitted.score(STRANGE).tolist()
    assert loaded.native_threshold_ == fitted.native_threshold_
    json.dumps(fitted.monitor())
    for call in (lambda: CAT().score(TEST), lambda: CAT().state()):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(ValueError, match="no training sequence"):
        CAT().fit(of([[]]))


def test_the_profiles_are_configs():
    original = Config(**CAT.profiles["original"])
    assert (original.hidden, original.heads, original.learning_rate) == (32, 8, 1e-4)
    assert (Config().hidden, Config().steps) == (100, 600)
    assert (Config().centred, Config().dropout) == (True, 0.05)
    with pytest.raises(ValueError, match="multiple of heads"):
        Config(hidden=10)
    assert cat.Half._fields == ("tokens", "places", "real")
