"""Lines labelled by rough failure times, and the encoder of LogLAB and PULL that learns from such labels.

Lines inside a told range are of unknown kind (1), all others normal (0). The encoder brings the vector z of a line
close to the origin where its label is 0 and away from it where it is 1. Equal lines are one item with the share of
each label, which gives the very same loss as line by line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detector import Detector, DetectorTags, Evidence, Incident, NotFittedError
from bench.types import Sequences
from methods.shared import layers
from methods.shared.line_distances import distances_of
from methods.shared.router import distinct_texts
from methods.shared.text_inputs import array_to_texts, texts_to_array
from methods.shared.training import History, TrainingSettings, hold_out, seeded, train_network

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PAD: Final = 0
CLS: Final = 1
UNKNOWN: Final = 2
FIRST: Final = 3
"""Number of the first token of training."""
NEAREST: Final = 1e-6
"""Distances are kept so large, or the pull of a label 1 is not finite (sheet)."""
MOST_INSIDE: Final = 0.9
"""Share of lines inside ranges beyond which these say nothing."""

_SPLIT: Final = re.compile(r"[\s\[\](){}:,=.|/]+")
_NUMBER: Final = "[NUM]"
_HEX: Final = re.compile(r"0x[0-9A-Fa-f]")


@dataclass(frozen=True, kw_only=True)
class WindowSettings(TrainingSettings):
    """The shared budget, and the encoder of LogLAB's code."""

    learning_rate: float = 1e-3
    """Adam's step size, the shared one (code: 1e-4)."""
    dropout: float = 0.1
    """Probability of zeroing an activation in training (code)."""
    width: int = 256
    """Dimensions of a token and of z (code)."""
    heads: int = 8
    """Attention heads (code)."""
    layers: int = 2
    """Encoder layers, normalised after each residual sum (code)."""
    ffn_width: int = 256
    """Inner dimensions of the feed-forward network (code)."""
    tokens: int = 20
    """Tokens of a line that are read, [CLS] included (code: 20 for Thunderbird, 16 Spirit, 12 BGL)."""
    start: float = 1.0
    """Distance at which all lines begin: the last normalisation allows no other, and its gain is set for it [R]. At the
    code's 256 the shared budget ends before any line is near the origin."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.heads, self.layers, self.ffn_width) < 1 or self.tokens < 2 or self.start <= 0:
            raise ValueError("heads, layers and ffn_width must be at least 1, tokens at least 2, start positive")
        if self.width < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")


class Lines(NamedTuple):
    """The distinct lines of a training part, as tokens."""

    tokens: Integers
    """(n, length)"""
    normal: Integers
    """(n,) events outside of all ranges"""
    inside: Integers
    """(n,) events inside"""

    @property
    def counts(self) -> Integers:
        """(n,) events of each."""
        return self.normal + self.inside

    def share(self) -> Floats:
        """float64 (n,): share of the events of each that are inside."""
        return np.asarray(self.inside / np.maximum(self.counts, 1), np.float64)


def is_inside(train: Sequences, incidents: Sequence[Incident], margin: float = 0.0) -> NDArray[np.bool_]:
    """Bool (n_events,): whether an event lies in a range of its system, whose ends belong to it; without a time, no.

    margin: seconds by which each range is wider at both ends
    """
    times = np.repeat(train.start_time, train.lengths) + train.elapsed_s
    systems = np.repeat(train.system, train.lengths)
    inside = np.zeros(train.n_events, bool)
    for system in {incident.system for incident in incidents}:
        starts, ends = merged([(i.start - margin, i.end + margin) for i in incidents if i.system == system])
        last = np.searchsorted(starts, times, side="right") - 1
        here = (last >= 0) & (systems == system) & ~np.isnan(times)
        inside[here] = times[here] <= ends[last[here]]
    return inside


def merged(ranges: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Starts and ends, ascending, of ranges of which those that touch are one."""
    order = np.array(sorted(ranges), np.float64).reshape(-1, 2)
    reach = np.maximum.accumulate(order[:, 1])
    begins = np.concatenate([[True], order[1:, 0] > reach[:-1]]) if len(order) else np.zeros(0, bool)
    last = np.append(np.flatnonzero(begins)[1:] - 1, len(order) - 1)[: int(begins.sum())]
    return order[begins, 0], reach[last]


def tokens_of(text: str) -> list[str]:
    """The tokens of a line, split at brackets and signs.

    One with a digit or a masked value is [NUM], a hexadecimal number its first three characters, a single digit itself.
    """
    return [_token(token) for token in _SPLIT.split(text) if token]


def _token(token: str) -> str:
    if _HEX.match(token):
        return token[:3]
    if token == "<*>" or "<*>" in token or (len(token) > 1 and any(map(str.isdigit, token))):
        return _NUMBER
    return token


class Vocabulary(NamedTuple):
    """Tokens of training, by their number."""

    tokens: tuple[str, ...]
    length: int

    @classmethod
    def of(cls, texts: Sequence[str], length: int) -> Self:
        """All tokens of these texts that are read."""
        found = {token for text in texts for token in tokens_of(text)[: length - 1]}
        return cls(tuple(sorted(found)), length)

    def encoded(self, texts: Sequence[str]) -> Integers:
        """int64 (n, length): [CLS] and the tokens of each text, filled up with PAD."""
        number = {token: i for i, token in enumerate(self.tokens, start=FIRST)}
        rows = np.full((len(texts), self.length), PAD, np.int64)
        rows[:, 0] = CLS
        for row, text in enumerate(texts):
            found = [number.get(token, UNKNOWN) for token in tokens_of(text)[: self.length - 1]]
            rows[row, 1 : len(found) + 1] = found
        return rows


class LineEncoder(nn.Module):
    """Tokens -> z, the vector at [CLS]; no mask hides the padding, as published."""

    def __init__(self, config: WindowSettings, n_tokens: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_tokens, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.ffn_width, config.dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.constant_(self.encoder.layers[-1].norm2.weight, math.sqrt(config.start / config.width))
        layers.with_quick_dropout(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """Of tokens, int64 (B, L), make (B, width)."""
        x = self.table(tokens)
        x = x * math.sqrt(x.shape[2])
        x = self.dropout(x + layers.sinusoidal(tokens.shape[1], x.shape[2], x))
        return torch.as_tensor(self.encoder(x)[:, 0])


def loss_of(distance: Tensor, normal: Tensor, inside: Tensor, pull: float) -> Tensor:
    """(B,): n d^2 + u q / d of items whose labels have the weights n and u; d = ||z||^2, q = pull."""
    d = distance.clamp_min(NEAREST)
    return normal * d.square() + inside * pull / d


def pull_of(normal: float, inside: float) -> float:
    """Q = (n0 / (n0 + n1))^2 of so many lines of either label."""
    return (normal / max(normal + inside, 1.0)) ** 2


def train_encoder(
    net: LineEncoder,
    lines: Lines,
    weights: tuple[float, float],
    config: WindowSettings,
    *,
    seed: int,
) -> History:
    """Minimise LogLAB's objective; weights: of the labels 0 and 1. Call it within `seeded`."""
    device = next(net.parameters()).device
    tokens = torch.as_tensor(lines.tokens, device=device)
    share = torch.as_tensor(lines.share(), dtype=torch.float32, device=device)
    pull = pull_of(float(lines.normal.sum()), float(lines.inside.sum()))

    def loss(items: Tensor, batch_weights: Tensor) -> dict[str, Tensor]:
        distance = net(tokens[items]).square().sum(1)
        each = loss_of(distance, weights[0] * (1 - share[items]), weights[1] * share[items], pull)
        return {"loss": (batch_weights * each).sum()}

    def stage(batches: Sequence[Integers]) -> list[Tensor]:
        return [torch.as_tensor(items, device=device) for items in batches]

    parts = hold_out(lines.counts, config.validation_fraction, seed)
    return train_network(net, loss, parts, config, seed=seed, stage=stage)


class WindowDetector(Detector):
    """Distance of each distinct line to the origin, after learning from rough failure times; a subclass says how."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "unlabelled"}, incidents=True, unit="line", uses=frozenset({"texts", "elapsed_s"})
    )
    Config: ClassVar[type] = WindowSettings

    vocabulary_: Vocabulary
    net_: LineEncoder

    def skip(self, train: Sequences) -> str | None:
        """Without times no range says which lines it holds."""
        if not train.n_events:
            return "no training sequence has an event"
        times = np.repeat(train.start_time, train.lengths) + train.elapsed_s
        return "it is told time ranges, and no training line has a time" if np.isnan(times).all() else None

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Label lines by the ranges, and learn; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"{type(self).__name__} cannot be trained: {reason}")
        texts, text_of_event = distinct_texts(train)
        inside, used = self._labelled(train, evidence)
        self.inside_share_ = _inside_share(inside[used])
        self.vocabulary_ = Vocabulary.of(texts, self.config.tokens)
        rows = self.vocabulary_.encoded(texts)
        distinct, item_of_text = np.unique(rows, axis=0, return_inverse=True)
        item = item_of_text.reshape(-1)[text_of_event[used]]
        normal, unknown = (np.bincount(item, inside[used] == kind, len(distinct)) for kind in (False, True))
        lines = Lines(distinct, normal.astype(np.int64), unknown.astype(np.int64))
        with seeded(self.seed, self.device):
            self.net_ = LineEncoder(self.config, len(self.vocabulary_.tokens) + FIRST).to(self.device)
            self._train(lines)
        # In float64, of which the digits of float32 are kept, no distance depends on which rows share a batch.
        self.net_ = self.net_.double().eval()
        # A rule that is the distance of a training line must be the very number that this line is scored with.
        self.native_threshold_ = self._rule(lines, self._distances(lines.tokens))
        return self

    def score_lines(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_events,): ||z||^2 of each line."""
        if not hasattr(self, "vocabulary_"):
            raise NotFittedError(f"{type(self).__name__}: call fit before score")
        texts, text_of_event = distinct_texts(sequences)
        rows = self.vocabulary_.encoded(texts)
        return self._distances(rows)[text_of_event]

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): the score of each line."""
        return self.score_lines(sequences).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """The encoder, its tokens and the native threshold."""
        if not hasattr(self, "vocabulary_"):
            raise NotFittedError(f"{type(self).__name__}: call fit before state")
        rule = np.array([np.nan if self.native_threshold_ is None else self.native_threshold_])
        return {**layers.arrays_of(self.net_), "tokens": texts_to_array(self.vocabulary_.tokens), "rule": rule}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the facts of training are not part of it."""
        self.vocabulary_ = Vocabulary(tuple(array_to_texts(state["tokens"])), self.config.tokens)
        with seeded(self.seed, self.device):
            net = LineEncoder(self.config, len(self.vocabulary_.tokens) + FIRST)
        self.net_ = net.to(self.device).double().eval()
        layers.load_arrays(self.net_, state)
        rule = float(state["rule"][0])
        self.native_threshold_ = None if math.isnan(rule) else rule
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, and the share of the training lines inside ranges."""
        if not hasattr(self, "history_"):
            return {}
        return {**self.history_.as_json(), "inside_share": self.inside_share_}

    def _labelled(self, train: Sequences, evidence: Evidence) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Bool (n_events,) each: which lines are inside, and which are learned from."""
        return is_inside(train, evidence.incidents), np.ones(train.n_events, bool)

    def _train(self, lines: Lines) -> None:
        """Learn `net_` and set `history_`."""
        raise NotImplementedError

    def _rule(self, lines: Lines, distances: Floats) -> float | None:
        """The native threshold, by the distances of the training lines."""
        raise NotImplementedError

    def _distances(self, rows: Integers) -> Floats:
        """float64 (n,): ||z||^2 of encoded lines, equal ones computed once."""
        if not len(rows):
            return np.zeros(0)
        distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
        return distances_of(self.net_, distinct)[inverse.reshape(-1)]


def _inside_share(inside: NDArray[np.bool_]) -> float:
    """The share of lines inside; ranges that hold nearly all are refused."""
    share = float(inside.mean()) if len(inside) else 0.0
    if share > MOST_INSIDE:
        raise ValueError(
            f"{share:.0%} of the training lines lie in told time ranges, and over {MOST_INSIDE:.0%} these say nothing: "
            "give narrower ones, as --incidents 1s"
        )
    return share
