"""LogCluster after its sheet: clusters, online assignment, cosine distance."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from bench.evaluation.thresholds import flag
from bench.types import Sequences
from methods.logcluster import Config, LogCluster

TEXTS = tuple(map(str, range(12)))


def of(*log_keys):
    return Sequences.from_lists(log_keys, TEXTS)


def random_lists(seed, n, n_keys=6):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, n_keys, rng.integers(1, 9)).tolist() for _ in range(n)]


TWO_KINDS = [[0, 1, 2], [3, 4, 5]] * 10


def test_two_kinds_of_sequences_are_two_clusters():
    detector = LogCluster().fit(of(*TWO_KINDS))
    assert detector.monitor() == {"clusters": 2}
    assert detector.score(of([0, 1, 2], [5, 4, 3])).tolist() == [0, 0]


def test_the_score_is_the_cosine_distance_to_the_nearest_mean():
    detector = LogCluster().fit(of(*TWO_KINDS))
    w = np.log(2)
    expected = cosine(np.array([w, 2 * w, 0, 0]), np.array([w, w, w, 0]))
    assert detector.score(of([0, 1, 1]))[0] == pytest.approx(expected)
    assert detector.score(of([9]))[0] == 1.0


def test_the_native_threshold_is_the_cut():
    detector = LogCluster().fit(of(*TWO_KINDS))
    assert detector.native_threshold_ == 0.5
    assert flag(detector.score(of([0, 1, 2, 0], [0, 3], [9])), 0.5).tolist() == [False, True, True]


def test_a_sequence_twice_as_long_has_the_same_direction():
    assert LogCluster().fit(of(*TWO_KINDS)).score(of([0, 1, 2] * 2))[0] == 0.0


def test_members_of_a_cluster_are_within_the_cut_of_each_other():
    lists = random_lists(0, 80)
    detector = LogCluster(Config(bootstrap=1000)).fit(of(*lists))
    assert 1 < detector.monitor()["clusters"] < 80
    # By complete linkage no member is farther from the mean than from another member at most.
    assert detector.score(of(*lists)).max() <= 0.3 + 1e-9


def test_later_sequences_join_the_nearest_cluster_or_found_one():
    lists = random_lists(1, 60)
    detector = LogCluster(Config(bootstrap=1, max_distance=0.3)).fit(of(*lists))
    rows = np.array([np.bincount(keys, minlength=7) for keys in lists], float)
    distinct, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    weights = np.append(np.log(60 / (rows[:, :6] > 0).sum(axis=0)), np.log(61))
    sums, sizes = [], []
    for row, count in zip(distinct[order] * weights, counts[order], strict=True):
        direction = row / np.linalg.norm(row)
        distances = [cosine(total, direction) for total in sums]
        if sums and min(distances) <= 0.3:
            best = int(np.argmin(distances))
            sums[best], sizes[best] = sums[best] + direction * count, sizes[best] + count
        else:
            sums, sizes = [*sums, direction * count], [*sizes, count]
    means = np.array(sums) / np.array(sizes)[:, None]
    assert 5 < len(means) < len(distinct)
    assert detector.state()["representatives"][:, :7] == pytest.approx(means)


def test_sequences_without_weight():
    detector = LogCluster().fit(of([0], [0, 0]))
    assert detector.score(of([0], [], [0, 9])).tolist() == [0, 0, 1]
    assert LogCluster().fit(of([0], [1])).score(of([], [0])).tolist() == [1, 0]


@pytest.mark.parametrize("wrong", [{"max_distance": 0.0}, {"bootstrap": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
