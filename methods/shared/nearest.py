"""The nearest of many training vectors, found without comparing most of them.

Training vectors are cut into blocks of similar ones. A vector is written as 0 and 1, whether it reaches each of the
values that its columns have in training; with a row as the part of each step that it fills, sum min(row, t) is then a
product of matrices, and so are bounds of it for all of a block, from the largest and smallest values there. A row is
compared with the blocks whose bound is beyond what it has found, the most promising block first.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.detector import report_progress
from methods.shared.counts import Floats, Integers, blocks, overlaps

Float32s = NDArray[np.float32]

BLOCK: Final = 256
"""Training vectors of a block at most: larger ones have looser bounds, smaller ones cost more calls."""
FEW_PAIRS: Final = 1_000_000
"""So many pairs are compared one by one: making blocks would take longer."""
MOST_CELLS: Final = 2**28
"""Cells of a byte that training vectors may take as steps (256 MB); what needs more is compared pair by pair."""
STEPS_PER_COLUMN: Final = 64
"""Steps for each column that a row has: with more, comparing its own columns takes less time than a product."""
_ROW_CELLS: Final = 8_000_000
"""Cells of float32 for the rows of a batch and their bounds at most: 32 MB."""
_EVEN: Final = 1 / 64
"""A block is halved by a step that at least this share of it has, and that this share lacks."""
_ROUNDING: Final = 1.2e-7
"""Error of a product, relative to its largest value and for each step: twice that of float32."""


class Steps(NamedTuple):
    """The distinct values that the columns have in training, one step from each to the next."""

    columns: Integers
    """(n_steps,) ascending"""
    values: Floats
    """(n_steps,) ascending within a column, above 0"""
    below: Floats
    """(n_steps,) the value before, or 0"""

    @classmethod
    def of(cls, train: csr_matrix) -> Steps:
        """The steps of training vectors without negative values."""
        matrix = train.tocsc()
        bounds = zip(matrix.indptr[:-1].tolist(), matrix.indptr[1:].tolist(), strict=True)
        values = [np.unique(matrix.data[start:stop]) for start, stop in bounds]
        values = [found[found > 0] for found in values]
        below = [np.concatenate([[0.0], found[:-1]])[: len(found)] for found in values]
        columns = np.repeat(np.arange(len(values)), [len(found) for found in values])
        return cls(columns, np.concatenate([np.zeros(0), *values]), np.concatenate([np.zeros(0), *below]))

    def reached(self, train: csr_matrix) -> NDArray[np.uint8]:
        """uint8 (n_train, n_steps): 1 where a vector's value in the column is at least that of the step."""
        made = [train[part].toarray()[:, self.columns] >= self.values for part in blocks(train.shape[0])]
        return np.concatenate([np.zeros((0, len(self.columns)), np.bool_), *made]).view(np.uint8)

    def filled(self, rows: csr_matrix) -> Float32s:
        """float32 (n_rows, n_steps): how much of each step lies below a row's value."""
        found = rows.toarray()[:, self.columns] - self.below
        np.clip(found, 0.0, self.values - self.below, out=found)
        return np.ascontiguousarray(found, np.float32)  # rows of it are taken


class Block(NamedTuple):
    """Training vectors that are compared together."""

    members: Integers
    """(n,) their positions, ascending"""
    added: Float32s
    """(n,) their masses"""


class Blocks:
    """All training vectors in blocks, and what bounds their shares."""

    def __init__(self, train: csr_matrix, steps: Steps, mass: Floats) -> None:
        self.steps, self.train = steps, train
        reached = steps.reached(train)
        heights = (steps.values - steps.below).astype(np.float32)
        self.parts = [Block(found, mass[found].astype(np.float32)) for found in similar(reached, heights)]
        self._reached = [reached[part.members] for part in self.parts]
        self._most = np.stack([found.max(axis=0) for found in self._reached]).astype(np.float32).T
        self._least = np.stack([found.min(axis=0) for found in self._reached]).astype(np.float32).T
        self._certain = heights @ self._least
        self._lightest = np.array([part.added.min() for part in self.parts])
        self._heaviest = np.array([part.added.max() for part in self.parts])

    def bounds(self, filled: Float32s, added: Float32s) -> Float32s:
        """float32 (n_rows, n_blocks): no share of a block is larger, but for rounding.

        A vector shares no more than the row has of what any of its block has, and no more than is left of its mass
        without what all of its block have beyond the row.
        """
        most, left = filled @ self._most, self._left(filled)
        most /= added[:, None] + self._lightest
        left /= added[:, None] + self._heaviest
        smaller: Float32s = np.minimum(most, left, out=most)
        return smaller

    def shared_bounds(self, filled: Float32s) -> Float32s:
        """float32 (n_rows, n_blocks): no sum min(row, t) of a block is larger, but for rounding."""
        smaller: Float32s = np.minimum(filled @ self._most, self._left(filled))
        return smaller

    def _left(self, filled: Float32s) -> Float32s:
        left: Float32s = filled @ self._least
        left += self._heaviest - self._certain
        return left

    def shared(self, number: int, filled: Float32s) -> Float32s:
        """float32 (n_rows, n): sum min(row, t) of a block's vectors."""
        found: Float32s = filled @ self._reached[number].T.astype(np.float32)
        return found

    def shares(self, number: int, filled: Float32s, added: Float32s) -> Float32s:
        """float32 (n_rows, n): sum min(row, t) / (mass of row + mass of t) of a block's vectors."""
        shared = self.shared(number, filled)
        shared /= added[:, None] + self.parts[number].added
        return shared


def similar(reached: NDArray[np.uint8], heights: Float32s, size: int | None = None) -> list[Integers]:
    """Positions of similar vectors, in blocks of at most `size` (BLOCK), ascending within; every vector is in one.

    reached: uint8 (n_vectors, n_steps); heights: float32 (n_steps,). Those are halved by the step that varies most
    among them, its height counted, and that not nearly all or none of them reach.
    """
    size = size or BLOCK
    found: list[Integers] = []
    waiting = [np.arange(len(reached))] if len(reached) else []
    while waiting:
        members = waiting.pop()
        if len(members) <= size:
            found.append(members)
            continue
        part = reached[members]
        share = part.mean(axis=0, dtype=np.float32)
        is_even = np.minimum(share, 1.0 - share) >= _EVEN
        if is_even.any():
            step = int(np.where(is_even, heights * share * (1.0 - share), -1.0).argmax())
            chosen = part[:, step] == 1
            waiting += [members[~chosen], members[chosen]]
        else:
            found += [members[cut] for cut in blocks(len(members), size)]
    return found


def nearest(rows: csr_matrix, train: csr_matrix, *, any_of_equals: bool = False) -> Integers:
    """int64 (n_rows,): the training vector with the largest sum min(row, t) / (mass of row + mass of t).

    rows: float64 (n_rows, width), train: float64 (n_train, width), not negative, at least one training vector; a mass
    is the sum of a vector, that of an empty row counting as 1. Shares are compared in float32, and of equal ones the
    first counts: as if every pair were compared in turn. any_of_equals: any will do, for vectors of whole numbers and
    one mass, whose shares are exact.
    """
    mass, train_mass = (np.asarray(matrix.sum(axis=1)).ravel() for matrix in (rows, train))
    added = np.where(mass == 0.0, 1.0, mass).astype(np.float32)
    if rows.shape[0] * train.shape[0] > FEW_PAIRS:
        steps = Steps.of(train)
        n_steps = len(steps.values)
        pays = n_steps * rows.shape[0] <= STEPS_PER_COLUMN * rows.nnz
        if pays and n_steps * train.shape[0] <= MOST_CELLS:
            found = Blocks(train, steps, train_mass)
            return _search(rows, found, added, any_of_equals=any_of_equals)
    return _one_by_one(rows, train, added, train_mass.astype(np.float32))


def _one_by_one(rows: csr_matrix, train: csr_matrix, added: Float32s, train_added: Float32s) -> Integers:
    best, found = np.full(rows.shape[0], -1.0, np.float32), np.zeros(rows.shape[0], np.int64)
    for i, block, shared in overlaps(rows, train):
        share = np.divide(shared, train_added[block] + added[i], out=shared)
        candidate = int(share.argmax())
        if share[candidate] > best[i]:
            best[i], found[i] = share[candidate], block.start + candidate
    return found


def _search(rows: csr_matrix, found: Blocks, added: Float32s, *, any_of_equals: bool) -> Integers:
    n_rows, cells = rows.shape[0], len(found.steps.values) + len(found.parts)
    result = np.zeros(n_rows, np.int64)
    for part in blocks(n_rows, max(BLOCK, _ROW_CELLS // cells)):
        batch = _Batch(rows[part], found, added[part], any_of_equals=any_of_equals)
        batch.search()
        result[part] = batch.nearest
        report_progress("comparing count vectors", part.stop, n_rows)
    return result


class _Batch:
    """Rows that are searched together, and the nearest vectors found so far."""

    def __init__(self, rows: csr_matrix, found: Blocks, added: Float32s, *, any_of_equals: bool) -> None:
        self._blocks, self._added = found, added
        self._filled = found.steps.filled(rows)
        self._exact = None if any_of_equals else _Exact(rows)
        self._slack = 0.0 if any_of_equals else _ROUNDING * max(1, len(found.steps.values))
        self._share = np.full(rows.shape[0], -1.0, np.float32)
        self._best = np.full(rows.shape[0], -1.0, np.float32)
        self.nearest = np.zeros(rows.shape[0], np.int64)

    def search(self) -> None:
        """Compare each row with its most promising block, then with all others that may hold a nearer vector."""
        bounds = self._blocks.bounds(self._filled, self._added)
        first = bounds.argmax(axis=1)
        order = np.argsort(first, kind="stable")
        starts = np.searchsorted(first[order], np.arange(bounds.shape[1] + 1))
        for number in range(bounds.shape[1]):
            self._compare(number, order[starts[number] : starts[number + 1]])
        bounds[np.arange(len(first)), first] = -2.0
        for number in range(bounds.shape[1]):
            needed = bounds[:, number] > self._share - self._slack
            self._compare(number, np.flatnonzero(needed))

    def _compare(self, number: int, which: Integers) -> None:
        if not len(which):
            return
        filled = self._filled.take(which, axis=0)
        shares = self._blocks.shares(number, filled, self._added[which])
        largest = shares.max(axis=1)
        is_near = largest >= self._share[which] - self._slack
        which, shares, largest = which[is_near], shares[is_near], largest[is_near]
        self._share[which] = np.maximum(self._share[which], largest)
        part = self._blocks.parts[number]
        if self._exact is None:
            self._take(which, part.members[shares.argmax(axis=1)], largest)
            return
        row, vector = np.nonzero(shares >= (self._share[which] - np.float32(self._slack))[:, None])
        exact = self._exact.shared(which[row], self._blocks.train[part.members], vector)
        exact /= part.added[vector] + self._added[which[row]]
        chosen = _first_of_largest(row, exact)
        self._take(which[row[chosen]], part.members[vector[chosen]], exact[chosen])

    def _take(self, which: Integers, vectors: Integers, shares: Float32s) -> None:
        better = (shares > self._best[which]) | ((shares == self._best[which]) & (vectors < self.nearest[which]))
        self._best[which[better]], self.nearest[which[better]] = shares[better], vectors[better]


class _Exact:
    """Sums of minima in float32, added in order of columns, as `overlaps` adds them."""

    def __init__(self, rows: csr_matrix) -> None:
        lengths = np.diff(rows.indptr)
        place = np.arange(int(lengths.max(initial=0)))
        is_real = place < lengths[:, None]
        self._columns = np.zeros(is_real.shape, np.int64)
        self._values = np.zeros(is_real.shape, np.float32)
        self._columns[is_real], self._values[is_real] = rows.indices, rows.data

    def shared(self, which: Integers, train: csr_matrix, vectors: Integers) -> Float32s:
        """float32 (n_pairs,): of row which[i] and training vector vectors[i] of this block."""
        if not self._columns.shape[1]:
            return np.zeros(len(which), np.float32)
        values = train.astype(np.float32).toarray()
        found = np.zeros(len(which), np.float32)
        for part in blocks(len(which), max(1, _ROW_CELLS // self._columns.shape[1])):
            rows = which[part]
            smaller = np.minimum(values[vectors[part, None], self._columns[rows]], self._values[rows])
            found[part] = np.cumsum(smaller, axis=1, dtype=np.float32)[:, -1]
        return found


def _first_of_largest(groups: Integers, values: Float32s) -> Integers:
    """The position of each group's first largest value; groups: (n_values,) ascending."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    if not len(starts):
        return starts
    largest = np.maximum.reduceat(values, starts)
    places = np.flatnonzero(values == np.repeat(largest, np.diff(np.append(starts, len(values)))))
    return places[np.diff(groups[places], prepend=-1) > 0]
