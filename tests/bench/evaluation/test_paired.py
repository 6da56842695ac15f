"""Paired differences: the same resamples for both sides, against counting by hand, brute force and simulation."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from bench.evaluation.blocks import ONE_BY_ONE, Resampling, time_blocks
from bench.evaluation.measures import compared
from bench.evaluation.metrics import metrics_at, ranking_metrics
from bench.evaluation.paired import Difference, Resampled, Scored, difference, holm, resample

METRICS = tuple(measure.key for measure in compared())
FIRST = Scored(np.array([0.0, 1.0, 2.0, 3.0]), 0.5)
SECOND = Scored(np.array([3.0, 0.0, 1.0, 2.0]), 1.5)
LABELS = np.array([0, 0, 1, 1])


@dataclass
class Drawn:
    labels: np.ndarray
    first: np.ndarray
    second: np.ndarray


def draw(seed, n=(150, 50), shared=0.95, gains=(1.0, 0.7)):
    """Two rankings whose scores share most of their noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n)
    noise = rng.normal(size=sum(n))
    own = [np.sqrt(shared) * noise + np.sqrt(1 - shared) * rng.normal(size=sum(n)) for _ in range(2)]
    return Drawn(labels, *(gain * labels + each for gain, each in zip(gains, own, strict=True)))


def compared(drawn, name="auroc", *, n=300, seeds=(0, 0)):
    """Resampled metric of both; different seeds make the pair an unpaired one."""
    runs = [Scored(drawn.first, None), Scored(drawn.second, None)]
    return tuple(resample(runs, drawn.labels, n=n, seed=seed)[i][name] for i, seed in enumerate(seeds))


def test_a_toy_counted_by_hand():
    first, second = resample([FIRST, SECOND], LABELS, n=10, seed=0)
    assert first["ap"].point == first["auroc"].point == 1
    assert second["ap"].point == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert second["auroc"].point == 0.5
    assert first["f1"].point == pytest.approx(4 / 5)
    assert second["f1"].point == pytest.approx(2 / 4)


def test_both_sides_of_a_draw_are_measured_on_one_resample_of_each_kind():
    resampled = resample([FIRST, SECOND], LABELS, n=4000, seed=3)
    seen = np.stack([run[name].draws for name in METRICS for run in resampled], axis=1).round(9)
    expected = {}
    for normal, abnormal in itertools.product(range(3), repeat=2):
        chosen = np.repeat(np.arange(4), [normal, 2 - normal, abnormal, 2 - abnormal])
        values = []
        for name in METRICS:
            for run in (FIRST, SECOND):
                scores, labels = run.scores[chosen], LABELS[chosen]
                found = ranking_metrics(scores, labels) | {"f1": metrics_at(scores, labels, run.threshold)["f1"]}
                values.append(round(found[name], 9))
        share = (0.25, 0.5, 0.25)[normal] * (0.25, 0.5, 0.25)[abnormal]
        expected[tuple(values)] = expected.get(tuple(values), 0) + share
    rows, times = np.unique(seen, axis=0, return_counts=True)
    assert {tuple(row) for row in rows.tolist()} == set(expected)
    for row, count in zip(rows.tolist(), times, strict=True):
        assert count / 4000 == pytest.approx(expected[tuple(row)], abs=0.03)


def test_points_are_the_metrics_of_a_record_ties_included():
    rng = np.random.default_rng(5)
    labels = (rng.random(500) < 0.2).astype(np.int8)
    scores = np.round(rng.normal(size=500) + labels, 1)
    (found,) = resample([Scored(scores, 0.4)], labels, n=2, seed=0)
    assert {name: found[name].point for name in ("ap", "auroc")} == pytest.approx(
        {name: ranking_metrics(scores, labels)[name] for name in ("ap", "auroc")}
    )
    assert found["f1"].point == pytest.approx(metrics_at(scores, labels, 0.4)["f1"])


def test_the_extreme_thresholds_flag_all_and_nothing():
    everything, nothing = (
        resample([Scored(FIRST.scores, threshold)], LABELS, n=5, seed=0)[0]["f1"]
        for threshold in (float("-inf"), float("inf"))
    )
    assert everything.point == pytest.approx(2 / 3)
    assert nothing.point == 0
    assert np.ptp(everything.draws) == np.ptp(nothing.draws) == 0


def test_without_a_threshold_there_is_no_f1():
    assert set(resample([Scored(FIRST.scores, None)], LABELS, n=2, seed=0)[0]) == {"ap", "auroc"}


def test_a_run_against_itself_is_no_difference():
    for name in METRICS:
        (mine,) = resample([FIRST], LABELS, n=50, seed=0)
        found = difference([(mine[name], mine[name])] * 3)
        assert found == Difference(0.0, 0.0, 0.0, 1.0, 3)
        assert found.verdict == "not separable"


def test_the_other_way_round_is_the_negative():
    first, second = compared(draw(1))
    there, back = difference([(first, second)]), difference([(second, first)])
    assert (there.mean, there.low, there.high, there.p) == pytest.approx((-back.mean, -back.high, -back.low, back.p))


def test_a_correlated_pair_is_known_better_than_an_unpaired_one():
    drawn = draw(2)
    paired, unpaired = (difference([compared(drawn, n=1000, seeds=seeds)]) for seeds in ((0, 0), (0, 1)))
    assert paired.mean == unpaired.mean
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)
    assert paired.verdict == "better"
    assert unpaired.verdict == "not separable"


def test_a_difference_does_not_depend_on_what_else_is_measured():
    drawn = draw(3)
    alone = compared(drawn)
    runs = [Scored(drawn.second, 0.3), Scored(drawn.first, None), Scored(drawn.first, None)]
    among = resample(runs, drawn.labels, n=300, seed=0)
    np.testing.assert_array_equal(among[1]["auroc"].draws, alone[0].draws)
    np.testing.assert_array_equal(among[2]["auroc"].draws, alone[0].draws)
    np.testing.assert_array_equal(among[0]["auroc"].draws, alone[1].draws)


def test_many_chunks_are_one_resampling(monkeypatch):
    drawn = draw(4)
    whole = compared(drawn)
    monkeypatch.setattr("bench.evaluation.paired._CHUNK_CELLS", 1)
    pieces = compared(drawn)
    assert [len(each.draws) for each in pieces] == [300, 300]
    np.testing.assert_allclose(pieces[0].draws.mean(), whole[0].draws.mean(), atol=0.01)


def test_the_interval_of_a_difference_covers_the_truth():
    truth = norm.cdf(1 / np.sqrt(2)) - norm.cdf(0.7 / np.sqrt(2))
    found = [difference([compared(draw(seed), n=200)]) for seed in range(100)]
    assert 0.90 <= np.mean([each.low <= truth <= each.high for each in found]) <= 0.99


@pytest.mark.parametrize("seed_spread", [0.0, 0.03, 0.3])
def test_three_seeds_suffice_for_an_honest_interval(seed_spread):
    rng = np.random.default_rng(8)
    covered, n = 0, 300
    for _ in range(n):
        test_error, draws = rng.normal(0, 0.03), rng.normal(0, 0.03, 400)
        points = test_error + rng.normal(0, seed_spread, 3)
        found = difference([(Resampled(v, v + draws), Resampled(0.0, np.zeros(400))) for v in points])
        covered += found.low <= 0 <= found.high
    assert covered / n >= 0.92


def family_error(ratio, n_seeds, families, n_zeros=20):
    """Share of families of true zeros of which any is left after Holm's correction; ratio: seeds by test error."""
    rng = np.random.default_rng(4)
    test, own = (0.0, 0.03) if np.isinf(ratio) else (0.03, 0.03 * ratio)
    draws, none = test * norm.ppf((np.arange(200) + 0.5) / 200), Resampled(0.0, np.zeros(200))
    wrong = 0
    for _ in range(families):
        zeros = test * rng.normal(size=(n_zeros, 1)) + own * rng.normal(size=(n_zeros, n_seeds))
        found = [difference([(Resampled(v, v + draws), none) for v in points]) for points in zeros]
        wrong += any(holm([each.p for each in found]))
    return wrong / families


@pytest.mark.parametrize(("ratio", "n_seeds"), [(3.0, 3), (10.0, 3), (10.0, 5)])
def test_true_zeros_are_seldom_left_after_holms_correction(ratio, n_seeds):
    assert family_error(ratio, n_seeds, 50) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 3.0, 10.0, np.inf])
def test_of_a_thousand_families_of_true_zeros_at_most_six_in_a_hundred_are_wrong(ratio, n_seeds):
    assert family_error(ratio, n_seeds, 1000) <= 0.06


def test_seeds_that_hardly_matter_cost_no_power():
    """A difference of 3.6 errors of the test set is left among 20, also where 3 seeds vary by a tenth of it."""
    draws, none = 0.03 * norm.ppf((np.arange(1000) + 0.5) / 1000), Resampled(0.0, np.zeros(1000))
    points = 0.105, 0.108, 0.111
    found = difference([(Resampled(v, v + draws), none) for v in points])
    assert found.p < 0.05 / 20


def test_few_units_are_known_to_vary_more_than_resamples_of_them():
    draws, none = 0.03 * norm.ppf((np.arange(1000) + 0.5) / 1000), Resampled(0.0, np.zeros(1000))
    many, few = (difference([(Resampled(0.1, 0.1 + draws, units), none)]) for units in (None, 8))
    assert few.high - few.low == pytest.approx((many.high - many.low) * 2.3646 / 1.96 * np.sqrt(8 / 7), rel=0.01)
    assert few.p > many.p


def test_of_one_abnormal_sequence_nothing_can_be_said():
    labels = np.array([0, 0, 0, 0, 0, 1])
    first, second = (Scored(scores, None) for scores in (labels.astype(float), 1.0 - labels))
    right, wrong = resample([first, second], labels, seed=0)
    found = difference([(right["ap"], wrong["ap"])])
    assert found.mean == pytest.approx(5 / 6)
    assert (found.low, found.high, found.p, found.verdict) == (-1.0, 1.0, 1.0, "not separable")


def bursts(seed, n=1500, length=15):
    """Two rankings of windows of which every run of so many is of one label; each errs by runs of its own."""
    rng, n_runs = np.random.default_rng(seed), n // length
    labels = np.repeat(rng.permutation(n_runs) < n_runs // 5, length).astype(int)
    own = [np.repeat(rng.normal(size=n_runs), length) + 0.3 * rng.normal(size=n) for _ in range(2)]
    return Drawn(labels, *(labels + each for each in own))


def test_in_blocks_a_true_zero_is_seldom_a_verdict():
    verdicts = {"sequences": 0, "blocks": 0}
    for seed in range(60):
        drawn = bursts(seed)
        unit = time_blocks(drawn.labels, np.arange(len(drawn.labels)), np.zeros(len(drawn.labels)))
        runs = [Scored(drawn.first, None), Scored(drawn.second, None)]
        for name, resampling in (("sequences", ONE_BY_ONE), ("blocks", unit)):
            first, second = resample(runs, drawn.labels, n=200, seed=seed, resampling=resampling)
            verdicts[name] += difference([(first["auroc"], second["auroc"])]).verdict != "not separable"
    assert verdicts["sequences"] > 25
    assert verdicts["blocks"] <= 7


def test_blocks_of_one_sequence_are_resampled_as_sequences():
    drawn = draw(5)
    runs = [Scored(drawn.first, 0.5), Scored(drawn.second, 0.5)]
    one = Resampling("blocks of 1", np.arange(len(drawn.labels)))
    apart, blocks = (resample(runs, drawn.labels, n=50, seed=1, resampling=each) for each in (ONE_BY_ONE, one))
    for first, second in zip(apart, blocks, strict=True):
        for name in METRICS:
            np.testing.assert_allclose(first[name].draws, second[name].draws)
            assert first[name].units == second[name].units == 50


def _pair(rng, value, spread=0.03):
    return Resampled(value, rng.normal(value, spread, 400)), Resampled(0.0, np.zeros(400))


def test_seeds_of_one_test_set_share_its_error():
    rng = np.random.default_rng(0)
    pair = _pair(rng, 0.1)
    one, five = difference([pair]), difference([pair] * 5)
    assert (five.low, five.high) == pytest.approx((one.low, one.high))
    assert (one.n_seeds, five.n_seeds) == (1, 5)


def test_seeds_with_test_sets_of_their_own_are_taken_to_err_together():
    rng = np.random.default_rng(0)
    pairs = [_pair(rng, 0.1) for _ in range(5)]
    together, apart = difference(pairs, same_test=False), difference(pairs)
    assert apart.high - apart.low < 0.6 * (together.high - together.low)
    assert together.high - together.low == pytest.approx(2 * 1.96 * 0.03, rel=0.1)


def test_more_spread_between_seeds_is_a_wider_interval():
    rng = np.random.default_rng(1)
    widths = []
    for values in ((0.1, 0.1, 0.1), (0.09, 0.1, 0.11), (0.05, 0.1, 0.15)):
        found = difference([_pair(rng, value) for value in values])
        widths.append(found.high - found.low)
        assert found.mean == pytest.approx(0.1)
    assert widths == sorted(widths)
    assert widths[2] > 1.5 * widths[0]


def test_p_is_below_five_per_cent_where_the_interval_leaves_out_zero():
    rng = np.random.default_rng(2)
    found = [difference([_pair(rng, value) for _ in range(n)]) for value in np.linspace(0, 0.2, 40) for n in (1, 3)]
    assert {each.verdict for each in found} == {"better", "not separable"}
    for each in found:
        assert (each.p < 0.05) == (each.verdict == "better")


def test_p_goes_on_falling_beyond_what_the_draws_resolve():
    rng = np.random.default_rng(3)
    draws = rng.normal(0, 0.03, 400)
    none = Resampled(0.0, np.zeros(400))
    p = [difference([(Resampled(v, draws + v), none)]).p for v in (0.1, 0.2, 0.3)]
    assert p == sorted(p, reverse=True)
    assert p[2] < 1e-12 < p[1]


def test_a_difference_that_never_varies_is_certain():
    one, half = Resampled(1.0, np.ones(10)), Resampled(0.5, np.full(10, 0.5))
    assert difference([(one, half)]) == Difference(0.5, 0.5, 0.5, 0.0, 1)
    assert difference([(half, one)]).verdict == "worse"


def test_an_interval_lies_within_what_a_difference_can_be():
    pairs = [(Resampled(v, np.full(10, v)), Resampled(0.0, np.zeros(10))) for v in (0.9, 0.2)]
    found = difference(pairs)
    assert (found.low, found.high) == (-1.0, 1.0)


def test_holm_stops_at_the_first_that_does_not_hold():
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([]) == []
    assert holm([0.04]) == [True]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="abnormal and normal"):
        resample([FIRST], np.zeros(4), n=2, seed=0)
    with pytest.raises(ValueError, match="abnormal and normal"):
        resample([FIRST], np.ones(4), n=2, seed=0)
    with pytest.raises(ValueError, match="equally long"):
        resample([FIRST, Scored(np.zeros(3), None)], LABELS, n=2, seed=0)
    with pytest.raises(ValueError, match="pair"):
        difference([])
    assert resample([], LABELS, seed=0) == []
