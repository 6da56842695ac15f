"""From texts to what a method takes for each: sentence vectors on fewer axes, or rows of a learned table.

The only way from texts to vectors, so that one switch (`TextSettings.centred`) holds for every method
that reads them. What only looks for the most alike text stays with plain cosines (LogAnomaly's new
templates, the variant `+nearest`, examples in prompts): their bounds were chosen on them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bench.data.embedding import DIMENSION, embed, project
from bench.types import Sequences

Floats = NDArray[np.float64]
Projection = Literal["fixed", "learned", "pca"]
"""`learned`: vectors enter whole, for a layer of the network to project them."""

UNIT_SQUARE = DIMENSION**0.5
"""Scale at which the mean square of a sentence vector's 384 entries is 1; centring takes a part of that away."""


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How texts enter, the same for every method that reads them; its Config extends this."""

    centred: bool = False
    """Take the mean of the distinct training texts off all sentence vectors [R]: texts of one system
    share a large common vector, beside which their differences are small."""


class InputSettings(Protocol):
    """A Config with `TextSettings` and the width of a text's vector."""

    @property
    def centred(self) -> bool:
        """As in `TextSettings`."""

    @property
    def width(self) -> int:
        """Dimensions of a text's vector."""


@dataclass(frozen=True)
class TextInputs:
    """How texts enter; made from the training texts alone."""

    centre: Floats
    """(384,) taken off sentence vectors (norm 1) first; zeros where they are not centred."""
    axes: Floats
    """(384, width) centred vectors are multiplied by these; (0, 0) where they enter whole."""
    scale: float
    """Factor of the centred vectors."""
    vocabulary: tuple[str, ...] = ()
    """Training texts with a row of their own, from 1 on; row 0 is for all others. Empty for sentence vectors."""

    @classmethod
    def learned(cls, texts: Sequence[str]) -> Self:
        """Rows of a table instead of sentence vectors."""
        return cls(np.zeros(DIMENSION), np.zeros((0, 0)), 1.0, tuple(texts))

    @classmethod
    def learn(cls, train: Sequences, settings: InputSettings) -> Self:
        """What the networks share: `width` fixed axes, vectors scaled by the root of 384, centred where that is set."""
        return cls.sentence(texts_of(train), settings.width, centred=settings.centred)

    @classmethod
    def sentence(
        cls,
        texts: Sequence[str],
        width: int,
        *,
        centred: bool,
        projection: Projection = "fixed",
        scale: float = UNIT_SQUARE,
    ) -> Self:
        """Sentence vectors on `width` axes: the fixed random ones, or the principal ones of the distinct texts.

        Principal axes are those of centred vectors, so with `pca` vectors are centred whatever `centred` says.
        """
        distinct = sorted(set(texts))
        is_centred = (centred or projection == "pca") and bool(distinct)
        vectors = embed(distinct).astype(np.float64) if is_centred else np.zeros((0, DIMENSION))
        centre = vectors.mean(0) if is_centred else np.zeros(DIMENSION)
        return cls(centre, _axes(projection, width, vectors - centre), scale)

    def features(self, texts: Sequence[str]) -> NDArray[Any]:
        """float64 (n, width or 384) vectors, or int64 (n,) rows of the learned table."""
        if self.vocabulary:
            row_of = {text: row for row, text in enumerate(self.vocabulary, start=1)}
            return np.array([row_of.get(text, 0) for text in texts], np.int64)
        return self.vectors_of(embed(list(texts)))

    def vectors_of(self, vectors: NDArray[np.float32]) -> Floats:
        """float64 (n, width or 384), as `features`, from sentence vectors (n, 384)."""
        # In float64 a text's vector does not depend on how many others are projected with it.
        centred = (vectors.astype(np.float64) - self.centre) * self.scale
        return np.asarray(centred @ self.axes if self.axes.size else centred)

    def state(self) -> dict[str, NDArray[Any]]:
        """As arrays; no log text unless rows were learned."""
        parts = {
            "texts.centre": self.centre.copy(),
            "texts.axes": self.axes.copy(),
            "texts.scale": np.array([self.scale]),
        }
        return {**parts, "texts.vocabulary": texts_to_array(self.vocabulary)} if self.vocabulary else parts

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Self:
        """The reverse of `state`."""
        centre, axes = state["texts.centre"].copy(), state["texts.axes"].copy()
        vocabulary = array_to_texts(state["texts.vocabulary"]) if "texts.vocabulary" in state else []
        return cls(centre, axes, float(state["texts.scale"][0]), tuple(vocabulary))


def texts_of(sequences: Sequences) -> list[str]:
    """The texts that occur in events, by their number in `sequences.texts`."""
    return [sequences.texts[i] for i in np.unique(sequences.text_ids).tolist()]


def _axes(projection: Projection, width: int, centred: Floats) -> Floats:
    match projection:
        case "learned":
            return np.zeros((0, 0))
        case "fixed":
            return project(np.eye(DIMENSION, dtype=np.float32), width).astype(np.float64)
        case "pca":
            return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :width], np.float64).copy()


def texts_to_array(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as the bytes of a JSON list, since a state holds numbers only."""
    return np.frombuffer(json.dumps(list(texts)).encode(), np.uint8).copy()


def array_to_texts(array: NDArray[Any]) -> list[str]:
    """The reverse of `texts_to_array`."""
    texts: list[str] = json.loads(array.tobytes())
    return texts
