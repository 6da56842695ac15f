"""PULL: reactive log anomaly detection based on iterative PU learning (Wittkopp et al., HICSS 2023).

Estimated failure times divide lines into normal ones (outside) and unlabelled ones (inside). The encoder of LogLAB
learns from both, balanced; then unlabelled lines as near to the origin as normal ones are taken for normal, and it
learns again, until hardly a label changes. The score of a line is d = ||z||^2, a sequence has that of its highest
line; a line is flagged beyond what all but 1 % of the normal lines reach (`native_threshold_`).

Told: source unlabelled, and time ranges of failures (`--incidents FILE`, or `35s` around each abnormal line). It
reads texts.

Works badly where failures happen outside of the ranges too, which teaches the wrong side (`margin`), where the first
round errs, for later rounds believe it, and on kinds of lines that training never had.

Reconstructed [R]: no code was found; all but the idea, after LogLAB's code: the encoder, the balance, the bound of a
round, when it ends. Lines later than training are scored too. More: docs/methods/pull.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(PULL.tags.told, incidents=True)
    >>> detector = PULL(Config(width=32, steps=200)).fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from bench.detector import Evidence
from bench.types import Sequences
from methods.shared.failure_windows import (
    Floats,
    Integers,
    Lines,
    WindowDetector,
    WindowSettings,
    is_inside,
    train_encoder,
)
from methods.shared.published import ADAM, Published, original, sources_of

_SETTLED: Final = 0.001
"""Rounds end where so small a share of the lines inside changes its label (sheet) [R]."""


@dataclass(frozen=True, kw_only=True)
class Config(WindowSettings):
    """The shared budget, LogLAB's encoder, and the sheet's proposals."""

    rounds: int = 5
    """Times at most that lines inside are judged and learned from anew [R]; 0: as LogLAB, but balanced."""
    round_steps: int = 60
    """Steps of each of these, which go on with the same network [R]."""
    quantile: float = 0.99
    """A line inside is normal if no farther than this share of the normal lines [R]."""
    margin: float = 0.0
    """Seconds around each range whose lines are learned from by neither side [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.rounds, self.round_steps) < 0 or self.margin < 0:
            raise ValueError("rounds, round_steps and margin must not be negative")
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile {self.quantile} must be between 0 and 1")


_OURS: Final = "[R] no code was found: as the sheet proposes, after LogLAB's code"

ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-4, _OURS),
    "weight_decay": (5e-5, _OURS),
    "clip_norm": (1.0, _OURS),
    "steps": (None, _OURS),
    "max_epochs": (8, _OURS),
    "patience": (None, _OURS),
    "batch_size": (1024, _OURS),
    "validation_fraction": (0.0, _OURS),
    "dropout": (0.1, _OURS),
    "width": (256, _OURS),
    "heads": (8, _OURS),
    "layers": (2, _OURS),
    "ffn_width": (256, _OURS),
    "start": (256.0, _OURS),
    "tokens": (20, _OURS),
    "rounds": (5, _OURS),
    "round_steps": (60, "[R] no code was found: a tenth of the shared budget"),
    "quantile": (0.99, _OURS),
    "margin": (0.0, _OURS),
}


class PULL(WindowDetector):
    """Distance of a line to the origin, where lines of failure times that look normal were taken back."""

    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: as the sheet proposes, since no code was found."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def monitor(self) -> dict[str, Any]:
        """Of the first round as of LogLAB, and of each further one how many lines inside were taken back."""
        return {**super().monitor(), "rounds": self.rounds_} if hasattr(self, "rounds_") else {}

    def _labelled(self, train: Sequences, evidence: Evidence) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        inside = is_inside(train, evidence.incidents)
        return inside, inside | ~is_inside(train, evidence.incidents, self.config.margin)

    def _train(self, lines: Lines) -> None:
        config: Config = self.config
        self.rounds_: list[dict[str, Any]] = []
        self.history_ = train_encoder(self.net_, lines, balance(lines), config, seed=self.seed)
        still = lines
        again = replace(config, steps=config.round_steps, max_epochs=None, patience=None)
        for number in range(1, config.rounds + 1):
            judged, changed = relabelled(lines, still, self._distances(lines.tokens), config.quantile)
            self.rounds_.append({"still_inside": int(judged.inside.sum()), "changed": changed})
            if not judged.inside.any() or changed < _SETTLED * lines.inside.sum():
                break
            still = judged
            train_encoder(self.net_, still, balance(still), again, seed=self.seed + number)

    def _rule(self, lines: Lines, distances: Floats) -> float | None:
        return bound_of(distances, lines.normal, self.config.quantile)


def balance(lines: Lines) -> tuple[float, float]:
    """Weights under which both labels count as much, as in balanced sampling."""
    total = float(lines.counts.sum())
    normal, inside = (max(float(part.sum()), 1.0) for part in (lines.normal, lines.inside))
    return total / (2 * normal), total / (2 * inside)


def bound_of(distances: Floats, counts: Integers, quantile: float) -> float:
    """The distance that this share of lines, of which there are so many, does not exceed."""
    order = np.argsort(distances, kind="stable")
    reached = np.cumsum(counts[order]) >= quantile * counts.sum()
    return float(distances[order[int(np.argmax(reached))]])


def relabelled(lines: Lines, still: Lines, distances: Floats, quantile: float) -> tuple[Lines, int]:
    """The lines, those inside normal that are no farther than normal lines; and how many changed their label.

    lines: as the ranges say;  still: as the round before left them
    """
    is_normal = distances <= bound_of(distances, lines.normal, quantile)
    inside = np.where(is_normal, 0, lines.inside)
    changed = int(np.abs(inside - still.inside).sum())
    return lines._replace(normal=lines.normal + lines.inside - inside, inside=inside), changed
