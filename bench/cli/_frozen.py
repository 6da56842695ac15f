"""`bench run --freeze` and `--frozen`: a plan that is written down before its runs are made, and run as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli._options import say
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.experiment.freeze import Frozen
    from bench.experiment.suites import Suite

Freeze = Annotated[
    Path | None,
    typer.Option("--freeze", help="Write down what the suites run, with which code, and what is blind; start nothing."),
]
FrozenOption = Annotated[
    Path | None,
    typer.Option("--frozen", help="Run the suites of a plan that --freeze wrote, as they were."),
]
PLAN, PLANS = "plan.toml", "plan*.toml"
"""The plan of a results folder, and all of them."""


def write_plan(path: Path, suites: Sequence[Suite], data: Path | None, out: Path) -> None:
    """Freeze suites into a plan file."""
    from bench.experiment.freeze import read_frozen, write_frozen

    before = read_frozen(path) if path.exists() else None
    named = [(_name_in(path, suite), suite) for suite in suites]
    made = _frozen(named, data, out, before)
    write_frozen(path, made)
    say(f"{len(made.run_ids)} runs of {len(made.suites)} suites are written to {path}", err=True)
    say(f"blind: {', '.join(made.blind) or 'nothing'}", err=True)
    for edition, why in made.not_blind.items():
        say(f"not blind: {edition}, as {why}", err=True)


def frozen_suites(path: Path, data: Path | None, out: Path, *, allow_endpoint: bool = False) -> list[Suite]:
    """The suites of a plan file; a BenchError where what they run is not the plan any more."""
    from bench.experiment.freeze import changed_code, differences, read_frozen
    from bench.experiment.suites import require_no_places

    frozen = read_frozen(path)
    named = [(suite.name, _load(path, suite.name)) for suite in frozen.suites]
    for _, suite in named if not allow_endpoint else ():
        require_no_places(suite)
    now = _frozen(named, data, out, None)
    if told := differences(frozen, now):
        raise BenchError(
            f"what would run is not the plan '{path}' ({'; '.join(told)}): go back to its commit with all its data, or "
            "freeze a new plan, in which nothing that was scored meanwhile is blind"
        )
    if changed := changed_code(frozen, now):
        say(f"not the code of the plan: {', '.join(changed)}; `bench audit plan` will name these runs", err=True)
    return [suite for _, suite in named]


def together(suites: Sequence[Suite]) -> Suite:
    """Several suites as one, to see what they take together: runs that they share are there once."""
    from bench.experiment.suites import Suite

    for suite in suites:
        if suite.study is not None:
            raise BenchError(f"the study '{suite.name}' follows from its own records: name it alone")
    return Suite(
        ", ".join(suite.name for suite in suites),
        "",
        tuple(part for suite in suites for part in suite.parts),
        tuple(dict.fromkeys(rule for suite in suites for rule in suite.thresholds)),
        next((suite.llm for suite in suites if suite.llm), None),
    )


def require_planned(suites: Sequence[Suite], data: Path | None, out: Path) -> None:
    """Raise BenchError where one of several suites cannot be planned: before hours of work on the others."""
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.planning import plan_parts
    from bench.records.store import Store
    from bench.reporting.figures.write import check

    known, cache = catalogue(data), Store(out).cache
    for suite in suites:
        plan_parts(together([suite]).parts, known, cache)
        if suite.figure:
            check(suite)


def _frozen(named: Sequence[tuple[str, Suite]], data: Path | None, out: Path, before: Frozen | None) -> Frozen:
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.code import InstalledCode
    from bench.experiment.freeze import freeze
    from bench.experiment.planning import plan_parts
    from bench.records.store import Store

    known, store = catalogue(data), Store(out)
    plans = [(name, suite, plan_parts(suite.parts, known, store.cache)) for name, suite in named]
    for note in dict.fromkeys(note for _, _, plan in plans for note in plan.notes):
        say(note, err=True)
    cells = [(name, suite, plan.cells) for name, suite, plan in plans]
    return freeze(cells, store.records(), InstalledCode(store.cache), before)


def _name_in(path: Path, suite: Suite) -> str:
    """A shipped suite's name; of a file its place as seen from the plan, so that a copy of both is the same plan."""
    from bench.experiment.suites import suite_names

    if suite.path is None:
        raise BenchError("only a suite can be frozen: name one with --suite")
    if suite.name in suite_names() and suite.path.parent.name == "suites":
        return suite.name
    try:
        return suite.path.resolve().relative_to(path.resolve().parent).as_posix()
    except ValueError:
        raise BenchError(
            f"the suite '{suite.path}' does not lie in the folder of the plan '{path}': put it there, so that "
            "both stay together"
        ) from None


def _load(path: Path, name: str) -> Suite:
    from bench.experiment.suites import load_suite

    return load_suite(str(path.parent / name) if name.endswith(".toml") else name)
