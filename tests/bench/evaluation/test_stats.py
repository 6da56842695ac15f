import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.stats import LEVELS, Interval, bootstrap, combine

LOW, HIGH = LEVELS.index(0.025), LEVELS.index(0.975)


def draw(seed, n_normal=200, n_abnormal=60, shift=1.0, decimals=None):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_normal, n_abnormal])
    scores = rng.normal(size=len(labels)) + shift * labels
    return scores if decimals is None else np.round(scores, decimals), labels


def test_a_record_holds_one_quantile_per_level_and_is_json():
    result = bootstrap(*draw(0), {"conformal:0.01": 2.0, "native": 0.0}, seed=0)
    assert json.loads(json.dumps(result)) == result
    assert result["levels"] == list(LEVELS)
    assert result["n"] == 400
    assert set(result["rules"]) == {"conformal:0.01", "native"}
    rows = [result["auroc"], result["ap"], *(row for rule in result["rules"].values() for row in rule.values())]
    assert len(rows) == 2 + 2 * 4
    for row in rows:
        assert len(row) == len(LEVELS)
        assert row == sorted(row)
        assert all(value == round(value, 4) for value in row)


def test_bootstrap_is_deterministic_and_follows_its_seed():
    scores, labels = draw(0)
    assert bootstrap(scores, labels, {"a": 1.0}, seed=3) == bootstrap(scores, labels, {"a": 1.0}, seed=3)
    assert bootstrap(scores, labels, {"a": 1.0}, seed=3) != bootstrap(scores, labels, {"a": 1.0}, seed=4)


def test_order_of_the_sequences_does_not_matter():
    scores, labels = draw(1, decimals=1)
    order = np.random.default_rng(0).permutation(len(scores))
    assert bootstrap(scores, labels, {"a": 1.0}, seed=3) == bootstrap(scores[order], labels[order], {"a": 1.0}, seed=3)


def test_a_rule_does_not_depend_on_the_others():
    scores, labels = draw(0)
    alone, among = (
        bootstrap(scores, labels, {"b": 0.5}, seed=1),
        bootstrap(scores, labels, {"a": 1.0, "b": 0.5}, seed=1),
    )
    assert alone["rules"]["b"] == among["rules"]["b"]
    assert alone["auroc"] == among["auroc"]


def test_recall_and_fpr_are_binomial():
    scores, labels = draw(2)
    m = metrics_at(scores, labels, 1.0)
    result = bootstrap(scores, labels, {"a": 1.0}, n=20_000, seed=0)["rules"]["a"]
    levels = np.array(LEVELS)
    assert result["recall"] == pytest.approx(binom.ppf(levels, 60, m["recall"]) / 60, abs=1.01 / 60)
    assert result["fpr"] == pytest.approx(binom.ppf(levels, 200, m["fpr"]) / 200, abs=1.01 / 200)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_quantiles_are_those_of_a_plain_bootstrap(decimals):
    scores, labels = draw(5, 80, 30, decimals=decimals)
    rng = np.random.default_rng(0)
    plain = []
    for _ in range(2000):
        index = np.append(rng.choice(np.flatnonzero(labels == 0), 80), rng.choice(np.flatnonzero(labels == 1), 30))
        m = ranking_metrics(scores[index], labels[index]) | metrics_at(scores[index], labels[index], 1.0)
        plain.append([m["auroc"], m["ap"], m["f1"], m["precision"]])
    result = bootstrap(scores, labels, {"a": 1.0}, n=5000, seed=1)
    ours = [result["auroc"], result["ap"], result["rules"]["a"]["f1"], result["rules"]["a"]["precision"]]
    for column, row in zip(np.array(plain).T, ours, strict=True):
        assert row[2:-2] == pytest.approx(np.quantile(column, LEVELS[2:-2]), abs=0.02)


def test_chunks_change_nothing_but_memory(monkeypatch):
    scores, labels = draw(6)
    whole = bootstrap(scores, labels, {}, n=3000, seed=0)
    monkeypatch.setattr("bench.evaluation.stats._CHUNK_CELLS", 5000)
    parts = bootstrap(scores, labels, {}, n=3000, seed=0)
    assert parts["auroc"] == pytest.approx(whole["auroc"], abs=0.02)
    assert parts["ap"] == pytest.approx(whole["ap"], abs=0.03)


def test_what_never_varies_is_the_point():
    scores, labels = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1])
    result = bootstrap(scores, labels, {"perfect": 1.0, "all": float("-inf"), "none": 3.0}, seed=0)
    assert set(result["auroc"]) == set(result["ap"]) == {1.0}
    assert set(result["rules"]["perfect"]["f1"]) == {1.0}
    assert set(result["rules"]["all"]["precision"]) == {0.5}
    assert set(result["rules"]["none"]["f1"]) == set(result["rules"]["none"]["precision"]) == {0.0}
    constant = bootstrap(np.zeros(4), labels, {}, seed=0)
    assert set(constant["auroc"]) == set(constant["ap"]) == {0.5}


def test_a_missing_class_gives_none():
    no_abnormal = bootstrap(np.arange(3.0), np.zeros(3), {"a": 0.5}, seed=0)
    assert no_abnormal["auroc"] is no_abnormal["ap"] is no_abnormal["rules"]["a"]["f1"] is None
    assert no_abnormal["rules"]["a"]["fpr"] is not None
    no_normal = bootstrap(np.arange(3.0), np.ones(3), {"a": 0.5}, seed=0)
    assert no_normal["auroc"] is no_normal["rules"]["a"]["fpr"] is None
    assert set(no_normal["ap"]) == {1.0}


def test_the_interval_of_auroc_covers_the_truth():
    truth = norm.cdf(1 / np.sqrt(2))
    covered = 0
    for seed in range(100):
        row = bootstrap(*draw(seed), {}, n=200, seed=seed)["auroc"]
        covered += row[LOW] <= truth <= row[HIGH]
    assert covered >= 85


def test_one_seed_gives_its_bootstrap_interval():
    scores, labels = draw(7)
    row = bootstrap(scores, labels, {}, seed=0)["auroc"]
    point = ranking_metrics(scores, labels)["auroc"]
    interval = combine([point], [row], n=20_000)
    assert interval.mean == point
    assert interval.n_seeds == 1
    assert (interval.low, interval.high) == pytest.approx((row[LOW], row[HIGH]), abs=0.005)


def test_seeds_that_agree_do_not_shrink_the_error_of_a_shared_test_set():
    row = [0.5 + 0.1 * norm.ppf(level) for level in LEVELS]
    one, five = combine([0.5], [row]), combine([0.5] * 5, [row] * 5)
    assert (five.low, five.high) == pytest.approx((one.low, one.high))


def test_without_test_error_only_the_seeds_vary():
    points = [0.2, 0.4, 0.6]
    interval = combine(points, [[p] * len(LEVELS) for p in points])
    assert interval.mean == pytest.approx(0.4)
    assert interval.low == pytest.approx(0.2)
    assert interval.high == pytest.approx(0.6)


def test_a_higher_level_gives_a_wider_interval():
    scores, labels = draw(8)
    row = bootstrap(scores, labels, {}, seed=0)["auroc"]
    narrow, wide = (combine([row[7], row[9]], [row, row], level=level) for level in (0.5, 0.95))
    assert wide.low < narrow.low <= narrow.high < wide.high


def test_the_mean_lies_inside_even_when_the_bootstrap_does_not_hold_it():
    assert combine([0.9], [[0.5] * len(LEVELS)]) == Interval(0.9, 0.5, 0.9, 1)
    assert combine([0.1], [[0.5] * len(LEVELS)]) == Interval(0.1, 0.1, 0.5, 1)


def test_combine_is_deterministic():
    rows = [bootstrap(*draw(seed), {}, seed=seed)["ap"] for seed in range(3)]
    points = [row[7] for row in rows]
    assert combine(points, rows) == combine(points, rows)
    assert combine(points, rows) != combine(points, rows, seed=1)


@pytest.mark.parametrize(("points", "rows"), [([], []), ([0.5], []), ([0.5], [[0.5]])])
def test_combine_refuses_what_does_not_match(points, rows):
    with pytest.raises(ValueError, match="quantiles for each"):
        combine(points, rows)


# ------------------------------------------------------------------------------------------------ sampling weights


def test_weights_of_1_change_no_interval():
    scores, labels = draw(2)
    plain = bootstrap(scores, labels, {"a": 1.0}, seed=3)
    assert bootstrap(scores, labels, {"a": 1.0}, seed=3, weights=np.ones(len(scores))) == plain


def test_weighted_quantiles_are_those_of_a_plain_bootstrap_within_strata():
    rng = np.random.default_rng(5)
    labels, strata = np.repeat([0, 0, 1, 1], [60, 30, 20, 10]), np.repeat([0, 1, 2, 3], [60, 30, 20, 10])
    scores, weights = np.round(rng.normal(size=120) + labels, 1), np.array([9.0, 2.0, 1.5, 1.0])[strata]
    rows = []
    for _ in range(2000):
        index = np.concatenate([rng.choice(np.flatnonzero(strata == s), (strata == s).sum()) for s in range(4)])
        m = ranking_metrics(scores[index], labels[index], weights[index])
        m |= metrics_at(scores[index], labels[index], 1.0, weights[index])
        rows.append([m[name] for name in ("auroc", "ap", "f1", "precision", "recall", "fpr")])
    expected = np.quantile(rows, LEVELS, axis=0)
    found = bootstrap(scores, labels, {"a": 1.0}, n=4000, seed=1, weights=weights)
    rule = found["rules"]["a"]
    ours = [found["auroc"], found["ap"], *(rule[name] for name in ("f1", "precision", "recall", "fpr"))]
    for i, quantiles in enumerate(ours):
        assert np.abs(np.array(quantiles) - expected[:, i])[1:-1].max() < 0.03


def test_a_sequence_of_weight_0_takes_no_part():
    scores, labels = draw(2)
    weights = np.where(np.arange(len(scores)) % 3 == 0, 0.0, 2.0)
    kept = weights > 0
    whole = bootstrap(scores, labels, {"a": 1.0}, seed=3, weights=weights)
    assert whole == bootstrap(scores[kept], labels[kept], {"a": 1.0}, seed=3, weights=weights[kept])


def plain_combine(points, quantiles, level, n, seed):
    """The definition, by numpy's own interpolation and quantiles."""
    rng = np.random.default_rng(seed)
    u, drawn = rng.random(n), rng.integers(0, len(points), size=(n, len(points)))
    values = np.stack([np.interp(u, LEVELS, row) for row in quantiles], axis=1)
    means = np.take_along_axis(values, drawn, axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = np.mean(points)
    return Interval(mean, min(low, mean), max(high, mean), len(points))


@given(
    rows=st.lists(st.lists(st.integers(0, 9999), min_size=15, max_size=15).map(sorted), min_size=1, max_size=6),
    level=st.sampled_from([0.5, 0.9, 0.95, 1.0]),
    n=st.sampled_from([1, 2, 100, 2000]),
    seed=st.integers(0, 3),
)
def test_combine_is_its_definition_to_the_bit(rows, level, n, seed):
    quantiles = [[value / 10_000 for value in row] for row in rows]
    points = [row[7] for row in quantiles]
    assert combine(points, quantiles, level=level, n=n, seed=seed) == plain_combine(points, quantiles, level, n, seed)
