"""ADLILog: leveraging log instructions in log-based anomaly detection (Bogatinovski et al., CCGrid 2022).

Line by line: a small transformer learns, on the log instructions of other people's source code, to tell lines of
harmless levels (info, debug) from severe ones (error, critical). Then it is frozen, and four linear layers behind it
pull normal lines of the system to the origin and push severe instructions away. The score of a line is the distance
of its vector; a sequence has the score of its highest line.

Told: source normals + auxiliary labels. The auxiliary is a corpus of log instructions: `bench data corpus FOLDER` reads
them from source code that you have. Any other system's labelled log can stand for it (`--auxiliary tbird`), and
the group of the row says which it was. It reads raw lines, or with `lines=masked` the texts of events.

Works badly where failures are not worded as such: words of severity (error, failed) may be all it knows. Words that
the auxiliary never has are one unknown word. Without `--auxiliary` it is skipped.

Reconstructed [R]: an encoder stands for the released encoder and decoder; equal lines are one with a count, which
enters by its logarithm; no epoch is chosen by the test part. More: docs/methods/adlilog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(ADLILog.tags.told)
    >>> detector = ADLILog().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import DetectorTags, Evidence
from bench.types import Sequences
from methods.shared.adapters import both_stages
from methods.shared.draws import HeldOut, hold_out, hold_out_of_each
from methods.shared.layers import Integers
from methods.shared.line_detector import LineDetector, LineSettings, Pairs, Sides, drawn, objective, sides_of
from methods.shared.line_tokens import Reading, Vocabulary, Words, words_of
from methods.shared.meta import of_role
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.semantic import Batch, Forward, batch_of, encode_batch
from methods.shared.spheres import Distance, LineEncoder, LineNetwork
from methods.shared.training import History, Loss, TrainingSettings, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(LineSettings):
    """The shared budget for both stages together, and the network of the code."""

    distance: Distance = "root"
    """Of a line to the origin, in the loss and as the score (code)."""
    tuning_share: float = 0.5
    """Share of `steps` that the second stage gets [R]."""
    tuning_epochs: int = 30
    """Passes of the second stage where `max_epochs`, those of the first, is the budget (code)."""
    tuned_layers: int = 4
    """Linear layers behind the frozen encoder (code)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tuning_share <= 1 or min(self.tuning_epochs, self.tuned_layers) < 1:
            raise ValueError(
                f"tuning_share {self.tuning_share} must be in [0, 1], tuning_epochs {self.tuning_epochs} and "
                f"tuned_layers {self.tuned_layers} at least 1"
            )


ORIGINAL: Published = {
    **ADAM,
    "betas": ((0.9, 0.999), "code"),
    "learning_rate": (1e-4, "code"),
    "weight_decay": (1e-3, "code"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (30, "code: the default of its class; its scripts have 100"),
    "patience": (None, "[R] code keeps the epoch with the best AUC on the test part: here the last weights"),
    "batch_size": (2048, "code"),
    "validation_fraction": (0.0, "[R] code validates on the test part"),
    "dropout": (0.05, "code"),
    "lines": ("line", "code: raw lines, no parser"),
    "paths": ("rest", "code"),
    "width": (16, "code"),
    "heads": (2, "code"),
    "ffn_width": (16, "code"),
    "layers": (2, "code; of an encoder and a decoder, here of an encoder"),
    "max_words": (50, "code"),
    "distance": ("root", "code"),
    "auxiliary_weight": (0.5, "[R] code takes the mean over lines of both kinds as they come"),
    "repeats": ("all", "code"),
    "tuning_share": (0.5, "[R] code counts epochs: without effect here"),
    "tuning_epochs": (30, "code: the default of its class; its scripts have 100"),
    "tuned_layers": (4, "code"),
}


class ADLILog(LineDetector):
    """Distance of a line's vector to the origin, behind an encoder that knows severe instructions."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "normals", "auxiliary": "labels"}, unit="line", uses=frozenset({"raw", "texts"})
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the released code; its decoder and the second head of its loss are no settings here."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    stages_: tuple[History, History]
    facts_: Mapping[str, int]

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn which auxiliary lines are severe, then pull the source's normal lines to the origin."""
        if reason := self.skip(train):
            raise ValueError(f"ADLILog cannot be trained: {reason}")
        config: Config = self.config
        found = words_of(train, config.lines, config.paths)
        helps = np.repeat(of_role(train, evidence.roles, "auxiliary"), train.lengths)
        self.vocabulary_ = Vocabulary.learn(_only(found, np.unique(found.inverse[helps])), config.max_words)
        reading = self.vocabulary_.read(found)
        sides = sides_of(train, labels, evidence, reading)
        severe = severe_and_harmless(reading, sides, helps)
        with seeded(self.seed, self.device):
            net = self._new_network()
            learned = self._learn_levels(net, reading, severe)
            net.freeze()
            tuned = self._learn_sphere(net, reading, sides)
        self.stages_ = (learned, tuned)
        self.facts_ = {**sides.facts, "distinct_harmless_lines": int((severe.counts[severe.is_severe == 0] > 0).sum())}
        self.net_ = net.double().eval()
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, those of the second stage behind the first, and how many lines were learned from."""
        return {**both_stages(*self.stages_), **self.facts_} if hasattr(self, "stages_") else {}

    def _learn_levels(self, net: Network, reading: Reading, lines: Levels) -> History:
        config: Config = self.config
        counts = drawn(lines.counts, config.repeats)
        parts = hold_out_of_each(counts, lines.is_severe, lines.line, config.validation_fraction, self.seed)
        device = torch.device(self.device)

        def stage(batches: Iterable[Integers]) -> list[Lesson]:
            return [
                Lesson(
                    batch_of(reading.bags, lines.line[items], device),
                    torch.as_tensor(lines.is_severe[items], device=device),
                )
                for items in batches
            ]

        balance = torch.as_tensor(_balance(parts, lines.is_severe), device=device)
        settings = stage_of(config, first=True)
        return train_network(net, level_loss(net, balance), parts, settings, seed=self.seed, stage=stage)

    def _learn_sphere(self, net: Network, reading: Reading, sides: Sides) -> History:
        config: Config = self.config
        parts = hold_out(drawn(sides.normal, config.repeats), config.validation_fraction, self.seed)
        pairs = Pairs(reading, drawn(sides.abnormal, config.repeats), config.batch_size, self.seed, self.device)
        settings = stage_of(config, first=False)
        loss = objective(net, net.forward, config)
        return train_network(net, loss, parts, settings, seed=self.seed, stage=pairs)

    def _new_network(self) -> Network:
        return Network(self.vocabulary_.n_rows, self.config).to(self.device)


class Network(LineNetwork):
    """The encoder with a classifier of levels, and linear layers without activation behind it."""

    def __init__(self, n_rows: int, config: Config) -> None:
        super().__init__()
        shape = (config.width, config.heads, config.ffn_width, config.layers)
        self.encoder = LineEncoder(n_rows, *shape, max_words=config.max_words, dropout=config.dropout)
        self.words = self.encoder.words
        self.level = nn.Linear(config.width, 2)
        self.sphere = nn.Sequential(*(nn.Linear(config.width, config.width) for _ in range(config.tuned_layers)))

    def levels(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, 2) of harmless and severe."""
        return torch.as_tensor(self.level(self.encoder(tokens, lengths)))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (B, L, width); lengths: (B,) -> (B, width): the vector whose length is the score."""
        return torch.as_tensor(self.sphere(self.encoder(tokens, lengths)))

    def freeze(self) -> None:
        """From now on the linear layers alone learn."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("sphere."))


class Levels(NamedTuple):
    """Lines of auxiliaries as items of the first stage; a line of both kinds is two items."""

    line: Integers
    """(n,) its number among the distinct ones."""
    is_severe: Integers
    """(n,) 0 or 1."""
    counts: Integers
    """(n,)"""


class Lesson(NamedTuple):
    """Lines on the device and whether they are severe, int64 (n,)."""

    lines: Batch
    is_severe: Tensor


def severe_and_harmless(reading: Reading, sides: Sides, helps: NDArray[np.bool_]) -> Levels:
    """The auxiliaries' abnormal lines, and their other ones; a ValueError where one kind is missing."""
    severe = sides.abnormal
    harmless = np.where(severe > 0, 0, reading.counts(helps))
    lines = [np.flatnonzero(counts) for counts in (harmless, severe)]
    if not all(map(len, lines)):
        raise ValueError(
            "it learns harmless and severe lines of an auxiliary, and one kind is missing: name another --auxiliary"
        )
    kinds = np.repeat([0, 1], [len(part) for part in lines])
    counts = np.concatenate([harmless[lines[0]], severe[lines[1]]])
    return Levels(np.concatenate(lines), kinds, counts)


def level_loss(net: Network, balance: Tensor) -> Loss:
    """Cross-entropy of levels, in which both weigh the same."""
    forward: Forward = net.levels

    def loss(lesson: Lesson, weights: Tensor) -> dict[str, Tensor]:
        logits = encode_batch(forward, net.words.weight, lesson.lines)
        errors = F.cross_entropy(logits, lesson.is_severe, reduction="none")
        return {"loss": (weights * balance[lesson.is_severe] * errors).sum()}

    return loss


def stage_of(config: Config, *, first: bool) -> TrainingSettings:
    """The budget of one of the two stages."""
    if config.steps is None:
        return config if first else replace(config, max_epochs=config.tuning_epochs)
    tuning = round(config.steps * config.tuning_share)
    return replace(config, steps=config.steps - tuning if first else tuning)


def _balance(parts: HeldOut, is_severe: Integers) -> NDArray[np.float32]:
    """float32 (2,): weight of a draw of each kind; 1 on average."""
    sizes = np.bincount(is_severe, parts.train, minlength=2)
    return np.asarray(sizes.sum() / (2 * np.maximum(sizes, 1)), np.float32)


def _only(found: Words, lines: Integers) -> Words:
    """Some of the distinct lines, for the words that stand in them."""
    lengths = np.diff(found.offsets)
    chosen = np.isin(np.repeat(np.arange(len(lengths)), lengths), lines)
    offsets = np.concatenate([[0], np.cumsum(lengths[lines])]).astype(np.int64)
    return Words(found.words.filter(chosen), offsets, np.arange(len(lines)))
