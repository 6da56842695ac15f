"""NeuralLog: log-based anomaly detection without log parsing (Le, Zhang, ASE 2021).

Each raw line loses its numbers and punctuation and becomes a sentence vector; no parser stands between. One block of a
Transformer encoder reads the last lines of a sequence, its mean goes through a small layer to two classes. The score is
log p(abnormal) - log p(normal); the paper takes the more probable class (`native_threshold_` 0).

Told: source labels. It reads raw lines, never log keys or templates.

Works badly on kinds of anomalies that training never showed, and where training has none at all it cannot be trained.
What distinguishes a failure in the removed numbers is lost, and lines before the last 75 are not seen.

Reconstructed [R]: the shared sentence vectors stand for those of BERT, whose weights are the user's (`original`); heads
and feed-forward are as narrow as these; padding is masked, where the authors' code attends to it and counts it in the
mean. An empty sequence gets the score of no evidence. More: docs/methods/neurallog.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(NeuralLog.tags.told)
    >>> detector = NeuralLog().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import DetectorTags, Evidence
from bench.types import NORMAL, RawLines, Sequences, ranges
from methods.shared import layers
from methods.shared.classes import Lesson, lacking_class, lesson_of
from methods.shared.draws import hold_out_of_each
from methods.shared.layers import Integers
from methods.shared.log_messages import with_messages
from methods.shared.pretrained import EncoderSettings, inputs_from_state, inputs_of, missing_weights
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.semantic import LogOddsDetector, Reading, chunks, encode_batch, read, real
from methods.shared.text_inputs import texts_of
from methods.shared.training import TrainingSettings, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(EncoderSettings, TrainingSettings):
    """The shared budget, and the authors' network at the width of the shared vectors."""

    width: int = 100
    """Dimensions of a line's vector, those of every method."""
    max_length: int = 75
    """Lines of a sequence that are read, the last ones (code)."""
    heads: int = 12
    """Attention heads (code)."""
    head_width: int = 16
    """Dimensions of each head's queries, keys and values [R]; 768 in the code, as many as its vectors have."""
    ffn_width: int = 256
    """Inner dimensions of the feed-forward network [R]: 2.7 times the width, as the code's 2,048 to 768."""
    hidden: int = 32
    """Units of the layer before the two classes (code)."""
    padding: Literal["masked", "counted"] = "masked"
    """What stands where a sequence has fewer lines than `max_length`: nothing [R], or zeros before the first line that
    are attended to and counted in the mean (code)."""
    balance: Literal["weighted", "drawn", "none"] = "weighted"
    """How both classes get the same weight: in the loss [R], by drawing as many normal sequences as there are abnormal
    ones (code), or not."""
    dropout: float = 0.1
    """On both parts of the block and around the small layer (code)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = (self.width, self.max_length, self.heads, self.head_width, self.ffn_width, self.hidden)
        if min(sizes) < 1:
            raise ValueError("width, max_length, heads, head_width, ffn_width and hidden must be at least 1")
        if self.padding not in ("masked", "counted"):
            raise ValueError(f"padding '{self.padding}' must be masked or counted")
        if self.balance not in ("weighted", "drawn", "none"):
            raise ValueError(f"balance '{self.balance}' must be weighted, drawn or none")


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (3e-4, "code"),
    "warmup_steps": (100, "code: meant as 10 % of all steps, here of HDFS; it counts sequences in place of steps"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (10, "code"),
    "patience": (5, "code"),
    "batch_size": (256, "code"),
    "validation_fraction": (0.1, "code"),
    "dropout": (0.1, "code"),
    "encoder": ("bert-base-uncased", "code: BERT, of messages in lower case"),
    "width": (768, "code"),
    "centred": (False, "code"),
    "max_length": (75, "code"),
    "heads": (12, "code"),
    "head_width": (768, "code"),
    "ffn_width": (2048, "code"),
    "hidden": (32, "code"),
    "padding": ("counted", "code"),
    "balance": ("drawn", "code: its mode `balance`"),
}


class NeuralLog(LogOddsDetector["Network"]):
    """Log-odds of "abnormal" by a Transformer encoder over vectors of raw lines."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels"}, uses=frozenset({"raw"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the authors' demo, for which the weights of BERT must be here."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from, and without its weights no encoder."""
        return missing_weights(self.config) or super().skip(train)

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn the labels of the training sequences; those without a label are left out."""
        labels = np.zeros(len(train), np.int8) if labels is None else labels
        if reason := self.skip(train) or lacking_class(labels):
            raise ValueError(f"NeuralLog cannot be trained: {reason}")
        config: Config = self.config
        labelled = labels >= 0
        messages = messages_of(train.select(labelled), config.max_length)
        self.inputs_ = inputs_of(texts_of(messages), config)
        bags, _, inverse, vectors = read(messages, self.inputs_, self.device)
        pairs, counts = np.unique(2 * inverse + labels[labelled], return_counts=True)
        if config.balance == "drawn":
            counts = as_many_normals(pairs % 2, counts, self.seed)
            pairs, counts = pairs[counts > 0], counts[counts > 0]
        bag_of, class_of = pairs // 2, pairs % 2
        parts = hold_out_of_each(counts, class_of, bag_of, config.validation_fraction, self.seed)
        sizes = np.bincount(class_of, counts, minlength=2)
        weights_of = sizes.sum() / (2 * sizes) if config.balance == "weighted" else np.ones(2)
        vectors, balance = vectors.float(), torch.tensor(weights_of, dtype=torch.float32, device=self.device)
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(lesson: Lesson, weights: Tensor) -> dict[str, Tensor]:
                return objective(encode_batch(net, vectors, lesson.batch), lesson, weights, balance)

            def stage(batches: Iterable[Integers]) -> list[Lesson]:
                return [lesson_of(bags, bag_of[items], class_of[items], vectors.device) for items in batches]

            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=stage)
        self.net_ = net.double().eval()
        return self

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the attention that each line receives, float32 (n_events,): 0 before the last `max_length` lines."""
        net = self._fitted("explain")
        bags, _, inverse, vectors = self._read(sequences)
        received = np.zeros(len(bags.ids), np.float32)
        with torch.inference_mode():
            for chunk in chunks(bags, np.arange(len(bags.lengths)), vectors.device):
                found = net.received(F.embedding(chunk.ids, vectors), chunk.lengths).cpu().numpy()
                place = np.arange(found.shape[1])
                mask = place < bags.lengths[chunk.places][:, None]
                received[(bags.offsets[chunk.places][:, None] + place)[mask]] = found[mask]
        weights = np.zeros(sequences.n_events, np.float32)
        kept = bags.lengths[inverse]
        weights[ranges(sequences.offsets[1:] - kept, kept)] = received[ranges(bags.offsets[inverse], kept)]
        return weights

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the mean of the encoder's states, float32 (n_sequences, width)."""
        net = self._fitted("represent")
        if not len(sequences):
            return np.zeros((0, self.config.width), np.float32)
        reading = self._read(sequences)
        return self._apply(net.vectors, reading)[reading.inverse].astype(np.float32)

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        super().load_state(state)
        self.inputs_ = inputs_from_state(state, self.config)
        return self

    def _new_network(self) -> Network:
        return Network(self.config).to(self.device)

    def _read(self, sequences: Sequences) -> Reading:
        return read(messages_of(sequences, self.config.max_length), self.inputs_, self.device)


def messages_of(sequences: Sequences, longest: int) -> Sequences:
    """The last lines of each sequence, at most `longest`, with their distinct clean messages as texts.

    Nothing but texts, their places and the borders of sequences has a meaning in it.
    """
    if sequences.raw is None:
        raise ValueError("NeuralLog reads raw lines, and these sequences have none")
    kept = np.minimum(sequences.lengths, longest)
    events = ranges(sequences.offsets[1:] - kept, kept)
    messages = cleaned(sequences.raw.gather(events))
    return with_messages(sequences, messages, kept)


def cleaned(lines: RawLines) -> pl.Series:
    """Lines in lower case without punctuation and without words that hold a digit; compound names are split."""
    text: pl.Series = lines.values
    return (
        text.str.replace_all(r"[\[\](){}<>=,;|\"']", " ")
        .str.replace_all(r"\S*\d\S*", " ")
        .str.replace_all(r"(\p{Ll})(\p{Lu})", "$1 $2")
        .str.to_lowercase()
        .str.replace_all(r"[^\p{L}\s]+", " ")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
    )


def objective(logits: Tensor, lesson: Lesson, weights: Tensor, balance: Tensor) -> dict[str, Tensor]:
    """Cross-entropy; logits: (n_sequences, 2); weights: (n_pairs,) summing to 1; balance: (2,) of each class."""
    each = F.cross_entropy(logits[lesson.row_of], lesson.classes, reduction="none")
    return {"loss": (weights * balance[lesson.classes] * each).sum()}


def as_many_normals(class_of: Integers, counts: Integers, seed: int) -> Integers:
    """int64 (n,): of the normal sequences so many are drawn as there are abnormal ones; of fewer all stay."""
    normal = class_of == NORMAL
    drawn = counts.copy()
    wanted = min(int(counts[~normal].sum()), int(counts[normal].sum()))
    rng = np.random.default_rng([seed, 4])
    drawn[normal] = rng.multivariate_hypergeometric(counts[normal], wanted, method="marginals")
    return drawn


class Attention(nn.Module):
    """Multi-head self-attention whose heads may be wider than a share of the input."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.inner = nn.Linear(width, 3 * heads * head_width)
        self.outer = nn.Linear(heads * head_width, width)

    def weights(self, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, L, width); seen: bool (B, L) -> weights (B, heads, L, L) and values (B, heads, L, head_width)."""
        query, key, value = self.inner(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
        # A finite number: in a row without anything to see the weights are equal and not NaN.
        return torch.softmax(scores.masked_fill(~seen[:, None, None], -1e9), 3), value

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """As `weights` -> (B, L, width)."""
        weights, value = self.weights(x, seen)
        return torch.as_tensor(self.outer((weights @ value).transpose(1, 2).flatten(2)))


class Network(nn.Module):
    """Positions, one encoder block normalised after each sum, the mean over the lines, two logits."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.max_length, self.counts_padding = config.width, config.max_length, config.padding == "counted"
        self.attention = Attention(width, config.heads, config.head_width)
        self.ffn = nn.Sequential(nn.Linear(width, config.ffn_width), nn.ReLU(), nn.Linear(config.ffn_width, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropout = layers.Dropout(config.dropout)
        self.small, self.outlet = nn.Linear(width, config.hidden), nn.Linear(config.hidden, 2)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (B, L, width), padded behind; lengths: (B,) -> logits (B, 2)."""
        small = torch.relu(self.small(self.dropout(self.vectors(tokens, lengths))))
        return torch.as_tensor(self.outlet(self.dropout(small)))

    def vectors(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The mean state of the lines, (B, width); zeros for an empty sequence unless padding counts."""
        x, seen = self._placed(tokens, lengths)
        x = self.norms[0](x + self.dropout(self.attention(x, seen)))
        x = self.norms[1](x + self.dropout(self.ffn(x)))
        share = seen / seen.sum(1, keepdim=True).clamp_min(1)
        return torch.einsum("bl,bld->bd", share.to(x.dtype), x)

    def received(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L): the attention that each line receives, mean over heads and lines; 0 at padding."""
        x, seen = self._placed(tokens, lengths)
        share = (seen / seen.sum(1, keepdim=True).clamp_min(1)).to(x.dtype)
        found = torch.einsum("bhqk,bq->bk", self.attention.weights(x, seen)[0], share) / self.attention.heads
        if self.counts_padding:
            place = torch.arange(tokens.shape[1], device=x.device) + (self.max_length - lengths)[:, None]
            found = found.gather(1, place.clamp(max=self.max_length - 1))
        return found * real(tokens.shape[1], lengths)

    def _placed(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens with their positions, and which of them are attended to and counted."""
        seen = real(tokens.shape[1], lengths)
        if self.counts_padding:
            place = torch.arange(self.max_length, device=tokens.device) - (self.max_length - lengths)[:, None]
            at = place.clamp(0, tokens.shape[1] - 1)[:, :, None].expand(-1, -1, tokens.shape[2])
            tokens = tokens.gather(1, at) * (place >= 0)[:, :, None]
            seen = torch.ones_like(place, dtype=torch.bool)
        return tokens + layers.sinusoidal(tokens.shape[1], tokens.shape[2], tokens), seen
