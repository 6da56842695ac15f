"""Runs cells and keeps their records: resume, one preparation for many methods, a failure is a record with a reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.data.cards.catalogue import Catalogue
from bench.experiment.cell import Settings
from bench.experiment.code import InstalledCode, Outdated, outdated
from bench.experiment.desk import Desk
from bench.experiment.estimates import Estimates
from bench.experiment.executors import Executor, Local, groups_of
from bench.experiment.resume import resumable
from bench.experiment.spec import Cell
from bench.experiment.workplace import Event, Group, Said, Step, Workplace
from bench.isolation.lodging import require_configs
from bench.llm.config import current_service
from bench.records.claims import Claims
from bench.records.record import FINISHED, Record
from bench.records.store import Store


@dataclass
class Outcome:
    """What a run did."""

    records: list[Record] = field(default_factory=list)
    n_resumed: int = 0
    was_interrupted: bool = False
    """Whether cells are left that never began, because the executor was asked to stop."""

    @property
    def n_failed(self) -> int:
        """Records that are neither ok nor skipped."""
        return sum(record["status"] not in FINISHED for record in self.records)


@dataclass(frozen=True)
class Policy:
    """What a run does about a cell that failed."""

    retry: frozenset[str] = frozenset()
    """Statuses after which a cell is tried once more, when all others are done."""
    fail_fast: bool = False
    """Begin no further cell."""


@dataclass(frozen=True)
class Listeners:
    """Who is told of what happens within a cell."""

    on_step: Callable[[Step], None] = lambda step: None
    on_print: Callable[[Said], None] = lambda said: None
    on_begin: Callable[[Sequence[Cell]], None] = lambda cells: None
    """The cells that will run, before the first of them does."""
    left_s: Callable[[], float | None] = lambda: None
    """Asked for the seconds to the end, where somebody knows them."""


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
    listeners: Listeners = Listeners(),
    executor: Executor | None = None,
    policy: Policy = Policy(),
    estimates: Estimates | None = None,
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
    place = Workplace(store.root, catalogue, settings, current_service(), stale, policy.fail_fast)
    listeners.on_begin(missing)
    with Claims(store.cache) as claims:
        claims.remove_leftovers()
        made = _Run(
            executor or Local(),
            Desk(place, claims),
            policy=policy,
            watch=watch,
            listeners=listeners,
            estimates=estimates or Estimates(store),
        )
        made.go(missing)
        made.go([cell for cell in missing if made.status_of(cell) in policy.retry])
    done = kept | made.done
    return Outcome(
        [done[run_id] for run_id in ids if run_id in done],
        n_resumed=len(kept),
        was_interrupted=len(done) < len(ids) and not made.has_failed_fast,
    )


class _Run:
    """Passes cells to an executor and gathers their records."""

    def __init__(
        self,
        executor: Executor,
        desk: Desk,
        *,
        policy: Policy,
        watch: Watch,
        listeners: Listeners,
        estimates: Estimates,
    ) -> None:
        self._executor, self._desk, self._policy = executor, desk, policy
        self._watch, self._listeners = watch, listeners
        self.done: dict[str, Record] = {}
        self._estimates = estimates
        self._n_done = self._n_all = 0
        self._failed: set[str] = set()
        self.has_failed_fast = False

    def go(self, cells: Sequence[Cell]) -> None:
        """Run these cells; after a failure none, where the policy says so."""
        if self.has_failed_fast:
            return
        self._n_all += len(cells)
        with contextlib.closing(self._executor.run(self._ordered(cells), self._desk)) as all_told:
            for told in all_told:
                if isinstance(told, Event):
                    self._take(told)
                elif isinstance(told, Step):
                    self._listeners.on_step(told)
                else:
                    self._listeners.on_print(told)

    def _ordered(self, cells: Sequence[Cell]) -> list[Group]:
        """The groups; where several run at a time the longest of each data first, so that they end together."""
        groups = groups_of(cells)
        if self._executor.jobs == 1:
            return groups
        order = {key: position for position, key in enumerate(dict.fromkeys(group[0].data_key for group in groups))}

        def rank(group: Group) -> tuple[int, float]:
            return order[group[0].data_key], -sum(self._estimates.seconds(cell).seconds for cell in group)

        return sorted(groups, key=rank)

    def status_of(self, cell: Cell) -> str | None:
        """How a cell ended; None where it never began."""
        found = self.done.get(cell.run_id)
        return None if found is None else found["status"]

    def _take(self, event: Event) -> None:
        if event.is_finished:
            self._count(event.record)
        left_s = self._listeners.left_s()
        self._desk.report(total=self._n_all, done=self._n_done, failed=len(self._failed), left_s=left_s)
        self._watch(self._n_done, self._n_all, event.cell, event.record if event.is_finished else None)

    def _count(self, record: Record) -> None:
        run_id = record["run_id"]
        self._n_done += 1
        self.done[run_id] = record
        if record["status"] in FINISHED:
            self._failed.discard(run_id)
        else:
            self._failed.add(run_id)
            self.has_failed_fast = self._policy.fail_fast


def _check_configs(cells: Sequence[Cell]) -> None:
    """Let every Config judge the values of --set before anything runs; what else is wrong fails in its own cell."""
    methods = {cell.method.label: cell.method for cell in cells}
    require_configs(
        {
            label: (method.ref, method.config)
            for label, method in methods.items()
            if method.passed and not method.description.error
        }
    )


def _verify_files(cells: Sequence[Cell], catalogue: Catalogue) -> None:
    """Compare the checksums of all files before anything runs, also those that only stored records answer for."""
    for card in {card.key: card for cell in cells for card in cell.scenario.cards}.values():
        for file in card.files if card.kind != "simulated" else ():
            catalogue.path(file)
