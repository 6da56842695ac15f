"""Labels that a small model and a teacher agree on, and learning them beside a source's own.

No label of the target takes part: what is learned of it is what the two say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.shared.draws import HeldOut
from methods.shared.meta import Pool, class_errors, mean_of
from methods.shared.semantic import Batch, Reading, batch_of, encode_batch
from methods.shared.training import History, TrainingSettings, train_network

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DISPUTED: Final = 0.5
"""Weight of a label on which only the surer side insists."""


class Agreement(NamedTuple):
    """What two sides say of some sequences together."""

    p: Floats
    """(n,) probability that each is abnormal; NaN where the two cannot agree, or one has no verdict."""
    weight: Floats
    """(n,) 1 where they agree, DISPUTED where the surer side decides, 0 where nothing is kept."""

    @property
    def has_one_class(self) -> bool:
        """Whether all that is kept, and there is some, is of one class.

        The source beside it has both: what such labels tell apart is the systems, and the order within the target is
        left to chance.
        """
        return len(np.unique(self.p[self.weight > 0] > 0.5)) == 1

    def facts(self, counts: Integers) -> dict[str, Any]:
        """Sequences agreed on, disputed and dropped, and how many of the kept ones are abnormal."""
        kept = self.weight > 0
        return {
            "agreed": int(counts[self.weight == 1].sum()),
            "disputed": int(counts[self.weight == DISPUTED].sum()),
            "dropped": int(counts[~kept].sum()),
            "abnormal": int(counts[kept & (np.nan_to_num(self.p) > 0.5)].sum()),
        }


def agree(teacher: Floats, small: Floats, sure: float) -> Agreement:
    """Join two probabilities of "abnormal" (n,); NaN: no verdict.

    Where both say the same, the label is the mean of the two. Where they do not, the side with a
    confidence above `sure` decides; where neither has it, or both, nothing is kept.
    """
    same = (teacher > 0.5) == (small > 0.5)
    is_sure = [np.maximum(side, 1 - side) > sure for side in (teacher, small)]
    one = np.where(is_sure[0], teacher, small)
    weight = np.where(same, 1.0, np.where(is_sure[0] ^ is_sure[1], DISPUTED, 0.0))
    weight = np.where(np.isnan(teacher) | np.isnan(small), 0.0, weight)
    p = np.where(same, (teacher + small) / 2, one)
    return Agreement(np.where(weight > 0, p, np.nan), weight)


class Lessons(NamedTuple):
    """What a round learns from: the source's sequences, and behind them the target's with pseudo-labels."""

    bag: Integers
    """(n,) the sequence, among the distinct ones of the reading."""
    counts: Integers
    """(n,) how often each is drawn: the source and the target as often as each other."""
    share: Floats
    """(n,) the label learned: share of abnormal copies, or what was agreed on."""
    weight: Floats
    """(n,)"""


def lessons_of(source: Pool, bag: Integers, counts: Integers, found: Agreement, soft: float) -> Lessons:
    """The source beside what was agreed on of the target; bag, counts: (n,) of the target's distinct sequences.

    soft: share of the agreed probability in the label, the rest is the class that it means. Cross-entropy
    to the mixture is, but for a constant, that to the class and the divergence from the probability.
    """
    kept = np.flatnonzero(found.weight > 0)
    p, own = found.p[kept], counts[kept].astype(np.float64)
    drawn = np.maximum(1, np.rint(own * (source.counts.sum() / max(1.0, own.sum()))))
    label = (1 - soft) * (p > 0.5) + soft * p
    return Lessons(
        np.concatenate([source.bag, bag[kept]]),
        np.concatenate([source.counts, drawn.astype(np.int64)]),
        np.concatenate([source.share.astype(np.float64), label]),
        np.concatenate([np.ones(len(source.bag)), found.weight[kept]]),
    )


class _Lesson(NamedTuple):
    batch: Batch
    share: Tensor
    weight: Tensor


def budget_of(settings: TrainingSettings, steps: int) -> TrainingSettings:
    """The same training for some steps more, at its full rate from the first one on."""
    return replace(
        settings, steps=steps, max_epochs=None, patience=None, warmup_steps=0, warmup_epochs=0, decay_epochs=()
    )


def learn(net: nn.Module, reading: Reading, lessons: Lessons, settings: TrainingSettings, seed: int) -> History:
    """Train the network on; call it within `seeded`."""
    vectors = reading.vectors.float()
    share, weight = (torch.as_tensor(part, dtype=torch.float32, device=vectors.device) for part in lessons[2:])

    def stage(batches: Iterable[Integers]) -> list[_Lesson]:
        return [
            _Lesson(batch_of(reading.bags, lessons.bag[items], vectors.device), share[items], weight[items])
            for items in batches
        ]

    def loss(lesson: _Lesson, drawn: Tensor) -> dict[str, Tensor]:
        errors = class_errors(encode_batch(net, vectors, lesson.batch), lesson.share)
        return {"loss": mean_of(errors, drawn * lesson.weight)}

    parts = HeldOut(lessons.counts, np.zeros_like(lessons.counts))
    return train_network(net, loss, parts, settings, seed=seed, stage=stage)
