"""What a card says of times: numbers of the epoch, strptime patterns, and the zone of times that name none."""

from __future__ import annotations

import re
import zoneinfo
from typing import Final

EPOCHS: Final = {"epoch": 1.0, "epoch-ms": 1e3, "epoch-us": 1e6, "epoch-ns": 1e9}
"""Values of a card's `time` that are numbers, and how many of each make a second."""

_OFFSET: Final = re.compile(r"(?P<sign>[+-])(?P<hours>[01][0-9]):(?P<minutes>[0-5][0-9])")
_ZONES: Final = ("%z", "%:z", "%#z", "%Z")


def has_zone(time: str) -> bool:
    """Whether times of this pattern (a card's `time`) say themselves where they are."""
    return time in EPOCHS or any(zone in time for zone in _ZONES)


def lacks_year(time: str) -> bool:
    """Whether times of this pattern stand in no year."""
    return time != "" and time not in EPOCHS and "%Y" not in time and "%y" not in time


def offset(zone: str) -> float | None:
    """Seconds east of UTC of a zone such as `+05:30`; None for another."""
    match = _OFFSET.fullmatch(zone)
    if match is None:
        return None
    size = int(match["hours"]) * 3_600 + int(match["minutes"]) * 60
    return float(-size if match["sign"] == "-" else size)


def is_zone(text: str) -> bool:
    """Whether it can be a card's `zone`: `+05:30`, or a name such as Europe/Berlin."""
    return offset(text) is not None or text in zoneinfo.available_timezones()
