"""CAT: beyond log anomaly detection, a content-aware transformer (Zhang et al., KDD 2022).

The encoder reads the first half of a sequence, the decoder the second half with a status token [SEQ]. The state at
[SEQ] is pulled to a centre, and the decoder learns besides to predict the vector of each next event. The score is the
squared distance of the state at [SEQ] to the centre; the paper flags what is above the 90th percentile of held-out
normals (`native_threshold_`), so about 10 % false alarms are its design.

Told: source normals. It reads texts, never log keys.

Works badly where an anomaly hides among many usual events, of which [SEQ] sees one summary, and in transfers, where it
can be below `random` as any distance to the source. Nothing but the prediction of events keeps all states from
shrinking to the centre; watch `distance` in `monitor`.

Reconstructed [R]: the released code is a toy (ids in, a centre of one dimension). Sentence vectors stand for BERT's,
full attention for ProbSparse, a learned [SEQ] for a causal one; an empty sequence scores 0. More: docs/methods/cat.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(CAT.tags.told)
    >>> detector = CAT().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detector import DetectorTags, Evidence
from bench.types import Sequences
from methods.shared import layers
from methods.shared.layers import Integers
from methods.shared.occlusion import occlusion
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.semantic import Batch, TextNetworkDetector, away_from_zero, batch_of, encode, encode_batch, real
from methods.shared.text_inputs import TextSettings
from methods.shared.training import TrainingSettings, hold_out, seeded, train_network

_CELLS = layers.MAX_CELLS // 4
"""Limit of sequences x length x length computed at once."""


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """Defaults: the shared budget, and the sheet's faithful version; two choices are those of the study."""

    centred: bool = True
    """Take the mean of the distinct training texts off all sentence vectors [R]; chosen in `network-choices`."""
    dropout: float = 0.05
    """Probability of zeroing an activation in training, that of the code; chosen there too."""
    width: int = 100
    """Dimensions of a text's vector, those of every method."""
    hidden: int = 100
    """Dimensions of the transformer [R]; 32 in the code."""
    heads: int = 4
    """Attention heads [R]; 8 in the code."""
    ffn_width: int = 256
    """Inner dimensions of the feed-forward network [R]; 2048 in the code."""
    encoder_layers: int = 2
    """Layers that read the first half."""
    decoder_layers: int = 1
    """Layers that read the second half."""
    prediction_weight: float = 1.0
    """beta: of the squared error of predicted event vectors (code: 1)."""
    centre_margin: float = 0.1
    """Entries of the centre nearer to 0 are moved to this distance [R]."""
    normal_share: float = 0.9
    """Share of held-out normals below the native threshold."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.heads, self.ffn_width, self.encoder_layers, self.decoder_layers) < 1:
            raise ValueError("width, heads, ffn_width, encoder_layers and decoder_layers must be at least 1")
        if self.hidden < 1 or self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} must be a multiple of heads {self.heads}")
        if not 0 < self.normal_share <= 1:
            raise ValueError(f"normal_share {self.normal_share} must be above 0 and at most 1")


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-4, "code"),
    "decay": (0.5, "code"),
    "decay_epochs": (tuple(range(2, 100)), "code: halved after each epoch from the second on"),
    "clip_norm": (None, "code clips nothing"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (100, "code"),
    "patience": (3, "code"),
    "batch_size": (32, "code"),
    "validation_fraction": (0.25, "code: 30 % of the normals train, 10 % validate"),
    "dropout": (0.05, "code"),
    "width": (384, "[R] 768 of BERT in the code; here the encoder's own"),
    "centred": (False, "code has no such step"),
    "hidden": (32, "code"),
    "heads": (8, "code"),
    "ffn_width": (2048, "code"),
    "encoder_layers": (2, "code"),
    "decoder_layers": (1, "code"),
    "prediction_weight": (1.0, "code"),
    "centre_margin": (0.0, "code moves no entry of the centre"),
    "normal_share": (0.9, "code"),
}


class CAT(TextNetworkDetector["Network"]):
    """Squared distance of the status token's state to the centre."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the authors' released code; its convolutional embedding, distilling and ProbSparse attention are
    no settings here."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Pull the status of the training sequences to one centre; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"CAT cannot be trained: {reason}")
        config: Config = self.config
        bags, counts, _, vectors = reading = self._learn_inputs(train.select(train.lengths > 0))
        parts = hold_out(counts, config.validation_fraction, self.seed)
        vectors = vectors.float()

        def stage(batches: Iterable[Integers]) -> list[Batch]:
            return [batch_of(bags, items, vectors.device, max_cells=_CELLS) for items in batches]

        with seeded(self.seed, self.device):
            net = self._new_network().eval()
            trained = np.flatnonzero(parts.train)
            with torch.no_grad():
                share = torch.as_tensor(parts.train[trained] / parts.train.sum()).to(vectors)
                status = encode(net.status, vectors, bags, trained, max_cells=_CELLS)
                net.centre.copy_(away_from_zero(share @ status, config.centre_margin))

            def loss(batch: Batch, weights: Tensor) -> dict[str, Tensor]:
                return objective(encode_batch(net, vectors, batch), weights, config)

            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=stage)
        self.net_ = net.double().eval()
        # Where nothing is held out, what was trained on decides.
        normals = parts.held_out if parts.held_out.any() else parts.train
        which = np.flatnonzero(normals)
        distances = self._apply(net, reading, which, max_cells=_CELLS)[:, 0]
        net.native.fill_(float(np.quantile(np.repeat(distances, normals[which]), config.normal_share)))
        self.native_threshold_ = float(net.native)
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): squared distance to the centre."""
        net = self._fitted("score")
        if not len(sequences):
            return np.zeros(0)
        reading = self._read(sequences)
        distances = self._apply(net, reading, max_cells=_CELLS)[:, 0]
        return np.where(reading.bags.lengths > 0, distances, 0.0)[reading.inverse]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): by how much the score falls without the event, its equals sharing (occlusion)."""
        return occlusion(sequences, self.score, "text_ids")

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the states at [SEQ], float32 (n_sequences, hidden)."""
        net = self._fitted("represent")
        if not len(sequences):
            return np.zeros((0, self.config.hidden), np.float32)
        reading = self._read(sequences)
        return self._apply(net.status, reading, max_cells=_CELLS)[reading.inverse].astype(np.float32)

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        super().load_state(state)
        self.native_threshold_ = float(self.net_.native)
        return self

    def _new_network(self) -> Network:
        return Network(self.config).to(self.device)


class Network(nn.Module):
    """Content layer, encoder, decoder with [SEQ], head that predicts vectors; centre and native threshold."""

    centre: Tensor
    native: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.inlet = nn.Linear(config.width, config.hidden)
        self.first = nn.Parameter(torch.randn(config.hidden))
        shape = {"d_model": config.hidden, "nhead": config.heads, "dim_feedforward": config.ffn_width}
        common: dict[str, Any] = {**shape, "dropout": config.dropout, "activation": "gelu", "batch_first": True}
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(**common) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(**common) for _ in range(config.decoder_layers))
        self.outlet = nn.Linear(config.hidden, config.width)
        self.heads = config.heads
        self.register_buffer("centre", torch.zeros(config.hidden))
        self.register_buffer("native", torch.zeros((), dtype=torch.float64))
        layers.with_quick_dropout(self)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (B, L, width); lengths: (B,) -> (B, 2): squared distance, mean squared error of predicted vectors."""
        states, second = self._read(tokens, lengths)
        distance = (states[:, 0] - self.centre).square().sum(1)
        # The state at one event of the second half predicts the vector of the next one.
        errors = (self.outlet(states[:, 1:-1]) - second.tokens[:, 1:]).square().mean(2) * second.real[:, 1:]
        return torch.stack([distance, errors.sum(1) / second.real[:, 1:].sum(1).clamp_min(1)], 1)

    def status(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The state at [SEQ], (B, hidden)."""
        return self._read(tokens, lengths)[0][:, 0]

    def _read(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Half]:
        """States (B, 1 + n, hidden) of [SEQ] and the events of the second half, and this half."""
        first, second = halves(tokens, lengths)
        position = layers.sinusoidal(tokens.shape[1], self.first.shape[0], self.first)
        memory = self.inlet(first.tokens) + position[first.places]
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=~first.real)
        events = self.inlet(second.tokens) + position[second.places]
        states = torch.cat([self.first.expand(len(tokens), 1, -1), events], 1)
        mask = blocked(second.real).repeat_interleave(self.heads, 0)
        for layer in self.decoder:
            states = layer(states, memory, tgt_mask=mask, memory_key_padding_mask=~first.real)
        return states, second


def objective(found: Tensor, weights: Tensor, config: Config) -> dict[str, Tensor]:
    """Squared distance and prediction error; found: (B, 2) of the network, weights: (B,) summing to 1."""
    distance, error = weights @ found
    return {"loss": distance + config.prediction_weight * error, "distance": distance, "prediction": error}


class Half(NamedTuple):
    """One half of B sequences."""

    tokens: Tensor
    """(B, n, width)"""
    places: Tensor
    """int64 (B, n): position in the sequence."""
    real: Tensor
    """bool (B, n): False for padding."""


def halves(tokens: Tensor, lengths: Tensor) -> tuple[Half, Half]:
    """Cut each sequence in two, the first half being the longer one where the length is odd."""
    size = (lengths + 1) // 2
    n = (tokens.shape[1] + 1) // 2
    first = torch.arange(n, device=tokens.device).expand(len(tokens), n)
    second = (first + size[:, None]).clamp_max(tokens.shape[1] - 1)
    return (
        Half(tokens[:, :n], first, real(n, size)),
        Half(tokens.gather(1, second[:, :, None].expand(-1, -1, tokens.shape[2])), second, real(n, lengths - size)),
    )


def blocked(events: Tensor) -> Tensor:
    """Bool (B, 1 + n, 1 + n): what each row may not see; [SEQ] sees itself and all real events, an event those so far.

    events: bool (B, n), False for padding.
    """
    n = events.shape[1]
    causal = torch.ones(n, n, dtype=torch.bool, device=events.device).triu(1)
    below = nn.functional.pad(causal, (1, 0), value=True).expand(len(events), n, n + 1)
    return torch.cat([nn.functional.pad(~events, (1, 0), value=False)[:, None], below], 1)
