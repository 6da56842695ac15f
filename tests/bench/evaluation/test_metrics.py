import json
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from bench.evaluation.metrics import metrics_at, ranking_metrics


def cases():
    """Random scores with no, some and many ties, at several prevalences."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(5, 300))
        labels = (rng.random(n) < rng.choice([0.05, 0.3, 0.7])).astype(np.int8)
        labels[:2] = 0, 1
        scores = rng.normal(size=n) + labels
        yield np.round(scores, int(rng.integers(0, 3))) if seed % 3 else scores, labels


def test_metrics_at_a_threshold_by_hand():
    scores, labels = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 1, 1, 0])
    assert metrics_at(scores, labels, 2.0) == {
        "precision": 2 / 3,
        "recall": 2 / 3,
        "f1": 2 / 3,
        "fpr": 1 / 2,
        "flagged_share": 3 / 5,
        "tp": 2,
        "fp": 1,
        "fn": 1,
        "tn": 1,
    }


def test_metrics_at_a_threshold_agree_with_sklearn():
    for scores, labels in cases():
        for threshold in np.quantile(scores, [0, 0.2, 0.5, 0.9, 1]):
            ours = metrics_at(scores, labels, threshold)
            theirs = precision_recall_fscore_support(labels, scores > threshold, average="binary", zero_division=0)
            assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(theirs[:3])


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    for scores, labels in cases():
        m = metrics_at(scores, labels, float(np.median(scores)))
        if m["f1"]:
            assert m["f1"] == pytest.approx(2 * m["precision"] * m["recall"] / (m["precision"] + m["recall"]))


def test_precision_is_zero_with_no_flags():
    m = metrics_at(np.zeros(3), np.array([0, 1, 1]), 0.0)
    assert (m["precision"], m["recall"], m["f1"], m["flagged_share"]) == (0, 0, 0, 0)


def test_rankings_agree_with_sklearn():
    for scores, labels in cases():
        ours = ranking_metrics(scores, labels)
        assert ours["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert ours["ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_oracle_f1_and_recall_at_fpr_are_the_best_of_a_plain_search():
    for scores, labels in cases():
        found = [metrics_at(scores, labels, t) for t in [-np.inf, *scores]]
        ours = ranking_metrics(scores, labels)
        assert ours["oracle_f1"] == pytest.approx(max(m["f1"] for m in found))
        for level in (0.01, 0.001):
            assert ours[f"recall_at_fpr_{level:g}"] == max(m["recall"] for m in found if m["fpr"] <= level)


def test_recall_at_fpr_by_hand():
    normals, abnormal = np.arange(1000.0), np.array([2000.0, 998.5, 990.5, 988.5, -1.0])
    m = ranking_metrics(np.append(normals, abnormal), np.repeat([0, 1], [1000, 5]))
    assert m["recall_at_fpr_0.001"] == 2 / 5  # at most 1 of 1000 normals: 2000 and 998.5
    assert m["recall_at_fpr_0.01"] == 3 / 5  # at most 10: also 990.5, which 9 exceed; 988.5 is exceeded by 11


def test_a_constant_score_ranks_nothing_and_flags_all_at_best():
    labels = np.array([1, 0, 0, 0])
    m = ranking_metrics(np.zeros(4), labels)
    assert m["auroc"] == 0.5
    assert m["ap"] == m["prevalence"] == 0.25
    assert m["recall_at_fpr_0.01"] == 0
    assert m["oracle_f1"] == m["all_positive_f1"] == pytest.approx(0.4)


def test_all_positive_f1_is_that_of_flagging_everything():
    for scores, labels in cases():
        everything = metrics_at(scores, labels, float("-inf"))
        m = ranking_metrics(scores, labels)
        assert m["all_positive_f1"] == pytest.approx(everything["f1"])
        assert m["oracle_f1"] >= m["all_positive_f1"] - 1e-12
        assert everything["fpr"] == everything["recall"] == everything["flagged_share"] == 1


def test_a_perfect_ranking():
    m = ranking_metrics(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]))
    assert (m["auroc"], m["ap"], m["oracle_f1"], m["recall_at_fpr_0.001"]) == (1, 1, 1, 1)


def test_monotone_changes_of_the_score_change_no_ranking():
    for scores, labels in cases():
        assert ranking_metrics(np.exp(scores / 2) - 7, labels) == ranking_metrics(scores, labels)


def test_without_abnormal_sequences():
    m = metrics_at(np.array([0.0, 1.0]), np.zeros(2), 0.5)
    assert [m[name] for name in ("precision", "recall", "f1")] == [None] * 3
    assert m["fpr"] == 0.5
    ranked = ranking_metrics(np.array([0.0, 1.0]), np.zeros(2))
    assert ranked.pop("prevalence") == 0
    assert set(ranked.values()) == {None}


def test_without_normal_sequences():
    m = metrics_at(np.array([0.0, 1.0]), np.ones(2), 0.5)
    assert (m["fpr"], m["precision"], m["recall"]) == (None, 1, 0.5)
    ranked = ranking_metrics(np.array([0.0, 1.0]), np.ones(2))
    assert (ranked["auroc"], ranked["recall_at_fpr_0.01"]) == (None, None)
    assert (ranked["ap"], ranked["oracle_f1"], ranked["all_positive_f1"]) == (1, 1, 1)


def test_without_any_sequence():
    assert set(ranking_metrics(np.zeros(0), np.zeros(0)).values()) == {None}
    assert metrics_at(np.zeros(0), np.zeros(0), 0.0)["flagged_share"] is None


def test_labels_may_be_bool_or_int():
    scores, labels = np.array([0.0, 1.0, 2.0]), np.array([0, 1, 0], dtype=np.int8)
    assert ranking_metrics(scores, labels) == ranking_metrics(scores, labels.astype(bool))
    assert metrics_at(scores, labels, 0.5) == metrics_at(scores, labels.astype(bool), 0.5)


def test_metrics_are_json():
    scores, labels = np.array([0.0, 1.0, 2.0]), np.array([0, 1, 0])
    for result in (metrics_at(scores, labels, 0.5), ranking_metrics(scores, labels)):
        assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    ("scores", "labels", "told"),
    [
        ([0.0, 1.0], [0, -1], "1 of 2 are neither"),
        ([0.0, np.nan], [0, 1], "1 of 2 are not"),
        ([0.0, 1.0], [0, 1, 0], "equally long"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(scores, labels, told):
    with pytest.raises(ValueError, match=told):
        ranking_metrics(np.array(scores), np.array(labels))
    with pytest.raises(ValueError, match=told):
        metrics_at(np.array(scores), np.array(labels), 0.5)


def test_a_million_scores_take_about_a_second():
    rng = np.random.default_rng(0)
    labels = (rng.random(1_000_000) < 0.1).astype(np.int8)
    scores = rng.normal(size=len(labels)) + labels
    start = time.perf_counter()
    ranking_metrics(scores, labels)
    metrics_at(scores, labels, 1.0)
    assert time.perf_counter() - start < 2.5


# ------------------------------------------------------------------------------------------------ sampling weights


def test_weighted_metrics_by_hand():
    """Two of eight normals and both abnormals drawn: one flagged normal stands for four."""
    scores, labels, weights = np.array([3.0, 1, 4, 2]), np.array([0, 0, 1, 1]), np.array([4.0, 4, 1, 1])
    assert metrics_at(scores, labels, 2.0, weights) == {
        "precision": 1 / 5,
        "recall": 1 / 2,
        "f1": 2 / 7,
        "fpr": 1 / 2,
        "flagged_share": 5 / 10,
        "tp": 1,
        "fp": 4,
        "fn": 1,
        "tn": 4,
    }
    ranked = ranking_metrics(scores, labels, weights)
    assert ranked["prevalence"] == 0.2
    assert ranked["auroc"] == (8 + 4) / 16
    assert ranked["ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 6)
    assert ranked["recall_at_fpr_0.01"] == 0.5
    assert ranked["oracle_f1"] == 2 / 3


def test_a_whole_weight_counts_as_so_many_sequences_and_0_as_none():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scores, labels = np.round(rng.normal(size=40), 1), rng.integers(0, 2, 40)
        weights = rng.integers(0, 4, 40)
        repeated = np.repeat(scores, weights), np.repeat(labels, weights)
        assert metrics_at(scores, labels, 0.2, weights * 1.0) == pytest.approx(metrics_at(*repeated, 0.2))
        assert ranking_metrics(scores, labels, weights * 1.0) == pytest.approx(ranking_metrics(*repeated))


def test_where_every_weight_is_0_nothing_is_left_to_measure():
    nothing = ranking_metrics(np.arange(3.0), np.array([0, 1, 1]), np.zeros(3))
    assert set(nothing.values()) == {None}
    assert metrics_at(np.arange(3.0), np.array([0, 1, 1]), 1.0, np.zeros(3))["f1"] is None


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0]])
def test_weights_that_cannot_be_used_are_refused(weights):
    for measure in (ranking_metrics, lambda *rest: metrics_at(*rest[:2], 0.0, rest[2])):
        with pytest.raises(ValueError, match="weights must be finite"):
            measure(np.arange(3.0), np.array([0, 1, 1]), np.array(weights))
