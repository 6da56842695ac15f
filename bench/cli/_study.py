"""How `bench run` runs a study: all trials, then the best of them with further seeds, then the decision table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bench.cli._options import EXIT_FAILED_CELL, say
from bench.cli.plan import duration, shipped, show_plan

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.experiment.cell import Settings
    from bench.experiment.runner import Outcome
    from bench.experiment.spec import Cell
    from bench.experiment.study_plan import TrialCells
    from bench.experiment.suites import Suite
    from bench.records.record import Record
    from bench.records.store import Store


def run_study(
    suite: Suite, store: Store, catalogue: Catalogue, run: Callable[[list[Cell]], Outcome], *, as_json: bool
) -> int:
    """Run both stages, write and print what they decide; returns the exit code, another than 0 where a run failed."""
    from bench.experiment.study_plan import first_stage, of_second_stage, second_stage
    from bench.experiment.study_rule import decide
    from bench.reporting.decisions import decisions_as_json, render_decisions, write_decisions

    assert suite.study is not None
    first = first_stage(suite, catalogue, store.cache)
    cells = cells_of(first)
    outcome = run(cells)
    records = _by_id(outcome.records)
    if len(records) < len(_ids(cells)):
        say("the second stage begins when all runs of the first have a record", err=True)
        return EXIT_FAILED_CELL
    second = second_stage(suite, of_second_stage(suite.study, first, records), catalogue, store.cache)
    say(f"the second stage: {len(_ids(cells_of(second)))} runs with seeds {suite.study.second_seeds}", err=True)
    later = run(cells_of(second))
    records |= _by_id(later.records)
    _write_tables(store, list(records.values()))
    decisions = decide(suite.study, first, second, records)
    if as_json:
        say(json.dumps(decisions_as_json(suite, decisions), indent=1))
    else:
        say(render_decisions(suite, decisions))
    for path in write_decisions(store.root, suite, decisions):
        say(f"written: {path}", err=True)
    return EXIT_FAILED_CELL if outcome.n_failed + later.n_failed else 0


def plan_study(
    suite: Suite, store: Store, catalogue: Catalogue, settings: Settings, *, as_json: bool, jobs: int
) -> None:
    """Print what the first stage would do, and the most that the second can take; nothing is run."""
    from bench.experiment.planning import Plan
    from bench.experiment.preview import preview
    from bench.experiment.study_plan import costliest, first_stage, of_second_stage, second_stage

    assert suite.study is not None
    first = first_stage(suite, catalogue, store.cache)
    plan = Plan(tuple(cells_of(first)), ())
    ids = _ids(plan.cells)
    records = {run_id: record for run_id in ids if (record := store.read(run_id)) is not None}
    is_known = len(records) == len(ids)
    if is_known:
        chosen = of_second_stage(suite.study, first, records)
    else:
        chosen = costliest(suite.study, first, _seconds_of(store, settings))
    second = cells_of(second_stage(suite, chosen, catalogue, store.cache))
    later = preview(second, store, catalogue, settings, jobs=jobs, others=shipped())
    stage: dict[str, Any] = {
        "is_exact": is_known,
        "cells": later.n_cells,
        "cpu_seconds": round(later.cpu_seconds, 3),
        "wall_seconds": round(later.wall_seconds, 3),
        "without_record": later.n_unknown,
    }
    show_plan(plan, store, catalogue, settings, as_json=as_json, jobs=jobs, more={"second_stage": stage})
    if not as_json:
        most = "" if is_known else "at most "
        say(
            f"the second stage, which follows from the first: {most}{later.n_cells} cells; {most}"
            f"{duration(later.cpu_seconds)} of CPU time, {duration(later.wall_seconds)} with --jobs {jobs}"
        )


def cells_of(trials: Sequence[TrialCells]) -> list[Cell]:
    """All runs of these trials."""
    return [cell for found in trials for cell in found.cells]


def _seconds_of(store: Store, settings: Settings) -> Callable[[Cell], float]:
    from bench.experiment.estimates import Estimates

    estimates = Estimates(store, *shipped(), device=settings.device)
    return lambda cell: estimates.seconds(cell).seconds


def _write_tables(store: Store, records: Sequence[Record]) -> None:
    """The tables of the test parts are kept current and not shown: a study looks at the validation part."""
    from bench.reporting.files import write_tables
    from bench.reporting.tables.table import make_tables

    write_tables(store, {table.key for table in make_tables(records)})


def _by_id(records: Sequence[Record]) -> dict[str, Record]:
    return {record["run_id"]: record for record in records}


def _ids(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.run_id for cell in cells))
