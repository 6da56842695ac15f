"""What the methods on event counts share: count matrices of distinct rows, tf-idf, standardising, nearest vectors.

All of them know the log keys of training and pool every other event in one last column, so that an unseen event is
never lost; switched off (`oov=False`), unseen events are dropped, as in the public implementations. Sequences with
equal counts are one row with a count, because real logs repeat themselves: 575,061 HDFS sessions have 666 count
vectors.

In a transfer nearly every event is one that training did not have. All windows of one length are then one count vector,
and these methods equal `all-positive` or flag nothing, whatever they are: no bug of theirs, but what log keys can tell.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError, report_progress
from bench.types import ABNORMAL, NORMAL, UNKNOWN_KEY, Sequences, Unique
from methods.shared.occlusion import occlusion

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
State = dict[str, NDArray[Any]]

BLOCK_VECTORS: Final = 4096
"""Training count vectors compared at once at most: more do not fit the cache."""
BLOCK_ROWS: Final = 4096
"""Rows scored at once at most."""
_TABLE: Final = 2**20
"""Range of log keys up to which their columns are looked up in a table: 8 MB."""
_BLOCK_CELLS: Final = 4_000_000
"""Cells of float32 of a block of training vectors at most: 16 MB."""


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    """What all methods on event counts let one choose."""

    oov: bool = True
    """Count events unseen in training in a column of their own; False drops them, as public implementations do."""


class FittedArrays(Detector):
    """Keeps what was learned as named arrays, so that saving is the same for all; `native` is the native threshold."""

    fitted_: State | None = None

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn from the training sequences; labels are read by methods that are told them."""
        if reason := self.skip(train):
            raise ValueError(f"{type(self).__name__} cannot be trained: {reason}")
        learned = self._learn(train, labels)
        return self.load_state(learned)

    @abstractmethod
    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        """Everything `score` needs."""

    def state(self) -> State:
        """Everything `fit` learned. Raises NotFittedError before `fit`."""
        if self.fitted_ is None:
            raise NotFittedError(f"{type(self).__name__} must be fitted before it scores or is saved")
        return dict(self.fitted_)

    def load_state(self, state: State) -> Self:
        """Take over what `state` returned."""
        self.fitted_ = dict(state)
        if "native" in state:
            self.native_threshold_ = float(state["native"][0])
        return self


class KeyDetector(FittedArrays):
    """Compares log keys, so it needs one."""

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to compare with."""
        return None if (train.log_keys >= 0).any() else "no training sequence has an event with a known log key"

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): by how much the score falls without the event, its equals sharing (occlusion)."""
        self.state()
        return occlusion(sequences, self.score)


class CountDetector(KeyDetector):
    """Scores distinct rows of event counts; state always holds `known_keys`."""

    Config: ClassVar[type] = CountConfig

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,): the score of each sequence's count vector."""
        state = self.state()
        rows = self._rows(sequences, state["known_keys"])
        scores = [self._score_rows(rows.matrix[part], state) for part in blocks(rows.matrix.shape[0])]
        return np.concatenate([np.zeros(0), *scores])[rows.inverse]

    def _rows(self, sequences: Sequences, known: NDArray[np.int32]) -> Rows:
        return distinct_counts(sequences, known, oov=self.config.oov)

    @abstractmethod
    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        """Scores, float64 (n_rows,), of counts (n_rows, n_known + 1)."""


class SupervisedCounts(CountDetector):
    """A classifier of event counts; sequences without a label are left out."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels"})

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        name = type(self).__name__
        if labels is None or not all((labels == value).any() for value in (NORMAL, ABNORMAL)):
            raise ValueError(
                f"{name} needs normal and abnormal training sequences with labels, and one kind is missing: "
                "use a split or an edition whose training part has both"
            )
        known = known_keys(train)
        parts = [self._rows(train.select(labels == value), known) for value in (NORMAL, ABNORMAL)]
        rows = np.concatenate([part.matrix.toarray() for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        truth = np.repeat([NORMAL, ABNORMAL], [len(part.counts) for part in parts])
        return {"known_keys": known, **self._learn_rows(rows, truth, counts)}

    @abstractmethod
    def _learn_rows(self, rows: Floats, truth: Integers, counts: Integers) -> State:
        """Learn from count vectors, distinct within each class, of which `counts` sequences have this label."""


class Rows(NamedTuple):
    """Distinct count vectors."""

    matrix: csr_matrix
    """float64 (n_rows, n_known + 1), in order of first occurrence; the last column counts unseen events."""
    counts: Integers
    """(n_rows,) sequences that have it."""
    inverse: Integers
    """(n_sequences,) the row of each sequence."""


def known_keys(train: Sequences) -> NDArray[np.int32]:
    """The log keys of training, sorted."""
    return np.unique(train.log_keys[train.log_keys != UNKNOWN_KEY])


def columns_of(sequences: Sequences, known: NDArray[np.int32]) -> Integers:
    """int64 (n_events,): the column of each event's log key, len(known) for keys that training did not have."""
    keys = sequences.log_keys
    if not len(known) or not len(keys):
        return np.zeros(len(keys), np.int64)
    first, last = min(int(keys.min()), int(known[0])), max(int(keys.max()), int(known[-1]))
    if last - first > _TABLE:
        columns = np.searchsorted(known, keys)
        columns[np.isin(keys, known, invert=True)] = len(known)
        return columns.astype(np.int64)
    # Log keys are numbered from 0, so that a table of them is short.
    table = np.full(last - first + 1, len(known), np.int64)
    table[known - first] = np.arange(len(known))
    return np.asarray(table[keys - first])


def distinct_columns(sequences: Sequences, known: NDArray[np.int32]) -> Unique:
    """Distinct sequences of columns: texts, systems, parameters and the numbers of unseen keys play no part."""
    columns = columns_of(sequences, known).astype(np.int32)
    plain = replace(sequences.without_parameters(), log_keys=columns, text_ids=columns)
    return replace(plain, system=np.zeros_like(sequences.system)).unique()


def count_vectors(sequences: Sequences, known: NDArray[np.int32], *, reduced: bool = False) -> Sequences:
    """Counts per column in the form of `vectors`; reduced: divided by their greatest common divisor."""
    shape = (len(sequences), len(known) + 1)
    ones = np.ones(sequences.n_events, dtype=np.int32)
    # A copy, because sum_duplicates writes into these arrays, and scipy may share the offsets of `sequences`.
    matrix = csr_matrix((ones, columns_of(sequences, known), sequences.offsets), shape=shape, copy=True)
    matrix.sum_duplicates()
    lengths = np.diff(matrix.indptr)
    counts = matrix.data
    if reduced and len(counts):
        divisors = np.gcd.reduceat(counts, matrix.indptr[:-1][lengths > 0])
        counts = counts // np.repeat(divisors, lengths[lengths > 0])
    return vectors(matrix.indices.astype(np.int32), counts, matrix.indptr.astype(np.int64))


def frequencies(counts: csr_matrix) -> csr_matrix:
    """Sparse float64 (n_vectors, width): counts divided by their sum."""
    matrix = counts.copy()
    matrix.data /= np.repeat(np.asarray(matrix.sum(axis=1)).ravel(), np.diff(matrix.indptr))
    return matrix


def vectors(columns: NDArray[np.int32], counts: NDArray[np.int32], offsets: Integers) -> Sequences:
    """Sparse count vectors in the form of sequences, columns as log keys and counts as text ids.

    They have the same layout, and `Sequences.unique` then finds equal vectors exactly.
    """
    n_vectors = len(offsets) - 1
    return Sequences(
        log_keys=columns,
        text_ids=counts,
        texts=(),
        offsets=offsets,
        elapsed_s=np.zeros(len(columns)),
        start_time=np.zeros(n_vectors),
        system=np.zeros(n_vectors, dtype=np.uint8),
        lines=np.zeros(len(columns), dtype=np.int64),
    )


def as_matrix(sparse_vectors: Sequences, width: int) -> csr_matrix:
    """float64 (n_vectors, width) of what `vectors` made."""
    data = sparse_vectors.text_ids.astype(np.float64)
    shape = (len(sparse_vectors), width)
    return csr_matrix((data, sparse_vectors.log_keys, sparse_vectors.offsets), shape=shape)


def distinct_counts(sequences: Sequences, known: NDArray[np.int32], *, oov: bool = True) -> Rows:
    """The distinct count vectors; without oov the last column is zero."""
    if not oov:
        sequences = _without_unseen(sequences, known)
    unique, counts, inverse = count_vectors(sequences, known).unique()
    return Rows(as_matrix(unique, len(known) + 1), counts, inverse)


def _without_unseen(sequences: Sequences, known: NDArray[np.int32]) -> Sequences:
    kept = np.isin(sequences.log_keys, known)
    total: Integers = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    keys = sequences.log_keys[kept]
    return replace(vectors(keys, keys, total[sequences.offsets]), texts=sequences.texts)


def sample_rows(rows: Rows, most: int, seed: int) -> tuple[csr_matrix, Integers]:
    """The rows and their counts, or of more than `most` rows those of as many sequences, drawn with replacement."""
    if len(rows.counts) <= most:
        return rows.matrix, rows.counts
    drawn = np.random.default_rng(seed).multinomial(most, rows.counts / rows.counts.sum())
    kept = np.flatnonzero(drawn)
    return rows.matrix[kept], drawn[kept]


def document_frequency(matrix: csr_matrix, counts: Integers) -> Floats:
    """float64 (width,): training sequences that have an event of this column."""
    weights = np.repeat(counts, np.diff(matrix.indptr)).astype(np.float64)
    return np.asarray(np.bincount(matrix.indices, weights, matrix.shape[1]), np.float64)


def idf(matrix: csr_matrix, counts: Integers) -> Floats:
    """float64 (width,): log(n / df); a column that training never had weighs log(n + 1), as if one more had it [R]."""
    n, frequency = float(counts.sum()), document_frequency(matrix, counts)
    return np.asarray(np.where(frequency > 0, np.log(n / np.maximum(frequency, 1.0)), np.log(n + 1.0)))


class Scale(NamedTuple):
    """Mean and standard deviation of each column, float64 (width,)."""

    mean: Floats
    deviation: Floats


def scale_of(matrix: csr_matrix, counts: Integers) -> Scale:
    """Moments over the training sequences; a constant column gets the deviation it had if one sequence more differed.

    So an event that training never had (or always as often) weighs as a very rare one instead of infinitely or
    nothing [R].
    """
    n = float(counts.sum())
    mean = np.asarray(counts @ matrix).ravel() / n
    squares = np.asarray(counts @ matrix.power(2)).ravel() / n
    variance = squares - mean**2
    constant = variance <= 1e-12 * np.maximum(squares, 1.0)
    variance[constant] = n / (n + 1.0) ** 2
    return Scale(mean, np.sqrt(variance))


def weighted_quantile(values: Floats, counts: Integers, q: float) -> float:
    """The smallest value that at least the share q of all (with repeats) does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.searchsorted(np.cumsum(counts[order]), q * counts.sum())
    return float(values[order[min(reached, len(order) - 1)]])


def on_grid(scores: Floats) -> Floats:
    """Scores rounded down to 0, .01, ..., .99: with them, "score >= t" for these t is all that a threshold can tell."""
    # A score of .29 is 28.999999999999996 hundredths.
    return np.asarray(np.minimum(np.floor(100.0 * scores + 1e-9), 99.0) / 100.0)


def blocks(n: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Slices of at most `size` that cover n."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def overlaps(rows: csr_matrix, train: csr_matrix) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
    """Yield (row, block, sum min(row, t) for each training vector t of the block), float32, for all rows and blocks.

    Rows are compared over their own columns only, which in logs are few of all.
    """
    n_rows, (n_train, width) = rows.shape[0], train.shape
    values, bounds = rows.data.astype(np.float32)[:, None], rows.indptr
    for block in blocks(n_train, max(1, min(BLOCK_VECTORS, _BLOCK_CELLS // width))):
        columns = np.ascontiguousarray(train[block].astype(np.float32).toarray().T)
        for i in range(n_rows):
            part = slice(bounds[i], bounds[i + 1])
            shared = columns[rows.indices[part]]
            yield i, block, np.minimum(shared, values[part], out=shared).sum(axis=0)
        report_progress("comparing count vectors", block.stop, n_train)
