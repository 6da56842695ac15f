"""Texts of times -> Unix seconds: zones by name, and the zone of a log whose times name none.

The names are those that mean one offset wherever the time zone database has used them since 2000; of those in RFC 822
the American meaning counts.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.clocks import EPOCHS, offset

_HOURS: Final = {
    "UTC": 0.0, "GMT": 0.0, "WET": 0.0, "WEST": 1.0, "CET": 1.0, "CEST": 2.0, "MET": 1.0, "MEST": 2.0,
    "EET": 2.0, "EEST": 3.0, "MSK": 3.0, "MSD": 4.0, "CAT": 2.0, "EAT": 3.0, "WAT": 1.0, "SAST": 2.0,
    "PKT": 5.0, "WIB": 7.0, "WITA": 8.0, "WIT": 9.0, "HKT": 8.0, "JST": 9.0, "KST": 9.0,
    "AWST": 8.0, "ACST": 9.5, "ACDT": 10.5, "AEST": 10.0, "AEDT": 11.0, "NZST": 12.0, "NZDT": 13.0,
    "EST": -5.0, "EDT": -4.0, "CST": -6.0, "CDT": -5.0, "MST": -7.0, "MDT": -6.0, "PST": -8.0, "PDT": -7.0,
    "AKST": -9.0, "AKDT": -8.0, "HST": -10.0, "NST": -3.5, "NDT": -2.5,
}  # fmt: skip
ZONE_NAMES: Final = tuple(_HOURS)
"""Names of zones that `%Z` reads."""
UNCLEAR_NAMES: Final = ("IST", "BST", "AST", "ADT", "GST", "SST", "IDT", "AMT", "ECT", "BRT", "ART", "IRST")
"""Names that are zones in several places, or that this reader does not know."""

_FRACTIONS: Final = {"%,f": "([0-9]),([0-9])", "%:f": "(:[0-9]{2}:[0-9]{2}):([0-9])"}
"""Fractions behind a comma or a colon, which polars reads behind a point."""
_ZONE: Final = rf"(?:^|[^A-Za-z])({'|'.join(ZONE_NAMES)})(?:[^A-Za-z]|$)"
_WITHOUT: Final = rf"(^|[^A-Za-z])(?:{'|'.join(ZONE_NAMES)})([^A-Za-z]|$)"
_AN_HOUR_S: Final = 3_600
_JITTER_S: Final = 60
"""So much later lines may go back without being of another hour."""


def seconds(text: pl.Expr, time: str) -> pl.Expr:
    """Unix seconds of texts, float64, null where one is no such time; a zone that is not named is taken for UTC."""
    if time in EPOCHS:
        number = text.cast(pl.Float64, strict=False)
        return number if time == "epoch" else number / EPOCHS[time]
    for mark, fraction in _FRACTIONS.items():
        if mark in time:
            return seconds(text.str.replace(fraction, "${1}.${2}"), time.replace(mark, "%.f"))
    if "%Z" not in time:
        return text.str.to_datetime(time, time_unit="us", strict=False).dt.epoch("us").cast(pl.Float64) / 1e6
    # Polars passes over a zone's name without reading it.
    hours = text.str.extract(_ZONE, 1).replace_strict(_HOURS, default=None, return_dtype=pl.Float64)
    bare = text.str.replace(_WITHOUT, "${1}${2}")
    return seconds(bare, time.replace("%Z", "")) - hours * _AN_HOUR_S


def to_utc(clock: NDArray[np.float64], zone: str, last: float) -> NDArray[np.float64]:
    """Unix seconds of what the clocks of a zone showed; NaN for an hour that they left out.

    clock: Unix seconds as if they were UTC, in the order of lines, none NaN;  last: the time before them, or -inf.
    An hour that comes twice is the second one where the first would go back by more than a minute.
    """
    fixed = offset(zone)
    if fixed is not None:
        return clock - fixed
    earliest, latest = (_converted(clock, zone, which) for which in ("earliest", "latest"))
    found = earliest.copy()
    twice = np.flatnonzero(latest > earliest)
    for i in twice.tolist():
        before = found[i - 1] if i else last
        if earliest[i] < before - _JITTER_S:
            found[i] = latest[i]
    return found


def _converted(clock: NDArray[np.float64], zone: str, ambiguous: str) -> NDArray[np.float64]:
    moments = pl.Series(np.round(clock * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
    utc = moments.dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]
    return (utc.dt.epoch("us").cast(pl.Float64) / 1e6).fill_null(np.nan).to_numpy()
