"""Splits: who trains, validates and tests, and that nothing crosses a cut."""

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping, Groups
from bench.data.sequences.splits import PROTOCOLS, split
from bench.errors import BenchError


def groups_of(rows, labels):
    return Groups(
        np.array([line for row in rows for line in row], np.int64),
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        np.array(labels, np.int8),
    )


def windows(labels):
    """Windows of two lines."""
    return groups_of([[2 * i, 2 * i + 1] for i in range(len(labels))], labels)


def parts(found):
    return [part.tolist() for part in (found.train, found.validation, found.test)]


def test_protocols():
    assert PROTOCOLS == ("chronological", "paper", "given")


def test_chronological_cuts_at_60_and_80_percent_of_the_lines():
    found = split(windows([0, 1] * 5), 20, "chronological", seed=0)
    assert parts(found) == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
    assert found.parser_lines.tolist() == list(range(12))
    assert found.facts == {"cut": [0.6, 0.8], "cut_lines": [12, 16]}


def test_a_sequence_counts_where_it_ends():
    # Ten lines: the cuts stand before lines 6 and 8.
    rows = [[0, 5], [0, 6], [1, 7], [2, 8], [9], [3, 4]]
    found = split(groups_of(rows, [0, 0, 1, 0, 1, 1]), 10, "chronological", seed=0)
    assert parts(found) == [[0, 5], [1, 2], [3, 4]]


def test_chronological_does_not_depend_on_the_seed():
    one, other = (split(windows([0, 1] * 20), 80, "chronological", seed=seed) for seed in (0, 1))
    assert parts(one) == parts(other)


@pytest.mark.parametrize("n_lines", [1, 5, 7, 35, 75, 1_178_353])
def test_cuts_are_whole_lines(n_lines):
    groups = groups_of([[line] for line in range(min(n_lines, 5))], [0] * min(n_lines, 5))
    found = split(groups, n_lines, "chronological", seed=0)
    assert found.facts["cut_lines"] == [n_lines * 6 // 10, n_lines * 8 // 10]
    assert len(found.parser_lines) == n_lines * 6 // 10


def test_real_blocks(real_data, real_loader):
    card = catalogue(real_data).resolve("hdfs@blocks-a")
    groups = real_loader.groups(card, Grouping())
    found = split(groups, 125_942, "chronological", seed=0)
    sizes = [(len(part), int(groups.labels[part].sum())) for part in (found.train, found.validation, found.test)]
    assert sizes == [(2_282, 133), (1_324, 21), (2_144, 58)]
    first, second = found.facts["cut_lines"]
    lines = [groups.lines[groups.offsets[i] : groups.offsets[i + 1]] for i in range(len(groups))]
    assert max(lines[i].max() for i in found.train) < first
    assert found.parser_lines.tolist() == list(range(first))
    assert all(first <= lines[i].max() < second for i in found.validation)
    assert all(lines[i].max() >= second for i in found.test)


def test_paper_by_hand():
    # 14 normal and 3 abnormal: m = 3, 11 normals are left, int(2.2) = 2 of them validate.
    labels = [0] * 7 + [1] * 3 + [0] * 7
    found = split(windows(labels), 34, "paper", seed=0)
    assert found.facts == {"m": 3}
    assert [len(part) for part in parts(found)] == [9, 2, 6]
    assert np.array(labels)[found.test].sum() == 3
    assert not np.array(labels)[np.concatenate([found.train, found.validation])].any()
    assert sorted(np.concatenate([found.train, found.validation, found.test]).tolist()) == list(range(17))
    assert found.parser_lines.tolist() == [line for i in found.train for line in (2 * i, 2 * i + 1)]
    for part in (found.train, found.validation, found.test):
        assert part.tolist() == sorted(part.tolist())


def test_paper_with_more_abnormal_than_half_of_the_normals():
    # 5 normal, 9 abnormal: m = floor(5 / 2) = 2; the other 7 abnormal take no part.
    found = split(windows([0, 1, 1] * 4 + [0, 1]), 28, "paper", seed=0)
    assert found.facts == {"m": 2}
    assert [len(part) for part in parts(found)] == [3, 0, 4]


@pytest.mark.parametrize("key", ["bgl@raw12k", "spirit@lines-a", "hdfs@blocks-a"])
def test_paper_on_real_data(real_data, real_loader, key):
    card = catalogue(real_data).resolve(key)
    groups = real_loader.groups(card, Grouping())
    n_normal, n_abnormal = int((groups.labels == 0).sum()), int((groups.labels == 1).sum())
    found = split(groups, len(real_loader.log(card)), "paper", seed=3)
    m = min(n_abnormal, n_normal // 2)
    assert found.facts == {"m": m}
    assert np.bincount(groups.labels[found.test]).tolist() == [m, m]
    assert len(found.validation) == (n_normal - m) // 5
    everything = np.concatenate([found.train, found.validation, found.test])
    assert len(np.unique(everything)) == len(everything) == n_normal + m
    inside = np.isin(np.repeat(np.arange(len(groups)), np.diff(groups.offsets)), found.train)
    assert np.array_equal(found.parser_lines, np.unique(groups.lines[inside]))


def test_the_seed_draws():
    groups = windows(([0] * 9 + [1]) * 30)
    first, again, other = (split(groups, 600, "paper", seed=seed) for seed in (5, 5, 6))
    assert parts(first) == parts(again)
    assert all(one != two for one, two in zip(parts(first), parts(other), strict=True))


def test_paper_draws_from_the_whole_log():
    found = split(windows(([0] * 9 + [1]) * 100), 2_000, "paper", seed=0)
    for part in (found.train, found.validation, found.test):
        assert abs(part.mean() - 500) < 60


@pytest.mark.parametrize("protocol", ["chronological", "paper"])
def test_unlabelled_sequences_take_no_part(protocol):
    labels = [0, -1, 0, 1, -1, 0, 0, -1, 0, 1]
    found = split(windows(labels), 20, protocol, seed=0)
    used = np.concatenate([found.train, found.validation, found.test])
    assert (np.array(labels)[used] != -1).all()
    assert len(used) == 7


def test_paper_parser_never_reads_unlabelled_or_test_windows():
    labels = [0, -1, 0, 1, -1, 0, 0, -1, 0, 1]
    found = split(windows(labels), 20, "paper", seed=0)
    assert set((found.parser_lines // 2).tolist()) == set(found.train.tolist())


def test_overlapping_windows_are_refused_under_paper():
    with pytest.raises(BenchError, match="--window-step"):
        split(windows([0, 0, 1, 0]), 8, "paper", seed=0, overlapping=True)
    assert len(split(windows([0, 0, 1, 0]), 8, "chronological", seed=0, overlapping=True).train) == 2


@pytest.mark.parametrize("protocol", ["chronological", "paper"])
def test_no_label_at_all(protocol):
    with pytest.raises(BenchError, match="no label at all"):
        split(windows([-1, -1]), 4, protocol, seed=0)


def test_unknown_protocol():
    with pytest.raises(BenchError, match=r"'random'.*chronological, paper"):
        split(windows([0, 1]), 4, "random", seed=0)
