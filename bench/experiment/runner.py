"""Runs cells and keeps their records: resume, one preparation for many methods, a failure is a record with a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench import registry
from bench.data.cards.catalogue import Catalogue
from bench.errors import BenchError
from bench.experiment.cell import Settings, one_line
from bench.experiment.code import InstalledCode, Outdated, outdated
from bench.experiment.executors import SERIAL, Executor, Workplace, batches
from bench.experiment.resume import resumable
from bench.experiment.spec import Cell
from bench.llm.config import current_service
from bench.records.record import FINISHED, Record
from bench.records.store import Store


@dataclass
class Outcome:
    """What a run did."""

    records: list[Record] = field(default_factory=list)
    n_resumed: int = 0

    @property
    def n_failed(self) -> int:
        """Records that are neither ok nor skipped."""
        return sum(record["status"] not in FINISHED for record in self.records)


Watch = Callable[[int, int, Cell, Record | None], None]
"""Called with (done, total, cell, record or None before it starts); done and total count the runs still to do."""


def run(
    cells: Sequence[Cell],
    store: Store,
    catalogue: Catalogue,
    settings: Settings,
    watch: Watch,
    *,
    on_resume: Callable[[int, int], None] = lambda n_resumed, total: None,
    on_stale: Callable[[Sequence[Outdated]], None] = lambda found: None,
    executor: Executor = SERIAL,
) -> Outcome:
    """Run what has no finished record, in order, and return the records of all cells.

    What a user can get wrong is a BenchError before the first cell runs; only a split that leaves no sequences is found
    when its data are first prepared. After that, as after Ctrl-C or a kill, all finished cells are kept. `on_resume` is
    told how many records are taken over, of how many, before anything runs, and `on_stale` of those that are made again
    because another code made them.
    """
    store.require_writable()
    store.remove_leftovers()
    cells = list({cell.run_id: cell for cell in cells}.values())
    ids = [cell.run_id for cell in cells]
    code = InstalledCode(store.cache)
    code.remember(cell.method.ref for cell in cells)
    outdated_ones = outdated(cells, store, code)
    stale = {run_id: found.started_at for run_id, found in outdated_ones.items()}
    found = {run_id: resumable(run_id, store, settings.extra_rules, stale) for run_id in ids}
    kept = {run_id: record for run_id, record in found.items() if record is not None}
    missing = [cell for cell, run_id in zip(cells, ids, strict=True) if run_id not in kept]
    _check_configs(missing)
    _verify_files(cells, catalogue)
    on_resume(len(kept), len(cells))
    on_stale(list(outdated_ones.values()))
    done = dict(kept)
    place = Workplace(store.root, catalogue, settings, current_service(), stale)
    n_done = 0
    for event in executor.run(batches(missing), place):
        if event.is_finished:
            n_done += 1
            done[event.record["run_id"]] = event.record
        watch(n_done, len(missing), event.cell, event.record if event.is_finished else None)
    return Outcome([done[run_id] for run_id in ids], n_resumed=len(kept))


def _check_configs(cells: Sequence[Cell]) -> None:
    """Let every Config judge the values of --set before anything runs; what else is wrong fails in its own cell."""
    for method in {cell.method.label: cell.method for cell in cells}.values():
        if method.description.error or not method.passed:
            continue
        try:
            config = registry.load(method.ref).Config
        except Exception:
            continue
        try:
            config(**method.config)
        except Exception as error:
            raise BenchError(f"'{method.label}' does not accept its --set: {one_line(error)}") from None


def _verify_files(cells: Sequence[Cell], catalogue: Catalogue) -> None:
    """Compare the checksums of all files before anything runs, also those that only stored records answer for."""
    for card in {card.key: card for cell in cells for card in cell.scenario.cards}.values():
        for file in card.files if card.kind != "simulated" else ():
            catalogue.path(file)
