"""DeepLog after its sheet: ranks, unknown keys, padding, exactness of the fast path."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import DataSpec, Loader
from bench.detector import NotFittedError
from bench.testing import check_detector, conforms, summarise
from bench.types import UNKNOWN_KEY, Parameters, Sequences
from methods import deeplog
from methods.deeplog import Config, DeepLog
from methods.shared import histories as _histories
from methods.shared import parameter_model
from methods.shared.histories import FIRST_KEY, PAD
from methods.shared.training import train_network

pytestmark = pytest.mark.trains

TEXTS = tuple(f"template {key}" for key in range(9))
QUICK = Config(history=3, hidden=16, embedding_dim=8, steps=None, max_epochs=30, batch_size=32, learning_rate=0.02)
CYCLE = [[(start + i) % 3 for i in range(12)] for start in range(3)] * 20


def of(log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n, n_keys=6, low=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, n_keys, rng.integers(0, 15)).tolist() for _ in range(n)]


@pytest.fixture(scope="module")
def fitted():
    """Trained on the cycle 0 1 2 0 1 2, from each of its starts."""
    return DeepLog(QUICK, seed=0).fit(of(CYCLE))


def test_a_learned_cycle_has_rank_zero_behind_the_first_key(fitted):
    ranks = fitted.explain(of([[0, 1, 2, 0, 1, 2, 0]]))
    assert ranks[1:].tolist() == [0] * 6


def test_a_swapped_key_has_a_rank_above_zero(fitted):
    assert fitted.explain(of([[0, 1, 2, 0, 2, 1]]))[4] >= 1


def test_an_unknown_key_has_the_rank_n_and_is_flagged_by_any_g(fitted):
    scores = fitted.score(of([[0, 1, UNKNOWN_KEY], [0, 1, 7], [UNKNOWN_KEY], [7] * 20]))
    assert np.ceil(scores).tolist() == [3, 3, 3, 3]
    assert scores[3] == scores[2] == 3 > scores[0] == scores[1]
    assert (scores > len(fitted.keys_) - 1).all()


def test_with_g_of_all_keys_only_unknown_keys_are_flagged(fitted):
    lists = random_lists(1, 200, n_keys=3, low=-1)
    flagged = fitted.score(of(lists)) > len(fitted.keys_) - 1
    assert flagged.tolist() == [UNKNOWN_KEY in keys for keys in lists]


def test_the_native_threshold_is_g_minus_one(fitted):
    assert fitted.native_threshold_ == 8
    assert DeepLog(replace(QUICK, g=3, max_epochs=1)).fit(of(CYCLE)).native_threshold_ == 2


def test_a_session_of_length_one_and_an_empty_one(fitted):
    scores = fitted.score(of([[0], []]))
    assert np.isfinite(scores).all()
    assert scores[1] == 0
    assert fitted.score(of([])).shape == (0,)


def slow_scores(detector, lists):
    """The definition, event by event."""
    class_of = {int(key): i for i, key in enumerate(detector.keys_)}
    h = detector.config.history
    scores = []
    for keys in lists:
        tokens = [class_of.get(key, -1) + 2 for key in keys]
        ranks = []
        for t, token in enumerate(tokens):
            past = ([0] * h + tokens[:t])[-h:]
            with torch.no_grad():
                logits = detector.net_(torch.tensor([past]))[0]
            rank = len(class_of) if token < 2 else int((logits > logits[token - 2]).sum())
            ranks.append(rank)
        worst = max(ranks, default=0)
        # With an unknown key the ranks of the others do not count.
        total = sum(rank for rank in ranks if worst < len(class_of) or rank == worst)
        scores.append(worst - (1 - total / len(keys) / worst) / 2 if worst else 0)
    return scores


@pytest.mark.parametrize("inputs", ["embedding", "one-hot"])
def test_scores_equal_the_plain_loop(inputs):
    config = replace(QUICK, inputs=inputs, max_epochs=2, history=4)
    detector = DeepLog(config, seed=1).fit(of(random_lists(0, 60)))
    tested = random_lists(2, 60, n_keys=8, low=-1)
    assert detector.score(of(tested)).tolist() == slow_scores(detector, tested)


def test_the_fast_path_in_single_precision_equals_the_plain_loop(monkeypatch):
    monkeypatch.setattr(_histories, "SAMPLE", 8)
    detector = DeepLog(replace(QUICK, max_epochs=2, history=6), seed=1).fit(of(random_lists(0, 60)))
    tested = random_lists(7, 150)
    fast = detector.score(of(tested)).tolist()
    assert fast == slow_scores(detector, tested)


def test_block_size_changes_nothing(fitted, monkeypatch):
    tested = of(random_lists(3, 50, n_keys=4, low=-1))
    whole = fitted.score(tested)
    monkeypatch.setattr(_histories, "BLOCK", 7)
    assert fitted.score(tested).tolist() == whole.tolist()


def test_order_and_duplicates_change_nothing(fitted):
    tested = of(random_lists(4, 40, n_keys=4, low=-1))
    order = np.random.default_rng(0).integers(0, 40, 100)
    assert fitted.score(tested.select(order)).tolist() == fitted.score(tested)[order].tolist()


def test_no_native_decision_depends_on_how_equal_ranks_are_ordered(fitted):
    lists = random_lists(8, 200, n_keys=4, low=-1)
    scores, ranks = fitted.score(of(lists)), fitted.explain(of(lists))
    ends = np.cumsum([len(keys) for keys in lists])
    worst = np.array([max(part, default=0) for part in np.split(ranks, ends[:-1])])
    for g in range(1, 6):
        assert ((scores > g - 1) == (worst > g - 1)).all()
    assert len(np.unique(scores)) > len(np.unique(worst))


def test_by_probability_the_score_is_the_worst_surprise(fitted):
    detector = DeepLog(replace(QUICK, score="probability"), seed=0).fit(of(CYCLE))
    lists = [[0, 1, 2, 0], [0, 1, 2, 0, 2, 1], [0, 7], [7, 7], []]
    usual, swapped, *unknown, empty = detector.score(of(lists))
    with torch.no_grad():
        past = torch.tensor([[3, 4, 2]])  # the keys 1, 2, 0
        likely = torch.log_softmax(detector.net_(past)[0], 0)
    assert swapped == pytest.approx(detector.explain(of(lists[1:2])).max(), rel=1e-6)
    assert detector.explain(of(lists[1:2]))[4] == pytest.approx(-float(likely[2]), rel=1e-6)
    assert 0 == empty < usual < swapped < _histories.MISS
    assert unknown == [_histories.MISS + 1, _histories.MISS + 2]
    assert detector.native_threshold_ is None
    assert detector.score(of(lists[::-1])).tolist() == detector.score(of(lists))[::-1].tolist()
    assert DeepLog(detector.config).load_state(detector.state()).native_threshold_ is None
    assert detector.keys_.tolist() == fitted.keys_.tolist()
    with pytest.raises(ValueError, match="'probability' with parameter_model"):
        Config(score="probability", parameter_model=True)


def test_flags_do_not_increase_with_g(fitted):
    scores = fitted.score(of(random_lists(5, 100, n_keys=4, low=-1)))
    flags = [(scores > g - 1).sum() for g in range(1, 6)]
    assert flags == sorted(flags, reverse=True)


def test_predictions_are_the_unfolded_sequences():
    tokens, offsets = np.array([2, 3, 2, 3, 4, 2, 3]), np.array([0, 2, 2, 7])
    found = _histories.predictions_of(tokens, offsets, 2)
    events = [(*found.histories[found.history_of[p]].tolist(), int(found.targets[p]) + 2) for p in found.prediction_of]
    assert events == [(0, 0, 2), (0, 2, 3), (0, 0, 2), (0, 2, 3), (2, 3, 4), (3, 4, 2), (4, 2, 3)]
    assert len(found.targets) == 5


def test_distinct_rows_is_exact_beyond_64_bits():
    rows = np.random.default_rng(0).integers(0, 5, (300, 40)) * 1000
    rows = rows[np.random.default_rng(1).integers(0, 300, 900)]
    first, inverse = _histories.distinct_rows(rows)
    assert len(first) == len({tuple(row) for row in rows.tolist()})
    assert (rows[first][inverse] == rows).all()


def test_a_batch_holds_all_predictions_of_its_sequences_once(fitted):
    lessons, counts = fitted._lessons(of(CYCLE))
    assert (counts.train + counts.held_out).tolist() == [20] * 3
    batch = lessons.batch(np.array([0, 2]), "cpu")
    lists = [CYCLE[0], CYCLE[2]]
    found = [
        (tuple(lessons.predictions.histories[batch.rows[batch.history_of[p]]]), int(batch.targets[p]), int(s))
        for p, s in zip(batch.prediction_of, batch.stretch_of, strict=True)
    ]
    h = fitted.config.history
    assert found == [
        (tuple(([PAD] * h + [k + FIRST_KEY for k in keys[:i]])[-h:]), key, s)
        for s, keys in enumerate(lists)
        for i, key in enumerate(keys)
    ]
    assert len(batch.targets) == len({pair[:2] for pair in found})
    assert len(batch.rows) == len({pair[0] for pair in found})


def test_a_long_sequence_is_drawn_in_stretches_that_see_what_came_before(fitted):
    lessons, counts = fitted._lessons(of([[i % 3 for i in range(50)]] * 12))
    assert lessons.pieces.lengths.tolist() == [20, 20, 10]
    assert counts.train.tolist() == [12] * 3
    histories = lessons.predictions.histories[lessons.batch(np.array([1]), "cpu").rows]
    assert (histories != PAD).all()


def test_unknown_keys_in_training_are_no_target():
    detector = DeepLog(replace(QUICK, max_epochs=1)).fit(of([[0, UNKNOWN_KEY, 1]] * 30))
    assert detector.keys_.tolist() == [0, 1]
    assert detector.net_.outlet.out_features == 2


def test_labels_are_not_read(fitted):
    labels = np.random.default_rng(0).integers(0, 2, len(CYCLE)).astype(np.int8)
    again = DeepLog(QUICK, seed=0).fit(of(CYCLE), labels)
    for name, value in fitted.state().items():
        assert np.array_equal(value, again.state()[name])


def test_fit_twice_is_fit_once_and_leaves_the_global_generator_alone(fitted):
    before = torch.get_rng_state()
    detector = DeepLog(QUICK, seed=0).fit(of(random_lists(0, 20))).fit(of(CYCLE))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in fitted.state().items():
        assert np.array_equal(value, detector.state()[name])


def test_another_seed_is_another_network(fitted):
    other = DeepLog(replace(QUICK, max_epochs=1), seed=1).fit(of(CYCLE))
    assert not np.array_equal(other.state()["net.outlet.weight"], fitted.state()["net.outlet.weight"])


def test_state_round_trip(fitted):
    tested = of(random_lists(6, 30, n_keys=8, low=-1))
    state = {name: value.copy() for name, value in fitted.state().items()}
    loaded = DeepLog(QUICK).load_state(state)
    assert loaded.score(tested).tolist() == fitted.score(tested).tolist()
    assert loaded.native_threshold_ == fitted.native_threshold_


def test_monitor_tells_the_steps(fitted):
    facts = fitted.monitor()
    assert facts["steps_run"] == facts["epochs"][-1]["step"]
    assert {"step", "train_loss"} <= set(facts["epochs"][0])
    assert DeepLog().monitor() == {}


def test_score_and_state_before_fit():
    for call in (lambda: DeepLog().score(of([[0]])), lambda: DeepLog().state()):
        with pytest.raises(NotFittedError):
            call()


def test_training_without_events_is_skipped_with_a_reason():
    assert DeepLog().skip(of([[]])) is not None
    assert DeepLog().skip(of([[0]])) is None
    with pytest.raises(ValueError, match="no training sequence"):
        DeepLog().fit(of([[], []]))


def test_defaults_are_the_papers():
    config = Config()
    assert (config.history, config.layers, config.hidden, config.g) == (10, 2, 64, 9)


def test_impossible_configs_are_refused():
    with pytest.raises(ValueError, match="history"):
        Config(history=0)


@pytest.mark.parametrize("inputs", ["embedding", "one-hot"])
def test_network_runs_on_meta(inputs):
    with torch.device("meta"):
        net = deeplog.Network(replace(QUICK, inputs=inputs, dropout=0.3), 5)
        histories, targets = torch.randint(7, (4, 3)), torch.randint(5, (4,))
        F.cross_entropy(net(histories), targets).backward()
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_the_end_of_a_sequence_is_predicted_on_request():
    config = replace(QUICK, end_event=True, history=6)
    detector = DeepLog(config, seed=0).fit(of([[0, 1, 2, 0, 1, 2]] * 60))
    assert detector.net_.outlet.out_features == 4
    whole, broken, too_long, empty = detector.score(of([[0, 1, 2, 0, 1, 2], [0, 1, 2, 0], [0, 1, 2] * 4, []]))
    assert whole == 0
    assert min(broken, too_long, empty) > 0
    ranks = detector.explain(of([[0, 1, 2, 0], [], [0]]))
    assert ranks.shape == (5,)
    assert ranks[3] == np.ceil(broken)
    assert np.ceil(detector.score(of([[UNKNOWN_KEY]]))) == 4


def with_values(log_keys, values):
    """Sequences whose events have one numeric parameter each, and no times."""
    offsets = np.arange(len(values) + 1)
    return replace(of(log_keys), parameters=Parameters(np.array(values, float), offsets))


def alternating(n, seed, scale=0.5):
    """Values that swing between 10 and 20, with a little noise."""
    noise = np.random.default_rng(seed).normal(0, scale, n * 12)
    return with_values([[0] * 12] * n, np.tile([10.0, 20.0], n * 6) + noise)


@pytest.fixture(scope="module")
def fitted_to_values():
    return DeepLog(replace(QUICK, parameter_model=True, g=2, level=0.999), seed=0).fit(alternating(40, 0))


def test_a_wrong_value_is_flagged_by_the_native_rule_and_a_usual_one_is_not(fitted_to_values):
    tested = alternating(20, 1)
    assert (fitted_to_values.explain(tested) <= fitted_to_values.native_threshold_).mean() > 0.95
    wrong = tested.parameters.values.copy()
    wrong[6] = 20.0  # within the usual range, but it is the turn of 10
    ranks = fitted_to_values.explain(replace(tested, parameters=Parameters(wrong, tested.parameters.offsets)))
    assert ranks[6] > fitted_to_values.native_threshold_
    assert ranks[:6].max() <= fitted_to_values.native_threshold_


def test_without_the_switch_or_without_values_parameters_do_not_matter(fitted, fitted_to_values):
    tested = alternating(5, 2)
    without = replace(tested, parameters=None)
    assert fitted.score(tested).tolist() == fitted.score(without).tolist()
    assert fitted_to_values.score(without).tolist() == [0] * 5


def test_without_the_switch_neither_values_nor_times_are_asked_for():
    assert DeepLog(QUICK).uses() == {"log_keys"}
    assert DeepLog(replace(QUICK, parameter_model=True)).uses() == {"log_keys", "elapsed_s", "parameters"}


def test_the_key_model_is_the_same_with_and_without_the_parameter_model(fitted_to_values):
    keys_only = DeepLog(replace(fitted_to_values.config, parameter_model=False), seed=0).fit(alternating(40, 0))
    with_values_too = fitted_to_values.state()
    assert all(np.array_equal(value, with_values_too[name]) for name, value in keys_only.state().items())


@pytest.mark.parametrize("parameters", [None, Parameters(np.full(720, np.nan), np.arange(721))])
def test_a_log_without_numbers_is_skipped_with_a_reason(parameters):
    log = replace(of(CYCLE), parameters=parameters)
    detector = DeepLog(replace(QUICK, parameter_model=True))
    assert "numeric message parameters" in detector.skip(log)
    assert DeepLog(QUICK).skip(log) is None
    with pytest.raises(ValueError, match="numeric message parameters"):
        detector.fit(log)


def test_parameters_of_other_sequences_are_no_history(fitted_to_values):
    tested = alternating(8, 3)
    alone = np.concatenate([fitted_to_values.score(tested.select(np.array([i]))) for i in range(8)])
    assert fitted_to_values.score(tested) == pytest.approx(alone, abs=1e-9)


def test_elapsed_times_are_values_too():
    log = of([[0, 1, 2, 0, 1, 2]] * 50)
    gaps = np.tile([0.0, 1, 5, 1, 1, 5], 50) + np.abs(np.random.default_rng(0).normal(0, 0.01, 300))
    times = np.concatenate([np.cumsum(part) for part in np.split(gaps, 50)])
    constant = Parameters(np.full(300, 7.0), np.arange(301))
    detector = DeepLog(replace(QUICK, parameter_model=True, g=2)).fit(
        replace(log, elapsed_s=times, parameters=constant)
    )
    assert detector.monitor()["parameter_models"] == 3
    late = times[:6] + np.array([0, 0, 60, 60, 60, 60])
    one = log.select(np.array([0]))
    assert detector.score(replace(one, elapsed_s=late)) > detector.native_threshold_
    assert detector.explain(replace(one, elapsed_s=late)).argmax() == 2
    assert np.isfinite(detector.score(one)).all()


def test_state_keeps_the_parameter_model(fitted_to_values):
    state = {name: value.copy() for name, value in fitted_to_values.state().items()}
    loaded = DeepLog(fitted_to_values.config).load_state(state)
    tested = alternating(5, 4, scale=5.0)
    assert loaded.score(tested).tolist() == fitted_to_values.score(tested).tolist()


def test_all_keys_together_take_as_many_steps_as_one_network(monkeypatch):
    drawn = []

    def watched(net, loss, counts, settings, *, seed, stage):
        drawn.append((settings.steps, settings.batch_size))
        return train_network(net, loss, counts, settings, seed=seed, stage=stage)

    monkeypatch.setattr(parameter_model, "train_network", watched)
    train = with_values([[0, 0, 0, 1] * 3] * 40, np.arange(480.0) % 7)
    DeepLog(replace(QUICK, parameter_model=True, steps=20, max_epochs=None, batch_size=2), seed=0).fit(train)
    assert drawn == [(15, 40), (5, 40)]


def test_missing_and_surplus_values_are_left_out():
    values, lengths = np.arange(7.0), np.array([1, 0, 3, 2, 1])
    log = replace(of([[0, 0, 0], [0, 1]]), parameters=Parameters(values, np.concatenate([[0], np.cumsum(lengths)])))
    events = parameter_model._Values(log).of(0, 3)
    nan = np.nan
    expected = [[nan, 0, nan], [nan, nan, nan], [nan, 1, 2], [nan, 4, 5]]
    assert np.array_equal(events.vectors, expected, equal_nan=True)
    assert events.sequence.tolist() == [0, 0, 0, 1]


def test_values_of_a_text_that_is_not_the_keys_template_are_left_out():
    """As with `+nearest`, where the key comes by similarity and the places are those of another text."""
    log = with_values([[0, 1, 0]], [1.0, 2.0, 3.0])
    similar = replace(log, log_keys=np.zeros(3, np.int32))
    events = parameter_model._Values(similar).of(0)
    assert np.array_equal(events.vectors[:, 1], [1.0, np.nan, 3.0], equal_nan=True)


def test_a_place_counts_where_half_of_the_training_events_have_a_number():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(720, 3))
    values[rng.random(720) < 0.3, 1] = np.nan
    values[rng.random(720) < 0.7, 2] = np.nan
    log = replace(of([[0] * 12] * 60), parameters=Parameters(values.ravel(), np.arange(721) * 3))
    detector = DeepLog(replace(QUICK, parameter_model=True, max_epochs=2)).fit(log)
    assert detector.monitor()["parameter_places"] == 2
    wild = values.copy()
    wild[:, 2] = 1e300
    changed = replace(log, parameters=Parameters(wild.ravel(), np.arange(721) * 3))
    assert detector.score(changed).tolist() == detector.score(log).tolist()


def test_no_value_is_too_large_for_a_finite_score(fitted_to_values):
    tested = alternating(2, 5)
    huge = tested.parameters.values.copy()
    huge[[3, 15]] = [1e308, -1e308]
    scores = fitted_to_values.score(replace(tested, parameters=Parameters(huge, tested.parameters.offsets)))
    assert np.isfinite(scores).all()
    assert (scores > fitted_to_values.native_threshold_).all()


BYTES = [100, 200, 103, 198, 97, 203, 101, 201, 99, 199]


def lines_of_work(n, wrong):
    """Windows of 4 lines each, of equal keys; `wrong`: the windows that read too many bytes."""
    rows = []
    for i in range(n):
        first, second = BYTES[2 * i % 10], BYTES[(2 * i + 1) % 10]
        second = 5000 if i in wrong else second
        words = [f"worker {i % 3} begins", f"read {first} bytes", f"read {second} bytes", "work ends"]
        rows += [f"{'BAD' if i in wrong else '-'} {4 * i + j} {word}" for j, word in enumerate(words)]
    return "".join(f"{row}\n" for row in rows).encode()


def test_raw_lines_with_a_wrong_value_are_flagged_where_the_keys_look_normal(own_system):
    form = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
    found = own_system({"a.log": lines_of_work(100, {85, 92})}, format=form, parser={"masks": ["[0-9]+"]})
    card = found.resolve("app")
    data = Loader(found).prepare(DataSpec((card,), (card,), grouping=Grouping(4, 4)))
    flags = {}
    for switch in (False, True):
        config = replace(QUICK, parameter_model=switch, g=2, level=0.999)
        detector = DeepLog(config, seed=0)
        seen = data.with_parameters if switch else data
        detector.fit(seen.train.normals)
        flags[switch] = detector.score(seen.test.sequences) > detector.native_threshold_
    assert data.test.labels.tolist() == [int(i in (5, 12)) for i in range(20)]
    assert not flags[False].any()
    assert flags[True].tolist() == data.test.labels.astype(bool).tolist()


@pytest.mark.slow
def test_the_parameter_model_passes_the_conformance_kit():
    results = check_detector(DeepLog, config=replace(QUICK, parameter_model=True, max_epochs=2))
    assert conforms(results), summarise(results)


def test_parameter_network_runs_on_meta():
    with torch.device("meta"):
        net = parameter_model.ParameterNetwork(3, 8, 2)
        net.errors(torch.randn(5, 4, 3), torch.randn(5, 3)).mean().backward()
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_the_original_profile_is_valid():
    assert Config(**DeepLog.profiles["original"]).inputs == "one-hot"
    with pytest.raises(ValueError, match="level"):
        Config(level=1.0)
