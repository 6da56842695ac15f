"""LogLAB: attention-based labelling of log data anomalies via weak supervision (Wittkopp et al., ICSOC 2021).

Monitoring knows roughly when a system failed. Lines inside such time ranges are of unknown kind, mostly normal; all
others are normal. A Transformer brings normal lines close to the origin and lines of the ranges away from it, with an
objective that tolerates wrong labels: what occurs outside too is held back there, so only what occurs inside alone
ends far away. The score of a line is d = ||z||^2, a sequence has that of its highest line. A line is flagged beyond
the midpoint of the mean d of both kinds of training lines (`native_threshold_`), which needs no truth.

Told: source unlabelled, and time ranges of failures (`--incidents FILE`, or `35s` around each abnormal line). It
reads texts.

Works badly where ranges are so wide that normal kinds of lines lie inside alone, where failures happen outside of all
ranges, and on kinds of lines that training never had: their distance was not learned.

Reconstructed [R]: masked messages take the place of the paper's own masks; the threshold, which the code chooses with
the truth; lines later than training are scored too, where the paper labels those of training. More:
docs/methods/loglab.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(LogLAB.tags.told, incidents=True)
    >>> detector = LogLAB(Config(width=32, steps=200)).fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from methods.shared.failure_windows import Floats, Lines, WindowDetector, WindowSettings, train_encoder
from methods.shared.published import ADAM, Published, original, sources_of


@dataclass(frozen=True, kw_only=True)
class Config(WindowSettings):
    """The shared budget, and the encoder of the authors' code."""


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-4, "code"),
    "weight_decay": (5e-5, "code"),
    "clip_norm": (1.0, "code"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (5, "code, which also stops at a mean loss below .01"),
    "patience": (None, "code has none"),
    "batch_size": (128, "code"),
    "validation_fraction": (0.0, "code trains on all lines"),
    "dropout": (0.1, "code"),
    "width": (256, "code"),
    "heads": (8, "code"),
    "layers": (2, "code"),
    "ffn_width": (256, "code"),
    "start": (256.0, "code: that of a vector that is normalised"),
    "tokens": (20, "code for Thunderbird; 16 for Spirit, 12 for BGL"),
}


class LogLAB(WindowDetector):
    """Distance of a line to the origin, from which lines of failure times were pushed away."""

    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the authors' code."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def _train(self, lines: Lines) -> None:
        self.history_ = train_encoder(self.net_, lines, (1.0, 1.0), self.config, seed=self.seed)

    def _rule(self, lines: Lines, distances: Floats) -> float | None:
        if not lines.inside.any():
            return None
        means = (np.average(distances, weights=counts) for counts in (lines.normal, lines.inside))
        return float(sum(means) / 2)
