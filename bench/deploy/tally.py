"""What came of new lines: how many were scored, flagged, unknown to the model, and what a reader should know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_HALF: Final = 0.5


@dataclass
class Tally:
    """What came of the lines; whole when the last sequence is given."""

    n_lines: int = 0
    n_sequences: int = 0
    n_flagged: int = 0
    n_events: int = 0
    """Lines of all sequences; one in two sequences counts twice."""
    n_unknown: int = 0
    """Those of them that match no template of the model."""
    n_headerless: int = 0
    """Lines that do not have the header of the model's log."""
    n_unscored: int = 0
    """Lines in no sequence: behind the last full window, or without the name of a session."""
    notes: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """What a reader of the scores should know, a sentence each."""
        found = list(self.notes)
        if self.n_events and self.n_unknown > _HALF * self.n_events:
            found.append(
                f"{self.n_unknown / self.n_events:.0%} of the lines match no template of the model: it knows another "
                "log, or an old one, and its scores say little here; fit it again on lines like these"
            )
        if self.n_lines and self.n_headerless > _HALF * self.n_lines:
            found.append(
                f"{self.n_headerless / self.n_lines:.0%} of the lines do not have the header of the log that the model "
                "was fitted on: is it another log, or the model of another system?"
            )
        return found
