"""How much of the later part of a log is unlike the earlier one: whether what was learned still holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.types import UNKNOWN_KEY, Sequences

_STRETCHES: Final = 4


@dataclass(frozen=True)
class Unlike:
    """Shares between 0 and 1."""

    lines: float
    """Lines of the later part that match no template of the part that was fitted on."""
    by_stretch: tuple[float, ...]
    """The same in quarters of the later part, in their order."""
    n_texts: int
    """Distinct messages among these lines."""
    sequences: float
    """Sequences of the later part that do not stand in the fitted part, event by event."""
    n_templates: int
    """Of the fitted part."""

    @property
    def is_mostly(self) -> bool:
        """Whether the later part is another log than the earlier one."""
        return self.lines > 0.5


def how_unlike(train: Sequences, test: Sequences) -> Unlike:
    """Compare the fitted with the later sequences."""
    unknown = test.log_keys == UNKNOWN_KEY
    order = np.argsort(test.lines, kind="stable")
    stretches = np.array_split(unknown[order], _STRETCHES)
    seen = np.isin(test.fingerprints(), train.fingerprints())
    return Unlike(
        lines=float(unknown.mean()),
        by_stretch=tuple(float(part.mean()) if len(part) else 0.0 for part in stretches),
        n_texts=len(np.unique(test.text_ids[unknown])),
        sequences=float(1.0 - seen.mean()),
        n_templates=len(np.unique(train.log_keys)),
    )
