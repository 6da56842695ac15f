"""LogBERT after its sheet: masks, both objectives, ratios, padding, the rule from normals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.detector import NotFittedError
from bench.types import UNKNOWN_KEY, Sequences
from methods import logbert
from methods.logbert import Config, LogBERT, Network, mean_distance_vector, objective
from methods.shared import layers as _layers
from methods.shared import masked_keys
from methods.shared.histories import pieces_of
from methods.shared.masked_keys import chunks_of
from methods.shared.masks import FIRST, FIRST_KEY, MASK, coverage, n_passes, random_masks

pytestmark = pytest.mark.trains

TEXTS = tuple(f"template {key}" for key in range(9))
QUICK = Config(
    width=16,
    ffn_width=32,
    layers=1,
    steps=None,
    max_epochs=15,
    batch_size=32,
    learning_rate=0.01,
    dropout=0.0,
    max_length=64,
)
PAIRS = [[first, second] * 6 for first, second in ((0, 1), (2, 3), (1, 0), (3, 2))] * 20


def of(log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n, n_keys=6, low=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, n_keys, rng.integers(0, 15)).tolist() for _ in range(n)]


@pytest.fixture(scope="module")
def fitted():
    """Trained on sequences that alternate between 0 and 1, or between 2 and 3."""
    return LogBERT(QUICK, seed=0).fit(of(PAIRS))


def test_the_loss_decreases_and_normal_sequences_have_few_misses(fitted):
    epochs = fitted.monitor()["epochs"]
    assert epochs[-1]["train_loss"] < 0.6 * epochs[0]["train_loss"]
    assert fitted.g_ == 2
    assert fitted.score(of(PAIRS[:4])).max() <= fitted.native_threshold_
    one_wrong = [[0, 1, 0, 1, 0, 3, 0, 1, 0, 1, 0, 1], [3, 2, 3, 2, 3, 2, 3, 2, 0, 2, 3, 2]]
    assert (fitted.score(of(one_wrong)) > fitted.native_threshold_).all()


def test_with_g_of_all_keys_only_unknown_keys_are_misses(fitted):
    lenient = LogBERT(replace(QUICK, g=4)).load_state({**fitted.state(), "rule": np.array([4.0, 0.0])})
    lists = random_lists(1, 100, n_keys=4, low=-1)
    shares = [keys.count(UNKNOWN_KEY) / max(1, len(keys)) for keys in lists]
    assert lenient.score(of(lists)).tolist() == pytest.approx(shares)


def test_a_sequence_of_unknown_keys_scores_one_and_an_empty_one_zero(fitted):
    assert fitted.score(of([[UNKNOWN_KEY] * 5, [7], [8] * 40, []])).tolist() == [1, 1, 1, 0]
    assert fitted.score(of([])).shape == (0,)


def test_misses_decrease_with_g(fitted):
    tested = of(random_lists(2, 100, n_keys=4))
    means = [
        LogBERT(QUICK).load_state({**fitted.state(), "rule": np.array([g, 0.0])}).score(tested).mean()
        for g in range(1, 5)
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1] == 0


@pytest.mark.parametrize("ratio", [0.15, 0.2, 0.3, 0.5, 0.65, 1.0])
def test_every_event_is_masked_in_exactly_one_pass(ratio):
    lengths = np.array([1, 2, 5, 20, 20, 0])
    passes = coverage(lengths, ratio)
    assert passes.shape == (6, 21)
    assert (passes[:, 0] == -1).all()
    for row, length in zip(passes, lengths, strict=True):
        assert (row[1 : length + 1] >= 0).all()
        assert (row[length + 1 :] == -1).all()
        sizes = np.bincount(row[1 : length + 1], minlength=n_passes(ratio))
        assert sizes.max() - sizes.min() <= 1
        assert sizes.max() <= max(1, np.ceil(ratio * length))
    assert passes[3].tolist() == passes[4].tolist()


def test_number_of_passes_is_one_over_the_ratio():
    assert [n_passes(m) for m in (1.0, 0.65, 0.5, 1 / 3, 0.2, 0.1)] == [1, 2, 2, 3, 5, 10]


def test_random_masks_hide_the_wanted_share_and_at_least_one():
    torch.manual_seed(0)
    tokens = torch.randint(FIRST_KEY, 30, (4000, 21))
    tokens[:, 0] = FIRST
    real = torch.ones_like(tokens, dtype=torch.bool)
    real[:, 0] = False
    real[0, 2:] = False
    masked, given = random_masks(tokens, real, 0.3, 30)
    assert masked[0].nonzero().tolist() == [[1]]
    assert not (masked & ~real).any()
    assert masked[1:, 1:].float().mean() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(given[~masked], tokens[~masked])
    kept = (given == tokens)[masked].float().mean()
    assert (given == MASK)[masked].float().mean() == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / 26, abs=0.01)
    assert given[masked & (given != MASK)].min() >= FIRST_KEY


def slow_scores(detector, lists):
    """The definition, one mask and one sequence at a time, without padding."""
    known = detector.keys_.tolist()
    scores = []
    for keys in lists:
        misses = 0
        tokens = [FIRST, *(known.index(key) + FIRST_KEY if key in known else 1 for key in keys)]
        passes = coverage(np.array([len(keys)]), detector.config.mask_ratio)[0]
        for number in range(n_passes(detector.config.mask_ratio)):
            given = torch.tensor([[MASK if p == number else t for t, p in zip(tokens, passes, strict=True)]])
            with torch.no_grad():
                logits = detector.net_.key_head(detector.net_(given))[0]
            for place in np.flatnonzero(passes == number):
                target = tokens[place] - FIRST_KEY
                misses += target < 0 or int((logits[place] > logits[place, target]).sum()) >= detector.g_
        scores.append(misses / max(1, len(keys)))
    return scores


def test_scores_equal_the_plain_loop_without_padding():
    detector = LogBERT(replace(QUICK, max_epochs=2, g=2, mask_ratio=0.4)).fit(of(random_lists(0, 60)))
    tested = random_lists(3, 50, n_keys=8, low=-1)
    assert detector.score(of(tested)).tolist() == pytest.approx(slow_scores(detector, tested))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("margin", [32.0, 1e6])
def test_the_fast_path_in_single_precision_equals_the_plain_loop(monkeypatch, layers, margin):
    """With an absurd margin everything is in doubt and computed exactly."""
    monkeypatch.setattr(masked_keys, "SAMPLE", 8)
    monkeypatch.setattr(masked_keys, "MARGIN", margin)
    detector = LogBERT(replace(QUICK, max_epochs=1, g=2, layers=layers, mask_ratio=0.4)).fit(of(random_lists(0, 60)))
    tested = random_lists(5, 80, n_keys=8, low=-1)
    assert detector.score(of(tested)).tolist() == pytest.approx(slow_scores(detector, tested))


def test_the_encoder_in_single_precision_is_torchs_encoder():
    torch.manual_seed(0)
    net = Network(replace(QUICK, layers=2), 6).eval()
    tokens = torch.randint(FIRST_KEY, FIRST_KEY + 6, (5, 9))
    tokens[2, 4:] = 0
    wanted = torch.rand(5, 9) < 0.4
    wanted &= tokens > 0
    with torch.no_grad():
        whole = net.key_head(net(tokens)[wanted])
        assert torch.allclose(masked_keys._quickly(net)(tokens, wanted), whole, atol=1e-5)


def test_padding_changes_no_state(fitted):
    alone, padded = torch.tensor([[2, 4, 5, 6]]), torch.tensor([[2, 4, 5, 6, 0, 0], [2, 5, 5, 5, 5, 5]])
    with torch.no_grad():
        assert torch.allclose(fitted.net_(alone)[0], fitted.net_(padded)[0, :4])


def test_order_and_duplicates_change_nothing(fitted):
    tested = of(random_lists(4, 40, n_keys=4, low=-1))
    order = np.random.default_rng(0).integers(0, 40, 100)
    assert fitted.score(tested.select(order)).tolist() == fitted.score(tested)[order].tolist()


def test_long_sequences_are_scored_to_their_end(fitted):
    """The pieces are 63 keys long; what goes wrong behind the first one counts."""
    normal, broken = [i % 2 for i in range(300)], [i % 2 for i in range(250)] + [UNKNOWN_KEY] * 50
    a, b = fitted.score(of([normal, broken]))
    assert b - a > 0.1
    assert fitted.explain(of([broken]))[250:].tolist() == [1] * 50


def test_the_distance_term_gathers_normal_sequences():
    near, far = (
        LogBERT(replace(QUICK, distance_weight=weight, max_epochs=10), seed=0).fit(of(PAIRS)).monitor()["epochs"][-1]
        for weight in (10.0, 0.0)
    )
    assert near["train_distance"] < 0.5 * far["train_distance"]


def test_the_centre_is_the_weighted_mean_of_training_and_computed_without_dropout():
    torch.manual_seed(0)
    net = Network(replace(QUICK, dropout=0.4), 4).train()
    pieces = pieces_of(np.array([4, 5, 6, 7, 7, 6]), np.array([0, 3, 4, 6]), 63)
    centre = mean_distance_vector(net, pieces, np.array([3, 1, 0]))
    assert net.training
    net.eval()
    passes = coverage(pieces.lengths, 0.5)
    with torch.no_grad():
        rows = []
        for i, keys in enumerate(([4, 5, 6], [7])):
            given = [FIRST, *(MASK if p == 0 else t for p, t in zip(passes[i, 1:], keys, strict=False))]
            rows.append(net(torch.tensor([given]))[0, 0])
    assert torch.allclose(centre, 0.75 * rows[0] + 0.25 * rows[1], atol=1e-6)


def test_the_centre_is_new_in_every_epoch_and_no_gradient_flows_into_it(monkeypatch):
    calls = []
    original = mean_distance_vector

    def counted(*arguments):
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(logbert, "mean_distance_vector", counted)
    detector = LogBERT(replace(QUICK, max_epochs=3)).fit(of(PAIRS))
    assert len(calls) == 3
    assert not detector.net_.centre.requires_grad


def test_g_and_r_come_from_held_out_normals(fitted):
    strict = LogBERT(replace(QUICK, max_epochs=1, miss_rate=0.0), seed=0).fit(of(random_lists(0, 200)))
    loose = LogBERT(replace(QUICK, max_epochs=1, miss_rate=0.5), seed=0).fit(of(random_lists(0, 200)))
    assert strict.g_ > loose.g_ >= 1
    assert strict.native_threshold_ == 0
    fixed = LogBERT(replace(QUICK, max_epochs=1, g=3)).fit(of(PAIRS))
    assert fixed.g_ == 3


def test_labels_are_not_read_and_a_second_fit_forgets(fitted):
    labels = np.random.default_rng(0).integers(0, 2, len(PAIRS)).astype(np.int8)
    before = torch.get_rng_state()
    again = LogBERT(QUICK, seed=0).fit(of(random_lists(0, 20))).fit(of(PAIRS), labels)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in fitted.state().items():
        assert np.array_equal(value, again.state()[name])


def test_state_round_trip_monitor_and_errors(fitted):
    loaded = LogBERT(QUICK).load_state({name: value.copy() for name, value in fitted.state().items()})
    tested = of(random_lists(6, 30, n_keys=8, low=-1))
    assert loaded.score(tested).tolist() == fitted.score(tested).tolist()
    assert loaded.native_threshold_ == fitted.native_threshold_
    assert {"train_prediction", "train_distance"} <= set(fitted.monitor()["epochs"][0])
    assert LogBERT().skip(of([[]])) is not None
    for call in (lambda: LogBERT().score(of([[0]])), lambda: LogBERT().state()):
        with pytest.raises(NotFittedError):
            call()


@pytest.mark.parametrize("wrong", [{"mask_ratio": 0.0}, {"width": 51}, {"alarm_rate": 1.0}, {"miss_rate": -0.1}])
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)


def test_defaults_are_the_papers_and_the_original_profile_is_valid():
    config = Config()
    assert (config.width, config.ffn_width, config.layers, config.dropout) == (50, 256, 2, 0.5)
    assert Config(**LogBERT.profiles["original"]).width == 256


@pytest.mark.parametrize("training", [True, False])
def test_network_and_objective_run_on_meta(training):
    pieces = pieces_of(np.array([4, 5, 6, 7, 7, 6]), np.array([0, 3, 4, 6]), 63)
    with torch.device("meta"):
        net = Network(replace(QUICK, dropout=0.3), 4).train(training)
        loss = objective(net, chunks_of(pieces, np.arange(3), 0.5, "meta"), torch.full((3,), 1 / 3))["loss"]
        loss.backward()
    assert loss.is_meta
    assert net.embedding.weight.grad.is_meta
    assert net.key_head.weight.grad.is_meta


def test_recomputing_activations_gives_the_same_gradient(monkeypatch):
    pieces = pieces_of(np.arange(40) % 4 + 4, np.array([0, 20, 27, 40]), 63)
    gradients = []
    for limit in (2**14, 8):
        monkeypatch.setattr(_layers, "MAX_TOKENS", limit)
        torch.manual_seed(0)
        net = Network(replace(QUICK, mask_ratio=1.0), 4).train()
        torch.manual_seed(1)
        chunks = chunks_of(pieces, np.arange(3), 1.0, "cpu")
        objective(net, chunks, torch.full((3,), 1 / 3))["distance"].backward()
        gradients.append(net.encoder.layers[0].linear1.weight.grad)
    assert torch.isfinite(gradients[1]).all()
    assert gradients[0].shape == gradients[1].shape
