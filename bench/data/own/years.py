"""The year of times that have none: a file is not older than its lines, and a 29 February stands in a leap year."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Format
from bench.data.reading.builder import Clock
from bench.data.reading.header import LEAP_YEAR, cut
from bench.errors import BenchError

_A_DAY_S: Final = 86_400
_YEARS_BACK: Final = 9
"""Between two leap years lie eight at most."""


def year_of(form: Format, lines: Sequence[str], changed: float) -> int:
    """The latest year of the first line in which no line is younger than the file, and none on a day that is not.

    changed: when the file was last changed, Unix seconds
    """
    last = datetime.datetime.fromtimestamp(changed, datetime.UTC).year
    times = _times(form, lines)
    for year in range(last, last - _YEARS_BACK, -1):
        found = Clock(year).read(times)
        if not np.isnan(found).any() and (found <= changed + _A_DAY_S).all():
            return year
    return last


def require_year(form: Format, lines: Sequence[str], year: int) -> None:
    """Refuse a year in which a line would stand on a day that is not."""
    times = _times(form, lines)
    lost = np.flatnonzero(np.isnan(Clock(year).read(times)))
    if len(lost):
        day = datetime.datetime.fromtimestamp(times[lost[0]], datetime.UTC)
        raise BenchError(
            f"--year is {year}, but a line is of {day.day} {day:%B}, which that year has not: give a leap year"
        )


def _times(form: Format, lines: Sequence[str]) -> NDArray[np.float64]:
    """Times in the leap year, those that are read."""
    table = cut(pl.DataFrame({"line": list(lines)}), replace(form, year=LEAP_YEAR, zone=""))
    return table["time"].drop_nans().to_numpy()
