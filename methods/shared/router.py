"""What of a target system is known from the source: the training-free router of GeneralLog and FusionLog.

Of each event of a sequence the cosine to the most alike event text of the source is taken; the
smallest of them is the sequence's similarity, and from the bound `tau` on it is general, else
proprietary to its system. One event unlike all of the source's decides, so what a parser makes of a
rare line does.

No paper names the bound. Here it comes from the source alone [R]: its distinct texts are cut into two
halves, and a bound is the similarity that all but 5 % of its sequences reach when each text is compared
with the other half, as if it were new. Cosines are those of plain sentence vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.data.embedding import DIMENSION, embed
from bench.types import Sequences
from methods.shared.published import Published

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]

QUANTILE: Final = 0.05
"""Share of the source's own sequences below the bound, their texts compared with the other half [R]."""
LEAST_TAU: Final = 0.5
"""The bound at least [R]: where the source's texts have little in common, so low a cosine says nothing."""

ROUTER: Final[Published] = {
    "tau": (None, "[R] the bound is not published"),
    "tau_quantile": (QUANTILE, "[R] the bound is not published"),
}
"""What is known of the router's bound."""

_ROWS: Final = 2048
"""Texts of each side compared at once: their products, 16 MB, stay near the processor."""
_DECIMALS: Final = 5
"""Cosines are rounded, so that equal texts have 1 and not what rounding leaves."""


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """The bound of the router; the Config of a method that routes extends this."""

    tau: float | None = None
    """Similarity from which on a sequence is general; none: from the source's two halves [R]."""
    tau_quantile: float = QUANTILE
    """Share of the source's sequences that this bound leaves below it [R]."""


def require_router(settings: RouterSettings) -> None:
    """Refuse values that cannot work."""
    if settings.tau is not None and not -1 <= settings.tau <= 1:
        raise ValueError(f"tau {settings.tau} is a cosine: give -1 to 1, or none for a bound from the source")
    if not 0 <= settings.tau_quantile <= 1:
        raise ValueError(f"tau_quantile {settings.tau_quantile} must be in 0 to 1")


class Router(NamedTuple):
    """The distinct texts of the source as vectors, and the bound."""

    vectors: Vectors
    """float32 (n_texts, 385) of norm 1: sentence vectors, and behind them 1 for a vector of zeros."""
    tau: float

    @classmethod
    def learn(cls, source: Sequences, *, tau: float | None = None, quantile: float = QUANTILE, seed: int = 0) -> Self:
        """From the sequences of the source, unlabelled; tau: the bound, where it is not to be learned."""
        texts, text_of_event = distinct_texts(source)
        vectors = unit_vectors(texts)
        if tau is None:
            alike = alike_in_other_half(vectors, np.random.default_rng([seed, 5]))
            tau = _bound(smallest_of_each(alike[text_of_event], source), source.lengths, quantile)
        return cls(vectors, tau)

    def similarity(self, sequences: Sequences) -> Floats:
        """float64 (n_sequences,): of its event that is least alike; 1 where a sequence is empty."""
        texts, text_of_event = distinct_texts(sequences)
        nearest = largest_cosines(unit_vectors(texts), self.vectors)
        return smallest_of_each(nearest[text_of_event], sequences)

    def is_general(self, sequences: Sequences) -> NDArray[np.bool_]:
        """Bool (n_sequences,): whether the source knows all events of a sequence."""
        return self.similarity(sequences) >= self.tau

    def state(self) -> dict[str, NDArray[Any]]:
        """As arrays; no log text."""
        return {"router.vectors": self.vectors.copy(), "router.tau": np.array([self.tau])}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Self:
        """The reverse of `state`."""
        return cls(state["router.vectors"].copy(), float(state["router.tau"][0]))


def distinct_texts(sequences: Sequences) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct texts that occur, each once, and for each event which one it is, (n_events,)."""
    used, id_of_event = np.unique(sequences.text_ids, return_inverse=True)
    place: dict[str, int] = {}
    # Two systems may have a text each under a number of its own.
    place_of_id = [place.setdefault(sequences.texts[i], len(place)) for i in used.tolist()]
    return list(place), np.array(place_of_id, np.int64)[id_of_event]


def unit_vectors(texts: list[str]) -> Vectors:
    """float32 (n_texts, 385) of norm 1; vectors of zeros are like each other and like nothing else."""
    vectors = embed(texts)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    made = np.zeros((len(texts), DIMENSION + 1), np.float32)
    made[:, :DIMENSION] = vectors / np.where(norms > 0, norms, 1.0)
    made[:, DIMENSION] = norms[:, 0] == 0
    return made


def largest_cosines(vectors: Vectors, others: Vectors) -> Floats:
    """float64 (n,): the cosine of each unit vector to the most alike of the others; -1 where there is none."""
    found = np.full(len(vectors), -1.0)
    for start in range(0, len(vectors), _ROWS):
        part = found[start : start + _ROWS]
        for first in range(0, len(others), _ROWS):
            products = vectors[start : start + _ROWS] @ others[first : first + _ROWS].T
            np.maximum(part, products.max(axis=1), out=part)
    return np.asarray(np.round(found, _DECIMALS), np.float64)


def smallest_of_each(values: Floats, sequences: Sequences) -> Floats:
    """float64 (n_sequences,): the smallest value (n_events,) of each sequence; 1 where it is empty."""
    smallest = np.ones(len(sequences))
    filled = np.flatnonzero(sequences.lengths)
    if len(filled):
        smallest[filled] = np.minimum.reduceat(values, sequences.offsets[filled])
    return smallest


def alike_in_other_half(vectors: Vectors, rng: np.random.Generator) -> Floats:
    """float64 (n,): the largest cosine of each vector to those of the half that it is not in, drawn by rng."""
    in_first = np.zeros(len(vectors), bool)
    in_first[rng.permutation(len(vectors))[: len(vectors) // 2]] = True
    alike = np.ones(len(vectors))
    if in_first.any():
        alike[in_first] = largest_cosines(vectors[in_first], vectors[~in_first])
        alike[~in_first] = largest_cosines(vectors[~in_first], vectors[in_first])
    return alike


def _bound(similarity: Floats, lengths: NDArray[np.int64], quantile: float) -> float:
    """The quantile over sequences that have an event; 1 where there is none."""
    filled = similarity[lengths > 0]
    # A sequence's own similarity, not one between two: as many as said lie below the bound.
    found = float(np.quantile(filled, quantile, method="lower")) if len(filled) else 1.0
    return max(LEAST_TAU, found)
