import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import beta, norm

from bench.evaluation.blocks import Resampling, time_blocks
from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.stats import LEVELS, Interval, combine, spread

LOW, MIDDLE, HIGH = LEVELS.index(0.025), LEVELS.index(0.5), LEVELS.index(0.975)


def draw(seed, n_normal=200, n_abnormal=60, shift=1.0, decimals=None):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_normal, n_abnormal])
    scores = rng.normal(size=len(labels)) + shift * labels
    return scores if decimals is None else np.round(scores, decimals), labels


def rows_of(result):
    return [result["auroc"], result["ap"], *(row for rule in result["rules"].values() for row in rule.values())]


def test_a_record_holds_one_quantile_per_level_and_is_json():
    result = spread(*draw(0), {"conformal:0.01": 2.0, "native": 0.0})
    assert json.loads(json.dumps(result)) == result
    assert result["levels"] == list(LEVELS)
    assert result["resampled"] == "sequences"
    assert set(result["rules"]) == {"conformal:0.01", "native"}
    rows = rows_of(result)
    assert len(rows) == 2 + 2 * 4
    for row in rows:
        assert len(row) == len(LEVELS)
        assert row == sorted(row)
        assert all(value == round(value, 5) for value in row)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0, -2.0])
def test_the_middle_quantile_is_the_metric_and_all_lie_within_0_and_1(shift):
    scores, labels = draw(3, 90, 12, shift=shift)
    result = spread(scores, labels, {"a": 1.0})
    found = ranking_metrics(scores, labels) | metrics_at(scores, labels, 1.0)
    for name, row in {"auroc": result["auroc"], "ap": result["ap"], **result["rules"]["a"]}.items():
        assert row[MIDDLE] == pytest.approx(found[name], abs=1e-5)
        assert 0 <= row[0] <= row[-1] <= 1


def test_order_of_the_sequences_does_not_matter_one_by_one():
    scores, labels = draw(1, decimals=1)
    order = np.random.default_rng(0).permutation(len(scores))
    one, other = spread(scores, labels, {"a": 1.0}), spread(scores[order], labels[order], {"a": 1.0})
    for first, second in zip(rows_of(one), rows_of(other), strict=True):
        assert first == pytest.approx(second, abs=1e-5)


def test_a_rule_does_not_depend_on_the_others():
    scores, labels = draw(0)
    alone, among = spread(scores, labels, {"b": 0.5}), spread(scores, labels, {"a": 1.0, "b": 0.5})
    assert alone["rules"]["b"] == among["rules"]["b"]
    assert alone["auroc"] == among["auroc"]


def test_recall_and_fpr_are_those_of_jeffreys():
    scores, labels = draw(2)
    m = metrics_at(scores, labels, 1.0)
    result = spread(scores, labels, {"a": 1.0})["rules"]["a"]
    for name, hits, n in (("recall", m["tp"], 60), ("fpr", m["fp"], 200)):
        expected = beta.ppf([LEVELS[LOW], LEVELS[HIGH]], hits + 0.5, n - hits + 0.5)
        assert [result[name][LOW], result[name][HIGH]] == pytest.approx(expected, rel=0.02)


def test_auroc_has_the_variance_of_delong():
    scores, labels = draw(5, 400, 300, decimals=1)
    normal, abnormal = scores[labels == 0], scores[labels == 1]
    wins = (abnormal[:, None] > normal) + 0.5 * (abnormal[:, None] == normal)
    variance = wins.mean(axis=1).var(ddof=1) / 300 + wins.mean(axis=0).var(ddof=1) / 400
    row = spread(scores, labels, {})["auroc"]
    assert row[HIGH] - row[LOW] == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.03)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_of_many_sequences_quantiles_are_those_of_a_plain_bootstrap(decimals):
    scores, labels = draw(5, 300, 150, decimals=decimals)
    rng = np.random.default_rng(0)
    plain = []
    for _ in range(1000):
        index = np.append(rng.choice(np.flatnonzero(labels == 0), 300), rng.choice(np.flatnonzero(labels == 1), 150))
        m = ranking_metrics(scores[index], labels[index]) | metrics_at(scores[index], labels[index], 1.0)
        plain.append([m["auroc"], m["ap"], m["f1"], m["precision"]])
    result = spread(scores, labels, {"a": 1.0})
    ours = [result["auroc"], result["ap"], result["rules"]["a"]["f1"], result["rules"]["a"]["precision"]]
    for column, row in zip(np.array(plain).T, ours, strict=True):
        width = np.ptp(np.quantile(column, [0.025, 0.975]))
        assert row[HIGH] - row[LOW] == pytest.approx(width, rel=0.12)
        assert row[2:-2] == pytest.approx(np.quantile(column, LEVELS[2:-2]), abs=0.2 * width)


def test_what_is_exactly_1_has_a_width_that_shrinks_with_the_abnormal_sequences():
    """A bootstrap has none: nothing varies in it."""
    widths = []
    for n_abnormal in (15, 150):
        labels = np.repeat([0, 1], [1000, n_abnormal])
        result = spread(np.arange(len(labels)) * 1.0, labels, {"perfect": 999.5})
        rows = [result["auroc"], result["ap"], result["rules"]["perfect"]["f1"], result["rules"]["perfect"]["recall"]]
        assert all(row[MIDDLE] == row[-1] == 1.0 for row in rows)
        widths.append([1 - row[LOW] for row in rows])
    assert all(0 < many < few / 3 for few, many in zip(*widths, strict=True))


def test_what_no_other_sequences_could_change_is_the_point():
    scores, labels = draw(0)
    result = spread(scores, labels, {"all": float("-inf"), "none": float("inf")})["rules"]
    assert set(result["all"]["precision"]) == {round(60 / 260, 5)}
    assert set(result["all"]["recall"]) == set(result["all"]["fpr"]) == {1.0}
    assert set(result["none"]["f1"]) == set(result["none"]["precision"]) == {0.0}
    constant = spread(np.zeros(4), np.array([0, 0, 1, 1]), {"a": 0.0})
    assert set(constant["auroc"]) == set(constant["ap"]) == {0.5}
    assert set(constant["rules"]["a"]["f1"]) == {0.0}


def test_a_missing_class_gives_none():
    no_abnormal = spread(np.arange(3.0), np.zeros(3), {"a": 0.5})
    assert no_abnormal["auroc"] is no_abnormal["ap"] is no_abnormal["rules"]["a"]["f1"] is None
    assert no_abnormal["rules"]["a"]["fpr"] is not None
    no_normal = spread(np.arange(3.0), np.ones(3), {"a": 0.5})
    assert no_normal["auroc"] is no_normal["rules"]["a"]["fpr"] is None
    assert set(no_normal["ap"]) == {1.0}
    assert no_normal["rules"]["a"]["f1"][LOW] < 1


def held(truth, rows):
    return np.mean([row[LOW] <= truth <= row[HIGH] for row in rows])


@pytest.mark.parametrize(("auroc", "n_abnormal"), [(0.75, 40), (0.998, 15)])
def test_the_interval_of_auroc_covers_the_truth(auroc, n_abnormal):
    shift = norm.ppf(auroc) * np.sqrt(2)
    rows = [spread(*draw(seed, 300, n_abnormal, shift=shift), {})["auroc"] for seed in range(300)]
    assert 0.92 <= held(auroc, rows) <= 0.98


def test_the_interval_of_f1_covers_the_truth():
    rows = [spread(*draw(seed, 300, 20, shift=2.5), {"a": 2.0})["rules"]["a"]["f1"] for seed in range(200)]
    recall, alarms = norm.sf(-0.5), norm.sf(2.0)
    assert 0.92 <= held(40 * recall / (20 * recall + 300 * alarms + 20), rows) <= 0.98


def bursts(seed, length=20, n=2000):
    """Windows of which every run of so many is of one label and shares most of its score."""
    rng, n_runs = np.random.default_rng(seed), n // length
    labels = np.repeat(rng.permutation(n_runs) < n_runs // 10, length).astype(int)
    return np.repeat(rng.normal(size=n_runs), length) + 0.5 * rng.normal(size=n) + 1.5 * labels, labels


def test_blocks_hold_what_sequences_do_not():
    truth = norm.cdf(1.5 / np.sqrt(2 * 1.25))
    alone, blocks = [], []
    for seed in range(200):
        scores, labels = bursts(seed)
        alone.append(spread(scores, labels, {})["auroc"])
        unit = time_blocks(labels, np.arange(len(labels)), np.zeros(len(labels)))
        blocks.append(spread(scores, labels, {}, resampling=unit)["auroc"])
    assert held(truth, alone) < 0.6
    assert 0.9 <= held(truth, blocks) <= 0.99


def test_blocks_of_one_sequence_change_little():
    scores, labels = draw(4, 500, 300)
    order = np.random.default_rng(0).permutation(800)
    scores, labels = scores[order], labels[order]
    alone, one = (spread(scores, labels, {"a": 1.0}, resampling=unit) for unit in (
        Resampling("sequences"), Resampling("blocks of 1", np.arange(800))
    ))  # fmt: skip
    assert one["resampled"] == "blocks of 1"
    for first, second in zip(rows_of(alone), rows_of(one), strict=True):
        assert first == pytest.approx(second, abs=0.01)


def test_one_seed_gives_its_own_interval():
    scores, labels = draw(7)
    row = spread(scores, labels, {})["auroc"]
    point = ranking_metrics(scores, labels)["auroc"]
    assert combine([point], [row]) == Interval(point, row[LOW], row[HIGH], 1)


def test_seeds_that_agree_do_not_shrink_the_error_of_a_shared_test_set():
    row = [0.5 + 0.1 * norm.ppf(level) for level in LEVELS]
    one, five = combine([0.5], [row]), combine([0.5] * 5, [row] * 5)
    assert (five.low, five.high) == pytest.approx((one.low, one.high))


def test_without_test_error_seeds_have_students_interval():
    """On the logit scale about the mean: 4.303 standard errors of .0115 there."""
    points = [0.48, 0.5, 0.52]
    interval = combine(points, [[p] * len(LEVELS) for p in points])
    assert interval.mean == pytest.approx(0.5)
    half = 4.302653 * 0.02 / np.sqrt(3)
    assert (interval.low, interval.high) == pytest.approx((expit(-4 * half), expit(4 * half)), abs=1e-6)


def seed_coverage(ratio, n_seeds, n=1500, error=0.02):
    """Share of intervals about a mean of .9 that hold it; ratio: spread of seeds by the error of the test set."""
    rng = np.random.default_rng(1)
    test, own = (0.0, error / 0.09) if np.isinf(ratio) else (error / 0.09, ratio * error / 0.09)
    truth = np.mean(expit(logit(0.9) + own * rng.normal(size=50_000)))
    count = 0
    for _ in range(n):
        points = logit(0.9) + test * rng.normal() + own * rng.normal(size=n_seeds)
        found = combine(expit(points).tolist(), expit(points[:, None] + test * norm.ppf(LEVELS)).tolist())
        count += found.low <= truth <= found.high
    return count / n


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 3.0, np.inf])
def test_intervals_of_few_seeds_cover_the_truth(ratio, n_seeds):
    assert 0.92 <= seed_coverage(ratio, n_seeds) <= 0.98


def test_a_higher_level_gives_a_wider_interval():
    scores, labels = draw(8)
    row = spread(scores, labels, {})["auroc"]
    narrow, wide = (combine([row[6], row[9]], [row, row], level=level) for level in (0.5, 0.95))
    assert wide.low < narrow.low <= narrow.high < wide.high


def test_a_seed_at_exactly_1_needs_no_care():
    flat = [[value] * len(LEVELS) for value in (1.0, 1.0, 0.99)]
    found = combine([1.0, 1.0, 0.99], flat)
    assert 0.75 < found.low < found.mean < found.high < 1
    assert combine([1.0] * 3, [[0.9] * 7 + [1.0] * 8] * 3) == Interval(1.0, 0.9, 1.0, 3)
    assert combine([0.0] * 3, [[0.0] * 8 + [0.1] * 7] * 3) == pytest.approx(Interval(0.0, 0.0, 0.1, 3))


def test_a_metric_that_can_be_negative_is_added_as_it_is():
    found = combine([-0.2, 0.0, 0.2], [[value] * len(LEVELS) for value in (-0.2, 0.0, 0.2)])
    assert found.mean == pytest.approx(0)
    assert (found.low, found.high) == pytest.approx((-0.2 * 4.302653 / np.sqrt(3), 0.2 * 4.302653 / np.sqrt(3)))


def test_the_mean_lies_inside_even_when_the_bootstrap_does_not_hold_it():
    assert combine([0.9], [[0.5] * len(LEVELS)]) == Interval(0.9, 0.5, 0.9, 1)
    assert combine([0.1], [[0.5] * len(LEVELS)]) == Interval(0.1, 0.1, 0.5, 1)


@pytest.mark.parametrize(("points", "rows"), [([], []), ([0.5], []), ([0.5], [[0.5]])])
def test_combine_refuses_what_does_not_match(points, rows):
    with pytest.raises(ValueError, match="quantiles for each"):
        combine(points, rows)


# ------------------------------------------------------------------------------------------------ sampling weights


def test_weights_of_1_change_no_interval():
    scores, labels = draw(2)
    assert spread(scores, labels, {"a": 1.0}, weights=np.ones(len(scores))) == spread(scores, labels, {"a": 1.0})


def test_weighted_quantiles_are_those_of_a_plain_bootstrap_within_strata():
    rng = np.random.default_rng(5)
    sizes = [300, 150, 100, 50]
    labels, strata = np.repeat([0, 0, 1, 1], sizes), np.repeat([0, 1, 2, 3], sizes)
    scores, weights = np.round(rng.normal(size=600) + labels, 1), np.array([9.0, 2.0, 1.5, 1.0])[strata]
    rows = []
    for _ in range(1000):
        index = np.concatenate([rng.choice(np.flatnonzero(strata == s), (strata == s).sum()) for s in range(4)])
        m = ranking_metrics(scores[index], labels[index], weights[index])
        m |= metrics_at(scores[index], labels[index], 1.0, weights[index])
        rows.append([m[name] for name in ("auroc", "ap", "f1", "precision", "recall", "fpr")])
    low, high = np.quantile(rows, [0.025, 0.975], axis=0)
    found = spread(scores, labels, {"a": 1.0}, weights=weights)
    rule = found["rules"]["a"]
    ours = [found["auroc"], found["ap"], *(rule[name] for name in ("f1", "precision", "recall", "fpr"))]
    for row, expected in zip(ours, high - low, strict=True):
        assert row[HIGH] - row[LOW] == pytest.approx(expected, rel=0.15)


def test_the_interval_of_a_weighted_auroc_covers_the_truth():
    rng, rows = np.random.default_rng(0), []
    labels = np.repeat([0, 0, 1, 1], [60, 60, 8, 7])
    weights = np.repeat([9.0, 1.0, 3.0, 1.0], [60, 60, 8, 7])
    shift = norm.ppf(0.998) * np.sqrt(2)
    for _ in range(400):
        rows.append(spread(rng.normal(size=135) + shift * labels, labels, {}, weights=weights)["auroc"])
    assert 0.92 <= held(0.998, rows) <= 0.99


def test_a_sequence_of_weight_0_takes_no_part():
    scores, labels = draw(2)
    weights = np.where(np.arange(len(scores)) % 3 == 0, 0.0, 2.0)
    kept = weights > 0
    whole = spread(scores, labels, {"a": 1.0}, weights=weights)
    assert whole == spread(scores[kept], labels[kept], {"a": 1.0}, weights=weights[kept])


def test_weights_that_cannot_be_used_are_refused():
    with pytest.raises(ValueError, match="weights"):
        spread(*draw(0), {}, weights=np.array([-1.0]))


@given(
    points=st.lists(st.integers(0, 1000), min_size=1, max_size=6),
    width=st.integers(0, 300),
    level=st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]),
)
def test_an_interval_holds_its_mean_and_stays_within_0_and_1(points, width, level):
    points = [value / 1000 for value in points]
    rows = [np.clip([p + width / 1000 * norm.ppf(at) for at in LEVELS], 0, 1).tolist() for p in points]
    found = combine(points, rows, level=level)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found == combine(points, rows, level=level)
    wider = combine(points, [np.clip(p + 2 * (np.array(row) - p), 0, 1).tolist() for p, row in zip(points, rows)])  # noqa: B905
    if level <= 0.95:
        assert wider.low <= found.low + 1e-9
        assert wider.high >= found.high - 1e-9
