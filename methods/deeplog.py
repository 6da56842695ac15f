"""DeepLog: anomaly detection from system logs through deep learning (Du, Li, Zheng, Srikumar, CCS 2017).

An LSTM predicts the next log key from the last h keys of the same sequence. The score of a sequence is the worst rank
that one of its keys had among the predictions: 0 = most probable, n = a key that training never had. The paper flags a
sequence where a key is not among the top g, which is score > g - 1 (`native_threshold_`). Sequences of one worst rank
are in the order of their mean rank, within half a rank below it [R], so that no decision of that rule changes.
`score="probability"` ranks by the worst -log p instead, and has no such rule.

Told: source normals. It reads log keys and nothing of the texts.

Works badly where the log changes: each key not seen in training is a miss by construction, so after a change of system
(a transfer) it equals "flag everything". The worst rank grows with length. With `parameter_model` times between events
have longer tails than the Gaussian of their errors, and one event suffices.

Reconstructed [R]: histories are left-padded and each position is predicted from the first on; keys enter by a learned
embedding; there are n classes, without one for unknown keys. The workflow model is left out. An empty sequence scores
0. More: docs/methods/deeplog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(DeepLog.tags.told)
    >>> detector = DeepLog().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError, SequencePart
from bench.types import Sequences
from methods.shared import histories as _histories
from methods.shared import layers
from methods.shared.histories import FIRST_KEY, STRETCH, Integers, pieces_of, predictions_of
from methods.shared.parameter_model import ParameterModel, has_numbers
from methods.shared.published import ADAM, LOGDEEP, Published, original, sources_of
from methods.shared.stepwise import Branch, StepwisePredictor
from methods.shared.stretches import Batch, Stretches
from methods.shared.training import HeldOut, TrainingSettings, hold_out, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(TrainingSettings):
    """Defaults of the paper where it states a value; the others stood in the study `network-choices`."""

    history: int = 10
    """h: keys that the prediction sees (section 5.1)."""
    layers: int = 2
    """L: stacked LSTMs (section 5.1)."""
    hidden: int = 64
    """alpha: units of each LSTM (section 5.1)."""
    g: int = 9
    """Predictions that count as normal under the native rule (section 5.1)."""
    inputs: Literal["embedding", "one-hot"] = "embedding"
    """How a key enters: a learned vector [R] or the paper's one-hot vector."""
    embedding_dim: int = 64
    """Dimensions of that learned vector (sheet: 64)."""
    dropout: float = 0.0
    """Between the LSTMs; the paper names none."""
    score: Literal["rank", "probability"] = "rank"
    """What is worst in a sequence: the rank of a key (section 3.1), or the -log of its probability [R]. A rank orders
    improbable keys too, and where keys are few it separates ever less the longer the training."""
    end_event: bool = False
    """Whether the end of a sequence is predicted too [R]; meant for sessions: all windows end alike."""
    parameter_model: bool = False
    """Whether the values of message parameters are predicted too (section 3.2); skipped on logs without numbers."""
    level: float = 0.98
    """Confidence of the Gaussian interval of the errors of `parameter_model` (section 4.4 compares .98, .99, .999)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.history, self.layers, self.hidden, self.g, self.embedding_dim) < 1:
            raise ValueError("history, layers, hidden, g and embedding_dim must be at least 1")
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} must be between 0 and 1")
        if self.score == "probability" and self.parameter_model:
            raise ValueError("score 'probability' with parameter_model: errors of values stand on the scale of ranks")


ORIGINAL: Published = {
    **ADAM,
    **LOGDEEP,
    "decay_epochs": ((300, 350), "code (logdeep)"),
    "steps": (None, "code (logdeep) counts epochs"),
    "max_epochs": (370, "code (logdeep); the paper gives no budget"),
    "batch_size": (102, "code (logdeep): 2,048 predictions, which are 102 stretches of 20"),
    "history": (10, "section 5.1"),
    "layers": (2, "section 5.1"),
    "hidden": (64, "section 5.1"),
    "g": (9, "section 5.1"),
    "inputs": ("one-hot", "section 3.1"),
    "embedding_dim": (64, "[R] not used by one-hot inputs"),
    "score": ("rank", "section 3.1"),
    "end_event": (False, "section 3.1 predicts keys only"),
    "parameter_model": (False, "section 5.1 judges execution paths by the log-key model alone"),
    "level": (0.98, "section 4.4; not used without parameter_model"),
}


class DeepLog(Detector):
    """Worst rank of a sequence's keys among the LSTM's predictions."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "normals"}, uses=frozenset({"log_keys", "elapsed_s", "parameters"})
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the paper where it states a value; its budget is that of the public code that reproduced its F1."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def uses(self) -> frozenset[SequencePart]:
        """Times and message parameters are read by `parameter_model` only."""
        return self.tags.uses if self.config.parameter_model else frozenset({"log_keys"})

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from, nor for `parameter_model` without numbers."""
        if not (train.log_keys >= 0).any():
            return "no training sequence has an event with a known log key"
        if self.config.parameter_model and not has_numbers(train):
            return "parameter_model needs numeric message parameters, and the training sequences have none"
        return None

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn to predict the next key in the training sequences; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"DeepLog cannot be trained: {reason}")
        config: Config = self.config
        self.keys_ = np.unique(train.log_keys[train.log_keys >= 0])
        self.native_threshold_ = self._native()
        lessons, counts = self._lessons(train.without_parameters())
        with seeded(self.seed, self.device):
            net = self._new_network()

            histories = torch.as_tensor(lessons.predictions.histories, device=self.device)

            def loss(batch: Batch, weights: Tensor) -> dict[str, Tensor]:
                return objective(net, histories, batch, weights)

            def stage(batches: Iterable[Integers]) -> list[Batch]:
                return [lessons.batch(items, self.device) for items in batches]

            self.history_ = train_network(net, loss, counts, config, seed=self.seed, stage=stage)
        # In float64 the order of two logits does not depend on which rows share a batch.
        self.net_ = net.double().eval()
        self.parameters_ = ParameterModel(config, config.history, config.hidden, config.layers)
        if config.parameter_model:
            self.parameters_.fit(train, self.keys_, seed=self.seed, device=self.device)
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): the worst rank, 0 = always the most probable key; or the worst -log p."""
        unique, _, inverse = sequences.without_parameters().unique()
        if self.config.score == "probability":
            tokens, offsets = self._events(unique)
            return _histories.worst_surprises(tokens, offsets, self._surprises(tokens, offsets))[inverse]
        worst = _histories.worst_ranks(*self._events(unique), self._ranks, self._n_classes)[inverse]
        if self.config.parameter_model:
            np.maximum.at(worst, sequences.sequence_of_event, self._ranks_of_values(sequences))
        return worst

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the rank of each event, or its -log p, float32 (n_events,); the end counts for the last one."""
        tokens, offsets = self._events(sequences)
        by_probability = self.config.score == "probability"
        ranks: NDArray[np.float64] = (
            self._surprises(tokens, offsets) if by_probability else self._ranks(tokens, offsets).astype(np.float64)
        )
        if self.config.end_event:
            owner = np.repeat(np.arange(len(sequences)), np.diff(offsets))
            ends = np.cumsum(np.bincount(owner, minlength=len(sequences))) - 1
            last = ends[sequences.lengths > 0]
            ranks[last - 1] = np.maximum(ranks[last - 1], ranks[last])
            ranks = np.asarray(np.delete(ranks, ends), np.float64)
        if self.config.parameter_model:
            ranks = np.maximum(ranks, self._ranks_of_values(sequences))
        return ranks.astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters and the log keys of training."""
        if not hasattr(self, "net_"):
            raise NotFittedError("DeepLog: call fit before state")
        return {**layers.arrays_of(self.net_), "keys": self.keys_.copy(), **self.parameters_.state()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        config: Config = self.config
        self.keys_ = state["keys"]
        self.native_threshold_ = self._native()
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        layers.load_arrays(self.net_, state)
        self.parameters_ = ParameterModel(config, config.history, config.hidden, config.layers)
        self.parameters_.load_state(state, device=self.device)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss by steps, and how many keys have a model of their parameters."""
        if not hasattr(self, "history_"):
            return {}
        extra = self.parameters_.monitor() if self.config.parameter_model else {}
        return {**self.history_.as_json(), **extra}

    def _new_network(self) -> Network:
        return Network(self.config, len(self.keys_)).to(self.device)

    @property
    def _n_classes(self) -> int:
        return len(self.keys_) + int(self.config.end_event)

    def _events(self, sequences: Sequences) -> tuple[Integers, Integers]:
        """Tokens of the events, the end of each sequence included where it is predicted, and their offsets."""
        if not hasattr(self, "keys_"):
            raise NotFittedError("DeepLog: call fit before score")
        tokens = _histories.tokens_of(sequences.log_keys, self.keys_)
        if self.config.end_event:
            return _histories.with_end_events(tokens, sequences.offsets, FIRST_KEY + len(self.keys_))
        return tokens, sequences.offsets

    def _lessons(self, train: Sequences) -> tuple[Stretches, HeldOut]:
        """What is drawn: stretches of the distinct sequences, and how often each stands in both parts."""
        unique, counts, _ = train.unique()
        parts = hold_out(counts, self.config.validation_fraction, self.seed)
        tokens, offsets = self._events(unique)
        predictions = predictions_of(tokens, offsets, self.config.history)
        known = predictions.targets[predictions.prediction_of] >= 0
        known_before = np.concatenate([[0], np.cumsum(known)])
        pieces = pieces_of(predictions.prediction_of[known], known_before[offsets], STRETCH)
        return Stretches(predictions, pieces), HeldOut(*(part[pieces.sequence] for part in parts))

    def _ranks(self, tokens: Integers, offsets: Integers) -> Integers:
        """int64 (n_events,): how many keys were more probable than the actual one; all of them for an unknown key."""
        ranks = np.zeros(len(tokens), np.int64)
        with torch.inference_mode():
            fast = self.net_.stepwise()
            for events, inner in _histories.event_blocks(offsets):
                predictions = predictions_of(tokens[events], inner, self.config.history)
                ranks[events] = _histories.ranks_of(predictions, self._logits, self._n_classes, fast=fast)
        return ranks

    def _surprises(self, tokens: Integers, offsets: Integers) -> NDArray[np.float64]:
        """float64 (n_events,): -log p of the actual key, MISS for an unknown one."""
        surprises = np.zeros(len(tokens))
        with torch.inference_mode():
            for events, inner in _histories.event_blocks(offsets):
                predictions = predictions_of(tokens[events], inner, self.config.history)
                surprises[events] = _histories.surprises_of(predictions, self._logits)
        return surprises

    def _native(self) -> float | None:
        """The paper's rule, top g, as a threshold on ranks."""
        return float(self.config.g - 1) if self.config.score == "rank" else None

    def _logits(self, histories: Integers) -> Tensor:
        return torch.as_tensor(self.net_(torch.as_tensor(histories, device=self.device)))

    def _ranks_of_values(self, sequences: Sequences) -> NDArray[np.float64]:
        """float64 (n_events,): above g - 1 exactly where the error of the values exceeds the bound."""
        g: int = self.config.g
        return np.maximum(g * self.parameters_.excess(sequences) - 1, 0)


def objective(net: Network, histories: Tensor, batch: Batch, weights: Tensor) -> dict[str, Tensor]:
    """Mean cross-entropy of the predictions; histories: (n, h), of all; weights: (n_stretches,) summing to 1."""
    each = F.cross_entropy(net(histories[batch.rows])[batch.history_of], batch.targets, reduction="none")
    return {"loss": batch.mean(each, weights)}


class Network(nn.Module):
    """LSTM over a history, linear layer on its last state."""

    def __init__(self, config: Config, n_keys: int) -> None:
        super().__init__()
        n_tokens = n_keys + FIRST_KEY
        self.embedding = nn.Embedding(n_tokens, config.embedding_dim) if config.inputs == "embedding" else None
        self.n_tokens = n_tokens
        self.lstm = nn.LSTM(
            config.embedding_dim if self.embedding is not None else n_tokens,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.outlet = nn.Linear(config.hidden, n_keys + config.end_event)

    def forward(self, histories: Tensor) -> Tensor:
        """histories: int64 (B, h) of tokens -> logits (B, n_keys), the end behind the keys where it is predicted."""
        if self.embedding is not None:
            inputs = self.embedding(histories)
        else:
            weight = self.outlet.weight
            inputs = F.embedding(histories, torch.eye(self.n_tokens, dtype=weight.dtype, device=weight.device))
        return torch.as_tensor(self.outlet(self.lstm(inputs)[0][:, -1]))

    def stepwise(self) -> StepwisePredictor:
        """The same in float32, in eval mode and without gradients, for many histories."""
        weight = self.lstm.all_weights[0][0].T
        projected = weight if self.embedding is None else self.embedding.weight @ weight
        return StepwisePredictor([Branch(self.lstm, projected)], self.outlet, torch.float32, padding=None)
