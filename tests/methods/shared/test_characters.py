"""Words of events as shares of characters: each word once, in any numbering."""

import numpy as np
import polars as pl

from bench.types import Words
from methods.shared.characters import N_CHARACTERS, characters_of

WORDS = Words(pl.Series(["", "aab", "é0", "b"]), np.array([1, 3, 0, 2], np.int32), np.array([0, 2, 2, 3, 4], np.int64))


def column(character):
    return ord(character) - 32


def test_an_event_has_the_mean_of_its_words():
    found = characters_of(WORDS, 4).of(np.array([0, 1, 2, 3]))
    assert found.shape == (4, N_CHARACTERS)
    expected = np.zeros((4, N_CHARACTERS))
    expected[0, column("a")], expected[0, column("b")] = 1 / 3, (1 / 3 + 1) / 2
    expected[0, -1] = (3 + 1) / 2 / 8
    expected[3, -2], expected[3, column("0")], expected[3, -1] = 0.5, 0.5, 2 / 8
    np.testing.assert_allclose(found, expected)


def test_neither_numbers_of_words_nor_the_order_of_events_matter():
    renumbered = Words(WORDS.values.reverse(), np.int32(3) - WORDS.ids, WORDS.offsets)
    order = np.array([3, 0, 0, 2])
    found = characters_of(WORDS, 4)
    np.testing.assert_array_equal(characters_of(renumbered, 4).of(order), found.of(order))
    np.testing.assert_array_equal(found.of(order), found.of(np.arange(4))[order])


def test_without_words_all_entries_are_zero():
    assert not characters_of(None, 3).of(np.arange(3)).any()
    assert characters_of(None, 0).of(np.zeros(0, np.int64)).shape == (0, N_CHARACTERS)
