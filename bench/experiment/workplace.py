"""What a worker needs to run cells, and what it tells; all of it can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.data.cards.catalogue import Catalogue
from bench.experiment.cell import Settings
from bench.experiment.spec import Cell
from bench.llm.config import Service
from bench.records.record import Record

Group = tuple[Cell, ...]
"""Cells that share their data and their fitted detector: they are run one after the other by one worker."""


@dataclass(frozen=True)
class Workplace:
    """What all groups of a run share."""

    out: Path
    """The results folder."""
    catalogue: Catalogue
    settings: Settings
    service: Service
    """How chat models are asked; its limits hold for all workers together."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Records of other code that are made again: when they were begun, by run_id."""
    fail_fast: bool = False
    """Begin no further cell when one has failed."""


class Event(NamedTuple):
    """A cell begins, or is finished."""

    cell: Cell
    record: Record
    """The record as it begins, or as it is kept."""
    is_finished: bool
    is_new: bool = True
    """Whether this run made it; another command may have."""


class Step(NamedTuple):
    """How far a cell is."""

    cell: Cell
    what: str
    done: int
    total: int


class Said(NamedTuple):
    """A line that a method printed."""

    cell: Cell
    line: str


Told = Event | Step | Said
