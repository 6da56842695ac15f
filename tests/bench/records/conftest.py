"""Hand-made records as a run leaves them, and a store that may hold them."""

import numpy as np
import pytest

from bench.records.record import SCHEMA_VERSION, run_id_of
from bench.records.store import Store

LEVELS = [0.005, 0.025, 0.5, 0.975, 0.995]


def made(method="toy", seed=0, *, scenario="bgl@raw12k", split="chronological", ap=0.75, **changes):
    names = scenario.replace("2tbird", " tbird").split()
    editions = [{"edition": name, "sha256": {"a.log": "00" * 32}} for name in names]
    spec = {
        "protocol_version": 1,
        "train": editions[:1],
        "test": editions[-1:],
        "split": split,
        "seed": seed,
        "detector": {"name": method, "config": {}},
    }
    spread = {"levels": LEVELS, "n": 400, "ap": [ap] * 5, "auroc": [0.5, 0.6, 0.7, 0.8, 0.9]}
    rules = {"oracle": {"f1": [0.0] * 5, "fpr": [0.0, -0.0, 0.0, 0.0, 0.0]}}
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id_of(spec),
        "spec": spec,
        "scenario": scenario,
        "simulated": [],
        "tiers": {part["edition"]: "evaluation" for part in editions},
        "method": method,
        "systems": [part["edition"] for part in editions],
        "status": "ok",
        "reason": None,
        "detector": {"supervision": "normal-only", "is_control": False, "config": {}},
        "counts": {
            "n_train": 10,
            "n_train_abnormal": 0,
            "n_validation": 0,
            "n_validation_abnormal": 0,
            "n_test": 4,
            "n_test_abnormal": 2,
            "n_log_keys": 3,
            "known_keys_share": 0.5,
            "seen_in_training_share": 0.25,
        },
        "seconds": {"prepare": 0.1, "fit": 0.2, "score": 0.3},
        "memory_mib": {"peak_rss": 100.0, "added": 1.0},
        "threads": 1,
        "device": "cpu",
        "environment": {"python": "3.11.7", "packages": {"numpy": "2.4.6"}},
        "started_at": "2026-11-22T01:46:42+00:00",
        "monitor": {"best_epoch": 2, "epochs": [{"loss": 1.5}, {"loss": 0.5}]},
        "thresholds": {"oracle": {"value": 0.5, "fitted_on": "test labels", "n": 4, "reason": None}},
        "metrics": {
            "all": {
                "n": 4,
                "n_abnormal": 2,
                "ranking": {"ap": ap, "auroc": 0.5, "prevalence": 0.5, "all_positive_f1": 2 / 3},
                "rules": {"oracle": {"f1": 0.5, "precision": 0.5, "recall": 0.5, "fpr": 0.5, "fp": 1}},
                "bootstrap": spread | {"rules": rules},
            }
        },
        "something": {"that": ["no", "one", "knows"]},
        **changes,
    }


def scores_of(shift=0.75):
    """Of four test sequences, by which the metrics of `made` come out; each shift gives others."""
    return {
        "test": np.array([0.9, 0.8, 0.3, 0.2]) + shift / 100,
        "test_labels": np.array([1, 0, 0, 1], np.int8),
        "test_system": np.zeros(4, np.int64),
    }


@pytest.fixture
def make():
    return made


@pytest.fixture
def make_scores():
    return scores_of


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")
