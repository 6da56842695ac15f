"""The probe of a router: how much of a test part the source knows, and how good a method is on each side.

A router says of a sequence how alike its least familiar event is to the source, and from which bound on
it counts as known. It comes from an entry point of `bench.routers`, since the house knows no method.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.thresholds import Threshold
from bench.probes.probe import ProbeRequest, Subject, draw
from bench.types import Sequences

ROUTER_GROUP: Final = "bench.routers"
KNOWLEDGE: Final = "knowledge"
SIDES: Final = ("general", "proprietary", "all")


class Router(Protocol):
    """What was learned of a source."""

    @property
    def tau(self) -> float:
        """The bound from which on a sequence is known."""

    def similarity(self, sequences: Sequences) -> NDArray[np.float64]:
        """float64 (n_sequences,), higher = more familiar."""


class RouterClass(Protocol):
    """What an entry point of `bench.routers` names."""

    def learn(self, source: Sequences, *, tau: float | None, quantile: float, seed: int) -> Router:
        """From the source's sequences alone; tau: the bound, where it is not to be learned."""


def router_options() -> dict[str, Any]:
    """The part of a request's identity that says which router it is."""
    return {"router": KNOWLEDGE}


def find_router(name: str) -> RouterClass:
    """The router of that name."""
    known = {point.name: point for point in entry_points(group=ROUTER_GROUP)}
    if name not in known:
        found = ", ".join(sorted(known)) or "none is installed"
        raise BenchError(f"unknown router '{name}' ({found}): install the project again (pip install -e .)")
    return cast(RouterClass, known[name].load())


def measure_router(request: ProbeRequest, fitted: Subject, threshold: Threshold) -> dict[str, Any]:
    """How the test part divides, and what the method is worth on each side, as JSON.

    Returns {"n", "n_abnormal", "tau", "similarity": {"q05", "median", "auroc"}, "sides": {"general", "proprietary",
    "all"}}. A side has n, n_abnormal and share; where it has a sequence also AUROC (None without both classes) and, at
    the threshold, accuracy and F1. The AUROC of the similarity takes the least familiar as abnormal.
    """
    config = request.cell.method.config
    source = fitted.prepared.train.sequences
    learned = find_router(KNOWLEDGE).learn(
        source, tau=config.get("tau"), quantile=config.get("tau_quantile", 0.05), seed=request.cell.seed
    )
    which = np.arange(len(fitted.test))
    if request.sample:
        which = draw(fitted.strata, request.sample, np.ones(len(which), bool), seed=request.cell.seed)
    if not len(which):
        raise BenchError("the test part holds no sequence: use another edition or --split")
    test, labels = fitted.test.select(which), fitted.labels[which]
    similarity, scores = learned.similarity(test), fitted.score(test)
    masks = (similarity >= learned.tau, similarity < learned.tau, np.ones(len(which), bool))
    sides = {
        name: _side(scores[mask], labels[mask], threshold.value) | {"share": round(float(mask.mean()), 6)}
        for name, mask in zip(SIDES, masks, strict=True)
    }
    low, middle = np.quantile(similarity, [0.05, 0.5])
    seen = {"q05": float(low), "median": float(middle), "auroc": ranking_metrics(-similarity, labels)["auroc"]}
    return {
        "n": len(which),
        "n_abnormal": int(labels.sum()),
        "tau": round(float(learned.tau), 6),
        "similarity": {name: _rounded(value) for name, value in seen.items()},
        "sides": sides,
    }


def _side(scores: NDArray[np.float64], labels: NDArray[np.int8], threshold: float | None) -> dict[str, Any]:
    side: dict[str, Any] = {"n": len(labels), "n_abnormal": int(labels.sum())}
    if not len(labels):
        return side
    side["auroc"] = _rounded(ranking_metrics(scores, labels)["auroc"])
    if threshold is not None:
        found = metrics_at(scores, labels, threshold)
        right = (found["tp"] or 0) + (found["tn"] or 0)
        side |= {"accuracy": _rounded(right / len(labels)), "f1": _rounded(found["f1"])}
    return side


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
