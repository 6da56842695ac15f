"""Blocks of time: how long they are, what they hold, and when there are none."""

import numpy as np
import pytest

from bench.evaluation.blocks import time_blocks


def blocks_of(labels, place=None, system=None):
    labels = np.asarray(labels)
    place = np.arange(len(labels)) if place is None else place
    return time_blocks(labels, place, np.zeros(len(labels)) if system is None else system)


def every(n, step):
    return (np.arange(n) % step == 0).astype(int)


@pytest.mark.parametrize(("n", "length", "count"), [(10_000, 200, 50), (200, 6, 33), (64, 4, 16)])
def test_at_most_50_blocks_and_none_shorter_than_the_cube_root(n, length, count):
    found = blocks_of(every(n, 3))
    assert found.unit == f"blocks of {length}"
    assert found.reason == ""
    sizes = np.bincount(found.blocks)
    assert len(sizes) == count
    assert sizes.min() >= length
    assert (np.diff(found.blocks) >= 0).all()


def test_a_block_holds_neighbours_in_time_wherever_they_stand():
    order = np.random.default_rng(0).permutation(1000)
    found = blocks_of(every(1000, 3), place=order)
    assert (np.diff(found.blocks[np.argsort(order)]) >= 0).all()


def test_a_block_holds_sequences_of_one_system():
    system = np.repeat([0, 1], [900, 100])
    found = blocks_of(every(1000, 3), system=system)
    assert not set(found.blocks[system == 0]) & set(found.blocks[system == 1])


def test_where_long_blocks_hold_too_few_abnormal_sequences_short_ones_are_tried():
    labels = np.zeros(10_000, int)
    labels[3000:3500] = 1
    assert blocks_of(labels).unit == "blocks of 22"


def test_where_these_do_too_sequences_are_independent_and_the_reason_is_told():
    labels = np.zeros(10_000, int)
    labels[3010:3020] = 1
    found = blocks_of(labels)
    assert (found.unit, found.blocks) == ("sequences", None)
    assert found.reason == "abnormal sequences stand in 2 of the blocks of 22"
    assert blocks_of([]).unit == blocks_of([1, 0]).unit == "sequences"
