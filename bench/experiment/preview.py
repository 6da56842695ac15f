"""What a run would do, before anything of it starts: what is there, what it will take, what cannot run and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.protocols import family_of
from bench.detector import ExternalFile
from bench.experiment.cell import Settings
from bench.experiment.code import InstalledCode, outdated
from bench.experiment.estimates import NOTHING, Estimate, Estimates, grouped, makespan, shared_seconds
from bench.experiment.resume import is_resumable
from bench.experiment.spec import Cell
from bench.experiment.told import NO_INCIDENTS, find_file, refused_split
from bench.llm.teacher import ChatTeacher
from bench.records.store import Store


@dataclass(frozen=True)
class Group:
    """The cells of one method on one scenario under one split that are to run: its seeds together."""

    method: str
    scenario: str
    split: str
    n_cells: int
    seconds: float | None
    """CPU seconds of all fits and scores; None where there is no record."""
    memory_mib: float | None
    """Highest resident memory of a cell."""
    sources: tuple[str, ...]
    """Where the estimates come from."""
    is_of_here: bool
    """Whether all were measured on a machine like this one."""
    reason: str = ""
    """Why it will not run, if that is known."""


@dataclass(frozen=True)
class Preview:
    """What a run would do."""

    n_cells: int
    n_resumed: int
    n_stale: int
    """Cells that run again because another code made their records."""
    n_prepared: int
    """Preparations of data, each for all cells that share it."""
    prepare_seconds: float
    groups: tuple[Group, ...]
    jobs: int
    wall_seconds: float
    """With so many jobs, what shares a fit in one, the longest first; without cells that have no record."""

    @property
    def running(self) -> list[Group]:
        """What will run, as far as known."""
        return [group for group in self.groups if not group.reason]

    @property
    def cpu_seconds(self) -> float:
        """Of all preparations, fits and scores that have records; not of the program's start and its tables."""
        return self.prepare_seconds + sum(group.seconds or 0.0 for group in self.groups)

    @property
    def n_unknown(self) -> int:
        """Cells that will run and have no record."""
        return sum(group.n_cells for group in self.running if group.seconds is None)


def preview(
    cells: Sequence[Cell],
    store: Store,
    catalogue: Catalogue,
    settings: Settings,
    *,
    jobs: int = 1,
    others: Sequence[Store] = (),
) -> Preview:
    """What `run` would do with these cells; nothing is run, and no record is touched.

    others: stores whose records tell what cells take, where that of the run does not
    """
    cells = list({cell.run_id: cell for cell in cells}.values())
    stale = {i: found.started_at for i, found in outdated(cells, store, InstalledCode(store.cache)).items()}
    rules = settings.extra_rules
    missing = [cell for cell in cells if not is_resumable(cell.run_id, store, rules, stale)]
    estimates = Estimates(store, *others, device=settings.device)
    reasons = {cell.run_id: _reason(cell, catalogue, estimates) for cell in missing}
    running = [cell for cell in missing if not reasons[cell.run_id]]
    prepared = [estimates.prepare_seconds(same[0]) for same in grouped(running, lambda cell: cell.data_key).values()]
    seconds = shared_seconds(running, estimates.seconds)
    return Preview(
        n_cells=len(cells),
        n_resumed=len(cells) - len(missing),
        n_stale=sum(cell.run_id in stale for cell in missing),
        n_prepared=len(prepared),
        prepare_seconds=sum(prepared),
        groups=tuple(_groups(missing, reasons, estimates)),
        jobs=jobs,
        wall_seconds=makespan([*seconds, *prepared], jobs),
    )


def _groups(missing: Sequence[Cell], reasons: Mapping[str, str], estimates: Estimates) -> Iterator[Group]:
    """The rows, cells of one reason together; a fit that several methods share counts in the first."""
    fits = grouped(missing, lambda cell: cell.fit_key)
    fitted_by = {key: cells[0].method.label for key, cells in fits.items()}

    def taken(cell: Cell) -> Estimate:
        found = estimates.seconds(cell)
        return found if fitted_by[cell.fit_key] == cell.method.label else found._replace(fit=0.0)

    rows = grouped(missing, lambda c: (c.scenario.key, family_of(c.split), c.method.label, reasons[c.run_id]))
    for (scenario, split, method, reason), cells in rows.items():
        found = [] if reason else [estimates.seconds(cell) for cell in cells]
        known = [estimate for estimate in found if estimate is not NOTHING]
        peaks = [estimate.memory_mib for estimate in known if estimate.memory_mib is not None]
        yield Group(
            method,
            scenario,
            split,
            len(cells),
            sum(shared_seconds(cells, taken)) if known else None,
            max(peaks, default=None),
            tuple(dict.fromkeys(estimate.source for estimate in found)),
            all(estimate.is_of_here for estimate in found),
            reason,
        )


def _reason(cell: Cell, catalogue: Catalogue, estimates: Estimates) -> str:
    """Why a cell will not run, as far as that is known before its data are read; empty where nothing is known."""
    found = cell.method.description
    if found.error:
        return f"error: {found.error}"
    folder = catalogue.data_dir and catalogue.data_dir / "files"
    for file in found.files:
        place = find_file(ExternalFile(**file), folder)
        if isinstance(place, str):
            return place
    if reason := refused_split(cell):
        return reason
    if found.incidents and not cell.incidents and not any(card.incidents for card in cell.scenario.train):
        return NO_INCIDENTS
    if cell.method.asks_a_model:
        config = SimpleNamespace(**cell.method.config)
        return (hasattr(config, "model") and ChatTeacher.of(config).blocked()) or ""
    return "" if found.files else estimates.skipped(cell) or ""
