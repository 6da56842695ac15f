import numpy as np
import pytest

from bench.detector import NotFittedError
from bench.types import UNKNOWN_KEY, Sequences
from methods.labelled_controls import KNNLabelled, MeanConfig, MeanDifference, NearestConfig
from methods.shared import text_inputs

TEXTS = tuple(f"template {key}" for key in range(40))
BOTH = [KNNLabelled, MeanDifference]


def of(*log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def axis_of(text):
    return int(text.rpartition(" ")[2]) if text.startswith("template") else 39


def fake_embed(texts):
    """Each text has an axis of its own, so that likeness is worked out by hand."""
    return np.eye(384, dtype=np.float32)[[axis_of(text) for text in texts]].reshape(-1, 384)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    monkeypatch.setattr(text_inputs, "embed", fake_embed)


@pytest.fixture
def whole(monkeypatch):
    """All 384 axes, in place of a random projection of them."""
    monkeypatch.setattr(text_inputs, "project", lambda vectors, width: vectors)


TRAIN = of([0, 0, 1], [0, 1], [0, 1], [2, 2], [2, 3], [])
LABELS = np.array([0, 0, 0, 1, 1, 0], np.int8)


def fitted(control, labels=LABELS, **config):
    return control(control.Config(**config)).fit(TRAIN, labels)


def test_the_nearest_label_decides(whole):
    found = fitted(KNNLabelled).score(of([0, 1], [2, 2], [3], [0, 2], [7], []))
    half = 0.5**0.5
    # [0, 2] is as like [2, 2] (cos .707) as to [0, 0, 1]: cos 2 / sqrt(5) / sqrt(2) = .632.
    expected = [0 - 1, 1 - 0, half - 0, half - 2 / 10**0.5, 0, 0]
    assert found == pytest.approx(expected, abs=1e-8)


def test_the_projection_is_0_half_way_and_grows_towards_the_abnormal(whole):
    detector = fitted(MeanDifference)
    scale = 384**0.5
    normal = scale * np.array([(2 / 3 + 0.5 + 0.5) / 3, (1 / 3 + 0.5 + 0.5) / 3, 0, 0])
    abnormal = scale * np.array([0, 0, 0.75, 0.25])
    way = abnormal - normal
    unit, half_way = way / np.linalg.norm(way), (abnormal + normal) / 2
    tested = of([0, 1], [2, 3], [3], [])
    points = scale * np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1]])
    assert detector.score(tested) == pytest.approx([*((points - half_way) @ unit), 0], abs=1e-7)
    assert detector.native_threshold_ == 0
    own = detector.explain(tested)
    assert own[:2].mean() == pytest.approx(detector.score(tested)[0], rel=1e-5)


def test_means_that_are_equal_teach_nothing(whole):
    train = of([0, 1], [0, 1], [1, 0])
    detector = MeanDifference().fit(train, np.array([0, 1, 0], np.int8))
    assert not detector.score(of([0, 1], [5], [2, 2])).any()


@pytest.mark.parametrize("control", BOTH)
class TestBoth:
    def test_is_told_source_labels_alone(self, control):
        assert control.tags.told == {"source": "labels"}
        assert not control.tags.seeded

    def test_without_a_label_a_sequence_teaches_nothing(self, control, whole):
        train = TRAIN.select(np.array([0, 1, 2, 3, 4, 5, 3]))
        labels = np.append(LABELS, -1).astype(np.int8)
        tested = of([0, 1], [2, 2], [3], [0, 2])
        again = control().fit(train, labels).score(tested)
        assert np.array_equal(again, fitted(control).score(tested))

    @pytest.mark.parametrize("labels", [None, np.zeros(6, np.int8), np.ones(6, np.int8)])
    def test_one_kind_of_label_is_not_enough(self, control, labels):
        with pytest.raises(ValueError, match="one kind is missing"):
            control().fit(TRAIN, labels)

    def test_without_an_event_it_is_skipped(self, control):
        assert control().skip(of([], [])) == "no training sequence has an event"
        assert control().skip(TRAIN) is None

    def test_turned_labels_turn_the_score(self, control):
        tested = of([0, 1], [2, 2], [3], [0, 2], [9])
        turned = np.where(TRAIN.lengths > 0, 1 - LABELS, LABELS).astype(np.int8)
        assert fitted(control, turned).score(tested) == pytest.approx(-fitted(control).score(tested), abs=1e-7)

    def test_parts_score_as_the_whole_and_a_state_round_trips(self, control):
        rng = np.random.default_rng(0)
        tested = of(*(rng.integers(UNKNOWN_KEY, 9, rng.integers(0, 7)).tolist() for _ in range(30)))
        detector = fitted(control)
        scores = detector.score(tested)
        alone = [detector.score(tested.select(np.array([i])))[0] for i in range(30)]
        assert alone == pytest.approx(scores, abs=1e-8)
        loaded = control().load_state(detector.state())
        assert np.array_equal(loaded.score(tested), scores)
        assert len(detector.explain(tested)) == tested.n_events

    def test_must_be_fitted_first(self, control):
        with pytest.raises(NotFittedError):
            control().score(of([0]))


def test_a_width_that_no_vector_has():
    for config in (MeanConfig, NearestConfig):
        with pytest.raises(ValueError, match="width 385"):
            config(width=385)


def test_centring_moves_likeness():
    tested = of([0, 2], [1, 3], [0, 0])
    assert not np.array_equal(fitted(KNNLabelled).score(tested), fitted(KNNLabelled, centred=True).score(tested))
