"""DeepLog: anomaly detection from system logs through deep learning (Du, Li, Zheng, Srikumar, CCS 2017).

An LSTM predicts the next log key from the last h keys of the same sequence. The score of a sequence is the worst rank
that one of its keys had among the predictions: 0 = most probable, n = a key that training never had. The paper flags a
sequence where a key is not among the top g, which is score > g - 1 (`native_threshold_`).

Supervision: normal-only. It reads log keys and nothing of the texts.

Works badly where the log changes: each key not seen in training is a miss by construction, so after a change of system
(a transfer) it equals "flag everything". The worst rank grows with length, so long sequences are flagged more often.
Nothing ranks above a miss: where more than 1 % of the validation normals hold an unknown key, `conformal:0.01` is that
top score and flags nothing (recall 0 on `bgl@stream-a`, chronological, at AUROC 0.99).

Implemented is the log-key model; the parameter-value model and the workflow model of the paper are not. Defaults of
h, L, alpha and g are the paper's (section 5.1). Reconstructions [R]: histories are left-padded, and each position is
predicted from the first on, so that short sequences are scored like others (public code flags each session shorter
than h + 1); keys enter by a learned embedding (the paper's one-hot vector is a switch: the same up to a factorisation);
there are n classes, without one for unknown keys, since those are a miss anyway; Adam with early stopping. An empty
sequence scores 0: nothing unexpected happened. Distinct histories are computed once and weighted by their counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import Detector, DetectorTags, NotFittedError, TimeRange
from bench.types import Sequences
from methods import _layers
from methods._training import HeldOut, TrainingSettings, hold_out, seeded, train_network

_PAD, _UNKNOWN, _FIRST_KEY = 0, 1, 2
_BLOCK = 2048

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Config(TrainingSettings):
    """Defaults of the paper where it states a value."""

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
    max_draws: int = 50_000
    """Draws per epoch at most; here of single predictions, so more than of sequences [R]."""
    dropout: float = 0.0
    """Between the LSTMs; the paper names none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.history, self.layers, self.hidden, self.g, self.embedding_dim) < 1:
            raise ValueError("history, layers, hidden, g and embedding_dim must be at least 1")


class DeepLog(Detector):
    """Worst rank of a sequence's keys among the LSTM's predictions."""

    tags: ClassVar[DetectorTags] = DetectorTags(supervision="normal-only", uses=frozenset({"log_keys"}))
    Config: ClassVar[type] = Config

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from."""
        return None if (train.log_keys >= 0).any() else "no training sequence has an event with a known log key"

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        incidents: list[TimeRange] | None = None,
    ) -> Self:
        """Learn to predict the next key in the training sequences; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"DeepLog cannot be trained: {reason}")
        config: Config = self.config
        self.keys_ = np.unique(train.log_keys[train.log_keys >= 0])
        self.native_threshold_ = float(config.g - 1)
        predictions, counts = self._training_predictions(train)
        histories = torch.as_tensor(predictions.histories, device=self.device)
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(items: Integers, weights: Tensor) -> dict[str, Tensor]:
                rows, row_of = np.unique(predictions.history_of[items], return_inverse=True)
                logits = net(histories[torch.as_tensor(rows)])[torch.as_tensor(row_of)]
                targets = torch.as_tensor(predictions.targets[items], device=logits.device)
                return {"loss": (weights * F.cross_entropy(logits, targets, reduction="none")).sum()}

            self.history_ = train_network(net, loss, counts, config, seed=self.seed)
        # In float64 the order of two logits does not depend on which rows share a batch.
        self.net_ = net.double().eval()
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): the worst rank, 0 = always the most probable key."""
        unique, _, inverse = sequences.unique()
        worst = np.zeros(len(unique))
        np.maximum.at(worst, unique.sequence_of_event, self._ranks(unique))
        return worst[inverse]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the rank of each event, float32 (n_events,)."""
        return self._ranks(sequences).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters and the log keys of training."""
        if not hasattr(self, "net_"):
            raise NotFittedError("DeepLog: call fit before state")
        return {**_layers.arrays_of(self.net_), "keys": self.keys_.copy()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.keys_ = state["keys"]
        self.native_threshold_ = float(self.config.g - 1)
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        _layers.load_arrays(self.net_, state)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss per epoch."""
        return self.history_.as_json() if hasattr(self, "history_") else {}

    def _new_network(self) -> Network:
        return Network(self.config, len(self.keys_)).to(self.device)

    def _tokens(self, sequences: Sequences) -> Integers:
        """int64 (n_events,): 2 + position of the key among those of training, or 1 for any other."""
        place = np.minimum(np.searchsorted(self.keys_, sequences.log_keys), len(self.keys_) - 1)
        return np.where(self.keys_[place] == sequences.log_keys, place + _FIRST_KEY, _UNKNOWN).astype(np.int64)

    def _training_predictions(self, train: Sequences) -> tuple[Predictions, HeldOut]:
        """The distinct predictions of known keys, and how often each stands in the two parts of the training set."""
        unique, counts, _ = train.unique()
        parts = hold_out(counts, self.config.validation_fraction, self.seed)
        predictions = predictions_of(self._tokens(unique), unique.offsets, self.config.history)
        repeats = [
            np.bincount(predictions.prediction_of, part[unique.sequence_of_event], len(predictions.targets))
            for part in parts
        ]
        known = predictions.targets >= 0
        kept = predictions._replace(
            history_of=predictions.history_of[known], targets=predictions.targets[known], prediction_of=np.zeros(0, int)
        )
        return kept, HeldOut(*(part[known].astype(np.int64) for part in repeats))

    def _ranks(self, sequences: Sequences) -> Integers:
        """int64 (n_events,): how many keys were more probable than the actual one; n_keys for an unknown key."""
        if not hasattr(self, "net_"):
            raise NotFittedError("DeepLog: call fit before score")
        predictions = predictions_of(self._tokens(sequences), sequences.offsets, self.config.history)
        order = np.argsort(predictions.history_of, kind="stable")
        starts = np.searchsorted(predictions.history_of[order], np.arange(len(predictions.histories) + 1))
        ranks = np.full(len(predictions.targets), len(self.keys_), np.int64)
        with torch.inference_mode():
            for start in range(0, len(predictions.histories), _BLOCK):
                end = min(start + _BLOCK, len(predictions.histories))
                logits = self.net_(torch.as_tensor(predictions.histories[start:end], device=self.device))
                which = order[starts[start] : starts[end]]
                which = which[predictions.targets[which] >= 0]
                rows = logits[torch.as_tensor(predictions.history_of[which] - start)]
                actual = rows.gather(1, torch.as_tensor(predictions.targets[which], device=rows.device)[:, None])
                ranks[which] = (rows > actual).sum(1).cpu().numpy()
        return ranks[predictions.prediction_of]


class Network(nn.Module):
    """LSTM over a history, linear layer on its last state."""

    def __init__(self, config: Config, n_keys: int) -> None:
        super().__init__()
        n_tokens = n_keys + _FIRST_KEY
        self.embedding = nn.Embedding(n_tokens, config.embedding_dim) if config.inputs == "embedding" else None
        self.n_tokens = n_tokens
        self.lstm = nn.LSTM(
            config.embedding_dim if self.embedding is not None else n_tokens,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.outlet = nn.Linear(config.hidden, n_keys)

    def forward(self, histories: Tensor) -> Tensor:
        """histories: int64 (B, h) of tokens -> logits (B, n_keys)."""
        if self.embedding is not None:
            inputs = self.embedding(histories)
        else:
            weight = self.outlet.weight
            inputs = F.embedding(histories, torch.eye(self.n_tokens, dtype=weight.dtype, device=weight.device))
        return torch.as_tensor(self.outlet(self.lstm(inputs)[0][:, -1]))


class Predictions(NamedTuple):
    """Distinct pairs of a history and the key that followed it."""

    histories: Integers
    """(n_histories, h) tokens, left-padded."""
    history_of: Integers
    """(n_predictions,) its row in histories."""
    targets: Integers
    """(n_predictions,) class of the key that followed, negative for an unknown one."""
    prediction_of: Integers
    """(n_events,) the prediction that each event is."""


def predictions_of(tokens: Integers, offsets: Integers, history: int) -> Predictions:
    """Unfold all sequences at once; no history crosses the border of a sequence."""
    n = len(tokens)
    begin = np.repeat(offsets[:-1], np.diff(offsets))
    places = np.arange(n)[:, None] + np.arange(-history, 0)
    unfolded = np.where(places >= begin[:, None], tokens[np.maximum(places, 0)] if n else places, _PAD)
    first, history_of_event = _distinct_rows(unfolded)
    pairs = history_of_event * (tokens.max(initial=0) + 1) + tokens
    _, first_pair, prediction_of = np.unique(pairs, return_index=True, return_inverse=True)
    return Predictions(
        unfolded[first], history_of_event[first_pair], tokens[first_pair] - _FIRST_KEY, prediction_of.astype(np.int64)
    )


def _distinct_rows(rows: Integers) -> tuple[Integers, Integers]:
    """Index of the first of each distinct row, and for every row which distinct one it is; exact, without hashing."""
    base, size = int(rows.max(initial=0)) + 1, 1
    codes = np.zeros(len(rows), np.int64)
    for column in rows.T:
        if size > np.iinfo(np.int64).max // base:
            codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
            size = int(codes.max(initial=0)) + 1
        codes = codes * base + column
        size *= base
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return first, inverse.astype(np.int64)
