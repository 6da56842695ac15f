"""What a study decides: each method's trials by the validation part, paired differences by seed, and its default."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.experiment.study import Study, Trial
from bench.experiment.study_plan import TrialCells, by_method, counted_places, mean_over, validation_value
from bench.records.record import Record

_ROUNDING: Final = 1e-9


class Paired(NamedTuple):
    """A mean difference over seeds, candidate less default, with its 95 % interval; low <= mean <= high."""

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Judged:
    """One trial of a method."""

    trial: Trial
    first: Mapping[tuple[str, str], float]
    """By place the mean of the first seeds."""
    first_mean: float | None
    """Over the places; None where one has no value."""
    mean: float | None
    """Over the places and all seeds; None where the second stage lacks it."""
    difference: Paired | None
    """From the default; None of the default and of what was no candidate."""
    failure: str
    """Why a run has no value; empty where all have one."""
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What becomes of the default of one method."""

    method: str
    places: tuple[tuple[str, str], ...]
    """Scenario and split of what counts: where the default has a value."""
    left_out: Mapping[tuple[str, str], str]
    """Where it has none, and why."""
    trials: tuple[Judged, ...]
    """The default first, then as listed."""
    chosen: Trial
    """The default of the study where nothing changes."""
    is_decided: bool
    """Whether default and candidates have a value for each seed, or none may go on; else the default stays until they
    have."""


class _Evidence(NamedTuple):
    """What a method is judged by."""

    study: Study
    places: Sequence[tuple[str, str]]
    records: Mapping[str, Record]


def decide(
    study: Study, first: Sequence[TrialCells], second: Sequence[TrialCells], records: Mapping[str, Record]
) -> list[Decision]:
    """The decision of each method, in the order of the study.

    first, second: the cells of both stages; records: of their runs, by run id, as far as there are any
    """
    later = {found.trial: found for found in second}
    return [_decide(study, trials, later, records) for trials in by_method(first).values()]


def _decide(
    study: Study, trials: Sequence[TrialCells], later: Mapping[Trial, TrialCells], records: Mapping[str, Record]
) -> Decision:
    default = trials[0]
    places = counted_places(default, records, study.metric)
    by = _Evidence(study, places, records)
    left_out = {
        place: _failure(default, by._replace(places=[place])) for place in default.places if place not in places
    }
    of_default = _by_seed(default, later.get(default.trial), by)
    judged = [_judge(found, later.get(found.trial), by, of_default) for found in trials]
    candidates = [found for found in judged[1:] if found.trial in later]
    better = [found for found in candidates if _is_better(study, found)]
    best = max(better, key=lambda found: _mean_of(found.difference), default=judged[0])
    is_whole = bool(of_default) and all(found.difference is not None for found in candidates)
    if study.only_better and default.trial not in later:
        # The second stage is planned once the first is whole.
        is_whole = judged[0].first_mean is not None
    return Decision(default.trial.method, tuple(places), left_out, tuple(judged), best.trial, is_decided=is_whole)


def _judge(found: TrialCells, later: TrialCells | None, by: _Evidence, of_default: Mapping[int, float]) -> Judged:
    values = found.values(by.records, by.study.metric)
    by_seed = _by_seed(found, later, by)
    is_default = found.trial.is_default
    stages = [found] if later is None else [found, later]
    return Judged(
        found.trial,
        {place: statistics.fmean(values[place].values()) for place in by.places if values.get(place)},
        mean_over(values, by.places),
        statistics.fmean(by_seed.values()) if by_seed else None,
        paired(by_seed, of_default) if by_seed and of_default and not is_default else None,
        next(filter(None, (_failure(stage, by) for stage in stages)), ""),
        tuple(cell.run_id for stage in stages for cell in stage.cells),
    )


def _by_seed(first: TrialCells, later: TrialCells | None, by: _Evidence) -> dict[int, float]:
    """The mean over places of each seed of both stages; nothing where one lacks a value."""
    if later is None or not by.places:
        return {}
    stages = [stage.values(by.records, by.study.metric) for stage in (first, later)]
    merged = {place: {**stages[0].get(place, {}), **stages[1].get(place, {})} for place in by.places}
    if any(seed not in values for values in merged.values() for seed in by.study.seeds):
        return {}
    return {seed: statistics.fmean(values[seed] for values in merged.values()) for seed in by.study.seeds}


def paired(candidate: Mapping[int, float], default: Mapping[int, float]) -> Paired:
    """The mean difference over common seeds and Student's 95 % interval; from one seed without bounds."""
    from scipy.special import stdtrit

    differences = tuple(candidate[seed] - default[seed] for seed in candidate if seed in default)
    mean, n = statistics.fmean(differences), len(differences)
    error = statistics.stdev(differences) / math.sqrt(n) if n > 1 else math.inf
    reach = float(stdtrit(n - 1, 0.975)) * error if n > 1 else math.inf
    return Paired(mean, mean - reach, mean + reach, differences)


def _is_better(study: Study, found: Judged) -> bool:
    difference = found.difference
    if difference is None:
        return False
    # .51 - .50 is a little more than .01 as floats, and no more in a table.
    return difference.mean - study.margin > _ROUNDING and difference.low > _ROUNDING


def _mean_of(difference: Paired | None) -> float:
    return -math.inf if difference is None else difference.mean


def _failure(found: TrialCells, by: _Evidence) -> str:
    """Status and reason of the first run without a value, in words."""
    for cell in found.cells:
        record = by.records.get(cell.run_id)
        if (cell.scenario.key, cell.split) not in by.places:
            continue
        if record is None:
            return "no record yet"
        if record["status"] != "ok":
            return f"{record['status']}, {record['reason']}"
        if validation_value(record, by.study.metric) is None:
            return f"its validation part has no {by.study.metric.upper()}"
    return ""
