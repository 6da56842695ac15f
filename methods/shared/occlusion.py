"""Which events make a score: that of a sequence minus that of the sequence without the event.

Equal events are taken out together, since one of many copies changes little, and share the difference. So the weights
of equal events add up to what all of them change; those of different events need not add up to the score. A weight
below 0 is that of an event which makes the sequence look more normal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.types import Sequences, ranges

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_EVENTS = 2**18
"""Events scored at once at most, unless one sequence alone has more."""


def occlusion(
    sequences: Sequences,
    score: Callable[[Sequences], Floats],
    equal: Literal["log_keys", "text_ids"] = "log_keys",
) -> NDArray[np.float32]:
    """Weights of all events under any score, float32 (n_events,); equal: what makes two events of a sequence one.

    Distinct sequences are looked at once. A score that reads message parameters sees none.
    """
    unique, _, inverse = sequences.unique()
    unique = unique.without_parameters()
    least = int(getattr(unique, equal).min(initial=0))  # UNKNOWN_KEY is below 0

    def without(rows: Integers, events: Integers) -> Floats:
        chosen = unique.select(rows)
        return score(_keep(chosen, getattr(chosen, equal) != np.repeat(events + least, chosen.lengths)))

    ids = getattr(unique, equal).astype(np.int64) - least
    weights = shared_changes(ids, unique.offsets, score(unique), without)
    return weights[ranges(unique.offsets[inverse], sequences.lengths)].astype(np.float32)


def shared_changes(
    ids: Integers,
    offsets: Integers,
    scores: Floats,
    without: Callable[[Integers, Integers], Floats],
    multiplicity: NDArray[np.float32] | None = None,
) -> Floats:
    """float64 (n_events,): each event's share of the change that it and its equals make.

    ids: int64 (n_events,), not negative, equal for equal events; scores: float64 (n_sequences,); without: (rows,
    events), both int64 (n,), -> the scores, float64 (n,), of the sequences at `rows`, each without the event beside
    it; multiplicity: float32 (n_events,), where an event stands for several.
    """
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    width = int(ids.max(initial=0)) + 1
    pairs, pair_of_event = np.unique(owner * width + ids, return_inverse=True)
    rows, events = pairs // width, pairs % width
    changes = np.zeros(len(pairs))
    for part in _parts(np.diff(offsets)[rows]):
        changes[part] = scores[rows[part]] - without(rows[part], events[part])
    repeats = np.bincount(pair_of_event, multiplicity, len(pairs))
    return np.asarray(changes / np.maximum(repeats, 1), np.float64)[pair_of_event]


def _parts(sizes: Integers) -> Iterator[slice]:
    """Slices of as many entries as hold MOST_EVENTS together, at least one."""
    ends, start = np.cumsum(sizes), 0
    while start < len(sizes):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + MOST_EVENTS, side="right")))
        yield slice(start, stop)
        start = stop


def _keep(sequences: Sequences, kept: NDArray[np.bool_]) -> Sequences:
    """The sequences with these events only; bool (n_events,)."""
    total = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return replace(
        sequences,
        log_keys=sequences.log_keys[kept],
        text_ids=sequences.text_ids[kept],
        elapsed_s=sequences.elapsed_s[kept],
        lines=sequences.lines[kept],
        offsets=total[sequences.offsets],
        raw=None if sequences.raw is None else sequences.raw.gather(np.flatnonzero(kept)),
    )
