"""Blocks of time: neighbours in one log are not independent, so their errors are added up before they are squared."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.types import ABNORMAL

MOST_BLOCKS: Final = 50
LEAST_BLOCKS: Final = 5
"""Blocks that must hold abnormal sequences, and normal ones: the spread of fewer says too little."""
SEQUENCES: Final = "sequences"


class Resampling(NamedTuple):
    """What is drawn again, or taken as independent."""

    unit: str
    """`blocks of 236`, or `sequences`."""
    blocks: NDArray[np.int64] | None = None
    """(n_sequences,) the block of each, from 0; None where each sequence is its own unit."""
    reason: str = ""
    """Why it is not in blocks, where it should have been."""


ONE_BY_ONE: Final = Resampling(SEQUENCES)


def time_blocks(labels: NDArray[Any], place: NDArray[Any], system: NDArray[Any]) -> Resampling:
    """Blocks of sequences that follow each other in time.

    labels: 0 normal, 1 abnormal (n_sequences,);  place: its place in the time of its system, (n_sequences,)
    system: which log each comes from, (n_sequences,); a block holds sequences of one log

    The rule: at most 50 blocks, none shorter than the cube root of the number of sequences. Where then fewer than 5
    blocks hold abnormal sequences, or normal ones, blocks of the cube root are tried; where these are too few as well,
    sequences are taken as independent, and the reason says so.
    """
    n = len(labels)
    root = math.ceil(round(n ** (1 / 3), 9))
    reason = ""
    for length in sorted({max(root, math.ceil(n / MOST_BLOCKS)), root}, reverse=True):
        blocks = _blocks_of(length, place, system) if n else np.empty(0, np.int64)
        held = {
            "abnormal": len(np.unique(blocks[labels == ABNORMAL])),
            "normal": len(np.unique(blocks[labels != ABNORMAL])),
        }
        rarer = min(held, key=lambda kind: held[kind])
        if held[rarer] >= LEAST_BLOCKS:
            return Resampling(f"blocks of {length}", blocks)
        reason = f"{rarer} sequences stand in {held[rarer]} of the blocks of {length}"
    return Resampling(SEQUENCES, reason=reason)


def _blocks_of(length: int, place: NDArray[Any], system: NDArray[Any]) -> NDArray[np.int64]:
    """Blocks of at least this length, as even as they can be in each log; a shorter log is one block."""
    blocks = np.empty(len(place), np.int64)
    made = 0
    for index in np.unique(system):
        here = np.flatnonzero(system == index)
        count = max(1, len(here) // length)
        ordered = here[np.argsort(place[here], kind="stable")]
        blocks[ordered] = made + np.arange(len(here)) * count // len(here)
        made += count
    return blocks
