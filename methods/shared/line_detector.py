"""What Logsy and ADLILog share: lines as words, a vector for each line, two sides, and what is saved of a detector.

Lines of the source are normal, those of auxiliary systems abnormal as far as their labels say so. A
step of training draws as many of either.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.detector import Detector, Evidence, NotFittedError, SequencePart
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences
from methods.shared import layers
from methods.shared.layers import Integers
from methods.shared.line_tokens import Lines, Paths, Reading, Vocabulary, words_of
from methods.shared.meta import draws_beside, mean_of, of_role
from methods.shared.semantic import Batch, Forward, batch_of, encode, encode_batch
from methods.shared.spheres import Distance, LineNetwork, distances, repulsion
from methods.shared.text_inputs import TextInputs
from methods.shared.training import Loss, TrainingSettings, seeded

Booleans = NDArray[np.bool_]

NO_AUXILIARY: Final = (
    "it learns abnormal lines of an auxiliary system, and the training part of none gives any: name one that does by "
    "--auxiliary, such as spirit"
)


@dataclass(frozen=True, kw_only=True)
class LineSettings(TrainingSettings):
    """The shared budget, and the network of the sheets of Logsy and ADLILog."""

    dropout: float = 0.05
    """Probability of zeroing an activation in training (code)."""
    lines: Lines = "line"
    """`line`: as it was written, without its label; `masked`: the text of its event, where there are no raw lines."""
    paths: Paths = "words"
    """A slash takes the word along in which it stands [R], or with `rest` all up to the end of the line (code)."""
    width: int = 16
    """Dimensions of words and lines (code)."""
    heads: int = 2
    """Attention heads (code)."""
    ffn_width: int = 16
    """Inner dimensions of the feed-forward network (code)."""
    layers: int = 2
    """Encoder layers (code)."""
    max_words: int = 50
    """First words of a line that are read (code)."""
    distance: Distance = "squared"
    """Of a line to the origin, in the loss: `squared` as in the paper, or the `root` of the code."""
    auxiliary_weight: float = 0.5
    """Of the auxiliary's term in the loss, the other one has the rest (paper, as the code quotes it)."""
    repeats: Literal["log", "all"] = "log"
    """A line that stands n times is drawn in proportion to log(1 + n) [R], or to n."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.heads, self.ffn_width, self.layers, self.max_words) < 1:
            raise ValueError("heads, ffn_width, layers and max_words must be at least 1")
        if self.width < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if not 0 <= self.auxiliary_weight < 1:
            raise ValueError(f"auxiliary_weight {self.auxiliary_weight} must be in [0, 1)")


class LineDetector(Detector):
    """Distance of a line's vector to the origin; a sequence has that of its highest line."""

    Config: ClassVar[type] = LineSettings

    net_: LineNetwork
    vocabulary_: Vocabulary

    def uses(self) -> frozenset[SequencePart]:
        """Raw lines, or the texts of events."""
        return frozenset({"raw"} if self.config.lines == "line" else {"texts"})

    def skip(self, train: Sequences) -> str | None:
        """It learns from the lines of two systems at least."""
        if len(np.unique(train.system[train.lengths > 0])) < 2:
            return NO_AUXILIARY
        is_lacking = self.config.lines == "line" and train.raw is None
        return "it reads raw lines, and these data have none: set lines=masked" if is_lacking else None

    def score_lines(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_events,): the distance of each line's vector."""
        vectors, inverse = self._vectors(sequences)
        found = distances(torch.as_tensor(vectors), self.config.distance).numpy()
        return np.asarray(found[inverse], np.float64)

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): the score of each line, of which the sequence has the largest."""
        return self.score_lines(sequences).astype(np.float32)

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_sequences, width): the mean of the lines' vectors; zeros for an empty sequence."""
        vectors, inverse = self._vectors(sequences)
        total = np.zeros((len(sequences), self.config.width))
        np.add.at(total, sequences.sequence_of_event, vectors[inverse])
        return (total / np.maximum(sequences.lengths, 1)[:, None]).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters of the network, and the words of its table."""
        self._require_fit("state")
        return {**layers.arrays_of(self.net_), **self.vocabulary_.inputs.state()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.vocabulary_ = Vocabulary(TextInputs.from_state(state), self.config.max_words)
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        layers.load_arrays(self.net_, state)
        return self

    @abstractmethod
    def _new_network(self) -> LineNetwork:
        """A network of the vocabulary's size, on the device."""

    def _forward(self) -> Forward:
        """What gives a line its vector."""
        return self.net_

    def _vectors(self, sequences: Sequences) -> tuple[NDArray[np.float64], Integers]:
        """The vector of each distinct line, and which of them each event has."""
        self._require_fit("score")
        reading = self.vocabulary_.read(words_of(sequences, self.config.lines, self.config.paths))
        which = np.arange(len(reading.bags.lengths))
        if not len(which):
            return np.zeros((0, self.config.width)), reading.inverse
        with torch.inference_mode():
            vectors = encode(self._forward(), self.net_.words.weight, reading.bags, which)
        return vectors.cpu().numpy(), reading.inverse

    def _require_fit(self, wanted: str) -> None:
        if not hasattr(self, "net_"):
            raise NotFittedError(f"{type(self).__name__}: call fit before {wanted}")


class Sides(NamedTuple):
    """How often each distinct line is there."""

    normal: Integers
    """(n_distinct,) among the source's lines."""
    abnormal: Integers
    """(n_distinct,) among the auxiliaries' abnormal ones, without those that are normal lines of the source."""
    facts: dict[str, int]
    """How many distinct lines of each side there were, for `monitor`."""


def sides_of(train: Sequences, labels: NDArray[np.int8] | None, evidence: Evidence, reading: Reading) -> Sides:
    """The lines of both sides; a ValueError, which says what to do, where one of them is empty."""
    normal = reading.counts(np.repeat(of_role(train, evidence.roles, "source"), train.lengths))
    abnormal = reading.counts(abnormal_lines(train, labels, evidence, reading))
    facts = {
        "distinct_normal_lines": int((normal > 0).sum()),
        "distinct_auxiliary_lines": int((abnormal > 0).sum()),
        "auxiliary_lines_also_normal": int(((abnormal > 0) & (normal > 0)).sum()),
    }
    abnormal[normal > 0] = 0
    if not normal.any() or not abnormal.any():
        raise ValueError(NO_AUXILIARY if normal.any() else "no training sequence of the source has a line")
    return Sides(normal, abnormal, facts)


class Lesson(NamedTuple):
    """Normal lines of the source on the device, and abnormal ones of an auxiliary beside them."""

    normal: Batch
    abnormal: Batch
    beside: Tensor
    """float32 (m,) how often each abnormal line was drawn."""


class Pairs:
    """Puts as many draws of abnormal lines beside the normal ones that training drew."""

    def __init__(self, reading: Reading, abnormal: Integers, batch_size: int, seed: int, device: str) -> None:
        self.reading, self.device = reading, torch.device(device)
        self.draws = draws_beside(abnormal, batch_size, seed)

    def __call__(self, batches: Iterable[Integers]) -> list[Lesson]:
        """A lesson for each batch of normal lines."""
        return [self._lesson(items) for items in batches]

    def _lesson(self, items: Integers) -> Lesson:
        others, repeats = next(self.draws)
        normal, abnormal = (batch_of(self.reading.bags, which, self.device) for which in (items, others))
        return Lesson(normal, abnormal, torch.as_tensor(repeats, dtype=torch.float32, device=self.device))


def objective(net: LineNetwork, forward: Forward, config: LineSettings) -> Loss:
    """Mean distance of normal lines, and mean repulsion of abnormal ones."""

    def loss(lesson: Lesson, weights: Tensor) -> dict[str, Tensor]:
        near, far = (
            distances(encode_batch(forward, net.words.weight, batch), config.distance)
            for batch in (lesson.normal, lesson.abnormal)
        )
        normal, abnormal = (weights * near).sum(), mean_of(repulsion(far), lesson.beside)
        total = (1 - config.auxiliary_weight) * normal + config.auxiliary_weight * abnormal
        return {"loss": total, "normal": normal, "auxiliary": abnormal}

    return loss


def abnormal_lines(train: Sequences, labels: NDArray[np.int8] | None, evidence: Evidence, reading: Reading) -> Booleans:
    """Bool (n_events,): abnormal lines of auxiliaries, by their own label where there is one.

    Where only sequences have labels, they are the lines of abnormal ones that no normal sequence of an auxiliary has.
    """
    if labels is None:
        return np.zeros(train.n_events, bool)
    helps = np.repeat(of_role(train, evidence.roles, "auxiliary"), train.lengths)
    of_sequence = np.repeat(labels, train.lengths)
    of_line = np.full(train.n_events, UNLABELLED, np.int8) if evidence.event_labels is None else evidence.event_labels
    seen_normal = reading.counts(helps & (of_sequence == NORMAL))[reading.inverse] > 0
    guessed = (of_line == UNLABELLED) & (of_sequence == ABNORMAL) & ~seen_normal
    return np.asarray(helps & ((of_line == ABNORMAL) | guessed), np.bool_)


def drawn(counts: Integers, repeats: Literal["log", "all"]) -> Integers:
    """int64 (n,): how often each line is drawn, in hundredths of log(1 + n) or as it stands."""
    return counts if repeats == "all" else np.rint(100 * np.log1p(counts)).astype(np.int64)
