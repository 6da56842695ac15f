"""LogTAD after its sheet: gradient reversal, centre, radii from normals only, systems made alike."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.detector import NotFittedError
from bench.testing.trial import Trial
from bench.types import Sequences
from methods import logtad
from methods.controls import Random
from methods.logtad import Config, Items, LogTAD, Network
from methods.shared import semantic, text_inputs
from methods.shared.alignment import Reversal, balanced
from methods.shared.semantic import read

pytestmark = [pytest.mark.trains, pytest.mark.usefixtures("no_sentence_encoder")]

TEXTS = tuple(f"template {key}" for key in range(40))
INPUTS = text_inputs.TextInputs.sentence((), 20, centred=False)
QUICK = Config(
    width=20, hidden=16, layers=1, domain_hidden=8, steps=None, max_epochs=6, batch_size=64, learning_rate=0.01
)


def two_systems(seed, n, *, low=0, ratio=2):
    """System 0 has the texts 0 to 9, system 1, with one of `ratio` sequences, the texts 10 to 19."""
    rng = np.random.default_rng(seed)
    system = (np.arange(n) % ratio == 0).astype(np.uint8)
    lists = [(low + 10 * s + rng.integers(0, 10, rng.integers(4, 9))).tolist() for s in system]
    return Sequences.from_lists(lists, TEXTS, system=system)


TRAIN, TEST, STRANGE = two_systems(0, 400), two_systems(1, 100), two_systems(2, 100, low=20)


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return LogTAD(QUICK).fit(TRAIN)


def same_state(a, b):
    return all(np.array_equal(value, b.state()[name]) for name, value in a.state().items())


def test_reversal_flips_and_scales_the_gradient():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = Reversal.apply(x, 0.25)
    torch.testing.assert_close(y, x)
    (3 * y[0] + y[1]).backward()
    torch.testing.assert_close(x.grad, torch.tensor([-0.75, -0.25]))


@pytest.mark.parametrize("centre_epochs", [0, 3])
def test_no_entry_of_the_centre_is_near_zero(centre_epochs):
    detector = LogTAD(replace(QUICK, max_epochs=4, centre_epochs=centre_epochs)).fit(TRAIN)
    assert detector.net_.centre.abs().min() >= 0.1 - 1e-7


def test_the_centre_is_the_mean_of_the_sequences_it_is_given():
    net = Network(QUICK, 2).double()
    reading = read(TEST, INPUTS, "cpu")
    items = Items(np.arange(len(reading.counts)), np.zeros(len(reading.counts), np.int64))
    counts = np.arange(len(reading.counts))
    net.move_centre(reading, items, counts, 0.0)
    vectors = semantic.encode(net, reading.vectors, reading.bags, items.bag).detach().numpy()
    np.testing.assert_allclose(net.centre.numpy(), np.average(vectors, 0, counts), atol=1e-6)


def test_training_normals_are_nearer_than_windows_of_shuffled_vectors(fitted):
    reading = read(TRAIN, INPUTS, "cpu")
    order = torch.randperm(reading.vectors.numel(), generator=torch.Generator().manual_seed(0))
    shuffled = reading.vectors.flatten()[order].view_as(reading.vectors)
    which = np.arange(len(reading.counts))
    with torch.no_grad():
        near, far = (
            np.average(
                semantic.encode(fitted.net_.distance, vectors, reading.bags, which).numpy(), weights=reading.counts
            )
            for vectors in (reading.vectors, shuffled)
        )
    assert near < 0.5 * far


def test_unlike_sequences_of_both_systems_score_higher(fitted):
    for system in (0, 1):
        normal, strange = (fitted.score(log.select(log.system == system)) for log in (TEST, STRANGE))
        assert np.median(strange) > 1.2 * np.median(normal)


def domain_accuracy(reversal):
    config = replace(QUICK, reversal=reversal, distance_weight=0.0, max_epochs=30, dropout=0.0)
    epochs = LogTAD(replace(config, learning_rate=0.003)).fit(TRAIN).monitor()["epochs"]
    return np.mean([record["held_out_domain_accuracy"] for record in epochs[-10:]])


def test_the_adversary_makes_systems_alike():
    """Half of the held-out sequences are of either system: a blind classifier is right in about half of the cases."""
    assert domain_accuracy(0.0) > 0.85
    assert domain_accuracy(1.0) < 0.65


def held_out_distances(fitted):
    """Distances of the held-out copies, by system."""
    reading = read(TRAIN, INPUTS, "cpu")
    pairs, counts = np.unique(2 * reading.inverse + TRAIN.system, return_counts=True)
    held_out = logtad.hold_out_of_each(counts, pairs % 2, pairs // 2, 0.1, 0).held_out
    with torch.no_grad():
        distance = semantic.encode(fitted.net_.distance, reading.vectors, reading.bags, pairs // 2).numpy()
    return [np.repeat(distance, held_out * (pairs % 2 == system)) for system in (0, 1)]


def test_radii_come_from_held_out_normals(fitted):
    distances = held_out_distances(fitted)
    assert min(len(part) for part in distances) >= 10
    assert fitted.monitor()["radii"] == pytest.approx(logtad.radii_of(distances, 0.99), rel=1e-9)
    assert fitted.native_threshold_ == 1
    labels = np.random.default_rng(0).integers(0, 2, 400).astype(np.int8)
    assert same_state(LogTAD(QUICK).fit(TRAIN, labels), fitted)


def test_a_radius_is_no_maximum_of_few_distances():
    many, few = np.linspace(1, 3, 1000), np.array([4.0, 4.1, 4.2])
    radii = logtad.radii_of([many, few], 0.99)
    assert radii[0] == np.quantile(many, 0.99)
    assert radii[1] == pytest.approx(4.1 * np.quantile(np.concatenate([many / 2, few / 4.1]), 0.99))
    assert radii[2] == np.quantile(np.concatenate([many, few]), 0.99)


def test_scores_are_distances_in_radii_of_the_own_system(fitted):
    same = [[3, 12, 7]] * 3
    scores = fitted.score(Sequences.from_lists(same, TEXTS, system=np.array([0, 1, 9], np.uint8)))
    radii = np.array(fitted.monitor()["radii"])
    np.testing.assert_allclose(scores * radii, (scores * radii)[0])


def test_small_systems_are_drawn_as_often_as_large_ones():
    counts = balanced(np.array([5, 5, 2, 90]), np.array([1, 1, 2, 0]))
    assert counts.tolist() == [45, 45, 90, 90]
    assert balanced(np.array([0, 0, 3]), np.array([0, 0, 1])).tolist() == [0, 0, 3]


def test_one_system_is_skipped_with_a_way_out():
    alone = TRAIN.select(TRAIN.system == 0)
    assert "combined scenario" in LogTAD().skip(alone)
    assert LogTAD().skip(TRAIN) is None
    empty = Sequences.from_lists([[1, 2], []], TEXTS, system=np.array([0, 1], np.uint8))
    assert "has 1:" in LogTAD().skip(empty)
    with pytest.raises(ValueError, match="at least two systems"):
        LogTAD(QUICK).fit(alone)


def test_it_asks_for_normals_of_the_target():
    assert LogTAD.tags.told == {"source": "normals", "target": "first-normals"}
    assert Config().target_normals == 1_000 * 4 // 20
    with pytest.raises(ValueError, match="target_normals is -1"):
        Config(target_normals=-1)


def test_a_few_normals_of_the_target_move_it_to_the_centre():
    """A source of texts 0 to 9; of the target, with the texts 10 to 19, 20 sequences, or none but of a third system."""
    source, target = TRAIN.select(TRAIN.system == 0), TRAIN.select(TRAIN.system == 1)
    other = two_systems(3, 60, low=20)
    other = other.select(other.system == 0)
    distances = []
    for second in (target, other):
        train = together(source, second.select(np.arange(20)))
        detector = LogTAD(replace(QUICK, max_epochs=15)).fit(train)
        normal = TEST.select(TEST.system == 1)
        distances.append(np.median(detector.score(normal)) * detector.monitor()["radii"][1])
    assert distances[0] < 0.8 * distances[1]


def together(one, other):
    """Sequences of system 0 and of system 1."""
    lists = [s.text_ids[a:b].tolist() for s in (one, other) for a, b in zip(s.offsets, s.offsets[1:], strict=False)]
    system = np.repeat(np.array([0, 1], np.uint8), [len(one), len(other)])
    return Sequences.from_lists(lists, TEXTS, system=system)


def test_the_conformance_kit_gives_it_two_systems():
    assert np.unique(Trial(LogTAD).log.train.system).tolist() == [0, 1]
    assert np.unique(Trial(Random).log.train.system).tolist() == [0]


def test_a_moving_centre_keeps_the_number_of_epochs():
    detector = LogTAD(replace(QUICK, max_epochs=5, centre_epochs=10)).fit(TRAIN)
    assert len(detector.monitor()["epochs"]) == 5
    short = LogTAD(replace(QUICK, max_epochs=5, centre_epochs=2)).fit(TRAIN)
    assert len(short.monitor()["epochs"]) == 5
    assert not same_state(short, detector)


def test_identical_sequences_give_finite_scores():
    train = Sequences.from_lists([[0, 1]] * 40, TEXTS, system=(np.arange(40) % 2).astype(np.uint8))
    assert np.isfinite(LogTAD(QUICK).fit(train).score(TEST)).all()


def test_empty_sequences_have_distance_zero(fitted):
    scores = fitted.score(Sequences.from_lists([[], [1]], TEXTS))
    assert scores[0] == 0 < scores[1]
    assert fitted.score(Sequences.from_lists([], TEXTS)).shape == (0,)
    assert fitted.represent(TEST).shape == (100, 16)


def test_forward_loss_and_backward_run_on_meta():
    config = replace(QUICK, layers=2, dropout=0.5)
    with torch.device("meta"):
        net = Network(config, 2)
    reading = read(TEST, INPUTS, "cpu")
    reading = reading._replace(vectors=reading.vectors.to("meta"))
    batch = semantic.batch_of(reading.bags, reading.inverse[:8], torch.device("meta"))
    lesson = logtad.Lesson(batch, torch.as_tensor(TEST.system[:8].astype(np.int64), device="meta"))
    parts = logtad.objective(net, reading.vectors.float(), config)(lesson, torch.full((8,), 1 / 8, device="meta"))
    parts["loss"].backward()
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_saved_and_loaded_it_scores_the_same(fitted):
    loaded = LogTAD(QUICK).load_state(fitted.state())
    assert loaded.score(STRANGE).tolist() == fitted.score(STRANGE).tolist()
    assert loaded.native_threshold_ == 1
    json.dumps(fitted.monitor())
    for call in (lambda: LogTAD().score(TEST), lambda: LogTAD().state()):
        with pytest.raises(NotFittedError):
            call()


def test_the_profiles_are_configs():
    original = Config(**LogTAD.profiles["original"])
    assert (original.batch_size, original.centre_epochs, original.dropout) == (1024, 10, 0.3)
    with pytest.raises(ValueError, match="radius_quantile"):
        Config(radius_quantile=0.0)
