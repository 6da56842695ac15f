"""ZeroLog: zero-label cross-system log anomaly detection (Zhao et al., ISSRE 2025, arXiv 2511.05862).

A bidirectional GRU with attention classifies the source's labelled sequences, while a classifier of the domain behind a
gradient reversal makes the vectors of source and target alike. Each step of training is a task: a step of descent on a
support set, and the loss of a disjoint query set at the weights that it leads to. The score is log p(abnormal) - log
p(normal); the paper takes the more probable class (`native_threshold_` 0). Its short form FreeLog (FSE companion 2025)
is `freelog`, the same configuration, as nothing published tells them apart; `source-only` is its ablation.

Told: source labels + target unlabelled (`source-only`: source labels). It reads texts, never log keys.

Works badly where the target has another share of abnormal sequences: alignment may put its anomalies upon the source's
normals. Without a second system it is skipped.

Reconstructed [R]: only the abstract is known; architecture, losses and all values are ours. Pages:
docs/methods/zerolog.md, docs/methods/freelog.md, docs/methods/source-only.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(ZeroLog.tags.told)
    >>> detector = ZeroLog(Config(steps=60)).fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.detector import DetectorTags
from methods.shared.published import Published, original, sources_of
from methods.shared.system_agnostic import (
    SMALL_MODEL,
    PlainDetector,
    PlainSettings,
    SmallModelDetector,
    SmallModelSettings,
)


@dataclass(frozen=True, kw_only=True)
class PlainConfig(PlainSettings):
    """The shared budget, and the classifier of the sheet."""


@dataclass(frozen=True, kw_only=True)
class Config(SmallModelSettings):
    """The shared budget, and the values that the sheet proposes."""


ORIGINAL: Published = {
    **SMALL_MODEL,
    "queried": ("target", "paper: adversarial training between source and target (abstract)"),
}


class SourceOnly(PlainDetector):
    """Ablation of ZeroLog: the source's labels alone, no domain term and no tasks."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "labels"}, uses=frozenset({"texts"}))
    Config: ClassVar[type] = PlainConfig


class ZeroLog(SmallModelDetector):
    """Log-odds of "abnormal" by an attentive GRU whose vectors of source and target are made alike."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "labels", "target": "unlabelled"}, uses=frozenset({"texts"})
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: as the sheet proposes, since no value is published."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)


class FreeLog(ZeroLog):
    """FreeLog (FSE companion 2025, arXiv 2507.19806): ZeroLog's short form, the same configuration."""
