"""Time ranges of known failures, as a card writes them."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

from bench.errors import BenchError


def incident(path: Path, entry: Any) -> tuple[float, float]:
    """Start and end as Unix seconds; a date-time without a zone is UTC, as all times of logs are."""
    try:
        start, end = (_seconds(entry[name]) for name in ("start", "end"))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BenchError(
            f"the card {path} has the incident {entry!r}: write {{ start = 2024-01-31T10:00:00Z, end = ... }}"
        ) from None
    if start > end:
        raise BenchError(
            f"the card {path} has an incident that starts at {entry['start']}, after its end: exchange them"
        )
    return start, end


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise TypeError(value)
