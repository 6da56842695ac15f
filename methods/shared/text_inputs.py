"""From texts to what a network takes for each: sentence vectors on fewer axes, or rows of a learned table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.embedding import DIMENSION, embed, project
from methods.shared import layers

Projection = Literal["fixed", "learned", "pca"]


@dataclass(frozen=True)
class TextInputs:
    """How texts enter; made from the training texts alone."""

    axes: NDArray[np.float64]
    """(384, width) sentence vectors are multiplied by these; (0, 0) where they enter whole."""
    vocabulary: tuple[str, ...]
    """Training texts with a row of their own, from 1 on; row 0 is for all others. Empty for sentence vectors."""
    scale: float
    """Factor of the sentence vectors, whose norm is 1."""

    @classmethod
    def learned(cls, texts: Sequence[str]) -> Self:
        """Rows of a table instead of sentence vectors."""
        return cls(np.zeros((0, 0)), tuple(texts), 1.0)

    @classmethod
    def sentence(cls, texts: Sequence[str], projection: Projection, width: int, *, unit_variance: bool) -> Self:
        """Sentence vectors on `width` axes: the fixed random ones, or the principal ones of the training texts."""
        scale = DIMENSION**0.5 if unit_variance else 1.0
        match projection:
            case "learned":
                return cls(np.zeros((0, 0)), (), scale)
            case "fixed":
                return cls(project(np.eye(DIMENSION, dtype=np.float32), width).astype(np.float64), (), scale)
            case "pca":
                vectors = embed(list(texts)).astype(np.float64)
                centred = vectors - vectors.mean(0)
                return cls(np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :width].copy(), (), scale)

    def features(self, texts: Sequence[str]) -> Tensor:
        """float64 (n, width or 384) vectors, or int64 (n,) rows of the learned table."""
        if self.vocabulary:
            row_of = {text: row for row, text in enumerate(self.vocabulary, start=1)}
            return torch.tensor([row_of.get(text, 0) for text in texts], dtype=torch.int64)
        # In float64 a text's vector does not depend on how many others are projected with it.
        vectors = embed(list(texts)).astype(np.float64) * self.scale
        return torch.tensor(vectors @ self.axes if self.axes.size else vectors)

    def state(self) -> dict[str, NDArray[Any]]:
        """As arrays; no log text unless rows were learned."""
        vocabulary = layers.texts_to_array(self.vocabulary)
        return {"axes": self.axes.copy(), "vocabulary": vocabulary, "scale": np.array([self.scale])}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Self:
        """The reverse of `state`."""
        return cls(state["axes"].copy(), tuple(layers.array_to_texts(state["vocabulary"])), float(state["scale"][0]))
