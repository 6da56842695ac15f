"""The control of methods that are told few labels of the target: the nearest of these, and nothing else."""

import numpy as np
import pytest

from bench.types import Sequences
from methods.few_controls import Config, KNNFew
from methods.shared import text_inputs

TEXTS = tuple(f"template {key}" for key in range(40))
TRAIN = Sequences.from_lists([[0, 0, 1], [0, 1], [5, 5], [2, 2], [2, 5], []], TEXTS)
FEW = np.array([0, -1, -1, 1, -1, 0], np.int8)


def of(*log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


@pytest.fixture(autouse=True)
def axes(monkeypatch):
    """Each text has an axis of its own, so that likeness is worked out by hand."""

    def axis_of(text):
        return int(text.rpartition(" ")[2]) if text.startswith("template") else 39

    monkeypatch.setattr(
        text_inputs, "embed", lambda texts: np.eye(384, dtype=np.float32)[[axis_of(t) for t in texts]].reshape(-1, 384)
    )
    monkeypatch.setattr(text_inputs, "project", lambda vectors, width: vectors)


def fitted(labels=FEW):
    return KNNFew().fit(TRAIN, labels)


def test_the_nearest_known_label_decides():
    found = fitted().score(of([0, 1], [2, 2], [2, 1], [7], []))
    expected = [0 - 3 / 10**0.5, 1 - 0, 0.5**0.5 - 1 / 10**0.5, 0, 0]
    assert found == pytest.approx(expected, abs=1e-8)
    assert fitted().native_threshold_ == 0


def test_what_has_no_label_teaches_nothing():
    known = KNNFew().fit(TRAIN.select(FEW >= 0), FEW[FEW >= 0])
    tested = of([0, 1], [5], [2, 5], [1])
    assert known.score(tested).tolist() == fitted().score(tested).tolist()
    turned = np.where(FEW >= 0, 1 - FEW, FEW).astype(np.int8)
    turned[5] = -1
    assert fitted(turned).score(tested) == pytest.approx(-fitted().score(tested))


def test_it_is_told_few_labels_of_the_target_alone():
    assert KNNFew.tags.told == {"target": "few"}
    assert not KNNFew.tags.seeded


@pytest.mark.parametrize("labels", [None, np.where(FEW == 1, -1, FEW), np.where(FEW == 0, -1, FEW)])
def test_one_kind_of_label_is_not_enough(labels):
    with pytest.raises(ValueError, match="one kind is missing"):
        fitted(labels)
    assert "no training sequence" in KNNFew().skip(of([]))


def test_a_state_round_trips_and_parts_score_as_the_whole():
    detector, tested = fitted(), of([0, 1], [2], [5], [])
    loaded = KNNFew().load_state(detector.state())
    assert loaded.score(tested).tolist() == detector.score(tested).tolist()
    parts = [detector.score(tested.select(np.array([i])))[0] for i in range(4)]
    assert parts == pytest.approx(detector.score(tested).tolist())
    assert detector.score(of()).shape == (0,)


def test_settings_that_mean_nothing_are_refused():
    for wrong in ({"width": 385}, {"target_share": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**wrong)
