"""Texts through a pre-trained language model: the mean of its last hidden states, from a folder of the user's.

Methods that were published with BERT or the like name it in `encoder`; by default texts enter through the sentence
encoder that all methods share. Nothing is downloaded: without the weights such a run is skipped, with the way out.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from bench.detector import report_progress
from methods.shared.text_inputs import Floats, TextInputs, TextSettings

SENTENCE: Final = "sentence"
"""The encoder that all methods share."""

_BATCH: Final = 32
_MAX_TOKENS: Final = 256
"""Word pieces of a text at most."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(TextSettings):
    """Which language model makes the vector of a text."""

    encoder: str = SENTENCE
    """`sentence`: the encoder that all methods share; else the name of a language model whose last hidden states are
    averaged over a text, and whose weights lie in the folder `weights`."""
    weights: str = field(default="", metadata={"identity": False})
    """Folder of that model as transformers saves it: configuration, tokenizer, weights."""


class EncoderConfig(Protocol):
    """A Config with `EncoderSettings` and the width of a text's vector."""

    @property
    def centred(self) -> bool:
        """As in `TextSettings`."""

    @property
    def encoder(self) -> str:
        """As in `EncoderSettings`."""

    @property
    def weights(self) -> str:
        """As in `EncoderSettings`."""

    @property
    def width(self) -> int:
        """Dimensions of a text's vector."""


def missing_weights(settings: EncoderConfig) -> str | None:
    """Why texts cannot be read by this encoder here, or None."""
    if settings.encoder == SENTENCE or (settings.weights and Path(settings.weights).is_dir()):
        return None
    where = f"'{settings.weights}' is no folder" if settings.weights else "no folder is given"
    return (
        f"the weights of {settings.encoder} are needed and {where}: set `weights` to the folder that holds them, "
        f"or encoder={SENTENCE}"
    )


def inputs_of(texts: Sequence[str], settings: EncoderConfig) -> TextInputs:
    """How texts enter, from those of training: the shared sentence vectors, or those of the model in the folder."""
    if settings.encoder == SENTENCE:
        return TextInputs.sentence(texts, settings.width, centred=settings.centred)
    return ModelInputs.learned_from(texts, settings)


def inputs_from_state(state: dict[str, NDArray[Any]], settings: EncoderConfig) -> TextInputs:
    """The reverse of `TextInputs.state`."""
    inputs = TextInputs.from_state(state)
    if settings.encoder == SENTENCE:
        return inputs
    return ModelInputs(inputs.centre, inputs.axes, inputs.scale, folder=settings.weights)


@dataclass(frozen=True)
class ModelInputs(TextInputs):
    """Vectors of a language model, as they are but for the centre."""

    folder: str = ""

    @classmethod
    def learned_from(cls, texts: Sequence[str], settings: EncoderConfig) -> Self:
        """Centred on the distinct texts where that is set; a ValueError where `width` is not the model's."""
        vectors = mean_states(sorted(set(texts)), settings.weights).astype(np.float64)
        if vectors.shape[1] != settings.width:
            raise ValueError(f"width {settings.width} is not that of {settings.encoder}: set width={vectors.shape[1]}")
        is_centred = settings.centred and len(vectors) > 0
        centre = vectors.mean(0) if is_centred else np.zeros(settings.width)
        return cls(centre, np.eye(settings.width), 1.0, folder=settings.weights)

    def features(self, texts: Sequence[str]) -> Floats:
        """float64 (n, width)."""
        return self.vectors_of(mean_states(texts, self.folder))


def mean_states(texts: Sequence[str], folder: str) -> NDArray[np.float32]:
    """float32 (n_texts, d): the mean last hidden state over each text's word pieces; a distinct text is read once."""
    tokenizer, model = _model(folder)
    distinct, inverse = np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)
    rows = np.zeros((len(distinct), int(model.config.hidden_size)), np.float32)
    # Texts of like length share a batch, so that there is little padding.
    order = np.argsort([len(text) for text in distinct.tolist()], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            given = tokenizer(
                distinct[part].tolist(), padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
            )
            states = model(**given).last_hidden_state
            real = given["attention_mask"][:, :, None].to(states.dtype)
            rows[part] = ((states * real).sum(1) / real.sum(1).clamp_min(1)).numpy()
            report_progress("reading texts with a language model", start + len(part), len(order))
    return rows[inverse]


@functools.cache
def _model(folder: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token is None:
        # GPT-2 has none; the attention mask leaves padding out, whatever stands there.
        tokenizer.pad_token = tokenizer.eos_token
    model: Any = AutoModel.from_pretrained(folder, local_files_only=True)
    # Of a model with two halves, such as BART, the first one reads.
    reads: Any = model.get_encoder() if model.config.is_encoder_decoder else model
    return tokenizer, reads.eval()
