"""What the methods that read texts in their order share: vectors of texts, padded chunks, recurrent layers, attention.

Sequences of equal texts in equal order are one item with a count. Padding stands behind a sequence and reaches neither
its states nor its attention, so company never changes a score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bench.detector import Detector, NotFittedError
from bench.types import Sequences, ranges
from methods.shared import layers as _layers
from methods.shared.layers import Bags, Integers
from methods.shared.text_inputs import TextInputs, texts_of
from methods.shared.training import History, seeded

MAX_TOKENS = 2**13
"""Padded tokens computed at once; recurrent layers are fastest on one thread in chunks of this size."""

_MASKED = -1e9

Net = TypeVar("Net", bound=nn.Module)

Forward = Callable[[Tensor, Tensor], Tensor]
"""(tokens (B, L, width), lengths int64 (B,)) -> (B, d)."""


class Reading(NamedTuple):
    """Distinct sequences of texts."""

    bags: Bags
    """Their texts in order, as rows of `vectors`; multiplicities are all 1."""
    counts: Integers
    """(n_bags,) sequences of each."""
    inverse: Integers
    """(n_sequences,) so that sequence i has bag inverse[i]."""
    vectors: Tensor
    """float64 (n_texts, width): what `TextInputs` makes of each text."""


class Chunk(NamedTuple):
    """Some sequences of similar length, padded."""

    places: Integers
    """(B,) positions among those asked for."""
    ids: Tensor
    """int64 (B, L) rows of the vectors, 0 behind a sequence."""
    lengths: Tensor
    """int64 (B,)"""


class Batch(NamedTuple):
    """Sequences on a device, at least one, ready to be encoded."""

    chunks: list[Chunk]
    back: Tensor
    """int64 (n,): place of each sequence in the chunks one after another."""
    n_tokens: int


def read(sequences: Sequences, inputs: TextInputs, device: str) -> Reading:
    """Look at each text once and return the distinct sequences of texts, whichever system they come from."""
    ids = np.unique(sequences.text_ids, return_inverse=True)[1]
    # Sequences without any event are padded with text 0.
    vectors = inputs.features(texts_of(sequences)) if len(ids) else np.zeros((1, inputs.axes.shape[1]))
    bags, counts, inverse = _layers.unique_bags(ids.astype(np.int64), sequences.offsets, merge_repeats=False)
    return Reading(bags, counts, inverse, torch.tensor(vectors, dtype=torch.float64, device=device))


def chunks(bags: Bags, which: Integers, device: torch.device, *, max_cells: int = 2**62) -> Iterator[Chunk]:
    """Cut the bags at `which` into padded chunks, longest first."""
    lengths = bags.lengths[which]
    for places in _layers.length_chunks(lengths, max_tokens=MAX_TOKENS, max_cells=max_cells):
        ids = torch.as_tensor(_layers.pad(bags.ids, bags.offsets, which[places]), device=device)
        yield Chunk(places, ids, torch.as_tensor(lengths[places], device=device))


def batch_of(bags: Bags, which: Integers, device: torch.device, **limits: int) -> Batch:
    """The bags at `which` on the device."""
    parts = list(chunks(bags, which, device, **limits))
    back = torch.as_tensor(np.argsort(np.concatenate([part.places for part in parts])), device=device)
    return Batch(parts, back, int(bags.lengths[which].sum()))


def encode(forward: Forward, vectors: Tensor, bags: Bags, which: Integers, **limits: int) -> Tensor:
    """Apply a network to the bags at `which` (at least one) -> (len(which), d), in their order."""
    return encode_batch(forward, vectors, batch_of(bags, which, vectors.device, **limits))


def encode_batch(forward: Forward, vectors: Tensor, batch: Batch) -> Tensor:
    """Apply a network to sequences of rows of the vectors -> (n, d), in their order."""
    # Large training batches keep no activations: the backward pass computes each chunk again.
    recompute = torch.is_grad_enabled() and batch.n_tokens > 4 * MAX_TOKENS
    results = []
    for chunk in batch.chunks:
        tokens = F.embedding(chunk.ids, vectors)
        if recompute:
            results.append(cast(Tensor, checkpoint(forward, tokens, chunk.lengths, use_reentrant=False)))
        else:
            results.append(forward(tokens, chunk.lengths))
    return (results[0] if len(results) == 1 else torch.cat(results))[batch.back]


def real(length: int, lengths: Tensor) -> Tensor:
    """Bool (B, length): True where a token is no padding."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]


def away_from_zero(centre: Tensor, margin: float) -> Tensor:
    """Move entries nearer to 0 than the margin to it, keeping their sign."""
    sign = torch.where(centre < 0, -1.0, 1.0).to(centre)
    return torch.where(centre.abs() < margin, sign * margin, centre)


class _Mirror(torch.autograd.Function):
    """Exchange rows in pairs; autograd's own way back adds each entry by itself, which takes ten times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return x.flatten(0, 1).index_select(0, rows).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return gradients[0].flatten(0, 1).index_select(0, rows).view(gradients[0].shape), None


def _mirrored(x: Tensor, rows: Tensor) -> Tensor:
    """x: (B, L, width); rows: int64 (B * L,), its own inverse -> its rows in this order."""
    return cast(Tensor, _Mirror.apply(x, rows))  # type: ignore[no-untyped-call]


class BiRecurrent(nn.Module):
    """Stacked bidirectional LSTMs or GRUs; the backward ones start at a sequence's own last event, not at padding."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], width: int, hidden: int, layers: int, *, dropout: float) -> None:
        super().__init__()
        widths = [width] + [2 * hidden] * (layers - 1)
        self.ahead = nn.ModuleList(kind(w, hidden, batch_first=True) for w in widths)
        self.behind = nn.ModuleList(kind(w, hidden, batch_first=True) for w in widths)
        self.dropout = _layers.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x: (B, L, width); lengths: (B,) -> (B, L, 2 * hidden), dropout between the layers."""
        place = torch.arange(x.shape[1], device=x.device)
        mirror = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
        rows = (mirror + x.shape[1] * torch.arange(len(x), device=x.device)[:, None]).flatten()
        for layer, (ahead, behind) in enumerate(zip(self.ahead, self.behind, strict=True)):
            x = self.dropout(x) if layer else x
            backwards = behind(_mirrored(x, rows))[0]
            x = torch.cat([ahead(x)[0], _mirrored(backwards, rows)], 2)
        return x


class AttentionPooling(nn.Module):
    """Weights softmax(tanh(w h_t + b)) over a sequence's own events, and the weighted sum of their states."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.relevance = nn.Linear(width, 1)

    def weights(self, states: Tensor, lengths: Tensor) -> Tensor:
        """states: (B, L, width) -> (B, L): rows sum to 1, or are zeros for an empty sequence."""
        mask = real(states.shape[1], lengths)
        scores = torch.tanh(self.relevance(states)).squeeze(2).masked_fill(~mask, _MASKED)
        return torch.softmax(scores, dim=1) * mask

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """states: (B, L, width) -> (B, width); zeros for an empty sequence."""
        return torch.einsum("bl,bld->bd", self.weights(states, lengths), states)


class AttentiveClassifier(nn.Module):
    """Bidirectional recurrent layers, attention, two logits (normal, abnormal).

    Dropout stands between the layers and on the pooled states, or with `dropout_on="events"` on whole
    event vectors in place of these.
    """

    def __init__(
        self,
        kind: type[nn.LSTM | nn.GRU],
        width: int,
        hidden: int,
        layers: int,
        *,
        dropout: float,
        dropout_on: Literal["states", "events"] = "states",
    ) -> None:
        super().__init__()
        self.states = BiRecurrent(kind, width, hidden, layers, dropout=dropout)
        self.pooling = AttentionPooling(2 * hidden)
        self.dropout = _layers.Dropout(dropout)
        self.drops_events = dropout_on == "events"
        self.outlet = nn.Linear(2 * hidden, 2)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (B, L, width); lengths: (B,) -> logits (B, 2)."""
        if self.drops_events:
            kept = self.dropout(torch.ones_like(tokens[:, :, :1]))
            return torch.as_tensor(self.outlet(self.vectors(tokens * kept, lengths)))
        return torch.as_tensor(self.outlet(self.dropout(self.vectors(tokens, lengths))))

    def vectors(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The pooled states (B, 2 * hidden)."""
        return torch.as_tensor(self.pooling(self.states(tokens, lengths), lengths))

    def attention(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The weight of each event (B, L)."""
        return self.pooling.weights(self.states(tokens, lengths), lengths)


class TextNetworkDetector(Detector, Generic[Net]):
    """What is alike in detectors whose learned part is one network (`net_`) over sequences of texts."""

    net_: Net
    inputs_: TextInputs
    history_: History

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from."""
        return None if train.n_events else "no training sequence has an event"

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters of the network, and how texts enter."""
        return {**_layers.arrays_of(self._fitted("state")), **self.inputs_.state()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.inputs_ = TextInputs.from_state(state)
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        _layers.load_arrays(self.net_, state)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps."""
        return self.history_.as_json() if hasattr(self, "history_") else {}

    def _new_network(self) -> Net:
        raise NotImplementedError

    def _learn_inputs(self, train: Sequences) -> Reading:
        """Learn from the training texts how texts enter, and read the training sequences."""
        self.inputs_ = TextInputs.learn(train, self.config)
        return self._read(train)

    def _read(self, sequences: Sequences) -> Reading:
        return read(sequences, self.inputs_, self.device)

    def _fitted(self, wanted: str) -> Net:
        if not hasattr(self, "net_"):
            raise NotFittedError(f"{type(self).__name__}: call fit before {wanted}")
        return self.net_

    def _apply(
        self, forward: Forward, reading: Reading, which: Integers | None = None, **limits: int
    ) -> NDArray[np.float64]:
        """A function of the network for each distinct sequence, or for those at `which`, float64 (n, d)."""
        which = np.arange(len(reading.counts)) if which is None else which
        # In float64 the company of a sequence in a batch moves no score by as much as a rounding of float32.
        with torch.inference_mode():
            values = encode(forward, reading.vectors, reading.bags, which, **limits)
        return values.cpu().numpy()


class LogOddsDetector(TextNetworkDetector[Net]):
    """Detectors whose network gives the logits of two classes; the score is log p(abnormal) - log p(normal)."""

    native_threshold_: float | None = 0.0

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): the log-odds of "abnormal"; above 0 it is the more probable class."""
        net = self._fitted("score")
        if not len(sequences):
            return np.zeros(0)
        reading = self._read(sequences)
        logits = self._apply(net, reading)
        return (logits[:, 1] - logits[:, 0])[reading.inverse]


class ClassifierDetector(LogOddsDetector[AttentiveClassifier]):
    """Detectors whose network is the attentive classifier."""

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the attention weight of each event, float32 (n_events,); they sum to 1 over a sequence."""
        net = self._fitted("explain")
        bags, _, inverse, vectors = self._read(sequences)
        weights = np.zeros(len(bags.ids), np.float32)
        with torch.inference_mode():
            for chunk in chunks(bags, np.arange(len(bags.lengths)), vectors.device):
                found = net.attention(F.embedding(chunk.ids, vectors), chunk.lengths).cpu().numpy()
                place = np.arange(found.shape[1])
                mask = place < bags.lengths[chunk.places][:, None]
                weights[(bags.offsets[chunk.places][:, None] + place)[mask]] = found[mask]
        return weights[ranges(bags.offsets[inverse], sequences.lengths)]

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the attention-weighted states, float32 (n_sequences, 2 * hidden)."""
        net = self._fitted("represent")
        if not len(sequences):
            return np.zeros((0, 2 * self.config.hidden), np.float32)
        reading = self._read(sequences)
        return self._apply(net.vectors, reading)[reading.inverse].astype(np.float32)

    def _network_of(
        self, kind: type[nn.LSTM | nn.GRU], dropout_on: Literal["states", "events"] = "states"
    ) -> AttentiveClassifier:
        config = self.config
        net = AttentiveClassifier(
            kind, config.width, config.hidden, config.layers, dropout=config.dropout, dropout_on=dropout_on
        )
        return net.to(self.device)
