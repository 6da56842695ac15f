"""Probes: what a detector does when the texts of test sequences are altered. Common to all of them.

A probe fits a detector as its run would, draws test sequences, lets the detector score them and altered copies in one
go, and keeps the comparison as a record `probes/<probe_id>.json`. Any detector that reads texts can be probed.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bench import registry
from bench._plain import jsonable
from bench.contract import require_monitor
from bench.data.embedding import nearest_keys
from bench.data.sequences.loader import Prepared
from bench.detector import Detector
from bench.errors import BenchError
from bench.evaluation.thresholds import DEFAULT_RULE, Threshold, ThresholdRule, estimate
from bench.experiment.cell import CannotFitError, Fitter, Settings, fit_again
from bench.experiment.environment import describe_environment
from bench.experiment.grades import grade_of
from bench.experiment.settings import read_rule
from bench.experiment.spec import NEAREST, NEAREST_MIN_COSINE, Cell, run_id
from bench.experiment.told import Handout, hand_out
from bench.records.probes import ProbeRecord
from bench.records.record import SCHEMA_VERSION
from bench.types import ABNORMAL, NORMAL, UNKNOWN_KEY, Sequences

PROBE_VERSION: Final = 1
"""Raised whenever a probe alters texts, draws or measures otherwise."""

Kind = Literal["injection", "memorisation", "shortcut", "router", "permuted-labels", "words"]


class NotProbedError(BenchError):
    """A detector that cannot be probed at all, so that nothing was fitted or asked."""


@dataclass(frozen=True)
class ProbeRequest:
    """What is to be probed; everything here but the rule's default belongs to the record's identity."""

    kind: Kind
    cell: Cell
    sample: int = 100
    """Test sequences at most, half of them abnormal; 0: all, for the router."""
    rule: str = ""
    """Threshold rule; empty: the method's own where it asks a model, else `conformal:0.01`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How texts are altered, as JSON."""

    @property
    def threshold_rule(self) -> ThresholdRule:
        """The rule, resolved; `oracle` and rules for several systems are refused."""
        asks = self.cell.method.asks_a_model
        rule = read_rule(self.rule or ("native" if asks else DEFAULT_RULE))
        if rule.kind == "oracle" or rule.is_per_system:
            raise BenchError(
                f"a probe needs one threshold that reads no test labels, not '{rule}': use native or conformal:0.01"
            )
        return rule

    @property
    def label(self) -> str:
        """The row's name without settings that say how a question is asked: an address may hold a key."""
        method = self.cell.method
        fields = method.description.fields
        given = {key: value for key, value in method.passed.items() if key in fields and fields[key].identity}
        return replace(method, passed=given).label

    def spec(self) -> dict[str, Any]:
        """The identity of the probe, as JSON."""
        return {
            "probe": self.kind,
            "probe_version": PROBE_VERSION,
            "run": self.cell.spec(),
            "sample": self.sample,
            "rule": str(self.threshold_rule),
            "options": dict(self.options),
        }

    @property
    def probe_id(self) -> str:
        """First 16 hex digits of SHA-256 over the canonical JSON of `spec()`."""
        return run_id(self.spec())


@dataclass(frozen=True)
class Subject:
    """A fitted detector with the data on which it is probed."""

    detector: Detector
    prepared: Prepared
    variant: str = ""

    @property
    def test(self) -> Sequences:
        """All test sequences."""
        return self.prepared.test.sequences

    @property
    def labels(self) -> NDArray[np.int8]:
        """int8 (n_test,): 0 normal, 1 abnormal."""
        return self.prepared.test.labels

    @property
    def n_shown(self) -> int | None:
        """Lines of a sequence that the detector reads at most, where its config says so."""
        limit = getattr(self.detector.config, "max_lines", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    @property
    def strata(self) -> NDArray[np.int64]:
        """int64 (n_test,): a number for each system and label."""
        return self.test.system.astype(np.int64) * 2 + self.labels

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """float64 (n_sequences,): the detector's scores, finite."""
        if self.variant == NEAREST:
            sequences = nearest_keys(
                sequences, sequences.texts[: self.prepared.facts["n_log_keys"]], NEAREST_MIN_COSINE
            )
        scores = np.asarray(self.detector.score(sequences.read_only()), np.float64)
        if scores.shape != (len(sequences),) or not np.isfinite(scores).all():
            raise BenchError(f"the detector gave no finite score for each of {len(sequences)} sequences")
        return scores

    def threshold(self, rule: ThresholdRule) -> Threshold:
        """What the rule gives; validation sequences are scored only where it needs them."""
        if rule.kind in ("native", "fixed"):
            return estimate(rule, validation_normals=np.empty(0), native=self.detector.native_threshold_)
        if rule.population is None:
            return estimate(rule, validation_normals=self.score(self.prepared.validation.normals))
        target, nothing = self.prepared.target_validation, np.empty(0)
        if target is None:
            return estimate(rule, validation_normals=nothing)
        scores = self.score(target.sequences)
        normals = scores[target.labels == NORMAL]
        return estimate(rule, validation_normals=nothing, target_normals=normals, target_unlabelled=scores)


def with_texts(sequences: Sequences, text_ids: NDArray[np.int32], texts: Sequence[str]) -> Sequences:
    """The sequences with further texts behind theirs; an event whose text changes has an unknown log key.

    text_ids: int32 (n_events,) index into the texts there were and, behind them, the further ones
    """
    return replace(
        sequences,
        log_keys=np.where(text_ids != sequences.text_ids, np.int32(UNKNOWN_KEY), sequences.log_keys),
        text_ids=text_ids,
        texts=(*sequences.texts, *texts),
    )


def require_reads(kind: Kind, cell: Cell) -> None:
    """Refuse a method that reads nothing of what the probe alters."""
    method = cell.method
    if method.description.error:
        raise BenchError(f"'{method.label}' cannot be used: {method.description.error}")
    if kind == "router":  # nothing is altered
        return
    if not (method.uses_texts or (kind == "shortcut" and "log_keys" in method.description.uses)):
        reads = ", ".join(sorted(method.description.uses)) or "none of them"
        lacks = "neither texts nor log keys" if kind == "shortcut" else "no texts"
        raise BenchError(
            f"'{method.label}' reads {lacks} ({reads}), so nothing that a probe alters can reach it: choose a method "
            "that does"
        )
    if (lines := method.config.get("lines", "masked")) != "masked" and "raw" in method.description.uses:
        raise BenchError(
            f"'{method.label}' is shown lines as they were written (lines={lines}), and a probe alters texts: leave "
            "'lines' out"
        )


def require_told_labels(kind: Kind, cell: Cell) -> None:
    """Refuse a method that is told no labels of its source."""
    grade = grade_of(cell.told.get("source", ""))
    if grade not in ("labels", "few"):
        needed = "labels to permute" if kind == "permuted-labels" else "labels that a word could carry"
        raise BenchError(
            f"'{cell.method.label}' is told {f'source {grade}' if grade else 'nothing of the source'}, so there are no "
            f"{needed}: choose a method that is told source labels, such as mean-difference"
        )


def subject(request: ProbeRequest, prepared: Prepared, settings: Settings) -> Subject:
    """Fit the detector of a cell; a NotProbedError where it cannot run, such as a chat model without endpoint."""
    cell, label = request.cell, request.label
    detector_class = registry.load(cell.method.ref, cell.method.description)
    try:
        detector_class.Config(**cell.method.config)
    except Exception as error:
        raise NotProbedError(f"'{label}' does not accept its --set: {error}") from None
    try:
        detector, visible = fit_again(cell, prepared, settings)
    except CannotFitError as error:
        raise NotProbedError(f"'{label}' cannot be probed: {error.reason}") from None
    return Subject(detector, visible, cell.method.variant)


def fit_altered(cell: Cell, fitted: Subject, settings: Settings, alter: Callable[[Handout], Handout]) -> Subject:
    """Another detector, fitted on what `alter` makes of what the first was told; the test part stays."""
    detector = Fitter(settings).new(cell)
    given = hand_out(cell, fitted.prepared, detector)
    told = alter(given)
    detector.fit(told.train, told.labels, evidence=told.evidence)
    return Subject(detector, given.data, cell.method.variant)


def draw(strata: NDArray[np.int64], n: int, eligible: NDArray[np.bool_], *, seed: int) -> NDArray[np.int64]:
    """int64 (<= n,): positions of eligible sequences in order, half of each label as far as there are.

    strata: int64 (n_test,), twice the system plus the label. Within a label every system gets its share.
    """
    rng = np.random.default_rng(seed)
    of_label = [np.flatnonzero(eligible & (strata % 2 == label)) for label in (NORMAL, ABNORMAL)]
    n_normal = min(len(of_label[0]), max(n - n // 2, n - len(of_label[1])))
    sizes = (n_normal, min(len(of_label[1]), n - n_normal))
    chosen = [_spread(members, strata[members], size, rng) for members, size in zip(of_label, sizes, strict=True)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _spread(
    members: NDArray[np.int64], strata: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """So many members, every stratum as often as its share says, by largest remainders."""
    names, counts = np.unique(strata, return_counts=True)
    exact = counts * (size / max(1, len(members)))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: size - int(quota.sum())]] += 1
    parts = [rng.choice(members[strata == name], k, replace=False) for name, k in zip(names, quota, strict=True)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def make_record(
    request: ProbeRequest, fitted: Subject, results: Mapping[str, Any], threshold: Threshold, seconds: float
) -> ProbeRecord:
    """A probe's record: no log text, and of the config only what belongs to the identity, so no endpoint and no key."""
    method = request.cell.method
    return {
        "schema_version": SCHEMA_VERSION,
        "probe_id": request.probe_id,
        "probe": request.kind,
        "spec": request.spec(),
        "scenario": request.cell.scenario.key,
        "split": request.cell.split,
        "seed": request.cell.seed,
        "simulated": [card.key for card in request.cell.scenario.cards if card.standing == "simulated"],
        "tiers": {card.key: card.tier for card in request.cell.scenario.cards},
        "method": request.label,
        "told": request.cell.told,
        "teacher": method.asks_a_model,
        "threshold": {
            "rule": str(request.threshold_rule),
            "value": threshold.value,
            "fitted_on": threshold.fitted_on,
            "n": threshold.n,
            "reason": threshold.reason,
        },
        "population": {"n": len(fitted.labels), "n_abnormal": int(fitted.labels.sum())},
        "results": results,
        "monitor": jsonable(require_monitor(fitted.detector.monitor())),
        "seconds": round(seconds, 3),
        "environment": describe_environment(),
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


Measure = Callable[[ProbeRequest, Subject, Threshold], Mapping[str, Any]]


def run_probe(request: ProbeRequest, prepared: Prepared, settings: Settings, measure: Measure) -> ProbeRecord:
    """Fit, draw, alter, score, compare: the record of one probe, which is not stored yet."""
    start = time.perf_counter()
    fitted = subject(request, prepared, settings)
    threshold = fitted.threshold(request.threshold_rule)
    results = measure(request, fitted, threshold)
    return make_record(request, fitted, results, threshold, time.perf_counter() - start)
