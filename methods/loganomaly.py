"""LogAnomaly: unsupervised detection of sequential and quantitative anomalies in logs (Meng et al., IJCAI 2019).

One LSTM reads the semantic vectors of the last w events of the sequence, a second one the counts of each log template
in them; together they predict the next template. The score of a sequence is the worst rank that one of its events had
(0 = most probable, n = a template unlike all of training). The paper flags a sequence where an event is not among the
top candidates, which is score > g - 1 (`native_threshold_`). Sequences of one worst rank are in the order of
their mean rank, within half a rank below it [R], so that no decision of that rule changes. A template that training
never had is taken for the most similar one of training, if that is similar enough.

Told: source normals. It reads log keys, and the texts of training templates and of events unknown to training.

Works badly where new kinds of events are normal and unlike the known ones: each is a miss by construction. The worst
rank grows with length. Sentence vectors put opposites ("link up", "link down") close together.

Reconstructed [R]: there is no official code. Sentence vectors stand for template2Vec; a new template is taken for the
most similar one of training; each event is predicted from the first on. An empty sequence scores 0. More:
docs/methods/loganomaly.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogAnomaly.tags.told)
    >>> detector = LogAnomaly().fit(log.train, log.labels, evidence=log.evidence)
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
from torch.nn import functional as F

from bench.data.embedding import embed
from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.types import Sequences
from methods.shared import histories as _histories
from methods.shared import layers
from methods.shared.histories import FIRST_KEY, PAD, UNKNOWN, Integers, Pieces, pieces_of, predictions_of
from methods.shared.published import ADAM, LOGDEEP, Published, original, sources_of
from methods.shared.stepwise import Branch, StepwisePredictor
from methods.shared.text_inputs import TextInputs, TextSettings
from methods.shared.training import HeldOut, TrainingSettings, hold_out, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """Defaults: the paper's architecture under the common budget; open choices by the study `network-choices`."""

    history: int = 20
    """w: events that the prediction sees (section 4)."""
    layers: int = 2
    """Stacked LSTMs in each branch (section 4)."""
    hidden: int = 128
    """Units of each LSTM (section 4)."""
    g: int = 9
    """Candidates that count as normal under the native rule (public code: 9)."""
    min_cosine: float = 0.7
    """Similarity from which a new template counts as the known one (study `network-choices`; public code: 0.90)."""
    width: int = 100
    """Dimensions of a template's vector (MLAD section 5.1: the same for all methods)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.layers, self.hidden, self.g) < 1 or self.history < 2:
            raise ValueError("layers, hidden and g must be at least 1, history at least 2")


ORIGINAL: Published = {
    **ADAM,
    **LOGDEEP,
    "decay_epochs": ((300, 350), "code (logdeep)"),
    "steps": (None, "code (logdeep) counts epochs"),
    "max_epochs": (370, "code (logdeep); the paper gives no budget"),
    "batch_size": (102, "code (logdeep): 2,048 predictions, which are 102 stretches of 20"),
    "history": (20, "section 4"),
    "layers": (2, "section 4"),
    "hidden": (128, "section 4"),
    "g": (9, "code (logdeep)"),
    "min_cosine": (0.9, "code (LogADEmpirical)"),
    "width": (300, "[R] that of template2Vec is not stated: the usual one of word vectors"),
    "centred": (False, "[R] template2Vec has no such step"),
}


class LogAnomaly(Detector):
    """Worst rank of a sequence's templates among the predictions from meanings and counts."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"log_keys", "texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the paper where it states a value, else public code; there is no code by its authors."""
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
        """Learn to predict the next template in the training sequences; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"LogAnomaly cannot be trained: {reason}")
        config: Config = self.config
        self.keys_ = np.unique(train.log_keys[train.log_keys >= 0])
        self.vectors_ = embed([train.texts[key] for key in self.keys_])
        self.inputs_ = TextInputs.learn(train, config)
        self.native_threshold_ = float(config.g - 1)
        pieces, counts = self._training_pieces(train)
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(batch: Batch, weights: Tensor) -> dict[str, Tensor]:
                return objective(net, batch, weights)

            def stage(batches: Iterable[Integers]) -> list[Batch]:
                return [batch_of(pieces, items, self.device) for items in batches]

            self.history_ = train_network(net, loss, counts, config, seed=self.seed, stage=stage)
        # In float64 the order of two logits does not depend on which rows share a batch.
        self.net_ = net.double().eval()
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): the worst rank, 0 = always the most probable template."""
        unique, _, inverse = sequences.unique()
        tokens = self._tokens(unique)
        return _histories.worst_ranks(tokens, unique.offsets, self._ranks, len(self.keys_))[inverse]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the rank of each event, float32 (n_events,)."""
        return self._ranks(self._tokens(sequences), sequences.offsets).astype(np.float32)

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the last states of both LSTMs after the last `history` events, (n_sequences, 2 * hidden) [R]."""
        unique, _, inverse = sequences.unique()
        tokens, history = self._tokens(unique), self.config.history
        n_last = np.minimum(unique.lengths, history)[:, None]
        place = np.arange(history)
        inside = place < n_last
        histories = np.full(inside.shape, PAD)
        histories[inside] = tokens[(unique.offsets[1:, None] - n_last + place)[inside]]
        with torch.inference_mode():
            states = self.net_.stepwise(torch.float64).last_states(histories)
        return states.cpu().numpy().astype(np.float32)[inverse]

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters, the log keys of training, the sentence vectors of their templates and how these enter."""
        if not hasattr(self, "net_"):
            raise NotFittedError("LogAnomaly: call fit before state")
        return {
            **layers.arrays_of(self.net_),
            "keys": self.keys_.copy(),
            "vectors": self.vectors_.copy(),
            **self.inputs_.state(),
        }

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.keys_, self.vectors_ = state["keys"], state["vectors"]
        self.inputs_ = TextInputs.from_state(state)
        self.native_threshold_ = float(self.config.g - 1)
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        layers.load_arrays(self.net_, state)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss by steps."""
        return self.history_.as_json() if hasattr(self, "history_") else {}

    def _new_network(self) -> Network:
        return Network(self.config, self.inputs_.vectors_of(self.vectors_)).to(self.device)

    def _tokens(self, sequences: Sequences) -> Integers:
        """int64 (n_events,): 2 + position of the template, of the most similar one for others, or UNKNOWN."""
        if not hasattr(self, "keys_"):
            raise NotFittedError("LogAnomaly: call fit before score")
        tokens = _histories.tokens_of(sequences.log_keys, self.keys_)
        other = tokens == UNKNOWN
        if other.any():
            ids, inverse = np.unique(sequences.text_ids[other], return_inverse=True)
            best = most_similar(embed([sequences.texts[i] for i in ids]), self.vectors_, self.config.min_cosine)
            tokens[other] = np.where(best < 0, UNKNOWN, best + FIRST_KEY)[inverse]
        return tokens

    def _training_pieces(self, train: Sequences) -> tuple[Pieces, HeldOut]:
        """Stretches of the distinct sequences, and how often each stands in the two parts of the training set."""
        unique, counts, _ = train.unique()
        history: int = self.config.history
        given = (history // 2, max(history // 2, history - history // 4))
        pieces = pieces_of(self._tokens(unique), unique.offsets, history + 1, given=given)
        parts = hold_out(counts, self.config.validation_fraction, self.seed)
        return pieces, HeldOut(*(part[pieces.sequence] for part in parts))

    def _ranks(self, tokens: Integers, offsets: Integers) -> Integers:
        """int64 (n_events,): how many templates were more probable than the actual one; n for one unlike all."""
        ranks, n = np.zeros(len(tokens), np.int64), len(self.keys_)
        with torch.inference_mode():
            exact, fast = (self.net_.stepwise(dtype) for dtype in (torch.float64, torch.float32))
            # Histories of one sequence share their steps, so that a block has fewer rows than histories at each.
            block = _histories.BLOCK * max(1, self.config.history // 2)
            for events, inner in _histories.event_blocks(offsets):
                predictions = predictions_of(tokens[events], inner, self.config.history, align="left")
                ranks[events] = _histories.ranks_of(predictions, exact, n, fast=fast, block=block)
        return ranks


class Batch(NamedTuple):
    """Some pieces on the device."""

    tokens: Tensor
    """int64 (B, L), padded on the right"""
    learned: Tensor
    """bool (B, L): the events to predict; not those that the piece before holds too."""


def batch_of(pieces: Pieces, items: Integers, device: str) -> Batch:
    """The pieces at `items`."""
    tokens = layers.pad(pieces.tokens, pieces.offsets, items)
    learned = (tokens >= FIRST_KEY) & (np.arange(tokens.shape[1]) >= pieces.given[items][:, None])
    return Batch(torch.as_tensor(tokens, device=device), torch.as_tensor(learned, device=device))


def objective(net: Network, batch: Batch, weights: Tensor) -> dict[str, Tensor]:
    """Mean cross-entropy of the events to predict; weights: (B,) summing to 1."""
    targets = torch.where(batch.learned, batch.tokens - FIRST_KEY, 0)
    each = F.cross_entropy(net(batch.tokens).transpose(1, 2), targets, reduction="none")
    of_event = weights[:, None] * batch.learned
    return {"loss": (of_event * each).sum() / of_event.sum().clamp_min(1e-12)}


class Network(nn.Module):
    """An LSTM over template vectors, one over counts so far, and a linear layer on both states."""

    vectors: Tensor

    def __init__(self, config: Config, vectors: NDArray[np.float64]) -> None:
        super().__init__()
        n = len(vectors)
        table = np.zeros((n + FIRST_KEY, config.width), np.float32)
        table[FIRST_KEY:] = vectors
        self.register_buffer("vectors", torch.as_tensor(table), persistent=False)
        dropout = config.dropout if config.layers > 1 else 0.0
        self.meanings, self.counts = (
            nn.LSTM(inputs, config.hidden, config.layers, batch_first=True, dropout=dropout)
            for inputs in (config.width, n)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.outlet = nn.Linear(2 * config.hidden, n)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: int64 (B, L), padded on the right -> logits (B, L, n) of each event from those before it."""
        before = tokens[:, :-1]
        one_hot = F.embedding(before, self._one_hot())
        inputs = (F.embedding(before, self.vectors), one_hot.cumsum(1))
        states = [lstm(x)[0] for lstm, x in zip((self.meanings, self.counts), inputs, strict=True)]
        # Before the first event both states are zero.
        return torch.as_tensor(self.outlet(self.dropout(F.pad(torch.cat(states, 2), (0, 0, 1, 0)))))

    def stepwise(self, dtype: torch.dtype) -> StepwisePredictor:
        """The same for what follows histories padded on the right, in eval mode and without gradients."""
        meanings, counts = (lstm.all_weights[0][0].T for lstm in (self.meanings, self.counts))
        branches = [
            Branch(self.meanings, self.vectors @ meanings),
            Branch(self.counts, F.pad(counts, (0, 0, FIRST_KEY, 0)), summed=True),
        ]
        return StepwisePredictor(branches, self.outlet, dtype, padding=PAD)

    def _one_hot(self) -> Tensor:
        """(n + 2, n): a row per token, zeros for nothing and for an unknown template."""
        n = self.outlet.out_features
        return F.pad(torch.eye(n, dtype=self.vectors.dtype, device=self.vectors.device), (0, 0, FIRST_KEY, 0))


def most_similar(vectors: NDArray[np.float32], known: NDArray[np.float32], min_cosine: float) -> Integers:
    """int64 (n,): the row of known with the largest cosine, or -1 below min_cosine and for a vector of zeros."""
    a, b = (x.astype(np.float64) / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9) for x in (vectors, known))
    cosine = a @ b.T
    best = cosine.argmax(axis=1)
    return np.where(cosine.max(axis=1) >= min_cosine, best, -1).astype(np.int64)
