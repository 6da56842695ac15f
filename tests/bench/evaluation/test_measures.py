"""Metrics by name: what is read of a record, and what is derived from it on reading."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef

from bench.evaluation import measures
from bench.evaluation.measures import Measure, all_measures, columns, compared, gated, measure_of
from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.paired import Scored, resample
from bench.evaluation.stats import LEVELS, spread

RULE = "conformal:0.01"


def block_of(scores, labels, threshold, weights=None):
    """A metric block as a record holds it."""
    return {
        "ranking": ranking_metrics(scores, labels, weights),
        "rules": {RULE: metrics_at(scores, labels, threshold, weights) | {"recall_incident": 0.5}},
        "bootstrap": spread(scores, labels, {RULE: threshold}, weights=weights),
    }


def drawn(seed, n=200):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int8)
    labels[:2] = 0, 1
    return rng.normal(size=n) + labels, labels


@pytest.mark.parametrize("seed", range(10))
def test_derived_metrics_are_those_of_scikit_learn(seed):
    scores, labels = drawn(seed)
    threshold = float(np.quantile(scores, (0.0, 0.3, 0.7, 0.95)[seed % 4]))
    block, flagged = block_of(scores, labels, threshold), scores > threshold
    assert measure_of("mcc").value(block, RULE) == pytest.approx(matthews_corrcoef(labels, flagged))
    expected = balanced_accuracy_score(labels, flagged)
    assert measure_of("balanced_accuracy").value(block, RULE) == pytest.approx(expected)


@pytest.mark.parametrize("threshold", [-np.inf, np.inf])
def test_flagging_all_or_nothing_has_no_correlation(threshold):
    block = block_of(*drawn(0), threshold)
    assert measure_of("mcc").value(block, RULE) == 0
    assert measure_of("balanced_accuracy").value(block, RULE) == 0.5


def test_of_a_weighted_sample_they_estimate_the_whole_part():
    """Each normal sequence stands for three: the same as a part that holds it three times."""
    scores, labels = drawn(1)
    weights = np.where(labels == 0, 3.0, 1.0)
    times = weights.astype(int)
    sampled, whole = block_of(scores, labels, 0.8, weights), block_of(scores.repeat(times), labels.repeat(times), 0.8)
    for key in ("mcc", "balanced_accuracy"):
        assert measure_of(key).value(sampled, RULE) == pytest.approx(measure_of(key).value(whole, RULE))
    flagged = scores > 0.8
    assert measure_of("mcc").value(sampled, RULE) == pytest.approx(
        matthews_corrcoef(labels, flagged, sample_weight=weights)
    )


def test_the_quantiles_of_a_derived_metric_are_those_of_a_bootstrap():
    """Resampled by hand: abnormal and normal sequences apart, as the stored bootstrap does."""
    scores, labels = drawn(2, n=600)
    block, flagged = block_of(scores, labels, 0.8), scores > 0.8
    rng = np.random.default_rng(0)
    n_abnormal, n_normal = int(labels.sum()), int((labels == 0).sum())
    recall = rng.binomial(n_abnormal, flagged[labels == 1].mean(), 20_000) / n_abnormal
    fpr = rng.binomial(n_normal, flagged[labels == 0].mean(), 20_000) / n_normal
    share = labels.mean()
    rate = share * recall + (1 - share) * fpr
    by_hand = {
        "mcc": (recall - fpr) * np.sqrt(share * (1 - share) / (rate * (1 - rate))),
        "balanced_accuracy": (recall + 1 - fpr) / 2,
    }
    for key, values in by_hand.items():
        found = measure_of(key).quantiles(block, RULE)
        # Inner levels: the stored quantiles end at 0.005 and 0.995.
        assert found[1:-1] == pytest.approx(np.quantile(values, LEVELS)[1:-1], abs=0.02)


def test_what_is_not_defined_is_none():
    scores, labels = drawn(3)
    block = block_of(scores, labels, 0.8)
    assert measure_of("mcc").value(block, "native") is None
    assert measure_of("f1").value(block, "native") is None
    only_normal = metrics_at(scores, np.zeros_like(labels), 0.8)
    assert measure_of("mcc").value({"rules": {RULE: only_normal}}, RULE) is None
    without_counts = {"rules": {RULE: {"recall": 0.5, "fpr": 0.1}}}
    assert measure_of("balanced_accuracy").value(without_counts, RULE) is None


def test_a_stored_metric_is_read_as_it_is():
    block = block_of(*drawn(4), 0.8)
    assert measure_of("f1").value(block, RULE) == block["rules"][RULE]["f1"]
    assert measure_of("f1").quantiles(block, RULE) == block["bootstrap"]["rules"][RULE]["f1"]
    assert measure_of("auroc").quantiles(block, "") == block["bootstrap"]["auroc"]
    assert measure_of("oracle_f1").quantiles(block, "") == [block["ranking"]["oracle_f1"]] * len(LEVELS)


def test_every_row_without_a_formula_stands_in_records():
    block = block_of(*drawn(5), 0.8)
    for measure in all_measures():
        assert measure.value(block, RULE) is not None, measure.key
        assert len(measure.quantiles(block, RULE)) == len(LEVELS), measure.key


def test_what_is_compared_can_be_resampled_and_is_better_when_higher():
    scores, labels = drawn(6)
    (found,) = resample([Scored(scores, 0.8)], labels, n=10, seed=0)
    assert {measure.key for measure in compared()} == found.keys()
    assert all(measure.higher_is_better for measure in compared())


def test_lists_follow_the_rows(monkeypatch):
    row = Measure("flagged_share", "rules", "flagged", "flagged", in_gate=True, higher_is_better=False)
    before = len(columns()), len(gated())
    monkeypatch.setattr(measures, "MEASURES", (*measures.MEASURES, row))
    assert (len(columns()), len(gated())) == (before[0] + 1, before[1] + 1)
    assert measure_of("flagged_share") is row
