"""A frozen decoder that is asked a fixed question about vectors, and low-rank updates as all of it that learns.

The decoder is a causal language model from a folder of the user's, or `tiny`: two layers with random weights, which
need no file. Either is given embeddings, behind padding that nothing sees, and answers with logits of its tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.shared import layers

TINY: Final = "tiny"
"""The name of the decoder that is made here."""
Precision = Literal["float32", "bfloat16"]

_WIDTH: Final = 64
_HEADS: Final = 4
_LAYERS: Final = 2
_UNSEEN: Final = -1e9
"""Added to the scores of what must not be attended; finite, so that padding has a state."""
_END, _BEGIN = 0, 1
"""Tokens of the tiny decoder that stand for no word."""
_WORD: Final = re.compile(r"\w+|[^\w\s]")


class LowRank(nn.Module):
    """A frozen linear map W and what is learned beside it: W x + alpha / r B A x, at the start W x."""

    def __init__(self, base: nn.Module, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        size: tuple[int, int] = (base.in_features, base.out_features)  # type: ignore[assignment]
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, size[0]))
        self.up = nn.Parameter(torch.zeros(size[1], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.dropout = layers.Dropout(dropout)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        learned = F.linear(F.linear(self.dropout(x.to(self.down.dtype)), self.down), self.up)
        return torch.as_tensor(self.base(x) + (self.scale * learned).to(x.dtype))


def with_low_rank(net: nn.Module, names: Sequence[str], rank: int, alpha: float, dropout: float) -> None:
    """Freeze a network and put `LowRank` around its linear maps of these names; a ValueError where it has none."""
    net.requires_grad_(requires_grad=False)
    found = [(module, name) for module in list(net.modules()) for name in names if hasattr(module, name)]
    if not found:
        raise ValueError(f"the model has no layer named {' or '.join(names)}, which is what is tuned: name another one")
    for module, name in found:
        setattr(module, name, LowRank(getattr(module, name), rank, alpha, dropout))


def is_learned(name: str) -> bool:
    """Whether a parameter of this name belongs to a `LowRank`."""
    return name.rpartition(".")[2] in ("down", "up")


class Prompt(NamedTuple):
    """The question as tokens: what stands before and behind the vectors, and both answers."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    answers: tuple[tuple[int, ...], tuple[int, ...]]
    end: int
    """The token that ends an answer."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All of it, part by part."""
        return self.before + self.after + self.answers[0] + self.answers[1]

    @property
    def length(self) -> int:
        """Tokens of a question that are no vectors, with what both answers share."""
        return len(self.before) + len(self.after) + self.n_shared

    @property
    def n_shared(self) -> int:
        """Tokens with which both answers begin; the next one decides."""
        pairs = zip(*self.answers, strict=False)
        return next(i for i, (one, other) in enumerate(pairs) if one != other)

    @property
    def deciding(self) -> tuple[int, int]:
        """The token of each answer that decides."""
        one, other = self.answers
        return one[self.n_shared], other[self.n_shared]


class Decoder(Protocol):
    """What is asked."""

    width: int

    def prompt(self, before: str, after: str, answers: tuple[str, str]) -> Prompt:
        """The question in its tokens."""

    def embed(self, ids: Tensor) -> Tensor:
        """int64 (n,) -> (n, width)."""

    def __call__(self, x: Tensor, seen: Tensor, n_last: int) -> Tensor:
        """x: (B, T, width); seen: bool (B, T), True behind the padding -> logits (B, n_last, tokens) of the last."""


class TinyDecoder(nn.Module):
    """Two causal layers over the words of one question, all of them random."""

    def __init__(self, texts: Iterable[str]) -> None:
        super().__init__()
        words = sorted({word for text in texts for word in _WORD.findall(text)})
        self.number = {word: i for i, word in enumerate(words, start=2)}
        self.width = _WIDTH
        self.table = nn.Embedding(len(words) + 2, _WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(_WIDTH)
        self.outlet = nn.Linear(_WIDTH, len(words) + 2, bias=False)

    def prompt(self, before: str, after: str, answers: tuple[str, str]) -> Prompt:
        """As `Decoder.prompt`."""
        one, other = answers
        return Prompt((_BEGIN, *self._ids(before)), self._ids(after), (self._ids(one), self._ids(other)), _END)

    def embed(self, ids: Tensor) -> Tensor:
        """As `Decoder.embed`."""
        return torch.as_tensor(self.table(ids))

    def forward(self, x: Tensor, seen: Tensor, n_last: int) -> Tensor:
        """As `Decoder.__call__`."""
        x = x + layers.sinusoidal(x.shape[1], x.shape[2], x)[places_of(seen)]
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        added = torch.where(causal & seen[:, None, None], 0.0, _UNSEEN).to(x.dtype)
        for block in self.blocks:
            x = block(x, added)
        return torch.as_tensor(self.outlet(self.norm(x[:, -n_last:])))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.number[word] for word in _WORD.findall(text))


class _Block(nn.Module):
    """Attention and a feed-forward network, each behind a norm and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)])
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(_WIDTH, _WIDTH, bias=False) for _ in range(4))
        self.ffn = nn.Sequential(nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH))

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        """x: (B, T, width); added to the scores: (B, 1, T, T)."""
        y = self.norms[0](x)
        query, key, value = (
            part(y).reshape(*y.shape[:2], _HEADS, -1).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        weights = torch.softmax(query @ key.transpose(2, 3) * query.shape[3] ** -0.5 + added, 3)
        x = x + self.o_proj((weights @ value).transpose(1, 2).flatten(2))
        return x + torch.as_tensor(self.ffn(self.norms[1](x)))


class FolderDecoder(nn.Module):
    """A causal language model from a folder of the user's, as transformers saves it."""

    def __init__(self, folder: str, precision: Precision) -> None:
        super().__init__()
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=getattr(torch, precision), attn_implementation="eager"
        )
        self.model = model.eval()
        self.width = int(model.get_input_embeddings().embedding_dim)

    def prompt(self, before: str, after: str, answers: tuple[str, str]) -> Prompt:
        """As `Decoder.prompt`."""
        first = self.tokenizer.bos_token_id
        begin = () if first is None else (int(first),)
        one, other = answers
        end = int(self.tokenizer.eos_token_id)
        return Prompt((*begin, *self._ids(before)), self._ids(after), (self._ids(one), self._ids(other)), end)

    def embed(self, ids: Tensor) -> Tensor:
        """As `Decoder.embed`."""
        return torch.as_tensor(self.model.get_input_embeddings()(ids))

    def forward(self, x: Tensor, seen: Tensor, n_last: int) -> Tensor:
        """As `Decoder.__call__`."""
        inner = self.model.base_model
        x = x.to(self.model.dtype)
        found = inner(inputs_embeds=x, attention_mask=seen.long(), position_ids=places_of(seen), use_cache=False)
        # The table of all tokens is large, so only what is asked for goes through it.
        return torch.as_tensor(self.model.get_output_embeddings()(found.last_hidden_state[:, -n_last:]))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])


class FolderEncoder(nn.Module):
    """A language model of the user's that makes the vector of a message: its pooled state, or the mean of its last."""

    def __init__(self, folder: str, longest: int) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModel.from_pretrained(folder, local_files_only=True, attn_implementation="eager")
        self.model = model.eval()
        self.longest = longest
        self.width = int(model.config.hidden_size)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Of n texts make (n, width)."""
        given = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.model.device)
        found = self.model(**given)
        pooled = getattr(found, "pooler_output", None)
        if pooled is not None:
            return torch.as_tensor(pooled)
        real = given["attention_mask"][:, :, None].to(found.last_hidden_state.dtype)
        return torch.as_tensor((found.last_hidden_state * real).sum(1) / real.sum(1).clamp_min(1))


def places_of(seen: Tensor) -> Tensor:
    """int64 (B, T): the place of each token behind the padding, 0 within it."""
    return (seen.long().cumsum(1) - 1).clamp_min(0)


def missing_decoder(name: str, folder: str, setting: str) -> str | None:
    """Why this decoder cannot be asked here, or None; setting: the field of its folder."""
    if name == TINY or (folder and Path(folder).is_dir()):
        return None
    where = f"'{folder}' is no folder" if folder else "no folder is given"
    return (
        f"the weights of {name} are needed and {where}: set `{setting}` to the folder that holds them, or "
        f"decoder={TINY}, a small one with random weights"
    )
