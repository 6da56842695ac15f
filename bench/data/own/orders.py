"""In which order day, month and year stand in a date of digits: what a log's own times say of it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.clocks import lacks_year
from bench.data.reading.header import LEAP_YEAR
from bench.data.reading.zones import seconds

_AN_HOUR_S: Final = 3_600
_SLACK_S: Final = 2 * 86_400
_A_DECADE_S: Final = 3652.5 * 86_400


def order_of(texts: Sequence[str], times: Sequence[str], changed: float | None) -> tuple[str, str]:
    """Which of several ways reads these texts of times, and a note where more than one could.

    texts: in the order of lines;  times: as a card's `time`;  changed: when the file was last written, Unix seconds
    """
    if len(times) == 1:
        return times[0], ""
    read = {time: _read(texts, time) for time in times}
    n_read = {time: int((~np.isnan(values)).sum()) for time, values in read.items()}
    best = max(n_read.values())
    possible = [time for time in times if n_read[time] == best]
    if best == 0 or len(possible) == 1:
        return possible[0], ""
    chosen = min(possible, key=lambda time: _oddity(read[time], changed))
    first = next((i for i in range(len(texts)) if len({read[time][i] for time in possible}) > 1), None)
    if first is None:  # a day such as 05/05/05
        first = 0
    other = next(time for time in possible if time != chosen)
    year = f"({LEAP_YEAR} stands for the year) " if lacks_year(chosen) else ""
    days = [_day(read[time][first]) for time in (chosen, other)]
    return chosen, (
        f"The order of day, month and year in '{texts[first].strip()}' is open: it is read {year}as {days[0]}, and "
        f"would be {days[1]} by time = '{other}'; correct the card if that is meant."
    )


def _read(texts: Sequence[str], time: str) -> NDArray[np.float64]:
    column = pl.Series("text", texts, dtype=pl.String).to_frame()
    text = pl.col("text")
    if lacks_year(time):
        time, text = f"%Y {time}", pl.format(f"{LEAP_YEAR} {{}}", text)
    return column.select(seconds(text, time)).to_series().fill_null(np.nan).to_numpy()


def _oddity(times: NDArray[np.float64], changed: float | None) -> tuple[bool, int, float, bool, int]:
    """Whether the file would be older than its lines, how often time goes back, its longest rest, how old it is."""
    known = times[~np.isnan(times)]
    steps = np.diff(known)
    is_future = changed is not None and bool((known > changed + _SLACK_S).any())
    age = 0.0 if changed is None else abs(changed - float(known.max()))
    n_back, rest = int((steps < -_AN_HOUR_S).sum()), float(steps.max(initial=0.0))
    return is_future, n_back, rest, age > _SLACK_S, int(age // _A_DECADE_S)


def _day(seconds_: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds_, datetime.UTC):%-d %B %Y}"
