"""Seconds and memory of methods at any size, by arithmetic from measurements; `scaling.py` says how."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from bench.experiment.estimates import makespan

SHORTEST_S = 0.05
"""Shorter times are mostly noise, and no power is taken from them."""


class Network(NamedTuple):
    """CPU seconds of a network; what grows, for each million lines."""

    start: float
    step: float
    """Of the optimiser, looks at the held-out part included."""
    once: float
    """Of fitting, whatever the steps."""
    score: float

    def seconds(self, millions: float, steps: int) -> float:
        """Of a cell."""
        return self.start + steps * self.step + (self.once + self.score) * millions


class Other(NamedTuple):
    """CPU seconds of a method that takes no steps."""

    millions: float
    """Lines at which it was measured."""
    at: float
    """Seconds there."""
    power: float

    def seconds(self, millions: float, _: float = 0) -> float:
        """Of a cell."""
        return self.at * (millions / self.millions) ** self.power


class Cells(NamedTuple):
    """What a comparison of all methods has to run."""

    seconds: dict[str, float]
    """CPU seconds of one cell of each method, with its measuring."""
    times: dict[str, int]
    """How many cells each method has."""

    def all(self) -> list[float]:
        """The seconds of each cell."""
        return [self.seconds[name] for name, times in self.times.items() for _ in range(times)]

    def longest(self) -> str:
        """The method with the longest cell."""
        return max(self.seconds, key=self.seconds.__getitem__)

    def only(self, names: set[str]) -> Cells:
        """Of these methods."""
        return Cells(
            {name: value for name, value in self.seconds.items() if name in names},
            {name: value for name, value in self.times.items() if name in names},
        )


class Model:
    """Seconds and memory at any size, from the measurements."""

    def __init__(self, measured: dict[str, Any]) -> None:
        self.measured = measured
        self.steps = int(measured["steps"])
        self.short, self.long = sorted({run["steps"] for run in measured["runs"]})
        self.runs = {(run["lines"], run["steps"]): run for run in measured["runs"]}
        self.sizes = sorted({lines for lines, _ in self.runs})
        self.small, self.middle, self.large = self.sizes
        self.networks = {name: self._network(name) for name in measured["networks"]}
        names = self.runs[self.large, self.short]["methods"]
        self.others = {name: self._other(name) for name in names if name not in self.networks}

    def _of(self, name: str, what: str, lines: int, steps: int) -> float:
        return float(self.runs[lines, steps]["methods"][name][what])

    def _network(self, name: str, once_from: tuple[int, int] | None = None) -> Network:
        """once_from: the sizes that tell what grows with the lines; the two largest if not given."""
        low, high = once_from or (self.middle, self.large)
        more = self._of(name, "fit_s", self.small, self.long) - self._of(name, "fit_s", self.small, self.short)
        step = max(0.0, more / (self.long - self.short))
        rest = [self._of(name, "fit_s", n, self.short) - self.short * step for n in (low, high)]
        once = max(0.0, (rest[1] - rest[0]) / ((high - low) / 1e6))
        start = max(0.0, rest[0] - once * low / 1e6)
        score = self._of(name, "score_s", high, self.short) / (high / 1e6)
        return Network(start, step, once, score)

    def _other(self, name: str) -> Other:
        parts = ("fit_s", "score_s")
        low = sum(self._of(name, what, self.middle, self.short) for what in parts)
        high = self.measured_at_large(name)
        power = 1.0
        if min(low, high) > SHORTEST_S:
            power = math.log(high / low) / math.log(self.large / self.middle)
        return Other(self.large / 1e6, high, min(2.0, max(1.0, power)))

    def seconds(self, name: str, millions: float) -> float:
        """CPU seconds of fit and score of one cell, with the common budget of steps."""
        if name in self.others:
            return self.others[name].seconds(millions)
        return self.networks[name].seconds(millions, self.steps)

    def foretold(self, name: str) -> float:
        """What the two smaller sizes alone say of the short training of a network at the largest."""
        network = self._network(name, (self.small, self.middle))
        return network.seconds(self.large / 1e6, self.short)

    def measured_at_large(self, name: str) -> float:
        """What fit and score of the short training took at the largest size."""
        return sum(self._of(name, what, self.large, self.short) for what in ("fit_s", "score_s"))

    def engine(self, millions: float) -> float:
        """CPU seconds of a cell outside the method: measuring, record, its share of starts and tables."""
        known = [self._engine_at(lines) for lines in (self.small, self.large)]
        slope = (known[1] - known[0]) / ((self.large - self.small) / 1e6)
        return known[0] + slope * (millions - self.small / 1e6)

    def _engine_at(self, lines: int) -> float:
        run = next(run for run in self.measured["runs"] if run["lines"] == lines and run["cpu_s"])
        return float((run["cpu_s"] - run["prepare_s"] - of_methods(run)) / run["cells"])

    def prepare(self, millions: float) -> float:
        """CPU seconds from raw lines to sequences, once on a machine; by bench_prepare.py."""
        return float(self.measured["prepare_s_per_million"]) * millions

    def peak_gib(self, name: str, millions: float) -> float:
        """Highest resident memory of the method's process: a straight line through the two largest sizes."""
        peaks = [self._of(name, "peak_mib", lines, self.short) for lines in (self.middle, self.large)]
        return self._line(peaks, millions)

    def driver_gib(self, millions: float) -> float:
        """The same of the command's own process."""
        return self._line([self.runs[n, self.short]["driver_mib"] for n in (self.middle, self.large)], millions)

    def _line(self, mib: list[float], millions: float) -> float:
        slope = max(0.0, mib[1] - mib[0]) / ((self.large - self.middle) / 1e6)
        return (mib[1] + slope * (millions - self.large / 1e6)) / 1024

    def cells(self, millions: float, seeds: int) -> Cells:
        """All methods under both splits; those that `paper` gives nothing to learn from are left out there."""
        engine = self.engine(millions)
        names = [*self.networks, *self.others]
        skipped, unseeded = self.measured["not_under_paper"], self.measured["unseeded"]
        return Cells(
            {name: self.seconds(name, millions) + engine for name in names},
            {name: (1 if name in unseeded else seeds) + (0 if name in skipped else seeds) for name in names},
        )


def of_methods(run: dict[str, Any]) -> float:
    """CPU seconds of fits and scores of a run of bench_moonshot.py."""
    return sum(found["fit_s"] + found["score_s"] for found in run["methods"].values())


def wall_h(cells: Cells, slots: int, efficiency: float) -> float:
    """Hours until all cells are done, so many at a time, the longest begun first."""
    return makespan((seconds / efficiency for seconds in cells.all()), slots) / 3600


def hours(seconds: float) -> str:
    """For people."""
    if seconds < 5400:
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"
