"""FusionLog and GeneralLog after their sheet: who judges what, what becomes a pseudo-label, what is never read."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.detector import Evidence
from bench.types import Sequences
from methods import fusionlog, generallog, zerolog
from methods.fusionlog import FusionLog
from methods.generallog import GeneralLog
from methods.shared import router, teachers, text_inputs
from methods.shared.meta import Pool
from methods.shared.pseudo_labels import DISPUTED, Agreement, agree, lessons_of
from methods.shared.system_agnostic import SmallModelDetector

pytestmark = pytest.mark.trains

TEXTS = tuple(f"template {key}" for key in range(12))
QUICK = {"width": 8, "hidden": 4, "steps": 12, "batch_size": 16, "dropout": 0.0, "tau": 0.9}
EVIDENCE = Evidence(roles=("source", "target"))


@pytest.fixture(autouse=True, scope="module")
def no_sentence_encoder():
    def fake(texts):
        rows = [np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts]
        rows = np.reshape(rows, (-1, 384))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    with pytest.MonkeyPatch.context() as patch:
        for module in (router, teachers, text_inputs):
            patch.setattr(module, "embed", fake)
        yield


class Model:
    def __init__(self, answer="Answer: Yes\nConfidence: 95"):
        self.prompts, self.answer = [], answer

    def ask(self, prompts, *, leads=True):
        self.prompts += prompts
        return [self.answer] * len(prompts)


class Discerning(Model):
    """Says that what holds the text 7 is abnormal, and nothing else."""

    def ask(self, prompts, *, leads=True):
        self.prompts += prompts
        asked = [prompt.rpartition("Is the following sequence")[2] for prompt in prompts]
        return [f"Answer: {'Yes' if TEXTS[7] in question else 'No'}\nConfidence: 95" for question in asked]


def log_of(seed=0):
    """A source of texts 0 to 5, 4 and 5 abnormal; half of the target's sequences have texts that it lacks."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(80) % 4 == 0).astype(np.int8)
    rows = [rng.integers(0, 4, 5).tolist() + ([4, 5] if label else []) for label in labels[:40]]
    rows += [rng.integers(0, 4, 4).tolist() + ([6 + i % 4] if i % 2 else []) for i in range(40)]
    system = np.repeat([0, 1], 40).astype(np.uint8)
    return Sequences.from_lists(rows, TEXTS, system=system), np.where(system == 0, labels, -1).astype(np.int8)


TRAIN, LABELS = log_of()
TEST = log_of(1)[0].select(np.arange(40, 80))
HAS_NEW = np.array([(keys >= 6).any() for keys in np.split(TEST.text_ids, TEST.offsets[1:-1])])
HAS_SEVEN = np.array([(keys == 7).any() for keys in np.split(TEST.text_ids, TEST.offsets[1:-1])])


def rows_of(sequences):
    return np.split(sequences.text_ids, sequences.offsets[1:-1])


def fused(model=None, train=TRAIN, labels=LABELS, **settings):
    named = {} if model else {"teacher": "embedding"}
    config = fusionlog.Config(**{**QUICK, "round_steps": 12, **named, **settings})
    return FusionLog(config).fit(train, labels, evidence=replace(EVIDENCE, teacher=model))


def general(train=TRAIN, labels=LABELS, **settings):
    config = generallog.Config(**{**QUICK, "teacher": "embedding", **settings})
    return GeneralLog(config).fit(train, labels, evidence=EVIDENCE)


class Base(SmallModelDetector):
    Config = fusionlog.Config


@pytest.fixture(scope="module")
def base(no_sentence_encoder):
    config = fusionlog.Config(**QUICK, teacher="embedding")
    return Base(config).fit(TRAIN, LABELS, evidence=EVIDENCE).score(TEST)


def test_zero_rounds_are_the_small_model(base):
    assert fused(rounds=0).score(TEST).tolist() == base.tolist()
    assert fused(tau=-1.0).score(TEST).tolist() == base.tolist()
    assert fused(Discerning(), rounds=1).score(TEST).tolist() != base.tolist()
    nobody = Model("I cannot say.")
    assert fused(nobody, rounds=2).score(TEST).tolist() == base.tolist()


def test_zero_rounds_are_zerolog():
    """One small model for both, with the settings that they share."""
    theirs = zerolog.Config(**{name: value for name, value in QUICK.items() if name != "tau"})
    found = zerolog.ZeroLog(theirs).fit(TRAIN, LABELS, evidence=EVIDENCE)
    assert found.score(TEST).tolist() == fused(rounds=0).score(TEST).tolist()


@pytest.mark.parametrize("fit", [lambda **given: fused(rounds=2, **given), general])
def test_labels_of_the_target_move_nothing(fit):
    permuted = np.where(TRAIN.system == 1, np.random.default_rng(3).integers(0, 2, 80), LABELS).astype(np.int8)
    assert fit().score(TEST).tolist() == fit(labels=permuted).score(TEST).tolist()
    swapped = np.where(TRAIN.system == 0, 1 - LABELS, LABELS).astype(np.int8)
    assert fit().score(TEST).tolist() != fit(labels=swapped).score(TEST).tolist()


@pytest.mark.parametrize("method", [FusionLog, GeneralLog])
def test_the_more_probable_class_is_the_native_rule(method):
    assert method.native_threshold_ == 0.0
    assert method.tags.told == {"source": "labels", "target": "unlabelled"}
    assert method.tags.teacher


def test_the_bound_of_the_router_comes_from_the_source_alone():
    """Another target, of texts that the source lacks, moves no bound; another source does."""
    taus = [found.monitor()["tau"] for found in (fused(tau=None, rounds=1), general(tau=None))]
    strange = Sequences.from_lists(
        [[11] * 3 if system else keys.tolist() for system, keys in zip(TRAIN.system, rows_of(TRAIN), strict=True)],
        TEXTS,
        system=TRAIN.system,
    )
    for build, tau in ((fused, taus[0]), (general, taus[1])):
        facts = build(train=strange, tau=None).monitor()
        assert (facts["tau"], facts["pool_general_share"]) == (tau, 0.0)
        assert build(tau=None, tau_quantile=1.0).monitor()["tau"] >= tau


def test_what_the_teacher_says_is_learned():
    """The small model ends by itself, and saved it needs no teacher."""
    model = Discerning()
    settings = {"learning_rate": 0.02, "round_steps": 60}
    found, before = fused(model, **settings), fused(rounds=0, **settings)
    scores = found.score(TEST)
    assert scores[HAS_SEVEN].min() > 0 > scores[HAS_NEW & ~HAS_SEVEN].max()
    assert scores[HAS_SEVEN].mean() > before.score(TEST)[HAS_SEVEN].mean() + 1
    facts = found.monitor()
    assert [part["abnormal"] > 0 for part in facts["rounds"]] == [True] * 3
    assert (facts["rounds_learned"], facts["rounds_of_one_class"]) == (3, 0)
    assert facts["pool_general_share"] == 0.5
    json.dumps(facts)
    loaded = FusionLog(fusionlog.Config(**QUICK)).load_state(found.state())
    assert loaded.score(TEST).tolist() == found.score(TEST).tolist()


def test_the_rounds_share_the_calls():
    model = Model()
    facts = fused(model, rounds=3, max_teacher_calls=7).monitor()
    assert len(model.prompts) == facts["teacher_questions"] == 6
    assert facts["teacher_unasked"] > 0
    assert "max_teacher_calls 7" in facts["teacher_said"]


@pytest.mark.parametrize("said", ["No", "Yes"])
def test_labels_of_one_class_leave_the_small_model_as_it_is(said):
    """They would teach which system a sequence is of; later questions retrieve them, so all rounds are asked."""
    model = Model(f"Answer: {said}\nConfidence: 95")
    found = fused(model)
    facts = found.monitor()
    assert [part["agreed"] + part["disputed"] > 0 for part in facts["rounds"]] == [True] * 3
    assert (facts["rounds_learned"], facts["rounds_of_one_class"]) == (0, 3)
    assert len(set(model.prompts)) > len(model.prompts) / 3
    assert found.score(TEST).tolist() == fused(rounds=0).score(TEST).tolist()


@pytest.mark.parametrize(
    ("p", "has_one"),
    [([0.1, 0.2, 0.9], False), ([0.1, 0.2, np.nan], True), ([0.8, 0.9, np.nan], True), ([np.nan] * 3, False)],
)
def test_one_class_is_that_of_what_is_kept(p, has_one):
    found = Agreement(np.array(p), np.where(np.isnan(p), 0.0, 1.0))
    assert found.has_one_class is has_one


def test_a_refusing_teacher_leaves_nothing_to_learn():
    facts = fused(Model("I am sorry."), rounds=1).monitor()
    assert facts["teacher_unread"] == facts["teacher_questions"] > 0
    assert facts["rounds"][0]["agreed"] == facts["rounds"][0]["disputed"] == 0


def test_without_a_model_one_sentence_says_what_to_do():
    with pytest.raises(ValueError, match="teacher=embedding"):
        FusionLog(fusionlog.Config(**QUICK)).fit(TRAIN, LABELS, evidence=EVIDENCE)


@pytest.mark.parametrize(
    ("teacher", "small", "p", "weight"),
    [
        (0.8, 0.6, 0.7, 1.0),
        (0.2, 0.4, 0.3, 1.0),
        (0.95, 0.4, 0.95, DISPUTED),
        (0.6, 0.05, 0.05, DISPUTED),
        (0.8, 0.4, np.nan, 0.0),
        (0.95, 0.05, np.nan, 0.0),
        (np.nan, 0.99, np.nan, 0.0),
    ],
)
def test_what_two_sides_agree_on(teacher, small, p, weight):
    found = agree(np.array([teacher]), np.array([small]), 0.9)
    np.testing.assert_allclose([found.p[0], found.weight[0]], [p, weight])


def test_lessons_have_as_much_of_the_target_as_of_the_source():
    source = Pool(np.array([0, 1]), np.zeros(2, np.int64), np.array([30, 10]), np.array([0.0, 1.0], np.float32))
    found = agree(np.array([0.8, 0.95, np.nan]), np.array([0.6, 0.4, 0.5]), 0.9)
    lessons = lessons_of(source, np.array([5, 6, 7]), np.array([3, 1, 9]), found, 0.5)
    assert lessons.bag.tolist() == [0, 1, 5, 6]
    assert lessons.counts.tolist() == [30, 10, 30, 10]
    np.testing.assert_allclose(lessons.share, [0, 1, 0.85, 0.975])
    np.testing.assert_allclose(lessons.weight, [1, 1, 1, DISPUTED])


def test_the_router_says_who_judges(base):
    found = general()
    scores = found.score(TEST)
    np.testing.assert_allclose(scores[~HAS_NEW], base[~HAS_NEW])
    assert (np.abs(scores[HAS_NEW] - base[HAS_NEW]) > 1e-6).all()
    assert general(tau=-1.0).score(TEST).tolist() == base.tolist()
    assert (general(tau=1.0).score(TEST) == scores).all()
    loaded = GeneralLog(generallog.Config(**QUICK, teacher="embedding")).load_state(found.state())
    np.testing.assert_allclose(loaded.score(TEST), scores)


def test_as_an_ablation_the_small_models_doubt_routes(base):
    """By the same share of the source, from the source alone, and saved with it."""
    found = general(routed_by="uncertainty", tau=None, tau_quantile=0.5)
    source = TRAIN.select(TRAIN.system == 0)
    small = Base(fusionlog.Config(**QUICK, teacher="embedding")).fit(TRAIN, LABELS, evidence=EVIDENCE)
    sure = generallog.confidence(small.score(source))
    tau = found.monitor()["tau"]
    assert (sure < tau).mean() < 0.5 <= (sure <= tau).mean()
    scores, asked = found.score(TEST), generallog.confidence(base) < tau
    assert 0 < asked.sum() < len(TEST)
    np.testing.assert_allclose(scores[~asked], base[~asked])
    assert (np.abs(scores[asked] - base[asked]) > 1e-6).all()
    settings = {**QUICK, "teacher": "embedding", "routed_by": "uncertainty"}
    loaded = GeneralLog(generallog.Config(**settings)).load_state(found.state())
    np.testing.assert_allclose(loaded.score(TEST), scores)
    assert general(routed_by="uncertainty", tau=0.5).score(TEST).tolist() == base.tolist()


def test_unread_and_unasked_sequences_have_the_small_models_score(base, monkeypatch):
    model = Model("I have no idea.")
    monkeypatch.setattr(GeneralLog, "_own_teacher", lambda self: model)
    model.blocked, model.facts = lambda: None, dict
    found = general(teacher="model")
    np.testing.assert_allclose(found.score(TEST), base)
    assert found.monitor()["teacher_unread"] == len(model.prompts) > 0
    model.answer = "Answer: Yes\nConfidence: 90"
    capped = general(teacher="model", max_teacher_calls=1)
    assert (np.abs(capped.score(TEST) - base) > 1e-6).sum() < HAS_NEW.sum()
    assert capped.monitor()["teacher_unasked"] > 0
