"""The probe of a router: how a test part divides, what a method is worth on each side, and how it is printed."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.cli import _probed_router
from bench.errors import BenchError
from bench.evaluation.thresholds import Threshold
from bench.probes import router
from bench.probes.probe import Subject
from bench.probes.router import find_router, measure_router, router_options
from bench.types import Sequences

TEXTS = ("known", "odd")


class Stub:
    """Knows the first text; remembers what it was learned from."""

    tau = 0.7

    @classmethod
    def learn(cls, source, *, tau, quantile, seed):
        cls.given = (len(source), tau, quantile, seed)
        return cls()

    def similarity(self, sequences):
        return np.array(
            [1.0 if not keys.any() else 0.2 for keys in np.split(sequences.log_keys, sequences.offsets[1:-1])]
        )


def measured(monkeypatch, *, sample=0, value=0.5, config=None):
    monkeypatch.setattr(router, "find_router", lambda name: Stub)
    rows = [[0, 0]] * 6 + [[0, 1]] * 2
    test = SimpleNamespace(
        sequences=Sequences.from_lists(rows, TEXTS), labels=np.array([0, 0, 0, 0, 0, 1, 1, 1], np.int8)
    )
    source = SimpleNamespace(sequences=Sequences.from_lists([[0]] * 5, TEXTS))
    prepared = SimpleNamespace(train=source, test=test, facts={})
    cell = SimpleNamespace(seed=3, method=SimpleNamespace(config=config or {}))
    request = SimpleNamespace(sample=sample, cell=cell, options=router_options())
    scores = np.array([0, 0, 0, 1, 0, 1, 0, 1.0])
    detector = SimpleNamespace(config=None, score=lambda sequences: scores[: len(sequences)])
    return measure_router(request, Subject(detector, prepared), Threshold(value, "validation", 10, None))


def test_each_side_has_its_share_and_its_own_numbers(monkeypatch):
    found = measured(monkeypatch)
    general, proprietary, both = (found["sides"][name] for name in router.SIDES)
    assert (general["n"], general["n_abnormal"], general["share"]) == (6, 1, 0.75)
    assert (general["auroc"], general["accuracy"]) == (0.9, round(5 / 6, 6))
    assert (proprietary["n"], proprietary["auroc"], proprietary["accuracy"]) == (2, None, 0.5)
    assert (both["n"], both["share"], both["accuracy"]) == (8, 1.0, 0.75)
    assert found["similarity"]["auroc"] == pytest.approx(1 - 0.5 / 3, abs=1e-6)
    assert Stub.given == (5, None, 0.05, 3)


def test_the_methods_own_bound_is_taken(monkeypatch):
    measured(monkeypatch, config={"tau": 0.9, "tau_quantile": 0.1})
    assert Stub.given[1:3] == (0.9, 0.1)


def test_a_side_without_sequences_or_threshold_has_no_numbers(monkeypatch):
    monkeypatch.setattr(Stub, "tau", 0.1)
    found = measured(monkeypatch, value=None)
    assert found["sides"]["proprietary"] == {"n": 0, "n_abnormal": 0, "share": 0.0}
    assert set(found["sides"]["all"]) == {"n", "n_abnormal", "share", "auroc"}


def test_the_table_is_within_80_columns(monkeypatch, capsys):
    found = measured(monkeypatch)
    record = {"probe": "router", "method": "generallog[teacher=embedding,tau=0.9]", "seed": 0, "scenario": "a2b"}
    _probed_router.show_router(found)
    _probed_router.sum_up_router([record | {"results": found}] * 2)
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed[1:])) <= 80
    assert any("0.900" in line and "n/e" in line for line in printed)


def test_the_router_of_the_project_is_found_by_its_entry_point():
    assert find_router("knowledge").__name__ == "Router"
    with pytest.raises(BenchError, match="unknown router 'none'"):
        find_router("none")
