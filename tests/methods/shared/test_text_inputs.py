"""From texts to vectors: one way, one switch; principal axes; saving."""

import hashlib
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import methods
from bench import registry
from bench.detector import Evidence
from bench.types import RawLines, Sequences, Words
from methods.shared import text_inputs
from methods.shared.text_inputs import TextInputs, TextSettings, texts_of

TEXTS = tuple(f"template {key}" for key in range(30))
SENTENCE_READERS = (
    *("cat", "dagmm", "enrichlog", "freelog", "fusionlog", "generallog", "glad", "knn-embedding", "knn-few"),
    *("knn-labelled", "loganomaly", "logformer", "logllm", "logrobust", "logtad", "metalog", "mlad", "neurallog"),
    *("ott-plm", "plelog", "source-only", "zerolog"),
)


def fake_embed(texts):
    """A unit vector per text; all share a large common one, as those of real logs do."""
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
    vectors = np.array([np.random.default_rng(seed).standard_normal(384) for seed in seeds]).reshape(-1, 384) + 1.0
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    monkeypatch.setattr(text_inputs, "embed", fake_embed)


def of(lists, texts=TEXTS, **given):
    return Sequences.from_lists(lists, texts, **given)


def inputs_of(train, *, centred, width=20):
    return TextInputs.sentence(texts_of(train), width, centred=centred)


def test_the_centre_is_the_mean_of_the_distinct_training_texts():
    """Neither how often a text stands, nor what training lacks, nor a text that stands twice in the list moves it."""
    train = of([[0, 0, 0, 0, 1], [2, 0], [0]])
    inputs = inputs_of(train, centred=True)
    np.testing.assert_allclose(inputs.centre, fake_embed(TEXTS[:3]).astype(float).mean(0), atol=1e-15)
    assert np.array_equal(inputs_of(of([[2, 1], [0]]), centred=True).centre, inputs.centre)
    twice = of([[0, 1, 2, 3]], (*TEXTS[:3], TEXTS[1]))
    assert np.array_equal(inputs_of(twice, centred=True).centre, inputs.centre)


def test_centred_training_texts_have_mean_zero_and_keep_their_differences():
    train = of([list(range(10))])
    plain, centred = (inputs_of(train, centred=on).features(TEXTS[:10]) for on in (False, True))
    np.testing.assert_allclose(centred.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(centred, plain - plain.mean(0), atol=1e-12)
    assert np.square(plain.mean(0)).sum() > 0.3 * np.square(plain).sum(1).mean()


def test_vectors_that_are_not_centred_have_mean_square_one():
    assert np.square(inputs_of(of([]), centred=False, width=384).features(TEXTS)).mean() == pytest.approx(1)


def test_a_text_has_one_vector_whatever_stands_beside_it():
    for centred in (False, True):
        inputs = inputs_of(of([[0, 1, 2]]), centred=centred)
        alone = [inputs.features([text])[0] for text in TEXTS]
        np.testing.assert_allclose(inputs.features(TEXTS), alone, rtol=0, atol=1e-13)


def test_principal_axes_are_those_of_centred_training_texts_and_project_centred_ones():
    inputs = TextInputs.sentence(TEXTS[:5], 4, centred=False, projection="pca", scale=1.0)
    np.testing.assert_allclose(inputs.axes.T @ inputs.axes, np.eye(4), atol=1e-12)
    vectors = fake_embed(TEXTS[:5]).astype(float)
    centred = vectors - vectors.mean(0)
    found = inputs.features(TEXTS[:5])
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    # Five texts span four centred dimensions: the axes keep all of their spread, and the texts their distances.
    assert np.square(found).sum() == pytest.approx(np.square(centred).sum(), rel=1e-6)
    np.testing.assert_allclose(found @ found.T, centred @ centred.T, atol=1e-6)


@pytest.mark.parametrize("settings", [{"centred": False}, {"centred": True}, {"centred": True, "projection": "pca"}])
def test_what_was_learned_can_be_saved(settings):
    inputs = TextInputs.sentence(TEXTS[:9], 5, **settings)
    state = inputs.state()
    assert np.array_equal(TextInputs.from_state(state).features(TEXTS), inputs.features(TEXTS))
    assert all(value.dtype.kind == "f" for value in state.values())


def test_learned_rows_save_their_texts():
    inputs = TextInputs.learned(["a <*> b", "ü\n", ""])
    again = TextInputs.from_state(inputs.state())
    assert again.features(["", "unseen", "a <*> b"]).tolist() == [3, 0, 1]
    assert again.vocabulary == inputs.vocabulary


def readers():
    """Every installed method of this package whose Config has the switch."""
    classes = {name: registry.load(ref) for name, ref in registry.available().items() if ref.target[:8] == "methods."}
    return {name: cls for name, cls in classes.items() if issubclass(cls.Config, TextSettings)}


def test_every_method_that_reads_sentence_vectors_has_the_one_switch():
    assert tuple(sorted(readers())) == SENTENCE_READERS
    for cls in readers().values():
        assert {field.name for field in fields(cls.Config)} >= {"centred"}


def test_sentence_vectors_are_projected_in_one_place():
    folder = Path(methods.__file__).parent
    pattern = re.compile(r"^from bench\.data\.embedding import .*\bproject\b", re.M)
    found = [path.name for path in folder.rglob("*.py") if pattern.search(path.read_text(encoding="utf-8"))]
    assert found == ["text_inputs.py"]


SMALL = {
    "cat": {"width": 20, "hidden": 16, "ffn_width": 16},
    "dagmm": {"width": 20, "encoder": (8,)},
    "enrichlog": {"lines": "masked", "teacher": "embedding"},
    "freelog": {"width": 20, "hidden": 8},
    "fusionlog": {"width": 20, "hidden": 8, "round_steps": 6, "teacher": "embedding"},
    "generallog": {"width": 20, "hidden": 8, "teacher": "embedding"},
    "glad": {"width": 20, "hidden": 8, "layers": 1},
    "knn-embedding": {"dimension": 20},
    "knn-few": {"width": 20},
    "knn-labelled": {"width": 20},
    "loganomaly": {"width": 20, "hidden": 8, "history": 4},
    "logformer": {"width": 20, "heads": 2, "ffn_width": 16},
    "logllm": {"width": 16, "decoder": "tiny"},
    "logrobust": {"width": 20, "hidden": 8},
    "logtad": {"width": 20, "hidden": 8},
    "metalog": {"width": 20, "hidden": 8},
    "mlad": {"width": 20, "heads": 2, "ffn_width": 16, "k": 2},
    "neurallog": {"width": 20, "heads": 2, "head_width": 4, "ffn_width": 16, "hidden": 8},
    "ott-plm": {"width": 20, "hidden": 8, "history": 4, "whitened": False},
    "plelog": {"width": 20, "hidden": 8, "min_cluster_size": 5},
    "source-only": {"width": 20, "hidden": 8},
    "zerolog": {"width": 20, "hidden": 8},
}


def short(cls):
    """A budget that takes no time, where there is one."""
    names = {field.name for field in fields(cls.Config)}
    return {"steps": 6} if "steps" in names else {"max_epochs": 5} if "max_epochs" in names else {}


def small_log():
    """Two systems, and what is abnormal: texts of its own."""
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, 8, rng.integers(3, 9)).tolist() for _ in range(80)]
    lists += [rng.integers(20, 24, 5).tolist() for _ in range(12)]
    labels = np.repeat([0, 1], [80, 12]).astype(np.int8)
    made = of(lists, system=np.arange(len(lists), dtype=np.uint8) % 2)
    lines = pl.Series([f"line {chr(97 + text)}" for text in made.text_ids.tolist()], dtype=pl.String)
    words = Words(lines.unique().sort(), made.text_ids % 3, np.arange(made.n_events + 1, dtype=np.int64))
    return replace(made, raw=RawLines(lines), words=words), labels


@pytest.mark.trains
@pytest.mark.parametrize("name", SENTENCE_READERS)
def test_the_switch_reaches_the_scores_and_is_saved_with_the_detector(name, monkeypatch):
    cls = readers()[name]
    for module in ("methods.loganomaly", "methods.shared.router", "methods.shared.teachers"):
        monkeypatch.setattr(f"{module}.embed", fake_embed)
    log, labels = small_log()
    if not {"labels", "few"} & set(cls.tags.told.values()) and cls.tags.told.get("source") != "first-normals":
        log, labels = log.select(labels == 0), None
    if name == "plelog":
        labels = np.where((labels == 0) & (np.arange(len(labels)) < 40), 0, -1).astype(np.int8)
    tested = small_log()[0]
    evidence = Evidence(roles=("source", "target" if "target" in cls.tags.told else "source"))
    scores = []
    for centred in (False, True):
        config = replace(cls.Config(**SMALL[name], **short(cls)), centred=centred)
        detector = cls(config, seed=0).fit(log, labels, evidence=evidence)
        scores.append(detector.score(tested))
        again = cls(config, seed=0).load_state(detector.state())
        assert np.array_equal(again.score(tested), scores[-1])
        # What comes later moves nothing: the mean is that of training.
        assert np.allclose(detector.score(tested.select(np.arange(5))), scores[-1][:5], atol=1e-5)
    assert not np.allclose(scores[0], scores[1])


def test_a_log_of_one_text_can_be_centred():
    """Its only text is the zero vector: nothing is unlike it, and every other text is as unlike as can be."""
    detector = readers()["knn-embedding"](readers()["knn-embedding"].Config(centred=True)).fit(of([[0], [0, 0]]))
    assert detector.score(of([[0], [1], []])).tolist() == [0, 1, 0]
