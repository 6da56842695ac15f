"""MLAD: Multi-system Log Anomaly Detection (Wang et al.).

Sentence vectors of the events go through a small Transformer encoder whose attention is alpha-entmax (exact zeros for
weak events); the mean over positions is scored by a Gaussian mixture in closed form, as in DAGMM: the energy, its
negative log-likelihood, is a training term and the test score. One model and one bound serve several systems.

Supervision: normal-only. It reads texts, never log keys, so it sees something in lines of an unknown system.

Works badly where an anomaly is the order or number of known events (no positions by default, and mean pooling dilutes
one event among many) or where texts tell little. In a transfer the energy says how unlike the source a sequence is, and
that can rank the wrong way: from `bgl@raw12k` to `tbird@raw29k` its AUROC is 0.15 to 0.31, below `random`, since
Thunderbird's alerts of the interconnect read more like BGL's hardware messages than its mail and login lines do. That
is the data: the distance of plain mean sentence vectors to the nearest training one has AUROC 0.24 to 0.49 there. The
energy pulls normal vectors to a point, down to the jitter on the covariance; with the paper's signs that collapse is no
error, but it costs accuracy: see `vector_std` in `monitor`.

The equations are the paper's; its published code cannot run (it makes all attention weights zero and all energies one
constant). Reconstructions [R], the A-numbers being those of the method sheet: two heads, one for responsibilities and
one for the first loss term (A1); that term is the squared distance of a decoder's output to the mean input vector (A2);
components below 1e-4 drop out of the likelihood (A3); mean pooling (A4); the penalty is the mean Frobenius norm (A5);
mixture on all 100 dimensions with jitter 1e-3 (A6); batch statistics in training and one final pass over the training
set (A8). Layers, heads, d_ff and K are the published code's (A13). Further: the input vectors are scaled to variance 1
per dimension (`input_scale`) and the squared distance is summed over dimensions, as in DAGMM (`rec_error`). With one of
these or both left out the encoder collapses in long training: AUROC 0.44 to 0.95 instead of 0.998 after 200 short
epochs on Spirit, a development set (two seeds). The collapse was first noticed on labelled data of `bgl@stream-a`, so
numbers there are not blind to this choice. Equal events of a sequence are one token with a multiplicity, and equal
sequences of a batch one item with a weight: exact but for dropout, which they then share (`merge_repeats`). Where the
sheet says to skip batches below 2K sequences, batches of nearly equal size make small ones rare, and the jitter keeps
them finite. An empty sequence gets the energy of the best component's mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bench.data.embedding import DIMENSION, embed, project
from bench.detector import Detector, DetectorTags, NotFittedError, TimeRange
from bench.types import Sequences
from methods import _layers
from methods._entmax import entmax
from methods._layers import Bags, Mixture, UniqueBags
from methods._training import TrainingSettings, hold_out, seeded, train_network

_MIN_SHARE = 1e-4
_BLOCK = 4096
_WATCHED, _LONGEST_WATCHED = 256, 1024


@dataclass(frozen=True, kw_only=True)
class Config(TrainingSettings):
    """Defaults: the paper where it states a value, else its code, else the resolutions A1-A19 of the sheet."""

    width: int = 100
    """Dimensions of a text's vector and of the encoder (section 5.2)."""
    layers: int = 2
    """Encoder layers (published code)."""
    heads: int = 4
    """Attention heads (published code)."""
    ffn_width: int = 256
    """Inner dimensions of the feed-forward network (published code)."""
    alpha: float = 1.5
    """Of entmax in attention and responsibilities; 1 is softmax, the ablation "w/o entmax" (published code)."""
    k: int = 5
    """Components of the mixture (published code)."""
    mixture_dim: int | None = None
    """Dimensions the mixture sees, after a linear reduction; None: all (A6)."""
    first_term: Literal["rec", "bce0", "none"] = "rec"
    """First loss term: squared error of a reconstruction, or the code's cross-entropy against label 0 (A2)."""
    rec_error: Literal["sum", "mean"] = "sum"
    """Of the squared error over dimensions: their sum, as DAGMM's squared distance, or their mean [R]."""
    input_scale: Literal["variance", "norm"] = "variance"
    """Input vectors of variance 1 per dimension, the scale of normalised layers, or of norm 1 as encoded [R]."""
    energy_weight: float = 0.1
    """lambda 1 (equation 7)."""
    penalty: Literal["frobenius", "dagmm"] = "frobenius"
    """P: mean Frobenius norm of the covariances (published code), or DAGMM's sum of inverse variances (A5)."""
    penalty_weight: float = -0.005
    """lambda 2 (equation 7); `dagmm` needs a positive one, there 0.005."""
    jitter: float = 1e-3
    """Added to the diagonal of each covariance; sets the scale of the energy (A6)."""
    use_gmm: bool = True
    """False is the ablation "w/o GMM": the score is then that of the first term's head."""
    embedding: Literal["sentence", "learned"] = "sentence"
    """`learned` is the ablation "w/o Sentence-BERT": a vector per training text and one for all others."""
    projection: Literal["fixed", "learned"] = "fixed"
    """From 384 to `width`: the fixed orthogonal one shared by all methods, or a learned linear layer (A14)."""
    positional: Literal["none", "sinusoidal"] = "none"
    """Positional encoding; paper and code have none (A15)."""
    pooling: Literal["mean", "cls"] = "mean"
    """Of positions to one vector: masked mean, or a learned first token (A4)."""
    merge_repeats: bool = True
    """Compute equal events of a sequence, and equal sequences of a batch, once [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty == "dagmm" and self.penalty_weight < 0:
            raise ValueError(
                f"penalty 'dagmm' with penalty_weight {self.penalty_weight} rewards singular covariances: use 0.005"
            )
        if not self.use_gmm and self.first_term == "none":
            raise ValueError("use_gmm False with first_term 'none' leaves nothing to train: choose 'rec' or 'bce0'")
        if self.jitter <= 0 or self.k < 1:
            raise ValueError(f"jitter {self.jitter} must be positive and k {self.k} at least 1")


class MLAD(Detector):
    """Energy of the pooled encoder output under the mixture of the training set."""

    tags: ClassVar[DetectorTags] = DetectorTags(supervision="normal-only", uses=frozenset({"texts"}))
    Config: ClassVar[type] = Config

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from."""
        return None if train.n_events else "no training sequence has an event"

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        incidents: list[TimeRange] | None = None,
    ) -> Self:
        """Train the encoder, then fit the mixture to all training sequences in one pass; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"MLAD cannot be trained: {reason}")
        config: Config = self.config
        train = train.select(train.lengths > 0)
        # Only the learned embedding must know the texts again; a saved detector should hold no log text without need.
        learned = config.embedding == "learned"
        self.vocabulary_ = [train.texts[i] for i in np.unique(train.text_ids)] if learned else []
        (bags, counts, _), features = self._read(train)
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(items: NDArray[np.int64], weights: Tensor) -> dict[str, Tensor]:
                return objective(net, net.encode(features, bags, items), weights, config)

            parts = hold_out(counts, config.validation_fraction, self.seed)
            self.history_ = train_network(net, loss, parts, config, seed=self.seed, merge_repeats=config.merge_repeats)
        self.net_ = net.double().eval()
        with torch.inference_mode():
            self.mixture_, self.facts_ = _final_pass(self.net_, features, bags, counts, config)
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): energies, or errors of the first term's head without the mixture."""
        config: Config = self.config
        encoded, empty, inverse = self._encode(sequences)
        with torch.inference_mode():
            if config.use_gmm:
                scores = torch.cat([self.mixture_.energy(part) for part in torch.split(encoded.vectors, _BLOCK)])
                of_empty = float(self.mixture_.energy(self.mixture_.mean).min())
            else:
                scores, of_empty = self.net_.error(encoded, config.first_term), 0.0
        return np.where(empty, of_empty, scores.cpu().numpy())[inverse].astype(np.float64)

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the vectors that the mixture sees, float32 (n_sequences, width or mixture_dim)."""
        encoded, _, inverse = self._encode(sequences)
        return encoded.vectors.cpu().numpy().astype(np.float32)[inverse]

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters and mixture, and the training texts where their vectors were learned."""
        if not hasattr(self, "net_"):
            raise NotFittedError("MLAD: call fit before state")
        mixture = {f"mixture.{name}": value.cpu().numpy() for name, value in self.mixture_._asdict().items()}
        return {**_layers.arrays_of(self.net_), **mixture, "vocabulary": _layers.texts_to_array(self.vocabulary_)}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.vocabulary_ = _layers.array_to_texts(state["vocabulary"])
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        _layers.load_arrays(self.net_, state)
        self.mixture_ = Mixture(
            *(torch.tensor(state[f"mixture.{name}"], device=self.device) for name in Mixture._fields)
        )
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts per epoch, and at the end the collapse, the entropy and the sparsity."""
        return {**self.history_.as_json(), **self.facts_} if hasattr(self, "history_") else {}

    def _new_network(self) -> Network:
        return Network(self.config, len(self.vocabulary_) + 1).to(self.device)

    def _read(self, sequences: Sequences) -> tuple[UniqueBags, Tensor]:
        """The distinct bags of events, and what the network gets for each text that occurs in them."""
        config: Config = self.config
        used, ids = np.unique(sequences.text_ids, return_inverse=True)
        texts = [sequences.texts[i] for i in used]
        if config.embedding == "learned":
            row_of = {text: row for row, text in enumerate(self.vocabulary_, start=1)}
            features = torch.tensor([row_of.get(text, 0) for text in texts], dtype=torch.int64)
        else:
            vectors = embed(texts).astype(np.float64) * (DIMENSION**0.5 if config.input_scale == "variance" else 1.0)
            if config.projection == "fixed":
                # In float64 a text's vector does not depend on how many others are projected with it.
                vectors = vectors @ project(np.eye(DIMENSION, dtype=np.float32), config.width)
            features = torch.tensor(vectors)
        merge = config.merge_repeats and config.positional == "none"
        unique = _layers.unique_bags(ids.astype(np.int64), sequences.offsets, merge_repeats=merge)
        return unique, features.to(self.device)

    def _encode(self, sequences: Sequences) -> tuple[Encoded, NDArray[np.bool_], NDArray[np.int64]]:
        """The distinct bags encoded, which of them are empty, and the bag of each sequence."""
        if not hasattr(self, "net_"):
            raise NotFittedError("MLAD: call fit before score")
        (bags, _, inverse), features = self._read(sequences)
        with torch.inference_mode():
            encoded = self.net_.encode(features, bags, np.arange(len(bags.lengths)))
        return encoded, bags.lengths == 0, inverse


class Encoded(NamedTuple):
    """What the encoder returns for B sequences."""

    vectors: Tensor
    """(B, width or mixture_dim)"""
    inputs: Tensor
    """(B, width) mean input vector without gradient: what the decoder must reconstruct."""


class Network(nn.Module):
    """Encoder and its three heads."""

    def __init__(self, config: Config, n_rows: int) -> None:
        super().__init__()
        width, out = config.width, config.mixture_dim or config.width
        self.config = config
        self.inlet: nn.Module = nn.Identity()
        if config.embedding == "learned":
            self.inlet = nn.Embedding(n_rows, width)
        elif config.projection == "learned":
            self.inlet = nn.Linear(DIMENSION, width)
        self.first = nn.Parameter(torch.randn(width) / width**0.5) if config.pooling == "cls" else None
        self.blocks = nn.ModuleList(
            _layers.EncoderLayer(width, config.heads, config.ffn_width, alpha=config.alpha, dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.outlet = nn.Linear(width, out) if config.mixture_dim else nn.Identity()
        self.responsibility = nn.Linear(out, config.k)
        self.decoder = nn.Linear(out, width)
        self.classifier = nn.Linear(out, 1)

    def forward(self, tokens: Tensor, multiplicity: Tensor) -> Tensor:
        """tokens: (B, L, width); multiplicity: (B, L), 0 = padding -> (B, width or mixture_dim)."""
        x, multiplicity = self._prepare(tokens, multiplicity)
        for block in self.blocks:
            x = block(x, multiplicity)
        pooled = _layers.weighted_mean(x, multiplicity) if self.first is None else x[:, 0]
        return torch.as_tensor(self.outlet(pooled))

    def encode(self, features: Tensor, bags: Bags, which: NDArray[np.int64]) -> Encoded:
        """Encode the bags at `which`, in chunks of similar length; features: what `inlet` takes, one row per id."""
        table, lengths = self.table(features), bags.lengths[which]
        # Large batches keep no activations: the backward pass computes each chunk again.
        recompute = torch.is_grad_enabled() and int(lengths.sum()) > _layers.MAX_TOKENS
        vectors, inputs, chunks = [], [], []
        for chunk in _layers.length_chunks(lengths):
            tokens = _tokens(table, bags, which[chunk])
            vectors.append(checkpoint(self, *tokens, use_reentrant=False) if recompute else self(*tokens))
            inputs.append(_layers.weighted_mean(*tokens).detach())
            chunks.append(chunk)
        if not chunks:
            empty = table.new_zeros(0, self.decoder.out_features)
            return Encoded(table.new_zeros(0, self.decoder.in_features), empty)
        back = torch.as_tensor(np.argsort(np.concatenate(chunks)), device=table.device)
        return Encoded(torch.cat(vectors)[back], torch.cat(inputs)[back])

    def table(self, features: Tensor) -> Tensor:
        """(n_ids, width): the input vector of each id."""
        typed = features.to(self.decoder.weight) if features.is_floating_point() else features
        return torch.as_tensor(self.inlet(typed))

    def responsibilities(self, vectors: Tensor) -> Tensor:
        """(B, K), rows sum to 1."""
        return entmax(self.responsibility(vectors), self.config.alpha)

    def error(self, encoded: Encoded, first_term: str) -> Tensor:
        """(B,): squared reconstruction error, or the logit of "abnormal"."""
        if first_term == "bce0":
            return torch.as_tensor(self.classifier(encoded.vectors)).squeeze(1)
        error = torch.as_tensor(self.decoder(encoded.vectors) - encoded.inputs).square().sum(1)
        return error if self.config.rec_error == "sum" else error / self.decoder.out_features

    def attention_zeros(self, tokens: Tensor, multiplicity: Tensor) -> float:
        """Share of pairs of events whose attention weight is exactly zero, over all layers and heads."""
        x, multiplicity = self._prepare(tokens, multiplicity)
        pairs = (multiplicity[:, :, None] * multiplicity[:, None])[:, None]
        zeros = []
        for block in self.blocks:
            zero = cast(_layers.EncoderLayer, block).attention.weights(x, multiplicity) == 0
            zeros.append(float((zero * pairs).sum() / (pairs.sum() * zero.shape[1])))
            x = block(x, multiplicity)
        return float(np.mean(zeros))

    def _prepare(self, tokens: Tensor, multiplicity: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.positional == "sinusoidal":
            tokens = tokens + _layers.sinusoidal(tokens.shape[1], tokens.shape[2], tokens)
        if self.first is not None:
            tokens = torch.cat([self.first.expand(len(tokens), 1, -1), tokens], 1)
            multiplicity = F.pad(multiplicity, (1, 0), value=1.0)
        return tokens, multiplicity


def objective(net: Network, encoded: Encoded, weights: Tensor, config: Config) -> dict[str, Tensor]:
    """Equation 7 on one batch; weights: (B,) summing to 1."""
    parts: dict[str, Tensor] = {}
    total = torch.zeros((), dtype=torch.float64, device=weights.device)
    if config.first_term != "none":
        error = net.error(encoded, config.first_term)
        # The cross-entropy of a logit x against label 0 is softplus(x).
        parts["first_term"] = (weights * (error if config.first_term == "rec" else F.softplus(error))).sum()
        total = total + parts["first_term"]
    if config.use_gmm:
        weighted = net.responsibilities(encoded.vectors) * weights[:, None]
        mixture = _layers.mixture_of(
            _layers.moments(encoded.vectors, weighted), jitter=config.jitter, min_share=_MIN_SHARE
        )
        parts["energy"] = (weights * mixture.energy(encoded.vectors)).sum()
        parts["penalty"] = _penalty(mixture.covariance, config.penalty)
        total = total + config.energy_weight * parts["energy"] + config.penalty_weight * parts["penalty"]
    return {"loss": total, **parts}


def _penalty(covariance: Tensor, kind: str) -> Tensor:
    if kind == "dagmm":
        return covariance.diagonal(dim1=1, dim2=2).reciprocal().sum()
    return covariance.square().sum((1, 2)).sqrt().mean()


def _final_pass(
    net: Network, features: Tensor, bags: Bags, counts: NDArray[np.int64], config: Config
) -> tuple[Mixture, dict[str, Any]]:
    """The mixture of the whole training set, in float64, and what `monitor` tells about it."""
    vectors = net.encode(features, bags, np.arange(len(counts))).vectors
    weights = torch.as_tensor(counts / counts.sum(), dtype=torch.float64, device=vectors.device)[:, None]
    gamma = net.responsibilities(vectors)
    blocks = zip(torch.split(vectors, _BLOCK), torch.split(gamma * weights, _BLOCK), strict=True)
    sums = [torch.stack(parts).sum(0) for parts in zip(*(_layers.moments(*block) for block in blocks), strict=True)]
    mixture = _layers.mixture_of(_layers.Moments(*sums), jitter=config.jitter, min_share=_MIN_SHARE)
    mean = (weights * vectors).sum(0)
    facts = {
        "component_shares": mixture.log_share.exp().tolist(),
        "covariance_traces": mixture.covariance.diagonal(dim1=1, dim2=2).sum(1).tolist(),
        "responsibility_entropy": float((weights * torch.special.entr(gamma)).sum()),
        "vector_std": float((weights * (vectors - mean).square()).sum(0).sqrt().mean()),
        "attention_zeros": _attention_zeros(net, features, bags),
    }
    return mixture, facts


def _attention_zeros(net: Network, features: Tensor, bags: Bags) -> float | None:
    """Share of exact zeros over the first distinct sequences of bounded length; None where all are longer."""
    which = np.flatnonzero(bags.lengths <= _LONGEST_WATCHED)[:_WATCHED]
    table = net.table(features)
    chunks = list(_layers.length_chunks(bags.lengths[which]))
    shares = [net.attention_zeros(*_tokens(table, bags, which[chunk])) for chunk in chunks]
    return float(np.average(shares, weights=[len(chunk) for chunk in chunks])) if chunks else None


def _tokens(table: Tensor, bags: Bags, which: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    ids = torch.as_tensor(_layers.pad(bags.ids, bags.offsets, which), device=table.device)
    multiplicity = torch.as_tensor(_layers.pad(bags.multiplicity, bags.offsets, which))
    return F.embedding(ids, table), multiplicity.to(table)
