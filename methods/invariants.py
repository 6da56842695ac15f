"""Invariant mining: mining invariants from console logs (Lou, Fu, Yang, Xu, Li, USENIX ATC 2010).

Programs keep linear relations between event counts ("as many closed as opened"). Found are integer vectors theta with
X theta = 0 for at least 95 % of the training sequences; the score is the sum of |x theta| over all of them, and the
native threshold 1e-6 flags whatever breaks one.

Told: source unlabelled. It is fitted on the whole training period, abnormal sequences included, and reads no labels;
it needs them to be few.

Works badly on fixed windows, which cut programs anywhere: few relations hold, what remains are counts of rare events,
and the native rule flags many normal windows. It is blind to anomalies that keep all relations, and useless where
training is mostly abnormal.

Reconstructed [R]: an event that at most 5 % of the sequences have is an invariant itself (`singles`), and a relation
must hold in 95 % of the sequences that have one of its events; one that follows from others is not kept. More:
docs/methods/invariants.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(Invariants.tags.told)
    >>> detector = Invariants().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.detector import DetectorTags, report_progress
from bench.types import Sequences
from methods.shared.counts import CountConfig, CountDetector, Floats, Integers, State, known_keys, sample_rows
from methods.shared.published import Published, original, sources_of

_EXACT = 1e-9
_PREVIEW = 256


@dataclass(frozen=True, kw_only=True)
class Config(CountConfig):
    """Defaults of the public implementation of the paper, but for `support`."""

    support: float = 0.95
    """Share of the sequences in which an invariant holds; chosen in the study `network-choices` (.98 there)."""
    singles: Literal["unseen", "rare"] = "rare"
    """Invariants of one event: those that training never had, or that at most 1 - support of its sequences have."""
    small: float = 0.5
    """|x u| below which a sequence lies in the space of invariants, when its dimension is estimated."""
    max_length: int = 3
    """Events in one invariant at most (sheet: cap of the exponential search); 2 or 3."""
    max_rows: int = 20_000
    """Distinct count vectors to search on [R]; of more, so many sequences are drawn."""
    max_candidates: int = 200_000
    """Sets of three that are tried at most, those that most sequences share first [R]."""

    def __post_init__(self) -> None:
        if not 0.5 < self.support <= 1 or self.small <= 0:
            raise ValueError(f"support {self.support} must be in (0.5, 1] and small {self.small} above 0")
        if self.singles not in ("unseen", "rare"):
            raise ValueError(f"singles '{self.singles}' is unknown: use unseen or rare")
        if self.max_length not in (1, 2, 3) or min(self.max_rows, self.max_candidates) < 1:
            raise ValueError("max_length must be 1, 2 or 3, and max_rows and max_candidates at least 1")


ORIGINAL: Published = {
    "oov": (False, "code (loglizer) drops unseen events"),
    "support": (0.98, "code (loglizer)"),
    "singles": ("unseen", "code (loglizer)"),
    "small": (0.5, "code (loglizer)"),
    "max_length": (3, "[R] its search has no bound that many keys could bear"),
    "max_rows": (20_000, "[R] none is stated"),
    "max_candidates": (200_000, "[R] none is stated"),
}


class Invariants(CountDetector):
    """By how much a sequence's event counts break the integer relations that hold in training."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "unlabelled"})
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the public implementation."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)
    native_threshold_ = 1e-6

    def _learn(self, train: Sequences, labels: NDArray[np.int8] | None) -> State:
        known = known_keys(train)
        matrix, counts = sample_rows(self._rows(train, known), self.config.max_rows, self.seed)
        order = np.argsort(-counts, kind="stable")
        x, counts = matrix[order].toarray(), counts[order]
        found = _Found(x.shape[1])
        needed = (1.0 if self.config.singles == "unseen" else self.config.support) * counts.sum() - _EXACT
        alone = (x == 0).T @ counts >= needed
        for column in np.flatnonzero(alone):
            found.add(np.array([column]), np.ones(1))
        dimensions = len(found.vectors) + dimension_of_invariants(x[:, ~alone], counts, self.config)
        for length in range(2, self.config.max_length + 1):
            if len(found.vectors) >= dimensions:
                break
            search(x, counts, length, found, self.config)
        vectors = np.array(found.vectors).reshape(-1, x.shape[1])
        return {"known_keys": known, "invariants": vectors, "dimensions": np.array([dimensions], np.int64)}

    def _score_rows(self, rows: csr_matrix, state: State) -> Floats:
        return np.asarray(np.abs(rows @ csr_matrix(state["invariants"].T)).sum(axis=1), np.float64).ravel()

    def monitor(self) -> dict[str, Any]:
        """Invariants by their number of events, and the estimated dimension of their space."""
        state = self.state()
        lengths = np.bincount(np.count_nonzero(state["invariants"], axis=1), minlength=4)[1:].tolist()
        return {"by_length": lengths, "dimensions": int(state["dimensions"][0])}


class _Found:
    """Invariants, each independent of those before."""

    def __init__(self, width: int) -> None:
        self.vectors: list[Floats] = []
        self.sets: set[tuple[int, ...]] = set()
        self._basis = np.zeros((0, width))

    def add(self, columns: Integers, theta: Floats) -> None:
        """Keep the relation unless it follows from those found."""
        vector = np.zeros(self._basis.shape[1])
        vector[columns] = theta
        rest = vector - (vector @ self._basis.T) @ self._basis
        rest -= (rest @ self._basis.T) @ self._basis
        self.sets.add(tuple(columns.tolist()))
        if np.linalg.norm(rest) > 1e-6 * np.linalg.norm(vector):
            self._basis = np.vstack([self._basis, rest / np.linalg.norm(rest)])
            self.vectors.append(vector)


def dimension_of_invariants(x: Floats, counts: Integers, config: Config) -> int:
    """How many of the smallest principal directions u have |x u| < small for the share `support` of sequences."""
    _, axes = np.linalg.eigh(x.T @ (x * counts[:, None]))
    inside = (np.abs(x @ axes) < config.small).T @ counts >= config.support * counts.sum()
    return int(np.argmin(inside)) if not inside.all() else len(inside)


def search(x: Floats, counts: Integers, length: int, found: _Found, config: Config) -> None:
    """Add all invariants of 2 or 3 events whose sets hold no smaller invariant."""
    present = (x > 0).astype(np.float64)
    together = present.T @ (present * counts[:, None])
    gram = x.T @ (x * counts[:, None])
    sets = _pairs(together, found, config) if length == 2 else _triples(together, found, config)
    for done, part in enumerate(np.array_split(sets, max(1, len(sets) // 4096))):
        values, axes = np.linalg.eigh(gram[part[:, :, None], part[:, None, :]])
        del values
        for columns, theta in _valid(x, counts, part, axes[:, :, 0], config):
            found.add(columns, theta)
        report_progress(f"trying sets of {length} events", min(4096 * (done + 1), len(sets)), len(sets))


def _pairs(together: Floats, found: _Found, config: Config) -> Integers:
    """int64 (n, 2): both events of a relation must stand in nearly all sequences that have one of them."""
    n = np.diag(together)
    union = n[:, None] + n - together
    enough = (together >= config.support * union - _EXACT) & (together > 0)
    return np.argwhere(np.triu(enough & ~_barred(found, len(n)), 1))


def _triples(together: Floats, found: _Found, config: Config) -> Integers:
    """int64 (n, 3): nearly all sequences with one of three events must have a second one.

    With c of all three unknown, the number with exactly one event falls faster in c than the share of the union that is
    allowed, so the smallest possible c decides whether a set can qualify.
    """
    n, allowed = np.diag(together), 1.0 - config.support
    barred = _barred(found, len(n))
    rank = np.lexsort((np.arange(len(n)), -n))
    place = np.argsort(rank)
    sets, shared = [np.zeros((0, 3), np.int64)], [np.zeros(0)]
    for i in np.flatnonzero(n > 0):
        # i is the most frequent of the three; about half of its sequences at least hold the more common partner j.
        partners = (place > place[i]) & ~barred[i] & (n > 0)
        for j in np.flatnonzero(partners & (together[i] >= (0.5 - 2 * allowed) * n[i])):
            behind = (together[i] < together[i, j]) | ((together[i] == together[i, j]) & (place > place[j]))
            k = np.flatnonzero(partners & ~barred[j] & behind)
            ij, ik, jk = together[i, j], together[i, k], together[j, k]
            least = np.maximum.reduce([np.zeros(len(k)), ij + ik - n[i], ij + jk - n[j], ik + jk - n[k]])
            one = n[i] + n[j] + n[k] - 2 * (ij + ik + jk) + 3 * least
            union = n[i] + n[j] + n[k] - ij - ik - jk + least
            k = k[one <= allowed * union + _EXACT]
            sets.append(np.stack([np.full(len(k), i), np.full(len(k), j), k], axis=1))
            shared.append(together[i, k] + together[j, k] + ij)
    most = np.argsort(-np.concatenate(shared), kind="stable")[: config.max_candidates]
    return np.asarray(np.concatenate(sets)[most])


def _barred(found: _Found, width: int) -> NDArray[np.bool_]:
    """Pairs, bool (width, width), that hold an invariant already, so that their supersets need no search."""
    barred = np.eye(width, dtype=bool)
    for columns in found.sets:
        if len(columns) == 1:
            barred[columns, :] = barred[:, columns] = True
        if len(columns) == 2:
            barred[columns, columns[::-1]] = True
    return barred


def _valid(
    x: Floats, counts: Integers, sets: Integers, vectors: Floats, config: Config
) -> Iterator[tuple[Integers, Floats]]:
    """Those of the sets whose eigenvector, scaled to integers, vanishes in nearly all sequences with such an event."""
    smallest = np.abs(vectors).min(axis=1)
    sets, vectors = sets[smallest > _EXACT], vectors[smallest > _EXACT]
    at = np.abs(vectors).argmin(axis=1)[:, None]
    waiting = np.ones(len(sets), bool)
    for scale in (1, 2, 3):
        theta = np.rint(vectors * scale / np.take_along_axis(vectors, at, 1))
        maybe = np.flatnonzero(waiting & (theta != 0).all(axis=1))
        # Most sets fail on the most common sequences already; the union is at most all sequences.
        broken = np.abs(np.einsum("rml,ml->rm", x[:_PREVIEW][:, sets[maybe]], theta[maybe])) > _EXACT
        maybe = maybe[counts[:_PREVIEW] @ broken <= (1.0 - config.support) * counts.sum() + _EXACT]
        for m in maybe:
            columns = x[:, sets[m]]
            concerned = columns.any(axis=1)
            holds = np.abs(columns @ theta[m]) < _EXACT
            if counts[holds & concerned].sum() >= config.support * counts[concerned].sum() - _EXACT:
                waiting[m] = False
                yield sets[m], theta[m]
