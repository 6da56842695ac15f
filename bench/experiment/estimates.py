"""What cells will take, from past records: CPU seconds and peak memory, each with where it comes from.

An estimate comes from the nearest records that there are: of the run itself, of other seeds on the same edition, or of
the same method on other editions, scaled by their training lines. Records of this machine go before those of another,
whose seconds are scaled by what methods took on both. CPU seconds go before wall seconds, which other work on a machine
stretches: of these the lowest counts, of CPU seconds the median.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

from bench.experiment.environment import describe_environment
from bench.experiment.past import Machine, Past, Place, Setting, Taken, place_of, setting_of
from bench.experiment.spec import Cell
from bench.records.store import Store

_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)
Source = Literal["own record", "same edition", "other edition scaled", "no record"]

_PRIOR_S: Final = 5.0
"""Seconds that count as if they had taken what was estimated: short runs say little of a ratio."""
_SHORTEST_S: Final = 0.05
"""Shorter times are not compared between machines: they are rounded, and mostly overhead."""
_STEEPEST: Final = 2.0
"""Exponent of seconds over lines at most."""


class Estimate(NamedTuple):
    """What a cell will take."""

    fit: float
    """CPU seconds, as `score`; both 0 where there is no record."""
    score: float
    memory_mib: float | None
    """Highest resident memory of its process."""
    source: Source
    is_of_here: bool = True
    """Whether it was measured on a machine like this one; if not, it may be scaled."""

    @property
    def seconds(self) -> float:
        """CPU seconds of fit and scores."""
        return self.fit + self.score

    def times(self, ratio: float) -> Estimate:
        """The same with other seconds."""
        return self._replace(fit=self.fit * ratio, score=self.score * ratio)


NOTHING: Final = Estimate(0.0, 0.0, None, "no record")


class Estimates:
    """Estimates from the records of stores; files are read when a cell first needs them."""

    def __init__(self, *stores: Store, device: str = "cpu") -> None:
        """stores: the first is that of the run; device: what the cells will run on."""
        self._past = Past(stores)
        self._here = Machine(describe_environment()["cpu"], device)
        self._found: dict[str, Estimate] = {}
        self._seen = _Seen()
        self._run_ids: dict[int, tuple[Cell, str]] = {}

    def seconds(self, cell: Cell) -> Estimate:
        """What the fit and the scores of a cell will take, by past records alone."""
        run_id = self._run_id(cell)
        if run_id not in self._found:
            self._found[run_id] = self._estimate(cell, run_id)
        return self._found[run_id]

    def prepare_seconds(self, cell: Cell) -> float:
        """CPU seconds until its data are prepared; 0 where that is unknown."""
        found = _of_newest_protocol(self._past.at(place_of(cell)))
        return self._typical(self._best(found), "prepare") if found else 0.0

    def skipped(self, cell: Cell) -> str | None:
        """Why records of this method on these data were skipped; None where a seed ran, or there is no record."""
        return self._past.skipped(place_of(cell)).get(setting_of(cell.spec()["detector"]))

    def observe(self, cell: Cell, cpu_seconds: float) -> None:
        """Take note of what fit and scores of a finished cell took; `left` is corrected by it."""
        found = self.seconds(cell)
        self._seen.add(cell.method.ref.name, cpu_seconds, None if found is NOTHING else found.seconds)

    def left(self, cells: Sequence[Cell], jobs: int = 1) -> float | None:
        """Seconds until these cells are done, so many at a time; None where nothing is known of any.

        A cell without any record takes what its method took in this run, else the mean of the others.
        """
        found = {self._run_id(cell): self._corrected(cell) for cell in cells}
        known = {run_id: estimate for run_id, estimate in found.items() if estimate is not None}
        if not known:
            return None
        mean = NOTHING._replace(fit=statistics.fmean(estimate.seconds for estimate in known.values()))
        return makespan(shared_seconds(cells, lambda cell: known.get(self._run_id(cell), mean)), jobs)

    def _run_id(self, cell: Cell) -> str:
        """Its run_id, hashed once for each object: a live view asks for thousands again and again."""
        if id(cell) not in self._run_ids:
            self._run_ids[id(cell)] = (cell, cell.run_id)  # kept alive, or its id could be given to another
        return self._run_ids[id(cell)][1]

    def _corrected(self, cell: Cell) -> Estimate | None:
        found, name = self.seconds(cell), cell.method.ref.name
        if found is not NOTHING:
            return found.times(self._seen.ratio(name))
        mean = self._seen.mean(name)
        return None if mean is None else NOTHING._replace(fit=mean)

    def _estimate(self, cell: Cell, run_id: str) -> Estimate:
        place, setting = place_of(cell), setting_of(cell.spec()["detector"])
        beside = _of_newest_protocol(taken for taken in self._past.at(place) if taken.setting == setting)
        if beside:
            best = self._best(beside)
            own = [taken for taken in best if taken.run_id == run_id]
            is_own = own and (best[0].is_cpu or own == best)
            return self._of(own, "own record") if is_own else self._of(best, "same edition")
        named = [taken for taken in self._past.all if taken.setting.name == setting.name]
        # What was not trained tells nothing of training.
        known = [taken.trained_for(setting.steps) for taken in named if taken.setting.steps or not setting.steps]
        same = [taken for taken in known if taken.setting == setting]
        return self._elsewhere(_of_newest_protocol(same or known), place, self._past.lines_of(cell.scenario))

    def _elsewhere(self, known: Sequence[Taken], place: Place, lines: int) -> Estimate:
        """From runs of a method on other data, or on these with other settings."""
        if not known:
            return NOTHING
        groups = grouped(known, lambda taken: taken.place)
        if place in groups:
            return self._of(groups[place], "same edition")
        each = [self._of(group, "other edition scaled") for group in groups.values()]
        sizes = [group[0].lines for group in groups.values()]
        peaks = [found.memory_mib for found in each if found.memory_mib is not None]
        return Estimate(
            scaled(sizes, [found.fit for found in each], lines),
            scaled(sizes, [found.score for found in each], lines),
            statistics.median(peaks) if peaks else None,
            "other edition scaled",
            all(found.is_of_here for found in each),
        )

    def _of(self, runs: Sequence[Taken], source: Source) -> Estimate:
        best = self._best(runs)
        # A process that ran other methods before holds what these left: the lowest peak is nearest to its own.
        peak = min((taken.memory_mib for taken in best if taken.memory_mib is not None), default=None)
        is_of_here = best[0].machine == self._here
        return Estimate(self._typical(best, "fit"), self._typical(best, "score"), peak, source, is_of_here)

    def _best(self, runs: Iterable[Taken]) -> list[Taken]:
        """The runs that tell most: on this machine before another, with CPU seconds before those with wall seconds."""
        groups = grouped(runs, lambda taken: (taken.machine != self._here, not taken.is_cpu, taken.machine))
        return groups[min(groups)]

    def _typical(self, best: Sequence[Taken], name: str) -> float:
        """Seconds on this machine of runs that are `_best`; 0 where none says so."""
        values = [taken.seconds[name] for taken in best if name in taken.seconds]
        if not values:
            return 0.0
        ratio = 1.0 if best[0].machine == self._here else self._ratio(best[0].machine, best[0].setting)
        return ratio * (statistics.median(values) if best[0].is_cpu else min(values))

    def _ratio(self, machine: Machine, setting: Setting) -> float:
        """Seconds here for a second on another machine: of this method, else of all that ran on both, else 1."""
        of_all = [ratio for key, values in self._ratios.items() if key[0] == machine for ratio in values]
        found = self._ratios.get((machine, setting.name)) or of_all
        return statistics.median(found) if found else 1.0

    @functools.cached_property
    def _ratios(self) -> dict[tuple[Machine, str], list[float]]:
        """By other machine and method: what it took here by what it took there, for each setting on the same data."""
        found: dict[tuple[Machine, str], list[float]] = defaultdict(list)
        same = grouped(self._past.all, lambda taken: (taken.setting, taken.place, taken.protocol))
        for (setting, *_), runs in same.items():
            machines = grouped(runs, lambda taken: taken.machine)
            now = self._fit_and_score(machines.pop(self._here, []))
            for machine, theirs in machines.items():
                before = self._fit_and_score(theirs)
                if min(now, before) >= _SHORTEST_S:
                    found[machine, setting.name].append(now / before)
        return found

    def _fit_and_score(self, runs: Sequence[Taken]) -> float:
        """Seconds as they are recorded, of runs on one machine; 0 where there is none."""
        best = self._best(runs) if runs else []
        middle = statistics.median if best and best[0].is_cpu else min
        totals = [taken.seconds.get("fit", 0.0) + taken.seconds.get("score", 0.0) for taken in best]
        return float(middle(totals)) if totals else 0.0


class _Seen:
    """What finished cells took, and what had been estimated."""

    def __init__(self) -> None:
        self._measured: dict[str, list[float]] = defaultdict(list)
        self._compared: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def add(self, name: str, measured: float, estimated: float | None) -> None:
        """A cell of a method; estimated: None where nothing was known of it."""
        self._measured[name].append(measured)
        if estimated is not None:
            self._compared[name].append((measured, estimated))

    def mean(self, name: str) -> float | None:
        """Of the cells of a method; None where none is finished."""
        return statistics.fmean(self._measured[name]) if self._measured[name] else None

    def ratio(self, name: str) -> float:
        """Measured by estimated of a method; the less of it was seen, the more that of all methods."""
        everything = _ratio(itertools.chain.from_iterable(self._compared.values()), 1.0)
        return _ratio(self._compared[name], everything)


def _of_newest_protocol(runs: Iterable[Taken]) -> list[Taken]:
    """The runs of the newest protocol among these: another one may take other steps."""
    groups = grouped(runs, lambda taken: taken.protocol)
    return groups[max(groups)] if groups else []


def _ratio(pairs: Iterable[tuple[float, float]], prior: float) -> float:
    found = list(pairs)
    measured, estimated = (sum(pair[side] for pair in found) for side in (0, 1))
    return (_PRIOR_S * prior + measured) / (_PRIOR_S + estimated)


def shared_seconds(cells: Sequence[Cell], estimate: Callable[[Cell], Estimate]) -> list[float]:
    """Seconds of each group of cells that share a fit: that fit once, and of equal scores one."""
    return [
        max(estimate(cell).fit for cell in group)
        + sum(estimate(same[0]).score for same in grouped(group, lambda cell: cell.scores_key).values())
        for group in grouped(cells, lambda cell: cell.fit_key).values()
    ]


def makespan(seconds: Iterable[float], jobs: int) -> float:
    """Seconds until all is done, so many at a time, the longest begun first."""
    ends = [0.0] * jobs
    for duration in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def scaled(sizes: Sequence[int], values: Sequence[float], size: int) -> float:
    """The value at a size: a power law through what is known, its exponent the median of all pairs' (Theil, Sen).

    One known size alone is scaled in proportion; where sizes are unknown (0), it is the median value.
    """
    points = [(math.log(n), math.log(value)) for n, value in zip(sizes, values, strict=True) if n > 0 and value > 0]
    if not size or not points:
        return statistics.median(values)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2) if a[0] != b[0]]
    exponent = min(max(statistics.median(slopes), 0.0), _STEEPEST) if slopes else 1.0
    return math.exp(statistics.median(y - exponent * x for x, y in points) + exponent * math.log(size))


def grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """Items by their key, both in the order in which they first came."""
    groups: dict[_Key, list[_Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
