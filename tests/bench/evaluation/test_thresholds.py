import json

import numpy as np
import pytest

from bench.errors import BenchError
from bench.evaluation.metrics import metrics_at
from bench.evaluation.thresholds import (
    DEFAULT_RULE,
    Threshold,
    ThresholdRule,
    conformal_rank,
    estimate,
    flag,
    operating_points,
    parse_rule,
)

NOTHING = np.array([])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("native", ThresholdRule("native")),
        ("oracle", ThresholdRule("oracle")),
        ("conformal:0.01", ThresholdRule("conformal", 0.01)),
        ("quantile:0.99", ThresholdRule("quantile", 0.99)),
        ("fixed:2.5", ThresholdRule("fixed", 2.5)),
        ("fixed:-3", ThresholdRule("fixed", -3.0)),
        ("conformal:0.01@target-normals", ThresholdRule("conformal", 0.01, "target-normals")),
        ("quantile:0.95@target-unlabelled", ThresholdRule("quantile", 0.95, "target-unlabelled")),
    ],
)
def test_rule_is_read_and_written_back(text, rule):
    assert parse_rule(text) == rule
    assert str(rule) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" conformal:1e-2 ", "conformal:0.01"),
        ("fixed:2.50", "fixed:2.5"),
        ("fixed:2.0", "fixed:2"),
        ("quantile:.9", "quantile:0.9"),
    ],
)
def test_equal_rules_have_one_canonical_text(text, canonical):
    assert str(parse_rule(text)) == canonical
    assert parse_rule(canonical) == parse_rule(text)


@pytest.mark.parametrize("value", [1 / 3, 1e-7, 123456789.125])
def test_canonical_text_loses_no_digit(value):
    assert parse_rule(str(ThresholdRule("fixed", value))).value == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "conformal:0.01"),
        ("best", "'best'"),
        ("Conformal:0.01", "'Conformal:0.01'"),
        ("conformal", "conformal:0.01"),
        ("conformal:", "conformal:0.01"),
        ("conformal:one", "'one' is not a number"),
        ("conformal:0", "between 0 and 1"),
        ("conformal:1", "between 0 and 1"),
        ("quantile:99", "at most 1"),
        ("fixed:nan", "not finite"),
        ("fixed:inf", "not finite"),
        ("native:3", "write 'native'"),
        ("oracle:0.5", "write 'oracle'"),
        ("conformal:0.01@target", "@target-normals, @target-unlabelled"),
        ("conformal:0.01@", "@target-normals"),
        ("fixed:2@target-normals", "write 'fixed:2'"),
        ("native@target-normals", "write 'native'"),
    ],
)
def test_bad_rule_is_one_sentence_with_the_value_and_the_way_out(text, told):
    with pytest.raises(BenchError) as caught:
        parse_rule(text)
    message = str(caught.value)
    assert f"'{text}'" in message
    assert told in message
    assert "\n" not in message


def test_default_rule_is_canonical():
    assert str(parse_rule(DEFAULT_RULE)) == DEFAULT_RULE


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [
        (99, 0.01, 99),
        (100, 0.01, 100),
        (199, 0.01, 198),
        (98, 0.01, 99),
        (9, 0.1, 9),
        (19, 0.05, 19),
        (999, 0.001, 999),
    ],
)
def test_conformal_rank_by_hand(n, alpha, rank):
    assert conformal_rank(n, alpha) == rank


def test_conformal_rank_knows_no_rounding_error():
    for percent in range(1, 100):
        for n in range(400):
            assert conformal_rank(n, percent / 100) == -(-(n + 1) * (100 - percent) // 100)


def test_conformal_takes_the_order_statistic():
    scores = np.random.default_rng(0).permutation(199).astype(float)
    threshold = estimate(parse_rule("conformal:0.01"), validation_normals=scores)
    assert threshold == Threshold(197.0, "validation normals", 199)  # the 198th smallest of 0..198


def test_conformal_says_how_many_it_needs():
    assert estimate(parse_rule("conformal:0.01"), validation_normals=np.zeros(57)) == Threshold(
        None, "validation normals", 57, "needs at least 99 validation normals, has 57"
    )


@pytest.mark.parametrize("alpha", ["0.01", "0.05", "0.1", "0.3", "0.003"])
def test_the_number_conformal_needs_is_the_smallest_that_suffices(alpha):
    rule = parse_rule(f"conformal:{alpha}")
    needed = int(str(estimate(rule, validation_normals=NOTHING).reason).split()[3])
    assert estimate(rule, validation_normals=np.zeros(needed)).value == 0
    assert estimate(rule, validation_normals=np.zeros(needed - 1)).value is None


def test_conformal_keeps_its_false_positive_rate_on_average():
    rng = np.random.default_rng(1)
    for n, alpha in [(99, 0.01), (150, 0.01), (57, 0.05), (30, 0.1)]:
        rule = ThresholdRule("conformal", alpha)
        rates = []
        for _ in range(1000):
            threshold = estimate(rule, validation_normals=rng.normal(size=n)).value
            rates.append(np.mean(flag(rng.normal(size=200), threshold)))
        error = np.std(rates) / np.sqrt(len(rates))
        assert np.mean(rates) <= alpha + 3 * error
        assert np.mean(rates) >= alpha - 1 / (n + 1) - 3 * error


def test_conformal_keeps_its_false_positive_rate_with_ties():
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(500):
        threshold = estimate(
            parse_rule("conformal:0.05"), validation_normals=rng.integers(0, 4, 60).astype(float)
        ).value
        rates.append(np.mean(flag(rng.integers(0, 4, 200).astype(float), threshold)))
    assert np.mean(rates) <= 0.05


def test_quantile():
    scores = np.arange(101.0)
    assert estimate(parse_rule("quantile:0.99"), validation_normals=scores).value == 99
    assert estimate(parse_rule("quantile:1"), validation_normals=scores).value == 100
    assert estimate(parse_rule("quantile:0.5"), validation_normals=np.array([1.0, 2.0])).value == 1.5
    assert estimate(parse_rule("quantile:0.5"), validation_normals=NOTHING).reason == (
        "needs at least 1 validation normals, has 0"
    )


def test_native_and_fixed():
    assert estimate(parse_rule("native"), validation_normals=NOTHING, native=9.0) == Threshold(9.0, "the method", 0)
    assert estimate(parse_rule("native"), validation_normals=NOTHING, native=float("-inf")).value == float("-inf")
    assert estimate(parse_rule("native"), validation_normals=NOTHING).reason == "method has no native threshold"
    assert estimate(parse_rule("fixed:2.5"), validation_normals=NOTHING) == Threshold(2.5, "nothing", 0)


def test_a_suffix_chooses_the_population():
    scores = {
        "validation_normals": np.full(99, 1.0),
        "target_normals": np.full(100, 2.0),
        "target_unlabelled": np.full(101, 3.0),
    }
    for suffix, value, n, words in [
        ("", 1, 99, "validation normals"),
        ("@target-normals", 2, 100, "target validation normals"),
        ("@target-unlabelled", 3, 101, "target validation sequences"),
    ]:
        for rule in ("conformal:0.01", "quantile:0.99"):
            assert estimate(parse_rule(rule + suffix), **scores) == Threshold(value, words, n)
    assert parse_rule("conformal:0.01@target-normals").uses_target_normals
    assert not parse_rule("conformal:0.01@target-unlabelled").uses_target_normals


def test_a_suffix_outside_a_transfer_is_not_estimable():
    threshold = estimate(parse_rule("conformal:0.01@target-normals"), validation_normals=np.zeros(200))
    assert threshold.value is None
    assert threshold.reason == "this run has no target validation normals: it is not a transfer"


def test_flagged_means_above_and_not_at_the_threshold():
    scores = np.array([0.0, 1.0, 2.0])
    assert flag(scores, 1.0).tolist() == [False, False, True]
    assert flag(scores, float("-inf")).all()


def test_operating_points_by_hand():
    points = operating_points(np.array([3.0, 1.0, 3.0, 2.0]), np.array([1, 0, 0, 1]))
    assert points.thresholds.tolist() == [3, 2, 1, -np.inf]
    assert points.tp.tolist() == [0, 1, 2, 2]
    assert points.fp.tolist() == [0, 1, 1, 2]


def test_operating_points_are_what_flag_gives():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, labels = rng.integers(0, 8, 50) / 7.0, rng.integers(0, 2, 50)
        for threshold, tp, fp in zip(*operating_points(scores, labels), strict=True):
            flagged = flag(scores, threshold)
            assert (flagged & (labels == 1)).sum() == tp
            assert (flagged & (labels == 0)).sum() == fp


def test_oracle_is_the_best_of_all_thresholds_and_flags_the_fewest():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, labels = rng.integers(0, 8, 40) / 7.0, rng.integers(0, 2, 40)
        threshold = estimate(
            parse_rule("oracle"), validation_normals=NOTHING, test_scores=scores, test_labels=labels
        ).value
        f1 = {t: metrics_at(scores, labels, t)["f1"] for t in [-np.inf, *scores]}
        assert f1[threshold] == max(f1.values())
        assert threshold == max(t for t in f1 if f1[t] == f1[threshold])


def test_oracle_takes_the_higher_of_two_equally_good_thresholds():
    # 1 of 2 found without a false alarm, or both with two: F1 2/3 either way.
    scores, labels = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 0, 1])
    oracle = estimate(parse_rule("oracle"), validation_normals=NOTHING, test_scores=scores, test_labels=labels)
    assert oracle.value == 3


def test_oracle_flags_everything_when_nothing_ranks():
    threshold = estimate(
        parse_rule("oracle"), validation_normals=NOTHING, test_scores=np.zeros(4), test_labels=np.array([1, 0, 0, 0])
    )
    assert threshold == Threshold(float("-inf"), "test labels", 4)


def test_oracle_needs_abnormal_sequences():
    oracle = parse_rule("oracle")
    nothing = estimate(oracle, validation_normals=NOTHING)
    no_abnormal = estimate(oracle, validation_normals=NOTHING, test_scores=np.zeros(3), test_labels=np.zeros(3))
    assert nothing.value is None
    assert nothing.reason == "needs scores and labels of the test set"
    assert no_abnormal.value is None
    assert no_abnormal.reason == "the test set has no abnormal sequence"


@pytest.mark.parametrize(
    "text", ["native", "conformal:0.05", "quantile:0.9", "fixed:1", "conformal:0.05@target-normals"]
)
def test_only_oracle_depends_on_test_labels(text):
    rng = np.random.default_rng(3)
    known = {"validation_normals": rng.normal(size=100), "target_normals": rng.normal(size=100), "native": 0.5}
    scores = rng.normal(size=50)
    first, second = (
        estimate(parse_rule(text), **known, test_scores=scores, test_labels=labels)
        for labels in (np.zeros(50), np.ones(50))
    )
    assert first == second


def test_threshold_values_are_plain_floats():
    for text in ("conformal:0.05", "quantile:0.9", "oracle"):
        threshold = estimate(
            parse_rule(text),
            validation_normals=np.arange(100.0),
            test_scores=np.arange(4.0),
            test_labels=np.array([0, 0, 1, 1]),
        )
        assert type(threshold.value) is float
        json.dumps(threshold.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="1 of 2 are not"):
        estimate(parse_rule("quantile:0.9"), validation_normals=np.array([0.0, bad]))
