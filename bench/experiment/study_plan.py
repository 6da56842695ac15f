"""A study's trials -> cells of its two stages; the second follows from the records of the first."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.cards.catalogue import Catalogue
from bench.errors import BenchError
from bench.experiment.planning import plan_parts
from bench.experiment.spec import Cell
from bench.experiment.study import Study, Trial, batched
from bench.experiment.suites import Suite, trial_parts
from bench.records.record import Record


@dataclass(frozen=True)
class TrialCells:
    """The runs of one trial in one stage."""

    trial: Trial
    cells: tuple[Cell, ...]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Scenario and split of its runs, once each."""
        return list(dict.fromkeys((cell.scenario.key, cell.split) for cell in self.cells))

    def values(self, records: Mapping[str, Record], metric: str) -> dict[tuple[str, str], dict[int, float]]:
        """By place and seed the metric of the validation part, of the runs that have it."""
        found: dict[tuple[str, str], dict[int, float]] = {place: {} for place in self.places}
        for cell in self.cells:
            value = validation_value(records.get(cell.run_id), metric)
            if value is not None:
                found[cell.scenario.key, cell.split][cell.seed] = value
        return found


def validation_value(record: Record | None, metric: str) -> float | None:
    """How a finished run ranks its validation part; nothing of a test part is looked at."""
    if record is None or record["status"] != "ok":
        return None
    value = record.get("validation", {}).get("ranking", {}).get(metric)
    return None if value is None else float(value)


def first_stage(suite: Suite, catalogue: Catalogue, cache: Path) -> list[TrialCells]:
    """All trials with the first seeds, of one method together and its default first."""
    study = _study_of(suite)
    found = _planned(suite, study.all_trials, study.first_seeds, catalogue, cache)
    _require_different(suite.name, found)
    return found


def second_stage(suite: Suite, chosen: Sequence[Trial], catalogue: Catalogue, cache: Path) -> list[TrialCells]:
    """These trials with the second seeds."""
    return _planned(suite, chosen, _study_of(suite).second_seeds, catalogue, cache)


def of_second_stage(study: Study, first: Sequence[TrialCells], records: Mapping[str, Record]) -> list[Trial]:
    """Each default and its best changes by the first stage.

    A method whose default has no value has none, nor has one without a better change where only such may go on. Depends
    on nothing but these records, so that a study that goes on later goes on with the same runs.
    """

    def mean_of(found: TrialCells, places: Sequence[tuple[str, str]]) -> float | None:
        return mean_over(found.values(records, study.metric), places)

    return _with_best(study, first, lambda default, others: _best(study, default, others, records, mean_of))


def costliest(study: Study, first: Sequence[TrialCells], seconds: Callable[[Cell], float]) -> list[Trial]:
    """Each default and the changes that take longest: no choice of the second stage takes more."""

    def longest(default: TrialCells, others: Sequence[TrialCells]) -> list[TrialCells]:
        return heapq.nlargest(study.candidates, others, key=lambda found: sum(map(seconds, found.cells)))

    return _with_best(study, first, longest)


def mean_over(values: Mapping[tuple[str, str], Mapping[int, float]], places: Sequence[tuple[str, str]]) -> float | None:
    """Mean over places of the mean over seeds; None where a place has no value."""
    if not places or not all(values.get(place) for place in places):
        return None
    return statistics.fmean(statistics.fmean(values[place].values()) for place in places)


def by_method(found: Sequence[TrialCells]) -> dict[str, list[TrialCells]]:
    """The trials of each method, in their order."""
    groups: dict[str, list[TrialCells]] = {}
    for trial in found:
        groups.setdefault(trial.trial.method, []).append(trial)
    return groups


def counted_places(default: TrialCells, records: Mapping[str, Record], metric: str) -> list[tuple[str, str]]:
    """The places on which a default has a value: what it cannot run on decides nothing."""
    return [place for place, values in default.values(records, metric).items() if values]


_Choose = Callable[[TrialCells, Sequence[TrialCells]], Sequence[TrialCells]]


def _with_best(study: Study, first: Sequence[TrialCells], choose: _Choose) -> list[Trial]:
    chosen: list[Trial] = []
    for default, *others in by_method(first).values():
        best = choose(default, others)
        chosen += [default.trial, *(found.trial for found in best)] if best else []
    return chosen


def _best(
    study: Study,
    default: TrialCells,
    others: Sequence[TrialCells],
    records: Mapping[str, Record],
    mean_of: Callable[[TrialCells, Sequence[tuple[str, str]]], float | None],
) -> list[TrialCells]:
    places = counted_places(default, records, study.metric)
    means = [(mean_of(found, places), found) for found in others]
    known = [(mean, found) for mean, found in means if mean is not None]
    if study.only_better:
        of_default = mean_of(default, places)
        known = [(mean, found) for mean, found in known if of_default is not None and mean > of_default]
    # A stable sort: of equal ones the first listed.
    return [found for _, found in sorted(known, key=lambda pair: -pair[0])[: study.candidates]]


def _planned(suite: Suite, trials: Sequence[Trial], seeds: str, catalogue: Catalogue, cache: Path) -> list[TrialCells]:
    study = _study_of(suite)
    found: dict[Trial, tuple[Cell, ...]] = {}
    for batch, part in zip(batched(trials), trial_parts(trials, study, seeds), strict=True):
        cells = plan_parts([part], catalogue, cache).cells
        found |= {trial: tuple(cell for cell in cells if _name(cell) == trial.method) for trial in batch}
        _require_development(suite.name, cells)
    return [TrialCells(trial, found[trial]) for trial in trials]


def _name(cell: Cell) -> str:
    """As a study names it: controls stand beside every method and are no trial of it."""
    return "+".join(filter(None, [cell.method.ref.name, cell.method.variant]))


def _require_development(name: str, cells: Sequence[Cell]) -> None:
    for cell in cells:
        for card in cell.scenario.cards:
            if card.tier != "development":
                raise BenchError(
                    f"the study '{name}' names {card.key}, an edition of tier {card.tier}, on which nothing may be "
                    "chosen: name editions of tier development, as `bench list datasets` shows them"
                )


def _require_different(name: str, found: Sequence[TrialCells]) -> None:
    """A trial that is another one in other words would be counted twice."""
    for method, trials in by_method(found).items():
        seen: dict[str, Trial] = {}
        for trial in trials:
            before = seen.setdefault(trial.cells[0].run_id, trial.trial)
            if before is not trial.trial:
                what = "its default" if before.is_default else f"'{before.label}'"
                raise BenchError(
                    f"the study '{name}' tries {method} with '{trial.trial.label}', which is {what}: "
                    "leave it out, or write the default that is meant under base"
                )


def _study_of(suite: Suite) -> Study:
    if suite.study is None:
        raise BenchError(f"the suite '{suite.name}' is no study: it has no table [study]")
    return suite.study
