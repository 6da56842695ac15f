"""Hand-made records for pages and figures."""

import hashlib

import pytest

from bench.evaluation.stats import LEVELS
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import SCHEMA_VERSION

RULE = "conformal:0.01"


def _block(f1, rules, n):
    flat = [f1] * len(LEVELS)
    values = dict.fromkeys(("precision", "recall", "f1", "fpr"), f1)
    names = ("auroc", "ap", "recall_at_fpr_0.01", "recall_at_fpr_0.001", "oracle_f1")
    return {
        "n": n,
        "n_abnormal": n // 4,
        "ranking": dict.fromkeys(names, f1) | {"prevalence": 0.25, "all_positive_f1": 0.4},
        "rules": {rule: dict(values) for rule in rules},
        "bootstrap": {
            "levels": list(LEVELS),
            "auroc": flat,
            "ap": flat,
            "rules": {rule: dict.fromkeys(values, flat) for rule in rules},
        },
    }


@pytest.fixture
def make_record():
    """A finished record whose metrics are all `f1`, without any spread; `changes` replace its entries."""

    def make(
        method="toy",
        seed=0,
        f1=0.8,
        *,
        supervision="normal-only",
        config=None,
        edition="bgl@raw12k",
        split="chronological",
        rules=(RULE,),
        systems=(),
        protocol=PROTOCOL_VERSION,
        **changes,
    ):
        sides = [{"edition": part, "sha256": "00"} for part in edition.split("+")]
        name = method.partition("[")[0]
        identity = repr((method, seed, config, edition, split, protocol))
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": hashlib.sha256(identity.encode()).hexdigest()[:16],
            "spec": {
                "protocol_version": protocol,
                "train": sides,
                "test": sides,
                "split": split,
                "seed": seed,
                "grouping": {"window_size": 20, "window_step": 20},
                "detector": {"name": name, "config": config or {}, "variant": None},
            },
            "scenario": edition,
            "simulated": [],
            "tiers": dict.fromkeys(edition.split("+"), "evaluation"),
            "method": method,
            "systems": edition.split("+"),
            "status": "ok",
            "reason": None,
            "detector": {
                "supervision": supervision,
                "is_control": supervision == "control",
                "config": config or {},
            },
            "counts": {
                "n_train": 100,
                "n_train_abnormal": 9,
                "n_validation": 30,
                "n_validation_abnormal": 3,
                "n_test": 40,
                "n_test_abnormal": 10,
                "n_log_keys": 17,
                "known_keys_share": 0.975,
                "seen_in_training_share": 0.5,
            },
            "seconds": {"fit": 1.5, "score": 0.25},
            "memory_mib": {"peak_rss": 300.0, "added": 12.0},
            "threads": 1,
            "device": "cpu",
            "environment": {},
            "thresholds": {rule: {"value": 2.0, "fitted_on": "x", "n": 200, "reason": None} for rule in rules},
            "metrics": {block: _block(f1, rules, 40) for block in ("all", *systems)},
            "started_at": "2026-01-01T00:00:00+00:00",
        } | changes

    return make
