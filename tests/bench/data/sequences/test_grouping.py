"""Grouping: windows and sessions as line numbers, counted by hand."""

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.reading.log import Log
from bench.data.sequences.grouping import Grouping, group
from bench.errors import BenchError


def log_of(labels, file_starts=(0,), **sessions):
    return Log(
        message_ids=np.zeros(len(labels), np.int32),
        messages=("x",),
        labels=np.array(labels, np.int8),
        times=np.full(len(labels), np.nan),
        file_starts=np.array(file_starts, np.int64),
        **sessions,
    )


def rows(groups):
    """The line numbers of each sequence."""
    return [part.tolist() for part in np.split(groups.lines, groups.offsets[1:-1])]


def test_the_tail_is_dropped():
    groups = group(log_of([0] * 8), Grouping(3, 3))
    assert rows(groups) == [[0, 1, 2], [3, 4, 5]]
    assert groups.last_lines.tolist() == [2, 5]
    assert len(groups) == 2
    assert groups.ids == ()


def test_windows_restart_at_each_file():
    # Lines 0-4, 5-6 and 7-9: the second file is shorter than a window.
    groups = group(log_of([0] * 10, file_starts=(0, 5, 7)), Grouping(3, 3))
    assert rows(groups) == [[0, 1, 2], [7, 8, 9]]


def test_an_empty_file_makes_no_window():
    assert rows(group(log_of([0] * 4, file_starts=(0, 0, 4)), Grouping(2, 2))) == [[0, 1], [2, 3]]


def test_sliding_windows():
    groups = group(log_of([0] * 6, file_starts=(0, 4)), Grouping(2, 1))
    assert rows(groups) == [[0, 1], [1, 2], [2, 3], [4, 5]]


def test_a_step_longer_than_the_window_leaves_lines_out():
    assert rows(group(log_of([0] * 8), Grouping(2, 3))) == [[0, 1], [3, 4], [6, 7]]


def test_default_is_20_by_20():
    assert rows(group(log_of([0] * 45), Grouping())) == [list(range(20)), list(range(20, 40))]


def test_a_window_is_abnormal_when_any_line_is():
    groups = group(log_of([0, 0, 0, 1, 1, 1, 0, 0]), Grouping(2, 2))
    assert groups.labels.tolist() == [0, 1, 1, 0]
    assert groups.labels.dtype == np.int8


def test_a_window_with_an_unlabelled_line_is_unlabelled_unless_abnormal():
    assert group(log_of([0, -1, -1, 1, -1, -1, 0, 0]), Grouping(2, 2)).labels.tolist() == [-1, 1, -1, 0]


@pytest.mark.parametrize("labels", [[0, 0], []])
def test_too_few_lines(labels):
    with pytest.raises(BenchError, match=r"window of 3 lines fits into .* --window-size"):
        group(log_of(labels), Grouping(3, 3))


@pytest.mark.parametrize(("size", "step", "name"), [(0, 1, "--window-size"), (5, 0, "--window-step"), (-1, 1, "-1")])
def test_impossible_windows(size, step, name):
    with pytest.raises(BenchError, match=name):
        Grouping(size, step)


def test_overlaps():
    assert not Grouping(20, 20).overlaps
    assert not Grouping(20, 30).overlaps
    assert Grouping(20, 19).overlaps


def test_sessions_keep_the_order_of_their_lines():
    log = log_of(
        [-1] * 6,
        session_lines=np.array([0, 1, 1, 3, 4, 5]),
        session_codes=np.array([1, 0, 1, 0, 1, 0], np.int32),
        session_ids=("b", "a"),
        session_labels=np.array([1, 0], np.int8),
    )
    groups = group(log, Grouping(2, 2))
    assert rows(groups) == [[1, 3, 5], [0, 1, 4]]
    assert groups.ids == ("b", "a")
    assert groups.labels.tolist() == [1, 0]
    assert groups.last_lines.tolist() == [5, 4]


def test_a_session_without_lines_vanishes_with_its_label():
    log = log_of(
        [-1, -1],
        session_lines=np.array([0, 1]),
        session_codes=np.array([2, 0], np.int32),
        session_ids=("a", "b", "c"),
        session_labels=np.array([0, 1, -1], np.int8),
    )
    groups = group(log, Grouping())
    assert rows(groups) == [[1], [0]]
    assert groups.ids == ("a", "c")
    assert groups.labels.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("key", "normal", "abnormal"),
    [
        ("bgl@stream-a", 54_836, 4_081),
        ("spirit@lines-a", 4_813, 7_687),
        # 10,219 normal lines make 510 windows; the second file has 675 normal and 292 abnormal ones.
        ("tbird@raw29k", 510 + 675, 292),
        # 10,000 normal lines make 500 windows; the sampled 2,000 lines 72 normal and 28 abnormal ones.
        ("bgl@raw12k", 500 + 72, 28),
        ("hdfs@blocks-a", 5_750 - 212, 212),
        ("hdfs@sessions-345k", 345_036 - 11_158, 11_158),
    ],
)
def test_real_editions(real_loader, real_data, key, normal, abnormal):
    groups = real_loader.groups(catalogue(real_data).resolve(key), Grouping())
    assert ((groups.labels == 0).sum(), (groups.labels == 1).sum()) == (normal, abnormal)
    assert len(groups) == normal + abnormal


def test_the_sampled_part_of_bgl_by_itself(real_loader, real_data):
    groups = real_loader.groups(catalogue(real_data).resolve("bgl@raw12k"), Grouping())
    sampled = groups.lines[groups.offsets[:-1]] >= 10_000
    assert (sampled.sum(), groups.labels[sampled].sum(), groups.labels[~sampled].sum()) == (100, 28, 0)
