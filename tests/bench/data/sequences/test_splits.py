"""Splits: who trains, validates and tests, and that nothing crosses a cut."""

import dataclasses

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping, Groups
from bench.data.sequences.protocols import PROTOCOLS
from bench.data.sequences.splits import split
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
    assert PROTOCOLS == ("chronological", "paper", "given", "blind", "transfer", "retrospective")


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


def at(protocol, labels, *, seed=0, **options):
    return split(windows(labels), 2 * len(labels), protocol, seed=seed, **options)


def everyone(found):
    return sorted(np.concatenate([found.train, found.validation, found.test]).tolist())


def test_other_cuts():
    found = at("chronological:50,70", [0, 1] * 5)
    assert parts(found) == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]
    assert found.facts == {"cut": [0.5, 0.7], "cut_lines": [10, 14]}
    assert found.parser_lines.tolist() == list(range(10))


def test_blind_draws_60_20_20_of_all_sequences():
    found = at("blind", [0, 1] * 50)
    assert [len(part) for part in parts(found)] == [60, 20, 20]
    assert everyone(found) == list(range(100))
    assert set((found.parser_lines // 2).tolist()) == set(found.train.tolist())
    assert parts(found) != parts(at("blind", [0, 1] * 50, seed=1))


@pytest.mark.parametrize("protocol", ["blind", "transfer", "chronological:50,70", "prequential:4,3"])
def test_labels_change_no_split(protocol):
    shuffled = np.random.default_rng(7).permutation(200).astype(np.int8) % 2
    one, other = at(protocol, shuffled.tolist()), at(protocol, (1 - shuffled).tolist())
    assert parts(one) == parts(other)
    # Which labels are known decides who takes part, and nothing else.
    hidden = np.where(np.arange(200) % 3, shuffled, -1)
    fewer = at(protocol, hidden.tolist())
    assert parts(fewer) == [[i for i in part if hidden[i] >= 0] for part in parts(one)]


def test_a_source_of_a_transfer_gives_all_its_sequences():
    found = at("transfer", [0, 1] * 50)
    assert parts(found) == [list(range(80)), list(range(80, 100)), []]


def test_the_pool_of_a_target_precedes_its_test():
    found = at("transfer", [0, 1] * 50, is_target=True)
    assert parts(found) == [list(range(40)), list(range(40, 50)), list(range(50, 100))]


def test_the_pool_of_a_target_without_order_is_a_random_half():
    groups = dataclasses.replace(windows([0, 1] * 50), parts=np.zeros(100, np.int8))
    found, other = (split(groups, 200, "transfer", seed=seed, is_target=True) for seed in (0, 1))
    assert [len(part) for part in parts(found)] == [40, 10, 50]
    assert everyone(found) == list(range(100))
    assert parts(found) != parts(other)
    assert found.facts == {"drawn": [40, 50]}
    source = split(groups, 200, "transfer", seed=0)
    assert [len(part) for part in parts(source)] == [80, 20, 0]


def test_blocks_of_prequential_cover_what_lies_behind_the_first_cut():
    found = [at(f"prequential:4,{number}", [0, 1] * 50) for number in (1, 2, 3, 4)]
    tested = [part.test.tolist() for part in found]
    assert tested == [list(range(start, start + 10)) for start in (60, 70, 80, 90)]
    for part in found:
        before = sorted([*part.train.tolist(), *part.validation.tolist()])
        assert before == list(range(part.test[0]))
        assert part.validation.tolist() == before[4::5]
        assert part.parser_lines.max() < part.facts["cut_lines"][0]
        assert set((part.parser_lines // 2).tolist()) == set(part.train.tolist())
    assert found[2].facts == {"block": [3, 4], "cut_lines": [160, 180]}


@pytest.mark.parametrize("protocol", ["chronological:50,70", "blind", "transfer", "prequential:4,2", "prequential:7,7"])
@pytest.mark.parametrize("is_target", [False, True])
def test_nothing_that_validates_or_tests_is_trained_on(protocol, is_target):
    # Sessions that interleave, so that lines of later sequences stand among those of earlier ones.
    rng = np.random.default_rng(3)
    owners = np.sort(rng.integers(0, 60, 400) + np.arange(400) // 8)
    rng.shuffle(owners[50:350])
    rows = [np.flatnonzero(owners == owner).tolist() for owner in np.unique(owners)]
    groups = groups_of(rows, [0, 1] * (len(rows) // 2) + [0] * (len(rows) % 2))
    found = split(groups, 400, protocol, seed=0, is_target=is_target)
    everything = everyone(found)
    assert len(everything) == len(set(everything))
    last = groups.last_lines
    if protocol != "blind" and len(found.test):
        known = np.concatenate([found.train, found.validation])
        assert last[known].max() < last[found.test].min()
    if not protocol.startswith(("chronological", "transfer")):
        lines = {line for i in (*found.validation, *found.test) for line in rows[i]}
        assert not lines & set(found.parser_lines.tolist())


@pytest.mark.parametrize("protocol", ["blind", "prequential:4,1"])
def test_overlapping_windows_are_refused_where_neighbours_train_and_test(protocol):
    with pytest.raises(BenchError, match="--window-step"):
        at(protocol, [0, 1] * 50, overlapping=True)


def test_more_blocks_than_lines():
    with pytest.raises(BenchError, match="block 1 of 100 holds no line: use fewer than 9 blocks"):
        at("prequential:100,1", [0, 1] * 5)


def test_retrospective_trains_and_tests_on_all_that_is_labelled():
    found = split(windows([0, 1, -1, 0]), 8, "retrospective", seed=0)
    assert parts(found) == [[0, 1, 3], [], [0, 1, 3]]
    assert found.parser_lines.tolist() == list(range(8))
    assert found.facts == {"all": 3}
