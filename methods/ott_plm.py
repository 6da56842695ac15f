"""Ott et al.: robust and transferable anomaly detection using pre-trained language models (CloudIntelligence 2021).

The vector of each log text by a frozen language model is what a small network predicts from the vectors of the past
w events of the same sequence. The score of an event is the mean squared error of its vector (`objective=regression`),
or -log p of its text among those of training (`classes`), where an unknown text counts as the most alike one. A
sequence has the score of its worst event. The native rule flags an event above the quantile q of held-out errors.

Told: source normals. It reads texts, never log keys, so it can be moved to another system as it is.

Works badly where normal events are seldom or hard to predict, as in logs of many interleaved processes: an error is a
distance of texts and no probability, so what is rare costs what was never there would. One bad guess suffices.

Reconstructed [R]: only the abstract is known; the network and all values are ours. The shared sentence encoder stands
for BERT, GPT-2 or XL; `original` names BERT, whose weights are the user's. Vectors are whitened, else what predicts
better ranks worse. More: docs/methods/ott-plm.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(OttPLM.tags.told)
    >>> detector = OttPLM().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.types import Sequences, ranges
from methods.shared import histories, layers
from methods.shared.histories import FIRST_KEY, PAD, Integers, Predictions
from methods.shared.pretrained import EncoderSettings, inputs_from_state, inputs_of, missing_weights
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.stepwise import Branch, StepwisePredictor
from methods.shared.stretches import Batch, Stretches
from methods.shared.text_inputs import texts_of
from methods.shared.training import HeldOut, TrainingSettings, hold_out, seeded, train_network
from methods.shared.whitening import whitened

START = histories.UNKNOWN
"""Token before the first event of every history: texts are never unknown."""

ErrorOf = Callable[[Tensor, Tensor], Tensor]
"""(predictions (n, d), what followed) -> (n,)."""


@dataclass(frozen=True, kw_only=True)
class Config(EncoderSettings, TrainingSettings):
    """The shared budget, and what the sheet proposes; the abstract gives no value."""

    width: int = 100
    """Dimensions of a text's vector, those of every method."""
    whitened: bool = True
    """Centre vectors and let the distinct training texts vary by 1 in each direction [R], as the sheet asks; without
    it, an error says above all how unlike two texts are."""
    history: int = 10
    """w: events that the prediction sees, and of a sequence that training takes at once [R]."""
    hidden: int = 128
    """Units of the LSTM per direction [R] (sheet: 128 to 256)."""
    objective: Literal["regression", "classes"] = "regression"
    """What is predicted: the vector of the next event, or which of the training texts it is (abstract: both)."""
    quantile: float = 0.99
    """q of the native rule, over held-out normal events [R]."""
    dropout: float = 0.0
    """On the states; the abstract names none [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.history, self.hidden) < 1:
            raise ValueError("width, history and hidden must be at least 1")
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile {self.quantile} must be between 0 and 1")
        if self.objective not in ("regression", "classes"):
            raise ValueError(f"objective '{self.objective}' must be regression or classes")


_OURS = "[R] nobody published it: as the sheet proposes"

ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-3, _OURS),
    "steps": (None, "[R] nobody published a budget: in epochs, as the sheet proposes"),
    "max_epochs": (60, _OURS),
    "patience": (5, "[R] early stop on the validation loss, as the sheet proposes; its patience is ours"),
    "batch_size": (64, _OURS),
    "validation_fraction": (0.1, _OURS),
    "dropout": (0.0, "[R] none is known"),
    "encoder": ("bert-base-uncased", "paper: BERT, beside GPT-2 and XL (abstract); which BERT is not known"),
    "width": (768, "paper: the vectors of BERT, not reduced"),
    "centred": (True, "[R] the sheet asks for it, as vectors of BERT are nearly parallel"),
    "whitened": (True, "[R] the sheet asks for it, for the same reason"),
    "history": (10, _OURS),
    "hidden": (256, _OURS),
    "objective": ("regression", "paper: one of its two objectives (abstract)"),
    "quantile": (0.99, _OURS),
}


class OttPLM(Detector):
    """Error of the predicted vector of each event, from the vectors of the events before it."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, unit="line", uses=frozenset({"texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: BERT and its vectors as the paper says; everything else as the sheet proposes."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from, and without its weights no encoder."""
        return missing_weights(self.config) or (None if train.n_events else "no training sequence has an event")

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn to predict the next event of the training sequences; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"OttPLM cannot be trained: {reason}")
        config: Config = self.config
        centred = replace(config, centred=config.centred or config.whitened)
        inputs = inputs_of(texts_of(train), centred)
        self.inputs_ = whitened(inputs, texts_of(train)) if config.whitened else inputs
        unique, counts, _ = train.unique()
        events = self._events(unique)
        self.known_ = events.vectors.cpu().numpy()
        parts = hold_out(counts, config.validation_fraction, self.seed)
        predictions = histories_of(events.tokens, unique.offsets, config.history)
        if config.objective == "classes":
            # Texts of one vector are one class, as they are in `_errors`.
            classes = self._classes(events.vectors).cpu().numpy()
            predictions = predictions._replace(targets=classes[predictions.targets])
        pieces = histories.pieces_of(predictions.prediction_of, unique.offsets, config.history)
        lessons, rows = Stretches(predictions, pieces), predictions.histories
        ways = Ways(*(torch.as_tensor(way, device=self.device) for way in (rows, backwards(rows))))
        in_pieces = HeldOut(*(part[pieces.sequence] for part in parts))
        vectors = events.vectors.float()
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(batch: Batch, weights: Tensor) -> dict[str, Tensor]:
                return objective(net, ways, batch, vectors, weights)

            def stage(batches: Iterable[Integers]) -> list[Batch]:
                return [lessons.batch(items, self.device) for items in batches]

            self.history_ = train_network(net, loss, in_pieces, config, seed=self.seed, stage=stage)
        # In float64 the company of an event in a batch moves no score by as much as a rounding of float32.
        self.net_ = net.double().eval()
        self.native_threshold_ = self._rule(unique, parts.held_out if parts.held_out.any() else parts.train)
        return self

    def score_lines(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_events,): the mean squared error of each event's vector, or -log p of its text."""
        unique, _, inverse = sequences.without_parameters().unique()
        lines = self._errors(unique)
        return lines[ranges(unique.offsets[inverse], sequences.lengths)]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the score of each event, float32 (n_events,)."""
        return self.score_lines(sequences).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters, how texts enter, vectors of the training texts and the native rule; no log text."""
        self._require_fitted("state")
        rule = np.array([self.native_threshold_])
        return {**layers.arrays_of(self.net_), **self.inputs_.state(), "known": self.known_.copy(), "rule": rule}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.inputs_ = inputs_from_state(state, self.config)
        self.known_, self.native_threshold_ = state["known"], float(state["rule"][0])
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        layers.load_arrays(self.net_, state)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss by steps."""
        return self.history_.as_json() if hasattr(self, "history_") else {}

    def _require_fitted(self, wanted: str) -> None:
        if not hasattr(self, "inputs_"):
            raise NotFittedError(f"OttPLM: call fit before {wanted}")

    def _new_network(self) -> Network:
        return Network(self.config, len(self.known_)).to(self.device)

    def _events(self, sequences: Sequences) -> Events:
        """Tokens of the events; each distinct text is looked at once."""
        self._require_fitted("score")
        rows = np.unique(sequences.text_ids, return_inverse=True)[1].astype(np.int64)
        features = self.inputs_.features(texts_of(sequences))
        vectors = torch.as_tensor(features.reshape(-1, self.config.width), device=self.device)
        return Events(rows + FIRST_KEY, vectors)

    def _classes(self, vectors: Tensor) -> Tensor:
        """int64 (n_texts,): the training text that each is or, for others, the most alike by cosine."""
        known = torch.as_tensor(self.known_, device=self.device)
        alike = F.normalize(vectors, dim=1) @ F.normalize(known, dim=1).T
        # Rounded, so that of two equally near ones the first is taken whatever stands beside it.
        return torch.round(alike, decimals=9).argmax(1)

    def _errors(self, sequences: Sequences) -> NDArray[np.float64]:
        """float64 (n_events,): each distinct pair of a history and the event that followed is computed once."""
        events, errors = self._events(sequences), np.zeros(sequences.n_events)
        is_regression = self.config.objective == "regression"
        with torch.inference_mode():
            wanted = events.vectors if is_regression else self._classes(events.vectors)
            predict = self.net_.stepwise(events.vectors)
            error_of = squared_errors if is_regression else surprises
            for block, inner in histories.event_blocks(sequences.offsets):
                found = histories_of(events.tokens[block], inner, self.config.history)
                errors[block] = _pair_errors(found, predict, wanted, error_of)[found.prediction_of]
        return errors

    def _rule(self, sequences: Sequences, counts: Integers) -> float:
        """The quantile q of the errors of the events of sequences with counts."""
        held = sequences.select(counts > 0)
        errors = self._errors(held)
        order = np.argsort(errors, kind="stable")
        reached = np.cumsum(np.repeat(counts[counts > 0], held.lengths)[order])
        if not len(order) or not reached[-1]:
            return 0.0
        return float(errors[order][np.searchsorted(reached, self.config.quantile * reached[-1])])


class Events(NamedTuple):
    """The events of some sequences."""

    tokens: Integers
    """(n_events,) FIRST_KEY + row of the vectors."""
    vectors: Tensor
    """float64 (n_texts, width)"""


def histories_of(tokens: Integers, offsets: Integers, history: int) -> Predictions:
    """Distinct pairs of START with at most `history` earlier events, padded on the right, and the event after them."""
    found = histories.predictions_of(tokens, offsets, history, align="left")
    return found._replace(histories=np.insert(found.histories, 0, START, axis=1))


def backwards(rows: Integers) -> Integers:
    """Histories (B, h) read from their last event to START, padded on the right as before."""
    lengths = (rows != PAD).sum(1)[:, None]
    place = lengths - 1 - np.arange(rows.shape[1])
    return np.where(place >= 0, np.take_along_axis(rows, np.maximum(place, 0), 1), PAD)


class Ways(NamedTuple):
    """All histories, on the device."""

    ahead: Tensor
    """int64 (n_histories, 1 + w)"""
    behind: Tensor
    """The same, read backwards."""


def objective(net: Network, ways: Ways, batch: Batch, vectors: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Mean error of the predictions of all events; weights: (n_stretches,) summing to 1."""
    predicted = net(ways.ahead[batch.rows], ways.behind[batch.rows], vectors)[batch.history_of]
    error_of = surprises if net.n_classes else squared_errors
    wanted = batch.targets if net.n_classes else vectors[batch.targets]
    return {"loss": batch.mean(error_of(predicted, wanted), weights)}


def squared_errors(predicted: Tensor, vectors: Tensor) -> Tensor:
    """(n,): mean squared difference over the dimensions; both (n, width)."""
    return (predicted - vectors).square().mean(1)


def surprises(logits: Tensor, classes: Tensor) -> Tensor:
    """(n,): -log p of the classes; logits: (n, n_classes)."""
    return F.cross_entropy(logits, classes, reduction="none")


class Direction(nn.Module):
    """An LSTM over a history in one direction, and what its last state adds to the prediction."""

    def __init__(self, width: int, hidden: int, out: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.outlet = nn.Linear(hidden, out)

    def forward(self, histories: Tensor, table: Tensor) -> Tensor:
        """histories: int64 (B, 1 + w) padded on the right; table: (n_tokens, width) -> (B, out)."""
        states = self.lstm(F.embedding(histories, table))[0]
        last = (histories != PAD).sum(1) - 1
        ends = states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)
        return torch.as_tensor(self.outlet(self.dropout(ends)))


class Network(nn.Module):
    """A bidirectional LSTM over the past events, and a linear layer on its two last states."""

    def __init__(self, config: Config, n_texts: int) -> None:
        super().__init__()
        self.n_classes = n_texts if config.objective == "classes" else 0
        out = self.n_classes or config.width
        self.start = nn.Parameter(torch.randn(1, config.width))
        self.ahead = Direction(config.width, config.hidden, out, config.dropout)
        self.behind = Direction(config.width, config.hidden, out, config.dropout)

    def table(self, vectors: Tensor) -> Tensor:
        """(n_texts + 2, width): a row per token; nothing, START, the texts."""
        return torch.cat([torch.zeros_like(self.start), self.start, vectors.to(self.start.dtype)])

    def forward(self, ahead: Tensor, behind: Tensor, vectors: Tensor) -> Tensor:
        """ahead, behind: int64 (B, 1 + w) histories in both directions -> (B, width or n_classes)."""
        table = self.table(vectors)
        return torch.as_tensor(self.ahead(ahead, table) + self.behind(behind, table))

    def stepwise(self, vectors: Tensor) -> Predictor:
        """The same in float64, in eval mode and without gradients, for many histories."""
        table = self.table(vectors)
        return Predictor(*(_stepwise_of(part, table) for part in (self.ahead, self.behind)))


def _stepwise_of(direction: Direction, table: Tensor) -> StepwisePredictor:
    branch = Branch(direction.lstm, table @ direction.lstm.all_weights[0][0].T)
    return StepwisePredictor([branch], direction.outlet, torch.float64, padding=PAD)


class Predictor(NamedTuple):
    """Predictions from histories that share what they begin with, and what they end with."""

    ahead: StepwisePredictor
    behind: StepwisePredictor

    def __call__(self, rows: Integers) -> Tensor:
        """rows: (B, 1 + w) histories in lexicographic order -> (B, width or n_classes)."""
        reverse = backwards(rows)
        order = np.lexsort(reverse.T[::-1])
        back = torch.as_tensor(np.argsort(order), device=self.behind.weight.device)
        return self.ahead(rows) + self.behind(reverse[order])[back]


def _pair_errors(
    predictions: Predictions, predict: Predictor, wanted: Tensor, error_of: ErrorOf
) -> NDArray[np.float64]:
    """float64 (n_predictions,): the error of each distinct pair, in blocks of histories."""
    errors = np.zeros(len(predictions.targets))
    order = np.argsort(predictions.history_of, kind="stable")
    rows, n = predictions.history_of[order], len(predictions.histories)
    for part in np.array_split(np.arange(n), -(-n // (4 * histories.BLOCK)) or 1):
        if not len(part):
            continue
        which = order[slice(*np.searchsorted(rows, [part[0], part[-1] + 1]))]
        predicted = predict(predictions.histories[part])
        place = torch.as_tensor(predictions.history_of[which] - part[0], device=predicted.device)
        targets = wanted[torch.as_tensor(predictions.targets[which], device=predicted.device)]
        errors[which] = error_of(predicted[place], targets).cpu().numpy()
    return errors
