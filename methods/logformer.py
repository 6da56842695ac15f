"""LogFormer: a pre-train and tuning pipeline for log anomaly detection (Guo et al., AAAI 2024; TransLog, 2022).

A transformer learns the source's labels on the first events of sequences. Then small bottlenecks (adapters) are put
into its layers, and only these, the norms and a new classifier learn the labels of the target. Log-attention adds to
each event's attention what its parameters say. The score is log p(abnormal) - log p(normal); the paper takes the more
probable class (`native_threshold_` 0).

Told: source labels + target labels. It reads texts, and with `log_attention` the words behind their `<*>`.

Works badly on anomalies behind the first `max_events` events, which it never sees, and where labels of the target show
one kind of failure and others follow. Without a target it is skipped.

Reconstructed [R]: the released code lacks log-attention, whose form here is ours, and pre-trains with ReLU what it
tunes with GELU (`mended=False`: as published). More: docs/methods/logformer.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogFormer.tags.told)
    >>> detector = LogFormer().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError, SequencePart
from bench.types import Sequences
from methods.shared import adapters, layers
from methods.shared.characters import N_CHARACTERS
from methods.shared.draws import HeldOut
from methods.shared.first_events import Batch, Reading, inputs_of, read
from methods.shared.layers import Integers
from methods.shared.meta import Pool, kinds_of, labelled_pool, of_role, parts_of, require_watched
from methods.shared.occlusion import occlusion
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.semantic import real
from methods.shared.text_inputs import TextInputs, TextSettings
from methods.shared.training import History, Loss, TrainingSettings, seeded, train_network

_BLOCK: Final = 128
"""Sequences scored at once."""


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """The shared budget for both stages together, and the architecture of the code on a small width."""

    width: int = 100
    """Dimensions of a text's vector and of the transformer, those of every method; 768 in the paper."""
    dropout: float = 0.1
    """Probability of zeroing an activation in training, that of the code."""
    heads: int = 4
    """Attention heads [R]; 8 in the code, which 100 is no multiple of."""
    ffn_width: int = 256
    """Inner dimensions of the feed-forward network [R]; 3072 in the code."""
    layers: int = 1
    """Encoder layers (code)."""
    max_events: int = 20
    """First events of a sequence that are read (code: window_size 20)."""
    adapter_width: int = 64
    """Inner dimensions of an adapter (code)."""
    adapter_start: Literal["zero", "random"] = "zero"
    """What adapters add before they are tuned: nothing, so that tuning begins at what was learned [R], or as the code
    has it what random weights do."""
    tuned: Literal["adapters", "classifier", "all"] = "adapters"
    """What learns on the target: adapters, norms and the classifier, the classifier alone, or all (code)."""
    tuning_share: float = 0.5
    """Share of `steps` that the target gets, the rest is for the source [R]; 1: the target alone is learned."""
    tuning_epochs: int = 20
    """Passes over the target where `max_epochs`, those over the source, is the budget (code)."""
    mended: bool = True
    """The feed-forward network has GELU in both stages; False: ReLU on the source, as in the code."""
    masked: bool = True
    """Padding is not attended and says nothing to the classifier [R]; False: it is and does, as in the code."""
    log_attention: bool = True
    """Parameters of an event move the attention that it gets (paper, "Log-Attention"); it needs lines with words."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.heads, self.ffn_width, self.layers, self.max_events, self.adapter_width) < 1:
            raise ValueError("heads, ffn_width, layers, max_events and adapter_width must be at least 1")
        if self.width < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if not 0 < self.tuning_share <= 1 or self.tuning_epochs < 1:
            raise ValueError(
                f"tuning_share {self.tuning_share} must be above 0 and at most 1, tuning_epochs "
                f"{self.tuning_epochs} at least 1"
            )


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-5, "code: the highest of OneCycleLR, which is no setting here"),
    "clip_norm": (0.5, "code"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (5, "code (train_transformer)"),
    "patience": (None, "[R] code keeps the weights with the best F1 on the test part: here the last ones"),
    "batch_size": (64, "code"),
    "validation_fraction": (0.0, "[R] code validates on the test part"),
    "dropout": (0.1, "code"),
    "width": (384, "[R] 768 of distilbert-base-nli-mean-tokens in the code; here the encoder's own"),
    "centred": (False, "code has no such step"),
    "heads": (8, "code"),
    "ffn_width": (3072, "code"),
    "layers": (1, "code"),
    "max_events": (20, "code"),
    "adapter_width": (64, "code"),
    "adapter_start": ("random", "code: PyTorch's initial weights"),
    "tuned": ("adapters", "code (tune_transformer)"),
    "tuning_share": (0.5, "[R] code counts epochs: without effect here"),
    "tuning_epochs": (20, "code (tune_transformer)"),
    "mended": (False, "code: nn.TransformerEncoderLayer's ReLU on the source, GELU on the target"),
    "masked": (False, "code has no mask"),
    "log_attention": (False, "code has no such module"),
}


class LogFormer(Detector):
    """Log-odds of "abnormal" by a transformer that was pre-trained on the source and tuned on the target."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "labels", "target": "labels"}, uses=frozenset({"texts", "words"})
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the released code, which is TransLog; its encoder and its OneCycleLR are no settings here."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)
    native_threshold_: float | None = 0.0

    net_: Network
    inputs_: TextInputs
    stages_: tuple[History, History]
    facts_: Mapping[str, Any]

    def uses(self) -> frozenset[SequencePart]:
        """Words only for log-attention."""
        return self.tags.uses if self.config.log_attention else frozenset({"texts"})

    def skip(self, train: Sequences) -> str | None:
        """It learns a source and a target."""
        found = len(np.unique(train.system[train.lengths > 0]))
        if found >= 2 and self.config.log_attention and train.words is None:
            return "it reads the words of raw lines, and these data have none: set log_attention=false"
        if found >= 2:
            return None
        return (
            f"it learns labels of a source and then of a target, and training has sequences of {found} system: "
            "use a transfer such as bgl2tbird whose target leaves a pool"
        )

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn the labels of the source, then with few weights those of the target."""
        if reason := self.skip(train):
            raise ValueError(f"LogFormer cannot be trained: {reason}")
        config: Config = self.config
        self.inputs_ = TextInputs.learn(train, config)
        reading = self._read(train)
        source, target = (
            labelled_pool(train, labels, reading.inverse, of_role(train, evidence.roles, role), role)
            for role in ("source", "target")
        )
        parts = [parts_of(pool, config.validation_fraction, self.seed) for pool in (source, target)]
        for part in parts:
            require_watched(part, config)
        with seeded(self.seed, self.device):
            net = self._new_network()
            learned = self._trained(net, reading, source, parts[0], pretraining(config))
            self.facts_ = {"parameters": net.begin_tuning(config.tuned)}
            tuned = self._trained(net, reading, target, parts[1], tuning(config))
        self.stages_ = (learned, tuned)
        self.net_ = net.double().eval()
        self.facts_ = {**self.facts_, "source": kinds_of(source), "target": kinds_of(target)}
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): the log-odds of "abnormal"; above 0 it is the more probable class."""
        if not hasattr(self, "net_"):
            raise NotFittedError("LogFormer: call fit before score")
        if not len(sequences):
            return np.zeros(0)
        reading = self._read(sequences)
        order = np.argsort(reading.lengths, kind="stable")
        odds = np.zeros(len(order))
        with torch.inference_mode():
            for first in range(0, len(order), _BLOCK):
                part = order[first : first + _BLOCK]
                logits = self.net_(*inputs_of(reading.vectors, reading.batch(part)))
                odds[part] = (logits[:, 1] - logits[:, 0]).cpu().numpy()
        return odds[reading.inverse]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): by how much the score falls without the event, its equals sharing (occlusion)."""
        return occlusion(sequences, self.score, "text_ids")

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters of the network, and how texts enter."""
        if not hasattr(self, "net_"):
            raise NotFittedError("LogFormer: call fit before state")
        return {**layers.arrays_of(self.net_), **self.inputs_.state()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.inputs_ = TextInputs.from_state(state)
        with seeded(self.seed, self.device):
            net = self._new_network()
            net.begin_tuning(self.config.tuned)
        self.net_ = net.double().eval()
        layers.load_arrays(self.net_, state)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, those of the target behind those of the source, and what there was to learn from."""
        return {**adapters.both_stages(*self.stages_), **self.facts_} if hasattr(self, "stages_") else {}

    def _new_network(self) -> Network:
        return Network(self.config).to(self.device)

    def _read(self, sequences: Sequences) -> Reading:
        config: Config = self.config
        return read(
            sequences,
            self.inputs_,
            self.device,
            config.max_events,
            with_words=config.log_attention,
            filled_up=not config.masked,
        )

    def _trained(
        self, net: Network, reading: Reading, pool: Pool, parts: HeldOut, settings: TrainingSettings
    ) -> History:
        """Train what learns of the network on the labels of a pool."""
        vectors = reading.vectors.float()

        def stage(batches: Iterable[Integers]) -> list[Lesson]:
            return [
                Lesson(reading.batch(pool.bag[items]), torch.as_tensor(pool.share[items], device=vectors.device))
                for items in batches
            ]

        return train_network(net, objective(net, vectors), parts, settings, seed=self.seed, stage=stage)


class Lesson(NamedTuple):
    """Sequences on the device, and how many copies of each are abnormal, float32 (B,)."""

    batch: Batch
    share: Tensor


class Network(nn.Module):
    """Encoder layers with adapters, and a classifier of all their states side by side."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            adapters.AdapterLayer(
                config.width,
                config.heads,
                config.ffn_width,
                config.adapter_width,
                dropout=config.dropout,
                starts_at_zero=config.adapter_start == "zero",
                first_activation=F.gelu if config.mended else F.relu,
            )
            for _ in range(config.layers)
        )
        self.bias = adapters.ParameterBias(N_CHARACTERS, config.heads) if config.log_attention else None
        self.outlet = nn.Linear(config.max_events * config.width, 2)
        self.masked = config.masked

    def begin_tuning(self, tuned: Literal["adapters", "classifier", "all"]) -> dict[str, int]:
        """Switch the adapters on, draw a new classifier and freeze all else; how many parameters there are, and learn.

        Everything stays trainable under `all`; a classifier alone is tuned without adapters, as in the code.
        """
        self.outlet.reset_parameters()
        for block in self.blocks:
            assert isinstance(block, adapters.AdapterLayer)
            block.is_tuned = tuned != "classifier"
        learns = {"adapters": ("adapters", "norms", "outlet"), "classifier": ("outlet",), "all": ("",)}[tuned]
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(any(part.startswith(learns) for part in name.split(".")))
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.parameters()]
        return {"all": sum(n for n, _ in sizes), "tuned": sum(n for n, learns in sizes if learns)}

    def forward(self, tokens: Tensor, lengths: Tensor, characters: Tensor | None) -> Tensor:
        """tokens: (B, L, width) zeros behind; lengths: (B,); characters: (B, L, N_CHARACTERS) -> logits (B, 2)."""
        is_real = real(tokens.shape[1], lengths)
        added = torch.zeros_like(tokens[:, None, None, :, 0])
        if self.bias is not None and characters is not None:
            added = self.bias(characters.to(tokens))[:, :, None]
        if self.masked:
            added = added.masked_fill(~is_real[:, None, None], adapters.UNSEEN)
        states = tokens + layers.sinusoidal(tokens.shape[1], tokens.shape[2], tokens)
        for block in self.blocks:
            states = block(states, added)
        if self.masked:
            states = states * is_real[:, :, None]
        flat = states.flatten(1)  # where padding is masked, what lies behind the longest would be zeros
        return F.linear(flat, self.outlet.weight[:, : flat.shape[1]], self.outlet.bias)


def objective(net: nn.Module, vectors: Tensor) -> Loss:
    """Binary cross-entropy of each of the two logits to the share of copies that are of its class."""

    def loss(lesson: Lesson, weights: Tensor) -> dict[str, Tensor]:
        logits = net(*inputs_of(vectors, lesson.batch))
        wanted = torch.stack([1 - lesson.share, lesson.share], 1)
        errors = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
        return {"loss": (weights * errors).sum()}

    return loss


def pretraining(config: Config) -> TrainingSettings:
    """The budget of the source."""
    return config if config.steps is None else replace(config, steps=config.steps - _tuning_steps(config.steps, config))


def tuning(config: Config) -> TrainingSettings:
    """The budget of the target."""
    if config.steps is None:
        return replace(config, max_epochs=config.tuning_epochs)
    return replace(config, steps=_tuning_steps(config.steps, config))


def _tuning_steps(steps: int, config: Config) -> int:
    return round(steps * config.tuning_share)
