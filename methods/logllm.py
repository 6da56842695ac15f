"""LogLLM: log-based anomaly detection using large language models (Guan et al., 2024).

An encoder makes a vector of each message, a linear projector moves it into the space of a decoder's tokens, and the
decoder reads the vectors of a sequence within a fixed question: is it normal or anomalous? It learns to answer in
stages: low-rank updates of the decoder, the projector, projector and encoder, all of them. The score is log p of the
token that begins "anomalous" less that of "normal"; the authors take the more probable one (`native_threshold_` 0).

Told: source labels. It reads raw lines, or with `lines=masked` the texts of events.

Works badly on kinds of anomalies that training never showed. Lines behind the first 128 are not seen. The decoder is
large: without its weights, which are the user's (`decoder_weights`), the row is skipped. `decoder=tiny` is a small one
with random weights that shows the plumbing and no knowledge of language.

Reconstructed [R]: the shared sentence vectors stand for BERT unless `encoder` names it; what precedes the message
in a raw line is read too; the decoder has 16 bits a weight where the code has 4. More: docs/methods/logllm.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogLLM.tags.told)
    >>> detector = LogLLM(Config(decoder="tiny", steps=100)).fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import DetectorTags, Evidence, SequencePart
from bench.types import Sequences
from methods.shared import layers
from methods.shared.classes import lacking_class
from methods.shared.decoders import (
    TINY,
    FolderDecoder,
    FolderEncoder,
    Precision,
    Prompt,
    TinyDecoder,
    is_learned,
    missing_decoder,
    with_low_rank,
)
from methods.shared.draws import HeldOut, hold_out_of_each
from methods.shared.layers import Integers
from methods.shared.line_tokens import Lines
from methods.shared.log_messages import messages_of
from methods.shared.pretrained import SENTENCE, EncoderSettings, missing_weights
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.questions import Lesson, lesson_of, objective
from methods.shared.semantic import MAX_TOKENS, Reading, TextNetworkDetector
from methods.shared.stages import at_least, of_stages
from methods.shared.text_inputs import TextInputs, texts_of
from methods.shared.training import History, TrainingSettings, seeded, train_network

BEFORE: Final = "Below is a sequence of system log messages:"
AFTER: Final = ". Is this sequence normal or anomalous? \\n"
"""Both quoted from the authors' model.py (guanwei49/LogLLM); the backslash is written out there too."""
ANSWERS: Final = ("The sequence is normal.", "The sequence is anomalous.")
STAGES: Final = (("decoder",), ("projector",), ("projector", "encoder"), ("projector", "encoder", "decoder"))
"""What learns in each stage."""
N_LATE: Final = 2
"""The last stages, which have the smaller learning rate."""


@dataclass(frozen=True, kw_only=True)
class Config(EncoderSettings, TrainingSettings):
    """The shared budget over all stages, and the authors' settings."""

    decoder: str = "Meta-Llama-3-8B"
    """The language model that answers (code), whose weights lie in the folder `decoder_weights`; `tiny`: two layers
    with random weights, which need none."""
    decoder_weights: str = field(default="", metadata={"identity": False})
    """Folder of the decoder as transformers saves it: configuration, tokenizer, weights."""
    decoder_precision: Precision = "bfloat16"
    """Of the frozen weights of a decoder from a folder [R]; 4-bit NF4 in the code."""
    lines: Lines = "line"
    """What is read of a line: as it was written, with <*> for what varies (code), or the text of its event."""
    width: int = 100
    """Dimensions of a message's vector, those of every method (code: 768 of BERT)."""
    max_length: int = 128
    """Lines of a sequence that are read, the first ones (code)."""
    max_words: int = 100
    """Word pieces of a message that an encoder from a folder reads (code)."""
    rank: int = 8
    """Of the updates of the decoder's queries and values (code)."""
    alpha: float = 16.0
    """Their weight is this to the rank (code)."""
    encoder_rank: int = 4
    """Of the updates of an encoder from a folder (code)."""
    encoder_alpha: float = 32.0
    """As `alpha` (code)."""
    encoder_dropout: float = 0.01
    """As `dropout`, in the encoder (code)."""
    dropout: float = 0.1
    """Probability of zeroing an input of an update in training (code)."""
    shares: tuple[float, ...] = (0.2, 0.2, 0.2, 0.4)
    """Of the budget, for each stage: 1, 1, 1 and 2 epochs in the code."""
    late_factor: float = 1.0
    """Learning rate of the last two stages to that of the first two [R]; .1 in the code."""
    tenth_decay: float = 1.0
    """Factor of the learning rate after each tenth of a stage [R]; .7 in the code."""
    minority: float = 0.3
    """Share of the rarer class that is drawn at least (code); 0: as they are."""
    answer_samples: int = 1000
    """Sequences of an epoch of the first stage at most, where epochs are the budget (code)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "shares", tuple(self.shares))  # a list after JSON
        sizes = (self.width, self.max_length, self.max_words, self.rank, self.encoder_rank, self.answer_samples)
        if min(sizes) < 1:
            raise ValueError("width, max_length, max_words, rank, encoder_rank and answer_samples must be at least 1")
        if len(self.shares) != len(STAGES) or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares {list(self.shares)} must be {len(STAGES)} numbers that add up to 1")
        if not 0 <= self.minority <= 0.5 or not 0 < self.tenth_decay <= 1 or self.late_factor <= 0:
            raise ValueError(
                f"minority {self.minority} must be in [0, 0.5], tenth_decay {self.tenth_decay} in (0, 1], "
                f"late_factor {self.late_factor} positive"
            )
        if self.patience is not None:
            raise ValueError("patience must be none: a stage is never cut short")


ORIGINAL: Published = {
    **ADAM,
    "weight_decay": (0.0, "[R] code: AdamW at its default, which is not Adam's penalty"),
    "learning_rate": (5e-4, "code"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (5, "code: 1 of the answer's format, 1 of the projector, 1 with the encoder, 2 of all"),
    "patience": (None, "code has none"),
    "batch_size": (16, "code, in parts of 4"),
    "validation_fraction": (0.0, "code trains on all sequences"),
    "dropout": (0.1, "code"),
    "encoder": ("bert-base-uncased", "code"),
    "centred": (False, "code"),
    "decoder": ("Meta-Llama-3-8B", "code"),
    "decoder_precision": ("bfloat16", "[R] code: 4-bit NF4, which computes in this"),
    "lines": ("line", "code, of which it takes the message alone"),
    "width": (768, "code"),
    "max_length": (128, "code"),
    "max_words": (100, "code: train.py; 128 is the default of its model"),
    "rank": (8, "code"),
    "alpha": (16.0, "code"),
    "encoder_rank": (4, "code"),
    "encoder_alpha": (32.0, "code"),
    "encoder_dropout": (0.01, "code"),
    "shares": ((0.2, 0.2, 0.2, 0.4), "code: 1, 1, 1 and 2 epochs"),
    "late_factor": (0.1, "code: 5e-5 to 5e-4"),
    "tenth_decay": (0.7, "code: ten times in a stage"),
    "minority": (0.3, "code"),
    "answer_samples": (1000, "code"),
}


class LogLLM(TextNetworkDetector["Network"]):
    """Log-odds of "anomalous" by a decoder that reads projected vectors of messages."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels"}, uses=frozenset({"raw", "texts"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the authors' code, for which the weights of BERT and Llama must be here."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)
    native_threshold_: float | None = 0.0

    def uses(self) -> frozenset[SequencePart]:
        """Raw lines only where they are read."""
        return self.tags.uses if self.config.lines == "line" else self.tags.uses - {"raw"}

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from, and without its weights nobody answers."""
        config: Config = self.config
        decoder = missing_decoder(config.decoder, config.decoder_weights, "decoder_weights")
        if reason := decoder or missing_weights(config) or super().skip(train):
            return reason
        is_lacking = config.lines == "line" and train.raw is None
        return "it reads raw lines, and these data have none: set lines=masked" if is_lacking else None

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn in stages to answer by the labels of training; sequences without a label are left out."""
        labels = np.zeros(len(train), np.int8) if labels is None else labels
        if reason := self.skip(train) or lacking_class(labels):
            raise ValueError(f"LogLLM cannot be trained: {reason}")
        config: Config = self.config
        messages = messages_of(train.select(labels >= 0), config.lines, config.max_length)
        with seeded(self.seed, self.device):
            net = self._new_network()
            self._learn_texts(net, texts_of(messages))
            material = self._material(net, messages, labels[labels >= 0])
            self.stages_ = [self._learn(net, stage, material) for stage in range(len(STAGES))]
        self.net_ = net.settled()
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_sequences,): the log-odds of "anomalous"; above 0 it is the more probable answer."""
        net = self._fitted("score")
        if not len(sequences):
            return np.zeros(0)
        config: Config = self.config
        reading = self._read_messages(net, messages_of(sequences, config.lines, config.max_length))
        found = np.zeros(len(reading.counts))
        lengths = reading.bags.lengths + net.prompt.length
        with torch.inference_mode():
            for which in layers.length_chunks(lengths, max_tokens=MAX_TOKENS, max_cells=2**62):
                lesson = lesson_of(reading.bags, which, None, net.prompt, self.device)
                logits = net(lesson, reading.vectors[lesson.messages])[:, -1].double()
                normal, anomalous = net.prompt.deciding
                found[which] = (logits[:, anomalous] - logits[:, normal]).cpu().numpy()
        return found[reading.inverse]

    def state(self) -> dict[str, NDArray[Any]]:
        """What was learned, of a tiny decoder all of it; the weights of the user's models stay in their folders."""
        net = self._fitted("state")
        kept = {f"net.{name}": value.detach().cpu().numpy().copy() for name, value in net.kept().items()}
        return {**kept, **(self.inputs_.state() if net.encoder is None else {})}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        with seeded(self.seed, self.device):
            net = self._new_network()
        if net.encoder is None:
            self.inputs_ = TextInputs.from_state(state)
        net = net.settled()
        with torch.no_grad():
            for name, value in net.kept().items():
                value.copy_(torch.as_tensor(state[f"net.{name}"]))
        self.net_ = net
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, counted through all stages, and how many steps each had."""
        return of_stages(self.stages_) if hasattr(self, "stages_") else {}

    def _new_network(self) -> Network:
        return Network(self.config).to(self.device)

    def _learn_texts(self, net: Network, texts: Sequence[str]) -> None:
        config: Config = self.config
        if net.encoder is None:
            self.inputs_ = TextInputs.sentence(texts, config.width, centred=config.centred)
        elif net.encoder.width != config.width:
            raise ValueError(f"width {config.width} is not that of {config.encoder}: set width={net.encoder.width}")

    def _read_messages(self, net: Network, messages: Sequences) -> Reading:
        """The distinct sequences of messages, and a vector of each message."""
        texts = texts_of(messages)
        ids = np.unique(messages.text_ids, return_inverse=True)[1]
        bags, counts, inverse = layers.unique_bags(ids.astype(np.int64), messages.offsets, merge_repeats=False)
        return Reading(bags, counts, inverse, self._vectors(net, texts))

    def _vectors(self, net: Network, texts: Sequence[str]) -> Tensor:
        """(n, width) of the texts, as far as the encoder has learned; nothing is learned here."""
        kind = net.projector.weight.dtype
        if net.encoder is None:
            rows = self.inputs_.features(list(texts)) if texts else np.zeros((0, self.config.width))
            return torch.as_tensor(rows, dtype=kind, device=self.device)
        was_training = net.training
        net.eval()
        with torch.no_grad():
            parts = [net.encoder(texts[first : first + 64]) for first in range(0, len(texts), 64)]
        net.train(was_training)
        return torch.cat([torch.zeros(0, self.config.width, device=self.device), *parts]).to(kind)

    def _material(self, net: Network, messages: Sequences, labels: NDArray[np.int8]) -> Material:
        config: Config = self.config
        reading = self._read_messages(net, messages)
        pairs, counts = np.unique(2 * reading.inverse + labels, return_counts=True)
        parts = hold_out_of_each(counts, pairs % 2, pairs // 2, config.validation_fraction, self.seed)
        train = at_least(parts.train, pairs % 2, config.minority)
        return Material(reading, pairs // 2, pairs % 2, parts._replace(train=train), texts_of(messages))

    def _learn(self, net: Network, stage: int, material: Material) -> History:
        config: Config = self.config
        net.learn_only(STAGES[stage])
        reading, bag_of, class_of, parts, texts = material
        settings = stage_settings(config, stage, int(parts.train.sum()))
        if not settings.steps:
            return History((), min(config.batch_size, int(parts.train.sum())), 0, "steps")
        encoder = net.encoder if "encoder" in STAGES[stage] else None
        vectors = reading.vectors if encoder is None else torch.empty(0)

        def loss(lesson: Lesson, weights: Tensor) -> dict[str, Tensor]:
            read = vectors[lesson.messages] if encoder is None else encoder([texts[i] for i in lesson.messages])
            return objective(net(lesson, read), lesson, weights)

        def staged(batches: Sequence[Integers]) -> list[Lesson]:
            return [
                lesson_of(reading.bags, bag_of[items], class_of[items], net.prompt, self.device) for items in batches
            ]

        return train_network(net, loss, parts, settings, seed=self.seed + stage, stage=staged)


class Material(NamedTuple):
    """What is learned from."""

    reading: Reading
    bag_of: Integers
    """(n,) distinct sequence of each pair of a sequence and a class."""
    class_of: Integers
    """(n,)"""
    parts: HeldOut
    """Draws of each pair, those that train and those that are held out."""
    texts: list[str]
    """The distinct messages."""


def stage_settings(config: Config, stage: int, total: int) -> Config:
    """The settings of one stage, in steps; total: sequences of an epoch."""
    ends = np.rint(np.cumsum((0.0, *config.shares)) * (config.steps or 0)).astype(int)
    steps = int(ends[stage + 1] - ends[stage])
    if config.steps is None:
        of_epoch = min(total, config.answer_samples) if stage == 0 else total
        steps = int(np.ceil(config.shares[stage] * (config.max_epochs or 0) * of_epoch / config.batch_size))
    is_late = stage >= len(STAGES) - N_LATE
    rate = config.learning_rate * (config.late_factor if is_late else 1.0)
    tenth = max(1, -(-steps // 10))
    return replace(
        config, steps=steps, max_epochs=None, learning_rate=rate, decay=config.tenth_decay, decay_steps=tenth
    )


class Network(nn.Module):
    """Encoder, projector and decoder; of models from folders only low-rank updates learn."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        is_tiny = config.decoder == TINY
        self.decoder: Any = (
            TinyDecoder([BEFORE, AFTER, *ANSWERS])
            if is_tiny
            else FolderDecoder(config.decoder_weights, config.decoder_precision)
        )
        self.encoder = None if config.encoder == SENTENCE else FolderEncoder(config.weights, config.max_words)
        self.projector = nn.Linear(config.width, self.decoder.width)
        self.prompt: Prompt = self.decoder.prompt(BEFORE, AFTER, ANSWERS)
        self.is_whole = is_tiny and self.encoder is None
        """Whether no part of it lies in a folder."""
        if not is_tiny:
            with_low_rank(self.decoder, ("q_proj", "v_proj"), config.rank, config.alpha, config.dropout)
        if self.encoder is not None:
            rank, alpha = config.encoder_rank, config.encoder_alpha
            with_low_rank(self.encoder, ("query", "value"), rank, alpha, config.encoder_dropout)

    def forward(self, lesson: Lesson, vectors: Tensor) -> Tensor:
        """vectors: (n_messages, width) -> logits (B, n, tokens) of the last n tokens of each question."""
        tokens = torch.tensor(self.prompt.tokens, device=lesson.places.device)
        fixed = self.decoder.embed(tokens)
        table = torch.cat([fixed, self.projector(vectors).to(fixed.dtype)])
        x = F.embedding(lesson.places, table)
        return torch.as_tensor(self.decoder(x, lesson.seen, lesson.targets.shape[1]))

    def learn_only(self, parts: Sequence[str]) -> None:
        """Let only what may learn of these parts do so."""
        for name, value in self.named_parameters():
            value.requires_grad_(name.partition(".")[0] in parts and self._may_learn(name))

    def kept(self) -> dict[str, Tensor]:
        """What belongs to a state: what lies in no folder."""
        return {name: value for name, value in self.state_dict().items() if self._may_learn(name)}

    def _may_learn(self, name: str) -> bool:
        """Of a model from a folder the updates alone; random weights are worth no freezing [R]."""
        is_made_here = name.startswith("projector") or (
            name.startswith("decoder") and isinstance(self.decoder, TinyDecoder)
        )
        return is_made_here or is_learned(name)

    def settled(self) -> Self:
        """Ready to score: in float64 where no part lies in a folder, so that company moves no score."""
        self.requires_grad_(requires_grad=False)
        return self.double().eval() if self.is_whole else self.eval()
