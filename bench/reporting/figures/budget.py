"""What curves of AP against optimiser steps say of a budget: where most are done, what falls, whether the order holds.

A curve is {steps: mean AP over seeds}; names are those of networks as tables have them.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bench.evaluation.ranks import kendall_tau

Curve = Mapping[int, float]

MARGIN: Final = 0.01
"""How far below the best of its own curve a network still counts as done."""
SHARE: Final = 0.8
"""Of the networks that must be done."""
TIMES: Final = (0.25, 1.0, 4.0)
"""Of the budget, at which rankings are compared."""
_ROUNDING: Final = 1e-9
_FEWEST: Final = 3
"""Networks that make a ranking."""


class Rule(NamedTuple):
    """The rule of the budget, applied."""

    steps: int | None
    """The smallest number at which enough networks are done; None where there is none."""
    n_networks: int
    n_needed: int
    n_done: dict[int, int]
    """Networks that are done, by steps."""
    first_done: dict[str, int]
    """By network, the smallest number of steps at which it is done."""


def rule_of(curves: Mapping[str, Curve]) -> Rule:
    """The smallest number of steps at which four in five networks are within .01 of the best of their own curve."""
    done = {name: _done(curve) for name, curve in curves.items()}
    needed = math.ceil(SHARE * len(curves) - _ROUNDING)
    every = sorted(set().union(*curves.values())) if curves else []
    counted = {steps: sum(steps in found for found in done.values()) for steps in every}
    enough = [steps for steps, n in counted.items() if n >= needed]
    first = {name: min(found) for name, found in done.items() if found}
    return Rule(min(enough, default=None), len(curves), needed, counted, first)


def _done(curve: Curve) -> set[int]:
    best = max(curve.values(), default=0.0)
    return {steps for steps, value in curve.items() if value >= best - MARGIN - _ROUNDING}


def mean_curve(curves: Iterable[Curve]) -> dict[int, float]:
    """The mean of a network's curves on several systems, at the steps that all of them have."""
    found = list(curves)
    shared = set(found[0]).intersection(*found[1:]) if found else set()
    return {steps: statistics.fmean(curve[steps] for curve in found) for steps in sorted(shared)}


def nearest(steps: Iterable[int], wanted: float) -> int | None:
    """The one of these steps that is nearest to a number in ratio; None of none. 0 is near to 0 alone."""
    found = [n for n in steps if n > 0]
    return min(found, key=lambda n: (abs(math.log(n / wanted)), n), default=None) if wanted > 0 else None


def below_untrained(curves: Mapping[str, Curve], budget: int) -> list[dict[str, Any]]:
    """The networks whose AP after the budget is lower than without any training, the largest fall first."""
    falls = []
    for name, curve in curves.items():
        at = nearest(curve, budget)
        if at is not None and 0 in curve and curve[at] < curve[0]:
            falls.append({"method": name, "steps": at, "untrained": curve[0], "trained": curve[at]})
    return sorted(falls, key=lambda fall: fall["trained"] - fall["untrained"])


def agreement(curves: Mapping[str, Curve], told: Mapping[str, str], budget: int) -> list[dict[str, Any]]:
    """Kendall's tau between the rankings at 1/4, 1 and 4 times the budget, of networks that are told the same.

    Steps that no curve has are replaced by the nearest that all have; groups below three networks are no ranking.
    """
    groups: dict[str, dict[str, Curve]] = defaultdict(dict)
    for name, curve in curves.items():
        groups[told[name]][name] = curve
    return [found for group, members in groups.items() for found in _taus(group, members, budget)]


def _taus(group: str, curves: Mapping[str, Curve], budget: int) -> list[dict[str, Any]]:
    shared = set.intersection(*(set(curve) for curve in curves.values()))
    places = [nearest(shared, times * budget) for times in TIMES]
    known = dict.fromkeys(place for place in places if place is not None)
    if len(curves) < _FEWEST:
        return []
    return [
        {"told": group, "n": len(curves), "steps": [one, other], "tau": _tau(curves.values(), one, other)}
        for one, other in itertools.combinations(known, 2)
    ]


def _tau(curves: Iterable[Curve], one: int, other: int) -> float | None:
    found = list(curves)
    tau = kendall_tau([curve[one] for curve in found], [curve[other] for curve in found])
    return None if tau is None else round(tau, 6)


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Mean of seeds and its 95 % interval by Student's distribution, within 0 and 1; of one seed the value alone."""
    mean = statistics.fmean(values)
    reach = 0.0
    if len(values) > 1:
        from scipy.stats import t

        reach = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    low, high = max(mean - reach, 0.0), min(mean + reach, 1.0)
    return {"mean": round(mean, 6), "low": round(low, 6), "high": round(high, 6), "n_seeds": len(values)}
