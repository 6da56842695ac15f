"""Logsy: self-attentive classification-based anomaly detection in unstructured logs (Nedelkoski et al., ICDM 2020).

Line by line: a small transformer reads the words of a line and gives it a vector. Normal lines of the system are pulled
to the origin, abnormal lines of other systems pushed away from it. The score of a line is the squared length of its
vector; a sequence has the score of its highest line.

Told: source normals + auxiliary labels, of which the abnormal lines are learned. It reads raw lines, or with
`lines=masked` the texts of events; no parser. Where an auxiliary labels sessions, their lines count that no normal
session of it has.

Works badly where failures share no word with those of the auxiliary systems, and where every line of the auxiliary
tells its system, since that is easier to learn than what is abnormal. Without `--auxiliary` it is skipped.

Reconstructed [R]: there is no official code. Equal lines are one with a count, which enters by its logarithm; both
sides weigh the same; auxiliary lines that are normal lines too are left out. More: docs/methods/logsy.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(Logsy.tags.told)
    >>> detector = Logsy().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from bench.detector import DetectorTags, Evidence
from bench.types import Sequences
from methods.shared.draws import hold_out
from methods.shared.line_detector import LineDetector, LineSettings, Pairs, drawn, objective, sides_of
from methods.shared.line_tokens import Vocabulary, words_of
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.spheres import LineEncoder
from methods.shared.training import History, seeded, train_network


@dataclass(frozen=True, kw_only=True)
class Config(LineSettings):
    """The shared budget, and the network of the sheet."""


_CODE = "code (deep-log-unstructured, unofficial)"

ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-4, _CODE),
    "weight_decay": (1e-3, "[R] the sheet's, as in ADLILog's code, which is the authors'"),
    "decay": (0.999, _CODE),
    "decay_steps": (10_000, _CODE),
    "steps": (None, f"{_CODE} counts epochs"),
    "max_epochs": (20, _CODE),
    "patience": (None, "[R] code keeps the epoch with the best test AUC: here the last weights"),
    "batch_size": (2048, _CODE),
    "validation_fraction": (0.0, "[R] code validates on the test part"),
    "dropout": (0.05, f"{_CODE}; .1 in attention, which is no setting here"),
    "lines": ("line", "paper: raw lines, no parser"),
    "paths": ("rest", _CODE),
    "width": (16, _CODE),
    "heads": (2, _CODE),
    "ffn_width": (16, _CODE),
    "layers": (2, _CODE),
    "max_words": (50, _CODE),
    "distance": ("squared", "paper, equation of the loss; its root in the unofficial code"),
    "auxiliary_weight": (0.5, "paper, as the unofficial code quotes it; .2 there"),
    "repeats": ("all", "paper: every line trains"),
}


class Logsy(LineDetector):
    """Squared length of a line's vector; a sequence has that of its highest line."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "normals", "auxiliary": "labels"}, unit="line", uses=frozenset({"raw", "texts"})
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the paper where its settings are known, else an unofficial re-implementation."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    history_: History
    facts_: Mapping[str, int]

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Pull the source's normal lines to the origin, push the auxiliaries' abnormal ones away."""
        if reason := self.skip(train):
            raise ValueError(f"Logsy cannot be trained: {reason}")
        config: Config = self.config
        found = words_of(train, config.lines, config.paths)
        self.vocabulary_ = Vocabulary.learn(found, config.max_words)
        reading = self.vocabulary_.read(found)
        normal, abnormal, self.facts_ = sides_of(train, labels, evidence, reading)
        parts = hold_out(drawn(normal, config.repeats), config.validation_fraction, self.seed)
        pairs = Pairs(reading, drawn(abnormal, config.repeats), config.batch_size, self.seed, self.device)
        with seeded(self.seed, self.device):
            net = self._new_network()
            loss = objective(net, net, config)
            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=pairs)
        self.net_ = net.double().eval()
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, and how many distinct lines were learned from."""
        return {**self.history_.as_json(), **self.facts_} if hasattr(self, "history_") else {}

    def _new_network(self) -> LineEncoder:
        config: Config = self.config
        shape = (config.width, config.heads, config.ffn_width, config.layers)
        net = LineEncoder(self.vocabulary_.n_rows, *shape, max_words=config.max_words, dropout=config.dropout)
        return net.to(self.device)
