"""A detector of one's own in a file of its own: how rare is the rarest message of a sequence.

`bench check examples/rare_keys.py:RareKeys` runs the conformance kit on it, and
`bench run --methods examples/rare_keys.py:RareKeys --scenario bgl@simulated` does what stands at the end of this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import bench


@dataclass(frozen=True)
class Config:
    """Settings; `--set` changes them."""

    prior: float = 0.5
    """Occurrences that every key has before any is counted."""


class RareKeys(bench.Detector):
    """The largest -log probability of a log key in the sequence, by its share of the training events."""

    tags = bench.DetectorTags(told={"source": "normals"}, uses=frozenset({"log_keys"}), seeded=False)
    Config = Config

    def fit(self, train, labels=None, *, evidence=None):
        """Count the keys; the last place is for those that training does not have."""
        n_keys = int(train.log_keys.max(initial=-1)) + 1
        counts = np.append(np.bincount(train.log_keys, minlength=n_keys), 0) + self.config.prior
        self.surprise_ = -np.log(counts / counts.sum())
        return self

    def score(self, sequences):
        """float64 (n_sequences,); 0 for an empty one."""
        if not hasattr(self, "surprise_"):
            raise RuntimeError("fit it first")
        unseen = len(self.surprise_) - 1
        keys = np.where((sequences.log_keys < 0) | (sequences.log_keys > unseen), unseen, sequences.log_keys)
        scores = np.zeros(len(sequences))
        np.maximum.at(scores, sequences.sequence_of_event, self.surprise_[keys])
        return scores


if __name__ == "__main__":
    parts = bench.load_sequences("bgl@simulated")
    print(parts)
    mine = RareKeys().fit(parts.train.normals)
    print(mine.score(parts.test.sequences)[:5])

    results = bench.run(f"{Path(__file__)}:RareKeys", "bgl@simulated", seeds=1, out="example-results")
    print(results.compare(metric="ap").select("against", "difference", "verdict"))
