from dataclasses import fields, is_dataclass
from fractions import Fraction

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from bench.detector import NotFittedError
from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.thresholds import flag
from bench.types import UNKNOWN_KEY, Sequences
from methods.controls import (
    ECVC,
    AllPositive,
    Clock,
    Gaussian,
    GaussianConfig,
    Length,
    NewEvent,
    NewEventConfig,
    Random,
)
from methods.few_controls import KNNFew
from methods.labelled_controls import KNNLabelled, MeanDifference
from methods.shared import text_inputs

CONTROLS = [AllPositive, Random, NewEvent, Length, ECVC, Clock, Gaussian]
TEXTS = tuple(f"template {key}" for key in range(300))


def of(*log_keys, **fields):
    return Sequences.from_lists(log_keys, TEXTS, **fields)


def fake_embed(texts):
    """A unit vector per text that depends on nothing else."""
    numbers = [np.frombuffer(f"{text:>16}".encode()[-16:], np.uint32) for text in texts]
    vectors = np.array([np.random.default_rng(key).standard_normal(384) for key in numbers]).reshape(-1, 384)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    monkeypatch.setattr(text_inputs, "embed", fake_embed)


def random_sequences(seed, n=40, n_keys=12, unknown=True):
    rng = np.random.default_rng(seed)
    low = UNKNOWN_KEY if unknown else 0
    return of(*(rng.integers(low, n_keys, rng.integers(0, 9)).tolist() for _ in range(n)))


def plain_ecvc(train, tested):
    """The definition, pair by pair; keys that training lacks are one event."""
    known = {int(key) for key in train.log_keys} - {UNKNOWN_KEY}

    def frequencies(sequences, i):
        keys = sequences.log_keys[sequences.offsets[i] : sequences.offsets[i + 1]]
        keys = [int(key) if int(key) in known else UNKNOWN_KEY for key in keys]
        return {key: keys.count(key) / len(keys) for key in set(keys)}

    def distance(a, b):
        events = set(a) | set(b)
        if not events:
            return 0.0
        pairs = [(a.get(event, 0), b.get(event, 0)) for event in events]
        return sum(abs(x - y) for x, y in pairs) / sum(max(x, y) for x, y in pairs)

    trained = [frequencies(train, i) for i in range(len(train))]
    return [min(distance(frequencies(tested, i), b) for b in trained) for i in range(len(tested))]


@pytest.mark.parametrize("control", CONTROLS)
class TestEveryControl:
    def test_is_declared_a_control(self, control):
        assert control.tags.told == {"source": "normals"}
        assert is_dataclass(control.Config)
        assert control.Config.__dataclass_params__.frozen
        assert control.Config() == control.Config()

    def test_must_be_fitted_first(self, control):
        with pytest.raises(NotFittedError):
            control().score(of([0, 1]))
        with pytest.raises(NotFittedError):
            control().state()

    def test_fit_returns_self_and_scores_are_finite(self, control):
        detector = control()
        assert detector.fit(random_sequences(0)) is detector
        scores = detector.score(random_sequences(1))
        assert scores.shape == (40,)
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()

    def test_permuting_sequences_permutes_scores(self, control):
        detector, tested = control(seed=3).fit(random_sequences(0)), random_sequences(1)
        order = np.random.default_rng(0).permutation(len(tested))
        assert np.array_equal(detector.score(tested.select(order)), detector.score(tested)[order])

    def test_parts_score_as_the_whole(self, control):
        detector, tested = control(seed=3).fit(random_sequences(0)), random_sequences(1)
        alone = [detector.score(tested.select(np.array([i])))[0] for i in range(len(tested))]
        assert np.array_equal(alone, detector.score(tested))

    def test_state_round_trip(self, control):
        detector, tested = control(seed=5).fit(random_sequences(0)), random_sequences(1)
        state = detector.state()
        assert state
        assert all(isinstance(array, np.ndarray) for array in state.values())
        loaded = control().load_state({name: array.copy() for name, array in state.items()})
        assert np.array_equal(loaded.score(tested), detector.score(tested))
        assert loaded.native_threshold_ == detector.native_threshold_

    def test_fit_forgets_what_was_learned_before(self, control):
        tested = random_sequences(2)
        again = control().fit(random_sequences(0, n_keys=30)).fit(random_sequences(1))
        assert np.array_equal(again.score(tested), control().fit(random_sequences(1)).score(tested))

    def test_inputs_are_left_alone(self, control):
        train, tested = of([3, 1, 3, 2], [], [1, 1]), of([2, 2, 1, UNKNOWN_KEY, 2], [], [9])
        before = [array.copy() for part in (train, tested) for array in (part.log_keys, part.offsets, part.lines)]
        control().fit(train).score(tested)
        after = [array for part in (train, tested) for array in (part.log_keys, part.offsets, part.lines)]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    def test_scores_no_sequences_and_empty_ones(self, control):
        detector = control().fit(random_sequences(0))
        assert detector.score(of()).shape == (0,)
        assert np.isfinite(detector.score(of([], []))).all()


def test_names_in_the_entry_points_are_the_controls():
    from importlib.metadata import entry_points

    labelled = {KNNFew, KNNLabelled, MeanDifference}
    assert {point.load() for point in entry_points(group="bench.controls")} == set(CONTROLS) | labelled


def test_every_hyper_parameter_has_a_default():
    for control in CONTROLS:
        assert len(fields(control.Config)) == {NewEvent: 1, Gaussian: 2}.get(control, 0)


def test_all_positive_has_the_f1_of_flagging_everything():
    detector = AllPositive().fit(of([0]))
    labels = np.array([1, 0, 0, 1, 0])
    scores = detector.score(of(*[[0]] * 5))
    p = 2 / 5
    assert metrics_at(scores, labels, detector.native_threshold_)["f1"] == pytest.approx(2 * p / (1 + p))
    assert ranking_metrics(scores, labels)["auroc"] == 0.5


def test_random_is_uniform_and_follows_its_seed():
    sequences = of(*[[0, 1]] * 20_000)
    first, second = (Random(seed=seed).fit(sequences).score(sequences) for seed in (0, 1))
    for scores in (first, second):
        assert len(np.unique(scores)) == len(scores)
        assert np.histogram(scores, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), abs=200)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03
    assert np.array_equal(first, Random(seed=0).fit(of([5])).score(sequences))


def test_random_does_not_read_events():
    assert np.array_equal(*(Random().fit(of([0])).score(of([key, key])) for key in (0, 7)))


def test_random_takes_any_seed():
    scores = [Random(seed=seed).fit(of([0])).score(of([0, 1]))[0] for seed in (-1, 0, 2**63, 2**70 + 5)]
    assert len(set(scores)) == len(scores)


def test_new_event_flags_only_unseen_ids():
    detector = NewEvent().fit(of([0, 1], [2, 2]))
    scores = detector.score(of([0, 2, 1], [3, 0], [UNKNOWN_KEY, UNKNOWN_KEY, 0], []))
    assert scores.tolist() == [0, 1, 2, 0]
    assert flag(scores, detector.native_threshold_).tolist() == [False, True, True, False]


def test_new_event_counts_unknown_keys_of_training_as_unseen():
    assert NewEvent().fit(of([0, UNKNOWN_KEY])).score(of([UNKNOWN_KEY, 0])).tolist() == [1]


def test_new_event_share_flags_the_same():
    train, tested = random_sequences(0, n_keys=6), random_sequences(1, n_keys=8)
    count = NewEvent().fit(train).score(tested)
    share = NewEvent(NewEventConfig(measure="share")).fit(train).score(tested)
    assert share == pytest.approx(count / np.maximum(tested.lengths, 1))
    assert np.array_equal(flag(share, 0.0), flag(count, 0.0))


def test_new_event_explains_its_score():
    detector, tested = NewEvent().fit(of([0, 1])), of([0, 5], [1], [7, 7])
    weights = detector.explain(tested)
    assert weights.tolist() == [0, 1, 0, 1, 1]
    assert weights.dtype == np.float32


def test_length_flags_outside_the_range_only():
    detector = Length().fit(of([0] * 4, [0] * 10))
    scores = detector.score(of([0] * 3, [0] * 4, [0] * 7, [0] * 10, [0] * 15, []))
    assert scores.tolist() == [0.25, 0, 0, 0, 0.5, 1]
    assert flag(scores, detector.native_threshold_).tolist() == [True, False, False, False, True, True]


def test_length_is_blind_on_fixed_windows():
    assert not Length().fit(of([0, 1], [1, 1])).score(of([5, 5], [7, UNKNOWN_KEY])).any()


def test_length_is_skipped_without_training_sequences():
    assert Length().skip(of()) == "no training sequence"
    assert Length().skip(of([0])) is None


def test_length_with_empty_training_sequences():
    assert Length().fit(of([], [])).score(of([], [0], [0, 0])).tolist() == [0, 1, 2]


def test_ecvc_of_a_training_sequence_is_0_and_of_disjoint_events_1():
    detector = ECVC().fit(of([0, 1, 1], [2]))
    assert detector.score(of([1, 0, 1], [2], [3, 4], [UNKNOWN_KEY])).tolist() == [0, 0, 1, 1]


def test_ecvc_compares_frequencies_and_not_counts():
    assert ECVC().fit(of([0, 1, 1])).score(of([0, 1, 0, 1, 1, 1], [0, 0])).tolist() == [0, 0.8]


def test_ecvc_by_hand():
    # (1/2, 1/2) against (1/4, 3/4): sum |a - b| = 1/2, sum max = 5/4.
    assert ECVC().fit(of([0, 1])).score(of([0, 1, 1, 1])).tolist() == [0.4]


@pytest.mark.parametrize("seed", range(15))
def test_ecvc_closed_form_equals_the_loop(seed):
    train, tested = random_sequences(seed, unknown=seed % 2 == 0), random_sequences(100 + seed, n_keys=15)
    assert ECVC().fit(train).score(tested) == pytest.approx(plain_ecvc(train, tested), abs=1e-9)


def test_ecvc_explains_by_the_difference_to_the_nearest_frequencies():
    detector = ECVC().fit(of([0, 1], [5, 5]))
    # (1/2, 1/2) against (1/4, 3/4): a quarter apart each, which the three copies of 1 share.
    weights = detector.explain(of([0, 1, 1, 1], [0, 1], [5, 7, 5, 5], [], [0, 1, 1, 1]))
    third = pytest.approx(1 / 12)
    assert weights.tolist() == [0.25, third, third, third, 0, 0, third, 0.25, third, third, 0.25, third, third, third]
    assert weights.dtype == np.float32


def test_ecvc_explains_unseen_keys_as_one_and_without_training():
    assert ECVC().fit(of([0, 0])).explain(of([0, 0, 7, UNKNOWN_KEY])).tolist() == [0.25] * 4
    assert ECVC().fit(of()).explain(of([0, 0, 7, 8], [])).tolist() == [0.25] * 4


def test_ecvc_blocks_change_nothing(monkeypatch):
    train, tested = random_sequences(0, n=200), random_sequences(1, n=200)
    whole = ECVC().fit(train).score(tested)
    monkeypatch.setattr("methods.shared.counts.BLOCK_VECTORS", 7)
    assert np.array_equal(ECVC().fit(train).score(tested), whole)


def test_ecvc_equal_distances_are_equal_floats():
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 6, 20).tolist() for _ in range(60)]
    exact = []
    for row in rows[1:]:
        overlap = Fraction(sum(min(row.count(key), rows[0].count(key)) for key in range(6)), 20)
        exact.append((2 - 2 * overlap) / (2 - overlap))
    scores = ECVC().fit(of(rows[0])).score(of(*rows[1:]))
    assert scores == pytest.approx([float(distance) for distance in exact], abs=1e-9)
    assert len(set(scores)) == len(set(exact))


def test_ecvc_keeps_equal_frequencies_once():
    assert len(ECVC().fit(of([0, 1], [1, 1, 0, 0], [1, 0], [0])).state()["offsets"]) == 2 + 1


def test_ecvc_does_not_take_an_unseen_key_for_its_neighbour():
    assert ECVC().fit(of([2, 9])).score(of([2, 5], [0, 9], [5, 5])) == pytest.approx([2 / 3, 2 / 3, 1])


def test_ecvc_pools_unseen_keys():
    detector = ECVC().fit(of([0, UNKNOWN_KEY]))
    assert detector.score(of([0, 7], [0, 250], [0, UNKNOWN_KEY])).tolist() == [0, 0, 0]
    assert ECVC().fit(of([0, 1])).score(of([0, 7, 8], [0, 7, 7], [0, UNKNOWN_KEY, 9])).tolist() == [0.8, 0.8, 0.8]


def test_ecvc_of_empty_sequences():
    assert ECVC().fit(of([0], [])).score(of([], [0])).tolist() == [0, 0]
    assert ECVC().fit(of([0])).score(of([], [0])).tolist() == [1, 0]
    assert ECVC().fit(of()).score(of([], [0])).tolist() == [1, 1]


def test_ecvc_ignores_order_and_system():
    system = np.array([1, 2], dtype=np.uint8)
    assert ECVC().fit(of([0, 1, 2])).score(of([2, 1, 0], [1, 2, 0], system=system)).tolist() == [0, 0]


def test_clock_is_the_last_line():
    lines = np.array([10, 70, 30, 40])
    assert Clock().fit(of([0])).score(of([0, 0], [], [1, 1], lines=lines)).tolist() == [70, 0, 40]
    assert Clock().fit(of([0])).score(of([], [])).tolist() == [0, 0]


def mean_vectors(lists):
    """The mean sentence vector of each, as every method has them: float64 (n, 100)."""
    inputs = text_inputs.TextInputs.sentence((), 100, centred=False)
    return np.array([inputs.features([TEXTS[key] for key in keys]).mean(0) for keys in lists])


TRAINED = [[0, 1], [1, 2, 2], [0, 3], [4], [2, 3, 4], [0, 1, 2, 3], [5, 5, 1]]
TESTED = [[0, 1], [7], [5, 4, 3], [1, 250]]


def test_gaussian_is_the_squared_mahalanobis_distance_under_the_shrunk_covariance():
    scores = Gaussian().fit(of(*TRAINED)).score(of(*TESTED))
    found = LedoitWolf().fit(mean_vectors(TRAINED))
    assert scores == pytest.approx(found.mahalanobis(mean_vectors(TESTED)), rel=1e-5)
    assert 0 < found.shrinkage_ < 1


def test_gaussian_with_a_jitter_is_the_energy_of_one_component():
    detector = Gaussian(GaussianConfig(jitter=1e-3)).fit(of(*TRAINED))
    vectors = mean_vectors(TRAINED)
    covariance = np.cov(vectors.T, ddof=0) + 1e-3 * np.eye(100)
    expected = [mahalanobis(x, vectors.mean(0), np.linalg.inv(covariance)) ** 2 for x in mean_vectors(TESTED)]
    assert detector.score(of(*TESTED)) == pytest.approx(expected, rel=1e-5)


def test_gaussian_counts_sequences_of_the_same_texts_once():
    """Neither copies nor another order nor the same shares in a longer sequence are evidence of their own."""
    copies = [*TRAINED, *[[4]] * 30, [1, 0], [2, 1, 2], [0, 1, 0, 1]]
    once, often = (Gaussian().fit(of(*lists)) for lists in (TRAINED, copies))
    assert once.score(of(*TESTED)) == pytest.approx(often.score(of(*TESTED)), rel=1e-6)


def test_gaussian_is_higher_for_what_training_lacks_and_0_for_nothing():
    train = random_sequences(0, n=200, unknown=False)
    known, unseen, empty = Gaussian().fit(train).score(of([0, 3, 5], [0, 3, 200], []))
    assert unseen > 3 * known
    assert empty == 0


def test_gaussian_does_not_ask_whether_vectors_are_centred(monkeypatch):
    plain = Gaussian().fit(of(*TRAINED)).score(of(*TESTED))
    sentence = text_inputs.TextInputs.sentence
    monkeypatch.setattr(
        "methods.controls.TextInputs.sentence", lambda texts, width, centred: sentence(texts, width, centred=True)
    )
    assert Gaussian().fit(of(*TRAINED)).score(of(*TESTED)) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("train", [[[0]], [[0], [1]], [[0], [0, 0]]])
def test_gaussian_has_a_distance_after_any_training(train):
    """Two points have no spread across their line, and one has none at all."""
    scores = Gaussian().fit(of(*train)).score(of([0], [9]))
    assert np.isfinite(scores).all()
    assert scores[1] > scores[0]


def test_gaussian_says_why_it_cannot_run_or_be_set():
    assert "has an event" in Gaussian().skip(of([], []))
    with pytest.raises(ValueError, match="jitter 0"):
        GaussianConfig(jitter=0.0)
    with pytest.raises(ValueError, match="width 385"):
        GaussianConfig(width=385)


def test_gaussian_explains_its_score_by_the_unseen_text():
    weights = Gaussian().fit(random_sequences(0, n=200, unknown=False)).explain(of([0, 3, 200, 5]))
    assert weights.argmax() == 2
