"""Tasks of adversarial meta-learning: a step's batch cut into support and query sets of two domains, and their loss.

A set holds labelled sequences of the source and, behind them, unlabelled ones of the target. The two
domains count the same in the domain term however large they are, the classes as they come. The
reversal turns the gradient round with factor 1; how much the domain term weighs stands in the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from methods.shared.alignment import Reversal
from methods.shared.layers import Integers
from methods.shared.meta import (
    NOTHING_BESIDE,
    Beside,
    Pool,
    WarmStart,
    Weights,
    adapted,
    apart,
    class_errors,
    differentiable_twice,
    draws_beside,
    forward_with,
    mean_of,
    weights_of,
)
from methods.shared.semantic import AttentiveClassifier, Batch, Reading, batch_of, encode_batch
from methods.shared.training import Loss

Booleans = NDArray[np.bool_]


class Course(NamedTuple):
    """How a classifier is trained; by default on the source's labels alone."""

    reversal: float = 0.0
    """Largest weight of the domain term."""
    warm_start: float = 0.0
    meta: Literal["first-order", "second-order", "none"] = "none"
    inner_rate: float = 0.0
    tasks: int = 1
    queried: Literal["target", "source"] = "target"
    aligns: bool = False
    """Whether there is a domain term at all."""


class Domains(NamedTuple):
    """What is drawn from."""

    reading: Reading
    source: Pool
    target: Pool


class Set(NamedTuple):
    """A support or query set on the device: n sequences of sources, behind them m of the target."""

    batch: Batch
    drawn: Tensor
    """int64 (n,) place of each in the batch that training drew."""
    share: Tensor
    """float32 (n,) how many of its copies are abnormal."""
    is_graded: Tensor
    """float32 (n,) 1 where its label counts."""
    beside: Tensor
    """float32 (m,) how often each of the target was drawn."""
    domain: Tensor
    """int64 (n + m,) 1 what is, or plays, the target."""


class Task(NamedTuple):
    """A support and a query set; without a support set the query is the whole batch."""

    support: Set | None
    query: Set


class Tasks:
    """Turns the items that training drew into tasks, with draws of the target's pool beside them."""

    def __init__(self, domains: Domains, course: Course, batch_size: int, seed: int, device: torch.device) -> None:
        self.domains, self.course, self.device = domains, course, device
        self.rng = np.random.default_rng([seed, 6])
        n_sources = len(np.unique(domains.source.system))
        self.holds_out = course.meta != "none" and n_sources > 1 and course.queried == "source"
        has_target = bool(domains.target.counts.sum())
        if course.aligns and not has_target:
            if course.meta == "none" or n_sources < 2:
                raise ValueError("it needs sequences of a target, or meta-learning over several sources")
            self.holds_out = True
        uses_target = course.aligns and has_target
        self.draws = draws_beside(domains.target.counts, batch_size, seed) if uses_target else None

    def __call__(self, batches: Sequence[Integers]) -> list[list[Task]]:
        """The tasks of each batch of items of the source's pool."""
        return [self._tasks_of(items) for items in batches]

    def _tasks_of(self, items: Integers) -> list[Task]:
        others = NOTHING_BESIDE if self.draws is None else next(self.draws)
        n, m = len(items), len(others.items)
        if self.course.meta == "none":
            return [Task(None, self._set(items, np.arange(n), others, np.arange(m)))]
        own = apart(n, 2 * self.course.tasks, self.rng)
        beside = apart(m, 2 * self.course.tasks, self.rng)
        tasks = []
        for i in range(0, len(own), 2):
            task = self._generalising(items, own[i : i + 2], others) if self.holds_out else None
            if task is None:
                task = Task(*(self._set(items, own[j], others, beside[j]) for j in (i, i + 1)))
            tasks.append(task)
        return tasks

    def _generalising(self, items: Integers, own: Sequence[Integers], others: Beside) -> Task | None:
        """A task whose query holds a source that its support set lacks; None where the draws hold one source only."""
        system = self.domains.source.system[items]
        both = np.unique(np.concatenate(list(own)))
        held = self.rng.choice(np.unique(system[both]))
        support = own[0][system[own[0]] != held]
        if not len(support):
            return None
        query = np.concatenate([both[system[both] == held], own[1][system[own[1]] != held]])
        everything = np.arange(len(others.items))
        return Task(
            self._set(items, support, others, everything),
            self._set(items, query, others, everything[:0], system[query] == held),
        )

    def _set(
        self, items: Integers, own: Integers, others: Beside, beside: Integers, is_held: Booleans | None = None
    ) -> Set:
        """own, beside: places in the items and in the target's draws; is_held: of own, the source that plays it."""
        source, target = self.domains.source, self.domains.target
        bags = np.concatenate([source.bag[items[own]], target.bag[others.items[beside]]])
        plays = np.zeros(len(own), bool) if is_held is None else is_held
        graded = np.ones(len(own)) if is_held is None else is_held
        domain = np.concatenate([plays, np.ones(len(beside), bool)]).astype(np.int64)
        return Set(
            batch_of(self.domains.reading.bags, bags, self.device),
            torch.as_tensor(own, device=self.device),
            torch.as_tensor(source.share[items[own]], device=self.device),
            torch.as_tensor(graded, dtype=torch.float32, device=self.device),
            torch.as_tensor(others.repeats[beside], dtype=torch.float32, device=self.device),
            torch.as_tensor(domain, device=self.device),
        )


class AlignedClassifier(AttentiveClassifier):
    """The attentive GRU with a classifier of domains on its vectors, behind the reversal."""

    def __init__(self, width: int, hidden: int, layers: int, *, domain_hidden: int, dropout: float) -> None:
        super().__init__(nn.GRU, width, hidden, layers, dropout=dropout)
        self.domain = nn.Sequential(nn.Linear(2 * hidden, domain_hidden), nn.ReLU(), nn.Linear(domain_hidden, 2))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (B, L, width); lengths: (B,) -> (B, 4): logits of the classes, and of the domains."""
        vectors = self.dropout(self.vectors(tokens, lengths))
        reversed_ = Reversal.apply(vectors, 1.0)  # type: ignore[no-untyped-call]
        return torch.cat([self.outlet(vectors), self.domain(reversed_)], 1)


class SetLoss(NamedTuple):
    """What a set says of some weights."""

    task: Tensor
    """Cross-entropy of the source's labels."""
    domain: Tensor
    """Sum of both domains' cross-entropies."""
    accuracy: Tensor
    """Of the domains, both counting the same."""


def set_loss(net: nn.Module, weights: Weights, vectors: Tensor, part: Set, draws: Tensor, *, aligns: bool) -> SetLoss:
    """Losses of a set under these weights; draws: (n_drawn,) share of each item in the step's batch."""
    logits = encode_batch(forward_with(net, weights), vectors, part.batch)
    own = draws[part.drawn]
    n = len(own)
    task = mean_of(class_errors(logits[:n], part.share), own * part.is_graded)
    if not aligns:
        return SetLoss(task, torch.zeros_like(task), torch.zeros_like(task))
    drawn = torch.cat([own, part.beside])
    mass = F.one_hot(part.domain, 2).to(drawn).T @ drawn
    even = drawn / mass[part.domain]
    errors = F.cross_entropy(logits[:, 2:], part.domain, reduction="none")
    is_right = (logits[:, 2:].argmax(1) == part.domain).to(drawn)
    return SetLoss(task, (even * errors).sum(), mean_of(is_right, even))


def objective(net: nn.Module, vectors: Tensor, course: Course, schedule: WarmStart) -> Loss:
    """Mean over the tasks of the query's loss at the weights that the support set leads to.

    Held-out sequences are judged by the source's labels alone: a small domain loss means that the
    reversal failed. Only training moves the schedule.
    """
    second = course.meta == "second-order"

    def of_set(weights: Weights, part: Set, draws: Tensor) -> SetLoss:
        return set_loss(net, weights, vectors, part, draws, aligns=course.aligns)

    def of_task(task: Task, draws: Tensor, strength: float) -> SetLoss:
        weights = weights_of(net)
        if task.support is not None:
            found = of_set(weights, task.support, draws)
            total = found.task + strength * found.domain
            weights = adapted(weights, total, course.inner_rate, second_order=second)
        return of_set(weights, task.query, draws)

    def loss(tasks: list[Task], draws: Tensor) -> dict[str, Tensor]:
        if not net.training:
            return {"loss": watched_loss(net, vectors, tasks, draws)}
        strength = schedule.advance()
        with differentiable_twice(second):
            found = [of_task(task, draws, strength) for task in tasks]
        parts = SetLoss(*(torch.stack(list(values)).mean() for values in zip(*found, strict=True)))
        total = parts.task + strength * parts.domain
        if not course.aligns:
            return {"loss": total}
        weight = torch.full_like(parts.task, strength)
        return {
            "loss": total,
            "task": parts.task,
            "domain": parts.domain,
            "domain_accuracy": parts.accuracy,
            "strength": weight,
        }

    return loss


def watched_loss(net: nn.Module, vectors: Tensor, tasks: Sequence[Task], draws: Tensor) -> Tensor:
    """Cross-entropy of the labels of all source sequences of a batch, each once, at the weights there are."""
    errors = torch.zeros_like(draws)
    for part in (part for task in tasks for part in task if part is not None):
        logits = encode_batch(net, vectors, part.batch)[: len(part.drawn)]
        errors[part.drawn] = class_errors(logits, part.share).to(errors)
    return mean_of(errors, draws)
