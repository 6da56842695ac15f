"""`bench.load_sequences`: the sequences that methods are given, for looking at them and for trying a method out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.data.sequences.vocabulary import Part


@dataclass(frozen=True)
class Parts:
    """The parts of a scenario under a split; each has `sequences` and `labels` (0 normal, 1 abnormal), read-only.

    A run tells a method no label that its tags do not ask for, and of the test part none; here all of them are.
    """

    train: Part
    validation: Part
    test: Part
    target_validation: Part | None
    """Of the tested systems, in a transfer only."""
    systems: tuple[str, ...]
    """The editions; `Sequences.system` is an index into them."""
    facts: dict[str, Any]
    """Counts, as records hold them."""

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{name} {len(part.labels)} ({int((part.labels == 1).sum())} abnormal)"
            for name, part in (("train", self.train), ("validation", self.validation), ("test", self.test))
        )
        return f"Parts of {' and '.join(self.systems)}: {sizes}"


def load_sequences(
    scenario: str,
    *,
    split: str = "chronological",
    seed: int = 0,
    window_size: int = 20,
    window_step: int | None = None,
    parameters: bool = False,
    raw: bool = False,
    words: bool = False,
    data: str | Path | None = None,
) -> Parts:
    """The sequences of a scenario as a run with these options gives them to methods.

    seed: matters where it draws the data, as under `paper` and `blind`
    parameters, raw, words: read these parts of the sequences too
    data: folder of data sets; BENCH_DATA if not given
    """
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.grouping import Grouping
    from bench.data.sequences.loader import DataSpec, Loader
    from bench.data.sequences.protocols import canonical
    from bench.experiment.scenario import parse_scenario

    known = catalogue(None if data is None else Path(data))
    chosen = parse_scenario(scenario, known)
    grouping = Grouping(window_size, window_size if window_step is None else window_step)
    found = Loader(known).prepare(DataSpec(chosen.train, chosen.test, canonical(split), grouping, seed))
    found = found.with_parameters if parameters else found
    found = found.with_raw if raw else found
    found = found.with_words if words else found
    return Parts(found.train, found.validation, found.test, found.target_validation, found.systems, found.facts)
