"""LogBERT: log anomaly detection via BERT (Guo, Yuan, Wu, IJCNN 2021).

A Transformer encoder learns two tasks on normal sequences: to predict masked log keys from all others, and to bring
the vector of a first token, DIST, close to the centre of normal sequences. A masked key is a miss when it is not among
the top g predictions; the score of a sequence is the share of its events that are misses. The paper flags more than a
share r, which is score > r (`native_threshold_`).

Told: source normals. It reads log keys and nothing of the texts.

Works badly where new keys are normal: each is a miss by construction. A share has few values, so one abnormal event
among many has the score of a chance miss. After a change of system it equals "flag everything".

Reconstructed [R]: each event is masked exactly once in scoring; g and r come from held-out normals, not from labels; a
long sequence is cut into pieces; short ones are kept. An empty sequence scores 0. More: docs/methods/logbert.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogBERT.tags.told)
    >>> detector = LogBERT().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.types import Sequences
from methods.shared import histories, layers, masked_keys
from methods.shared.histories import Integers, Pieces
from methods.shared.masked_keys import Chunk, Network, chunks_of, mean_distance_vector, objective, padded
from methods.shared.masks import FIRST_KEY, UNKNOWN
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.training import HeldOut, TrainingSettings, hold_out, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(TrainingSettings):
    """Defaults: the paper's architecture under the common budget; open choices by the study `network-choices`."""

    width: int = 50
    """Dimensions of a token (section IV)."""
    heads: int = 2
    """Attention heads [R]: four, as in the code, do not divide 50."""
    layers: int = 2
    """Encoder layers (section IV)."""
    ffn_width: int = 256
    """Inner dimensions of the feed-forward network (section IV)."""
    mask_ratio: float = 0.5
    """m: share of masked keys (section IV: BGL and Thunderbird .5, HDFS .65)."""
    distance_weight: float = 0.1
    """alpha: weight of the distance to the centre (code)."""
    g: int | None = None
    """Predictions that count as normal (code: 6 on HDFS, 15 elsewhere); None: from held-out normals."""
    miss_rate: float = 0.001
    """Share of held-out normal events that may be misses, where g is None [R]; the best of .001, .005, .01, .05 in the
    study `network-choices`. With it g comes near the number of keys, and the score near that of `new-event`."""
    alarm_rate: float = 0.01
    """Share of held-out normal sequences that the native rule may flag [R]."""
    max_length: int = 512
    """Tokens that see each other (code)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mask_ratio <= 1:
            raise ValueError(f"mask_ratio {self.mask_ratio} must be in (0, 1]")
        if not 0 <= self.alarm_rate < 1 or not 0 <= self.miss_rate < 1:
            raise ValueError(f"alarm_rate {self.alarm_rate} and miss_rate {self.miss_rate} must be in [0, 1)")
        if self.width % self.heads or self.width % 2 or self.max_length < 2:
            raise ValueError(
                f"width {self.width} must be an even multiple of heads {self.heads}, max_length at least 2"
            )


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (6.25e-4, "code: the peak of its schedule, 256^-.5 * 10,000^-.5"),
    "warmup_steps": (10_000, "code: the rate rises for so many steps, then falls with their root"),
    "betas": ((0.9, 0.999), "code"),
    "weight_decay": (0.0, "code"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (200, "code"),
    "patience": (10, "code"),
    "batch_size": (32, "code"),
    "validation_fraction": (0.1, "code"),
    "dropout": (0.1, "code"),
    "width": (256, "code"),
    "heads": (4, "code"),
    "layers": (4, "code"),
    "ffn_width": (512, "code"),
    "mask_ratio": (0.5, "section IV for BGL and Thunderbird; HDFS has .65"),
    "distance_weight": (0.1, "code"),
    "g": (15, "code for BGL and Thunderbird; HDFS has 6"),
    "miss_rate": (0.001, "[R] not used where g is given"),
    "alarm_rate": (0.01, "[R] the code picks r on test labels"),
    "max_length": (512, "code"),
}


class LogBERT(Detector):
    """Share of a sequence's keys that the encoder does not predict when they are masked."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"log_keys"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the authors' code. What it sets by system is here as for two of its three systems."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from."""
        return None if (train.log_keys >= 0).any() else "no training sequence has an event with a known log key"

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn both tasks on the training sequences, then g and r from those held out; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"LogBERT cannot be trained: {reason}")
        config: Config = self.config
        self.keys_ = np.unique(train.log_keys[train.log_keys >= 0])
        unique, counts, _ = train.unique()
        parts = hold_out(counts, config.validation_fraction, self.seed)
        pieces = self._pieces(unique)
        in_pieces = HeldOut(*(part[pieces.sequence] for part in parts))
        with seeded(self.seed, self.device):
            net = self._new_network()

            def move_centre(stretch: int = 0) -> None:
                net.centre.copy_(mean_distance_vector(net, pieces, in_pieces.train))

            def loss(chunks: list[Chunk], weights: Tensor) -> dict[str, Tensor]:
                return objective(net, chunks, weights)

            def stage(batches: Iterable[Integers]) -> list[list[Chunk]]:
                return [chunks_of(pieces, items, config.mask_ratio, self.device) for items in batches]

            if config.steps == 0:
                move_centre()
            self.history_ = train_network(net, loss, in_pieces, config, seed=self.seed, stage=stage, before=move_centre)
        # In float64 the order of two logits does not depend on which rows share a batch.
        self.net_ = net.double().eval()
        self._choose_rule(unique, parts.held_out if parts.held_out.any() else parts.train)
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): the share of events that are misses."""
        unique, _, inverse = sequences.unique()
        return _shares(unique, self._misses(unique))[inverse]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return 1 for each event that is a miss and 0 for others, float32 (n_events,)."""
        return self._misses(sequences).astype(np.float32)

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the vector of DIST, nothing masked, float32 (n_sequences, width); the first piece of a long one."""
        unique, _, inverse = sequences.unique()
        pieces = self._pieces(unique)
        result = np.zeros((len(unique), self.config.width), np.float32)
        first = np.flatnonzero(np.diff(pieces.sequence, prepend=-1))
        with torch.inference_mode():
            for chunk in layers.length_chunks(pieces.lengths[first]):
                states = self.net_(self._on_device(padded(pieces, first[chunk])))
                result[pieces.sequence[first[chunk]]] = states[:, 0].cpu().numpy()
        return result[inverse]

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters and centre, log keys of training, g and r."""
        if not hasattr(self, "net_"):
            raise NotFittedError("LogBERT: call fit before state")
        rule = np.array([self.g_, self.native_threshold_], np.float64)
        return {**layers.arrays_of(self.net_), "keys": self.keys_.copy(), "rule": rule}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.keys_ = state["keys"]
        self.g_, self.native_threshold_ = int(state["rule"][0]), float(state["rule"][1])
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        layers.load_arrays(self.net_, state)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, and the chosen g."""
        return {**self.history_.as_json(), "g": self.g_} if hasattr(self, "history_") else {}

    def _new_network(self) -> Network:
        return Network(self.config, len(self.keys_)).to(self.device)

    def _on_device(self, tokens: Integers) -> Tensor:
        return torch.as_tensor(tokens, device=self.device)

    def _choose_rule(self, sequences: Sequences, counts: Integers) -> None:
        """Set g and r by normal sequences with counts."""
        config: Config = self.config
        held = sequences.select(counts > 0)
        counts = counts[counts > 0]
        with torch.inference_mode():
            ranks = masked_keys.ranks_of(self.net_, self._pieces(held))
        known = ranks < len(self.keys_)
        ranks_repeated = np.bincount(ranks[known], np.repeat(counts, held.lengths)[known], len(self.keys_))
        tail = 1 - np.cumsum(ranks_repeated) / max(float(ranks_repeated.sum()), 1.0)
        self.g_ = config.g or int(np.argmax(tail <= config.miss_rate + 1e-12)) + 1
        shares = np.repeat(_shares(held, ranks >= self.g_), counts)
        self.native_threshold_ = float(np.quantile(shares, 1 - config.alarm_rate, method="inverted_cdf"))

    def _misses(self, sequences: Sequences) -> NDArray[np.bool_]:
        """Bool (n_events,)."""
        pieces = self._pieces(sequences)
        with torch.inference_mode():
            return masked_keys.misses_of(self.net_, pieces, self.g_)

    def _pieces(self, sequences: Sequences) -> Pieces:
        """Stretches of at most max_length - 1 keys."""
        if not hasattr(self, "keys_"):
            raise NotFittedError("LogBERT: call fit before score")
        tokens = histories.tokens_of(sequences.log_keys, self.keys_)
        tokens = np.where(tokens == UNKNOWN, UNKNOWN, tokens - histories.FIRST_KEY + FIRST_KEY)
        return histories.pieces_of(tokens, sequences.offsets, self.config.max_length - 1)


def _shares(sequences: Sequences, misses: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.bincount(sequences.sequence_of_event, misses, len(sequences)) / np.maximum(sequences.lengths, 1)
