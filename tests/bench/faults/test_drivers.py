"""Several commands on one results folder: every cell is done exactly once, and all give the same table."""

from collections import Counter

import pytest

from tests.bench.faults.conftest import ended


def check_done_once(place, methods, seeds):
    assert Counter(place.fits()) == {(name, seed): 1 for name in methods for seed in range(seeds)}
    place.check_whole()
    place.check_tidy()
    place.check_nothing_runs()


def test_four_equal_commands_do_each_cell_once(place):
    drivers = [place.start(fit_s=0.2, seeds=4) for _ in range(4)]
    all_ended = [ended(driver) for driver in drivers]
    assert [code for code, _, _ in all_ended] == [0, 0, 0, 0], all_ended
    assert len({out for _, out, _ in all_ended}) == 1
    assert "cells.py:Other" in all_ended[0][1]
    check_done_once(place, ("Quick", "Other"), 4)


@pytest.mark.slow
def test_overlapping_commands_do_each_cell_once(place):
    drivers = [
        place.start("--jobs", "2", fit_s=0.2, methods="Quick,Other", seeds=3),
        place.start(fit_s=0.2, methods="Other,Third", seeds=3),
        place.start(fit_s=0.2, methods="Third,Quick", seeds=3),
    ]
    all_ended = [ended(driver) for driver in drivers]
    assert [code for code, _, _ in all_ended] == [0, 0, 0], all_ended
    check_done_once(place, ("Quick", "Other", "Third"), 3)
    assert len(place.records()) == 3 * 3 + 7 * 3  # and seven controls
