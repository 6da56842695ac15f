"""What holds for every network: the budget, and scores that do not depend on what stands beside a sequence."""

import hashlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench import registry
from bench.detector import Evidence
from bench.types import RawLines, Sequences, Words
from methods import loganomaly
from methods.shared import bag_vectors, semantic, text_inputs

pytestmark = pytest.mark.trains

NETWORKS = (
    *("deeplog", "loganomaly", "logbert", "dagmm", "mlad", "logtad", "plelog", "logrobust", "cat"),
    *("zerolog", "source-only", "metalog"),
    *("glad", "logformer", "logllm", "neurallog", "ott-plm"),
)
STAND_INS = {"logllm": {"decoder": "tiny"}}
"""Settings without which weights of the user's are needed."""
TEXTS = tuple(f"template {key}" for key in range(30))


def fake_embed(texts):
    """A unit vector per text that depends on nothing else."""
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
    rows = np.array([np.random.default_rng(seed).standard_normal(384) for seed in seeds]).reshape(-1, 384)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    for module in (bag_vectors, loganomaly, semantic, text_inputs):
        if hasattr(module, "embed"):
            monkeypatch.setattr(module, "embed", fake_embed)


def with_lines(sequences, rng):
    """The same with raw lines, and with words: each event has one or none."""
    lines = pl.Series(
        [f"line {chr(97 + text)} {i}" for i, text in enumerate(sequences.text_ids.tolist())], dtype=pl.String
    )
    has = rng.integers(0, 2, sequences.n_events)
    ids = rng.integers(0, 9, int(has.sum())).astype(np.int32)
    values = pl.Series([f"user {chr(97 + i)}" for i in range(9)])
    words = Words(values, ids, np.concatenate([[0], np.cumsum(has)]).astype(np.int64))
    return replace(sequences, raw=RawLines(lines), words=words)


def log_of(n, n_keys, longest, seed):
    """Random sequences of two systems."""
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, n_keys, rng.integers(0 if seed else 1, longest)).tolist() for _ in range(n)]
    made = Sequences.from_lists(lists, TEXTS, system=(np.arange(n) % 2).astype(np.uint8))
    return with_lines(made, rng)


TRAIN, TEST = log_of(300, 20, 12, seed=0), log_of(40, 30, 40, seed=1)


def fitted(name, **settings):
    """A network of this name, told what it must be told."""
    cls = registry.load(registry.find(name))
    grade, n = cls.tags.told["source"], np.arange(len(TRAIN))
    labels = {"labels": (n % 7 == 0), "first-normals": np.where(n < 100, 0, -1)}.get(grade)
    known = None if labels is None else labels.astype(np.int8)
    train = TRAIN if "words" in cls.tags.uses else TRAIN.without_parameters()
    second = "target" if "target" in cls.tags.told else "source"
    config = cls.Config(**STAND_INS.get(name, {}), **settings)
    return cls(config, seed=0).fit(train, known, evidence=Evidence(roles=("source", second)))


@pytest.mark.parametrize("name", NETWORKS)
def test_company_moves_no_score(name):
    detector = fitted(name, steps=12)
    together = detector.score(TEST)
    alone = np.concatenate([detector.score(TEST.select(np.array([i]))) for i in range(len(TEST))])
    np.testing.assert_allclose(alone, together, rtol=1e-12, atol=1e-12)
    assert together.dtype == np.float64
    halves = np.concatenate([detector.score(TEST.select(part)) for part in np.array_split(np.arange(len(TEST)), 2)])
    np.testing.assert_allclose(halves, together, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_steps_leave_an_untrained_network_that_scores(name):
    detector = fitted(name, steps=0)
    assert np.isfinite(detector.score(TEST)).all()
    assert detector.monitor()["steps_run"] == 0
    assert getattr(detector, "native_threshold_", None) is None or np.isfinite(detector.native_threshold_)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_the_common_budget_and_tells_it(name):
    config = registry.load(registry.find(name)).Config()
    assert (config.steps, config.batch_size, config.max_epochs, config.patience) == (600, 128, None, None)
    facts = fitted(name, steps=3).monitor()
    assert (facts["steps_run"], facts["stopped_by"], facts["kept_step"]) == (3, "steps", 3)
    assert facts["batch_size"] == 128
