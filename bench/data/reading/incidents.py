"""Which known failures a log has lines of."""

from __future__ import annotations

import datetime

import numpy as np
from numpy.typing import NDArray


class Met:
    """Looks at times block by block, and tells of incidents that no line lies in."""

    def __init__(self, incidents: tuple[tuple[float, float], ...]) -> None:
        self._incidents = incidents
        self._is_met = np.zeros(len(incidents), bool)
        self._first, self._last = np.inf, -np.inf

    def look(self, times: NDArray[np.float64]) -> None:
        """times: Unix seconds, or NaN, of the next lines."""
        known = times[~np.isnan(times)]
        if not len(self._incidents) or not len(known):
            return
        self._first, self._last = min(self._first, float(known.min())), max(self._last, float(known.max()))
        for i in np.flatnonzero(~self._is_met).tolist():
            start, end = self._incidents[i]
            self._is_met[i] = bool(((known >= start) & (known <= end)).any())

    def notes(self) -> tuple[str, ...]:
        """What a user should know: how many incidents have no line, and one of them."""
        missed = np.flatnonzero(~self._is_met).tolist()
        if not missed or self._first > self._last:
            return ()
        example = " to ".join(map(_iso, self._incidents[missed[0]]))
        return (
            f"{len(missed):,} of {len(self._incidents):,} incidents meet no line, such as {example}; the lines are of "
            f"{_iso(self._first)} to {_iso(self._last)} (UTC)",
        )


def _iso(seconds: float) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s"
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
