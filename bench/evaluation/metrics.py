"""Scores and labels -> metrics of one record; every metric is a fraction, none a per cent.

Of a stratified subsample the sampling weights make each metric an estimate of its value on the whole test part.

Conventions where a quotient is 0/0:
* precision is 0 when nothing is flagged, and F1 is then 0 (scikit-learn's `zero_division=0`)
* without an abnormal sequence precision, recall, F1 and everything that ranks by them are None
* without a normal sequence FPR, AUROC and recall at an FPR are None
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.thresholds import OperatingPoints, as_abnormal, flag, operating_points, strata

FPR_LEVELS: Final = (0.01, 0.001)
"""False positive rates at which recall is reported."""


def metrics_at(
    scores: NDArray[np.float64], labels: NDArray[Any], threshold: float, weights: NDArray[np.float64] | None = None
) -> dict[str, float | None]:
    """Metrics of one threshold.

    scores: float64 (n_sequences,), finite;  labels: 0 normal, 1 abnormal (int or bool), (n_sequences,)
    threshold: sequences with a higher score are flagged; -inf flags all
    weights: float64 (n_sequences,), sampling weights; a sequence of weight 0 takes no part

    Returns precision, recall, f1, fpr (the realised false positive rate), flagged_share, and the counts tp, fp, fn, tn
    as int, or under weights as what they are estimated to be on the whole part. Raises ValueError for other labels,
    other shapes and scores or weights that cannot be used.
    """
    abnormal = as_abnormal(scores, labels)
    flagged = flag(scores, threshold)
    tp = fp = n_abnormal = n_normal = 0.0 if weights is not None else 0
    for weight, mask in strata(abnormal, weights):
        size, n_hits = weight * int(np.count_nonzero(mask)), weight * int(np.count_nonzero(flagged & mask))
        if abnormal[mask].any():
            tp, n_abnormal = tp + n_hits, n_abnormal + size
        else:
            fp, n_normal = fp + n_hits, n_normal + size
    n_flagged = tp + fp
    return {
        "precision": (tp / n_flagged if n_flagged else 0.0) if n_abnormal else None,
        "recall": _ratio(tp, n_abnormal),
        "f1": 2 * tp / (n_flagged + n_abnormal) if n_abnormal else None,
        "fpr": _ratio(fp, n_normal),
        "flagged_share": _ratio(n_flagged, n_abnormal + n_normal),
        "tp": tp,
        "fp": fp,
        "fn": n_abnormal - tp,
        "tn": n_normal - fp,
    }


def recall_of_incidents(
    flagged: NDArray[np.bool_], incident: NDArray[np.int32], weights: NDArray[np.float64] | None = None
) -> float | None:
    """The share of incidents of which at least one sequence is flagged; None without an incident.

    flagged: bool (n_sequences,);  incident: that of each abnormal sequence, -1 for none, (n_sequences,)
    weights: float64 (n_sequences,); a sequence of weight 0 takes no part, else an incident counts once
    """
    is_in = incident >= 0 if weights is None else (incident >= 0) & (weights > 0)
    found = np.unique(incident[is_in & flagged])
    return _ratio(len(found), len(np.unique(incident[is_in])))


def ranking_metrics(
    scores: NDArray[np.float64], labels: NDArray[Any], weights: NDArray[np.float64] | None = None
) -> dict[str, float | None]:
    """Metrics that need no threshold rule.

    scores: float64 (n_sequences,), finite;  labels: 0 normal, 1 abnormal (int or bool), (n_sequences,)
    weights: float64 (n_sequences,), sampling weights; a sequence of weight 0 takes no part

    auroc: probability that an abnormal sequence scores above a normal one, ties counted half (midrank)
    ap: average precision, the sum of precision times gained recall over distinct scores, not interpolated
    recall_at_fpr_0.01, recall_at_fpr_0.001: highest recall of a threshold whose FPR does not exceed this
    oracle_f1: best F1 of any threshold, `-inf` included, so never below all_positive_f1
    prevalence p: share of abnormal sequences;  all_positive_f1 = 2p / (1 + p): F1 of flagging everything

    Raises ValueError for other labels, other shapes and scores or weights that cannot be used.
    """
    points = operating_points(scores, labels, weights)
    n_abnormal, n_normal = points.tp[-1].item(), points.fp[-1].item()
    prevalence = _ratio(n_abnormal, n_abnormal + n_normal)
    both = n_abnormal > 0 and n_normal > 0
    result: dict[str, float | None] = {
        "auroc": _auroc(points) if both else None,
        "ap": _average_precision(points) if n_abnormal else None,
    }
    for level in FPR_LEVELS:
        result[f"recall_at_fpr_{level:g}"] = _recall_at_fpr(points, level) if both else None
    return result | {
        "oracle_f1": float(points.f1().max()) if n_abnormal else None,
        "prevalence": prevalence,
        "all_positive_f1": 2 * prevalence / (1 + prevalence) if prevalence else None,
    }


def _auroc(points: OperatingPoints) -> float:
    tp, fp = points.tp.astype(np.float64), points.fp.astype(np.float64)
    return float(np.sum(np.diff(fp) * (tp[1:] + tp[:-1])) / (2 * tp[-1] * fp[-1]))


def _average_precision(points: OperatingPoints) -> float:
    tp, fp = points.tp, points.fp
    return float(np.sum(np.diff(tp) * (tp[1:] / (tp[1:] + fp[1:]))) / tp[-1])


def _recall_at_fpr(points: OperatingPoints, level: float) -> float:
    """Both counts grow along the points, so the last point that keeps the level has the highest recall."""
    within = np.searchsorted(points.fp / points.fp[-1], level, side="right")
    return float(points.tp[within - 1] / points.tp[-1])


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
