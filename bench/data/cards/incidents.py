"""Time ranges of known failures, as a card writes them."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError

COMPACT_DAY: Final = re.compile("(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
"""20240131: written as a number it is a date, and no moment of 1970."""
LATEST_S: Final = 10**11
"""Greater numbers are no Unix seconds, but milliseconds or a date without hyphens."""
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def incident(path: Path, entry: Any) -> tuple[float, float]:
    """Start and end as Unix seconds; a date-time without a zone is UTC, as all times of logs are."""
    try:
        start, end = _seconds(entry["start"]), _seconds(entry["end"], is_end=True)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BenchError(
            f"the card {path} has the incident {entry!r}: write {{ start = 2024-01-31T10:00:00Z, end = ... }}"
        ) from None
    if start > end:
        raise BenchError(
            f"the card {path} has an incident that starts at {entry['start']}, after its end: exchange them"
        )
    return start, end


def _seconds(value: Any, *, is_end: bool = False) -> float:
    """A day without a clock begins or ends there, as both ends are included."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        value = datetime.date.fromisoformat(value)
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time.max if is_end else datetime.time.min)
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LATEST_S and not _is_day(value):
        return float(value)
    raise TypeError(value)


def _is_day(number: float) -> bool:
    """Whether a number is rather a date without hyphens than Unix seconds."""
    return number == int(number) and bool(COMPACT_DAY.fullmatch(str(int(number))))
