"""MLAD: Multi-system Log Anomaly Detection (Wang et al.).

Sentence vectors of the events go through a small Transformer encoder whose attention is alpha-entmax (exact zeros for
weak events); the mean over positions is scored by a Gaussian mixture in closed form, as in DAGMM: the energy, its
negative log-likelihood, is a training term and the test score. One model and one bound serve several systems.

Told: source normals. It reads texts, never log keys, so it sees something in lines of an unknown system.

Works badly where an anomaly is the order or number of known events (no positions by default, and mean pooling dilutes
one event among many), where texts tell little, and where the system changes: the energy says how unlike the source a
sequence is, not how bad. It pulls normal vectors to a point, and with the common vector of a system's texts in the
inputs (not `centred`) their differences go first. Compare with `gaussian`, which has the same inputs and no network.

Reconstructed [R]: the equations are the paper's, its published code cannot run. Two heads (A1), the reconstruction of
the mean input (A2), mean pooling (A4), jitter (A6) and all other choices are settings of
`methods/shared/mlad_config.py`. More: docs/methods/mlad.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(MLAD.tags.told)
    >>> detector = MLAD().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bench.data.embedding import DIMENSION
from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.types import Sequences
from methods.shared import bags as _bags
from methods.shared import layers, mlad_explain
from methods.shared import mixture as _mixture
from methods.shared.bags import Bags, BatchPlan, DeviceBags
from methods.shared.entmax import entmax
from methods.shared.entmax_package import entmax as package_entmax
from methods.shared.mixture import Mixture
from methods.shared.mlad_config import ORIGINAL, Config
from methods.shared.mlad_explain import Reading
from methods.shared.published import original, sources_of
from methods.shared.text_inputs import UNIT_SQUARE, TextInputs, texts_of
from methods.shared.training import hold_out, seeded, train_network

_BLOCK = 4096


class MLAD(Detector):
    """Energy of the pooled encoder output under the mixture of the training set."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the paper (sections as in its text), else its code, else the resolutions A1-A19 of its sheet."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from."""
        return None if train.n_events else "no training sequence has an event"

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Train the encoder, then fit the mixture to all training sequences in one pass; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"MLAD cannot be trained: {reason}")
        config: Config = self.config
        train = train.select(train.lengths > 0)
        self.inputs_ = _inputs_of(texts_of(train), config)
        bags, counts, _, _, features, _ = self._read(train)
        data = DeviceBags(bags, self.device)
        rounded = features.to(torch.float32) if features.is_floating_point() else features
        with seeded(self.seed, self.device):
            net = self._new_network()
            compiled = layers.compiled(net) if config.compile else net

            def loss(plan: BatchPlan, weights: Tensor) -> dict[str, Tensor]:
                # A forward pass alone is not worth a translation of its own.
                forward = compiled if net.training else net
                return objective(net, net.encode(rounded, data, plan, forward), weights, config)

            parts = hold_out(counts, config.validation_fraction, self.seed)
            self.history_ = train_network(
                net, loss, parts, config, seed=self.seed, merge_repeats=config.merge_repeats, stage=data.plan
            )
        self.net_ = net.double().eval()
        with torch.inference_mode():
            self.mixture_, self.facts_ = _final_pass(self.net_, features, data, counts)
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): energies, or errors of the first term's head without the mixture."""
        reading = self._read(sequences)
        return self._scores(reading.bags, reading.features)[reading.inverse]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return what each event adds to the score, float32 (n_events,): by how much it falls without the event."""
        reading = self._read(sequences)
        weights = mlad_explain.bag_occlusion(reading.bags, lambda bags: self._scores(bags, reading.features))
        return weights[reading.tokens_of(sequences.offsets)].astype(np.float32)

    def attention(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the attention that each event receives, float32 (n_events,): mean of layers, heads and queries."""
        reading = self._read(sequences)
        with torch.inference_mode():
            received = self.net_.attention_received(reading.features, reading.bags)
        return received[reading.tokens_of(sequences.offsets)].astype(np.float32)

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the vectors that the mixture sees, float32 (n_sequences, width or mixture_dim)."""
        reading = self._read(sequences)
        vectors = self._encode(reading.bags, reading.features).vectors
        return vectors.cpu().numpy().astype(np.float32)[reading.inverse]

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters, mixture, axes, and the training texts where their vectors were learned."""
        if not hasattr(self, "net_"):
            raise NotFittedError("MLAD: call fit before state")
        mixture = {f"mixture.{name}": value.cpu().numpy() for name, value in self.mixture_._asdict().items()}
        return {**layers.arrays_of(self.net_), **mixture, **self.inputs_.state()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.inputs_ = TextInputs.from_state(state)
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        layers.load_arrays(self.net_, state)
        self.mixture_ = Mixture(
            *(torch.tensor(state[f"mixture.{name}"], device=self.device) for name in Mixture._fields)
        )
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts and signs of collapse by steps, and those of the final pass."""
        return {**self.history_.as_json(), **self.facts_} if hasattr(self, "history_") else {}

    def _new_network(self) -> Network:
        return Network(self.config, len(self.inputs_.vocabulary) + 1).to(self.device)

    def _read(self, sequences: Sequences) -> Reading:
        """The distinct bags of events, and what the network gets for each text that occurs in them."""
        if not hasattr(self, "inputs_"):
            raise NotFittedError("MLAD: call fit before score")
        config: Config = self.config
        ids = np.unique(sequences.text_ids, return_inverse=True)[1].astype(np.int64)
        features = torch.as_tensor(self.inputs_.features(texts_of(sequences)))
        merge = config.merge_repeats and config.positional == "none"
        unique = _bags.unique_bags(ids, sequences.offsets, merge_repeats=merge)
        return Reading(*unique, ids, features.to(self.device), merge)

    def _encode(self, bags: Bags, features: Tensor) -> Encoded:
        data = DeviceBags(bags, self.device)
        with torch.inference_mode():
            return self.net_.encode(features, data, data.plan([np.arange(len(bags.lengths))])[0])

    def _scores(self, bags: Bags, features: Tensor) -> NDArray[np.float64]:
        """float64 (n_bags,); a bag without events has the energy of the best component's mean."""
        vectors, errors = self._encode(bags, features)
        with torch.inference_mode():
            if self.config.use_gmm:
                scores = torch.cat([self.mixture_.energy(part) for part in torch.split(vectors, _BLOCK)])
                of_empty = float(self.mixture_.energy(self.mixture_.mean).min())
            else:
                scores, of_empty = errors, 0.0
        return np.where(bags.sizes == 0, of_empty, scores.cpu().numpy()).astype(np.float64)


class Encoded(NamedTuple):
    """Sequences after the encoder."""

    vectors: Tensor
    """(B, width or mixture_dim)"""
    errors: Tensor
    """(B,) what the first term's head says of each: squared reconstruction error, logit of "abnormal", or zero."""


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
        self.normaliser = entmax if config.entmax == "own" else package_entmax
        scale = (config.width if config.attention_scale == "width" else config.width / config.heads) ** -0.5
        self.blocks = nn.ModuleList(
            layers.EncoderLayer(
                width,
                config.heads,
                config.ffn_width,
                alpha=config.alpha,
                dropout=config.dropout,
                scale=scale,
                celu=config.celu,
                normaliser=self.normaliser,
            )
            for _ in range(config.layers)
        )
        self.outlet = nn.Linear(width, out) if config.mixture_dim else nn.Identity()
        self.responsibility = nn.Linear(out, config.k)
        self.decoder = nn.Linear(width if config.rec_target == "positions" else out, width)
        self.classifier = nn.Linear(out, 1)

    def forward(self, tokens: Tensor, multiplicity: Tensor, projected: Tensor | None = None) -> Encoded:
        """Encode sequences.

        tokens: (B, L, width); multiplicity: (B, L), 0 = padding; projected: (B, L, 3 * width), the queries, keys and
        values of the first layer, where they have been computed for each text already.
        """
        x, m = self._prepare(tokens, multiplicity)
        for i, block in enumerate(self.blocks):
            x = block(x, m, projected if i == 0 else None)
        if self.first is None:
            pooled = layers.weighted_mean(x, m)
        else:
            pooled, x = x[:, 0], x[:, 1:]
        vectors = torch.as_tensor(self.outlet(pooled))
        return Encoded(vectors, self._errors(vectors, x, tokens.detach(), multiplicity))

    def encode(
        self, features: Tensor, data: DeviceBags, plan: BatchPlan, forward: Callable[..., Encoded] | None = None
    ) -> Encoded:
        """Encode the bags of a plan; features: what `inlet` takes, one row per id; forward: `self`, or compiled."""
        table = self._table(features)
        plain = self.config.positional == "none" and self.first is None and len(table) < plan.n_tokens
        projected = cast(layers.EncoderLayer, self.blocks[0]).attention.inner(table) if plain else None
        # Large batches keep no activations: the backward pass computes each chunk again.
        recompute = torch.is_grad_enabled() and plan.n_tokens > _bags.MAX_TOKENS
        run = self if forward is None else forward
        parts = []
        for chunk in plan.chunks:
            ids, multiplicity = data.tokens(chunk)
            given: tuple[Tensor, ...] = (F.embedding(ids, table), multiplicity.to(table))
            if projected is not None:
                given = (*given, F.embedding(ids, projected))
            parts.append(checkpoint(run, *given, use_reentrant=False) if recompute else run(*given))
        if not parts:
            return Encoded(table.new_zeros(0, self.responsibility.in_features), table.new_zeros(0))
        vectors, errors = (torch.cat(part)[plan.back] for part in zip(*parts, strict=True))
        return Encoded(vectors, errors)

    def responsibilities(self, vectors: Tensor) -> Tensor:
        """(B, K), rows sum to 1."""
        alpha = self.config.alpha if self.config.head_alpha is None else self.config.head_alpha
        return self.normaliser(self.responsibility(vectors), alpha)

    def attention_zeros(self, features: Tensor, data: DeviceBags, plan: BatchPlan) -> Tensor:
        """Share of pairs of events whose attention weight is exactly zero, over all layers and heads, ()."""
        return mlad_explain.attention_zeros(self.blocks, self._prepare, self._table(features), data, plan)

    def attention_received(self, features: Tensor, bags: Bags) -> NDArray[np.float64]:
        """float64 (n_tokens,): attention that each event of a token receives."""
        return mlad_explain.attention_received(self.blocks, self._prepare, self._table(features), bags)

    def _table(self, features: Tensor) -> Tensor:
        """(n_ids, width): the input vector of each id."""
        typed = features.to(self.decoder.weight) if features.is_floating_point() else features
        table = torch.as_tensor(self.inlet(typed))
        # Sequences without any event are padded with id 0.
        return table if len(table) else table.new_zeros(1, self.config.width)

    def _errors(self, vectors: Tensor, states: Tensor, inputs: Tensor, multiplicity: Tensor) -> Tensor:
        match self.config.first_term, self.config.rec_target:
            case "bce0", _:
                return torch.as_tensor(self.classifier(vectors)).squeeze(1)
            case "rec", "pooled":
                error = (self.decoder(vectors) - layers.weighted_mean(inputs, multiplicity)).square()
            case "rec", _:
                error = layers.weighted_mean((self.decoder(states) - inputs).square(), multiplicity)
            case _:
                return vectors.new_zeros(len(vectors))
        return torch.as_tensor(error.sum(1) if self.config.rec_error == "sum" else error.mean(1))

    def _prepare(self, tokens: Tensor, multiplicity: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.positional == "sinusoidal":
            tokens = tokens + layers.sinusoidal(tokens.shape[1], tokens.shape[2], tokens)
        if self.first is not None:
            tokens = torch.cat([self.first.expand(len(tokens), 1, -1), tokens], 1)
            multiplicity = F.pad(multiplicity, (1, 0), value=1.0)
        return tokens, multiplicity


def objective(net: Network, encoded: Encoded, weights: Tensor, config: Config) -> dict[str, Tensor]:
    """Equation 7 on one batch, and what is watched; weights: (B,) summing to 1."""
    parts: dict[str, Tensor] = {}
    total = torch.zeros((), dtype=torch.float64, device=weights.device)
    with layers.full_precision(weights):
        vectors, errors = (part.to(net.decoder.weight.dtype) for part in encoded)
        gamma = net.responsibilities(vectors) if config.use_gmm else None
        first = _first_term(errors, gamma, config.first_term)
        if first is not None:
            parts["first_term"] = (weights * first).sum()
            total = total + parts["first_term"]
        if gamma is not None:
            mixture = _mixture_of(_mixture.moments(vectors, gamma * weights[:, None]), config)
            parts["energy"] = (weights * mixture.energy(vectors)).sum()
            parts["penalty"] = _penalty(mixture.covariance, config.penalty)
            total = total + config.energy_weight * parts["energy"] + config.penalty_weight * parts["penalty"]
            parts |= _watch(mixture, gamma.detach(), weights)
    return {"loss": total, **parts}


def _first_term(errors: Tensor, gamma: Tensor | None, kind: str) -> Tensor | None:
    if kind == "none":
        return None
    if kind == "literal" and gamma is not None:
        return gamma.square().sum(1)
    # The cross-entropy of a logit x against label 0 is softplus(x).
    return F.softplus(errors) if kind == "bce0" else errors


def _penalty(covariance: Tensor, kind: str) -> Tensor:
    if kind == "dagmm":
        return covariance.diagonal(dim1=1, dim2=2).reciprocal().sum()
    return covariance.square().sum((1, 2)).sqrt().mean()


def _mixture_of(moments: _mixture.Moments, config: Config) -> Mixture:
    return _mixture.mixture_of(moments, jitter=config.jitter, min_share=config.min_share, shrinkage=config.shrinkage)


def _watch(mixture: Mixture, gamma: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Signs of collapse: mean trace of the covariances, mean entropy of the responsibilities."""
    return {
        "covariance_trace": mixture.covariance.detach().diagonal(dim1=1, dim2=2).sum(1).mean(),
        "responsibility_entropy": (weights * torch.special.entr(gamma).sum(1)).sum(),
    }


def _final_pass(
    net: Network, features: Tensor, data: DeviceBags, counts: NDArray[np.int64]
) -> tuple[Mixture, dict[str, Any]]:
    """The mixture of the whole training set, in float64, and what `monitor` tells about it."""
    config = net.config
    (plan,) = data.plan([np.arange(len(counts))])
    vectors = net.encode(features, data, plan).vectors
    weights = torch.as_tensor(counts / counts.sum(), dtype=torch.float64, device=vectors.device)[:, None]

    def mixture_from(gamma: Tensor) -> Mixture:
        blocks = zip(torch.split(vectors, _BLOCK), torch.split(gamma * weights, _BLOCK), strict=True)
        sums = [torch.stack(part).sum(0) for part in zip(*(_mixture.moments(*b) for b in blocks), strict=True)]
        return _mixture_of(_mixture.Moments(*sums), config)

    gamma = net.responsibilities(vectors)
    mixture = mixture_from(gamma)
    for _ in range(config.em_steps):
        gamma = torch.cat([mixture.posterior(part) for part in torch.split(vectors, _BLOCK)])
        mixture = mixture_from(gamma)
    mean = (weights * vectors).sum(0)
    facts = {
        "component_shares": mixture.log_share.exp().tolist(),
        "covariance_traces": mixture.covariance.diagonal(dim1=1, dim2=2).sum(1).tolist(),
        "responsibility_entropy": float((weights * torch.special.entr(gamma)).sum()),
        "vector_std": float((weights * (vectors - mean).square()).sum(0).sqrt().mean()),
        "attention_zeros": float(net.attention_zeros(features, data, plan)),
    }
    return mixture, facts


def _inputs_of(texts: list[str], config: Config) -> TextInputs:
    if config.embedding == "learned":
        return TextInputs.learned(texts)
    scale = UNIT_SQUARE if config.input_scale == "variance" else 1.0
    return TextInputs.sentence(texts, config.width, centred=config.centred, projection=config.projection, scale=scale)
