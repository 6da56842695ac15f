"""Fitting a method to keep it: on an edition as `bench run` would, labels and an abnormal test part being no need."""

from __future__ import annotations

import datetime
import math
from typing import Any, Final

from bench.contract import require_native
from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.loader import Loader, Prepared
from bench.deploy.saved import Fitted
from bench.deploy.windows import Windows
from bench.detector import Detector
from bench.errors import BenchError, shown
from bench.evaluation.thresholds import Threshold, ThresholdRule, estimate
from bench.experiment.cell import Settings, fit_again
from bench.experiment.environment import describe_environment
from bench.experiment.grades import grade_of
from bench.experiment.scoring import scores_of
from bench.experiment.spec import Cell
from bench.types import NORMAL

NEEDS_NO_LABEL: Final = frozenset({"normals", "unlabelled"})
"""What a method may be told of a log without labels: all of it is taken as normal."""


def needs_labels(cell: Cell) -> bool:
    """Whether the method of a cell is told labels, which normals alone are not."""
    return not {grade_of(text) for text in cell.told.values()} <= NEEDS_NO_LABEL


def fit(cell: Cell, catalogue: Catalogue, settings: Settings, rule: ThresholdRule) -> Fitted:
    """Fit the method of a cell on its training part, and estimate the threshold from its validation part.

    Of a log without any label all is taken as normal, for a method that is told no labels; nothing is asked of the
    test part, since nothing is measured.
    """
    prepared = Loader(catalogue).prepare(cell.data, is_judged=False, as_normal=not needs_labels(cell))
    if prepared.skip_reason is not None:
        raise BenchError(f"'{cell.method.label}' cannot be fitted: {prepared.skip_reason}")
    if not prepared.vocabulary.reads_lines:
        raise BenchError(
            f"'{cell.scenario.key}' holds event ids, so what is fitted on it cannot read lines: use an edition of lines"
        )
    detector, visible = fit_again(cell, prepared, settings)
    return Fitted(
        detector,
        prepared.vocabulary,
        cell.scenario.train,
        Windows(cell.grouping),
        str(rule),
        threshold_of(detector, visible, rule),
        provenance(cell, prepared, settings),
    )


def threshold_of(detector: Detector, prepared: Prepared, rule: ThresholdRule) -> Threshold:
    """The threshold from the normal validation sequences; one that cannot be estimated is a BenchError."""
    normals = prepared.validation.sequences.select(prepared.validation.labels == NORMAL)
    try:
        scores, _ = scores_of(detector, normals)
        native = require_native(detector.native_threshold_)
    except (TypeError, ValueError) as error:
        raise BenchError(f"what was fitted cannot score ({shown(error)}): correct the method") from None
    found = estimate(rule, validation_normals=scores, native=native)
    if found.value is None or not math.isfinite(found.value):
        reason = found.reason or f"it is {found.value}"
        raise BenchError(f"the threshold {rule} cannot be estimated ({reason}): choose another with --threshold")
    return found


def provenance(cell: Cell, prepared: Prepared, settings: Settings) -> dict[str, Any]:
    """Where a fitted detector comes from, and what is needed to make it again."""
    fields = cell.method.description.fields
    return {
        "method": cell.method.label,
        "told": cell.told,
        "scenario": cell.scenario.key,
        "run_id": cell.run_id,
        "spec": cell.spec(),
        "counts": {name: value for name, value in prepared.facts.items() if isinstance(value, int | float)},
        "threads": settings.threads,
        "environment": describe_environment(),
        "fitted_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "method_ref": cell.method.ref.name,
        "config": {name: value for name, value in cell.method.config.items() if fields[name].identity},
        "seed": cell.seed,
    }
