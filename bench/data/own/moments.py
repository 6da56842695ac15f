"""How times are written in the lines of a log: found part by part, whatever stands around them.

A time is a date, a clock, and what belongs to them: a fraction, a half day, a zone, a year behind. The parts that most
lines share make one pattern, for a header, and the text by which a card reads it. A part that cannot be read is said,
never passed over: a time without its zone or its half day would be another time.
"""

from __future__ import annotations

import functools
import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.data.cards.clocks import lacks_year
from bench.data.own.orders import order_of
from bench.data.reading.zones import UNCLEAR_NAMES, ZONE_NAMES

FORMATS: Final = Path(__file__).parent / "formats"
MIN_SHARE: Final = 0.6
"""A way of writing times that fewer lines have is none of the file."""
_MAX_SHAPES: Final = 3
_N_LOOKED_AT: Final = 400
_BEGINNING: Final = 240
_N_SPANS: Final = 3
_NOON: Final = 12
_NEARLY_ALL: Final = 0.9
_SOME: Final = 0.05

_SHORT: Final = "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_LONG: Final = (
    "(?i:january|february|march|april|may|june|july|august|september|october|november|december"
    "|jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)"
)
_WEEKDAY: Final = r"(?i:mon|tue|wed|thu|fri|sat|sun)(?i:day|sday|nesday|rsday|urday|s|rs|r|n)?\.?,? +"
_SEPARATOR: Final = r"[Tt]|[ \t]+(?:-|at)[ \t]+|,?[ \t]+|[:_.,-]"
_HALF: Final = r"[ \t]?(?:[AaPp][Mm]|[AaPp]\.[Mm]\.)"
_OFFSETS: Final = re.compile(r"(?:[Zz]|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9]|[+-](?:0[0-9]|1[0-4]))(?=\)?$)")
_FAR: Final = "[+-](?:0[0-9]|1[0-4])"
_NAMES: Final = "|".join((*ZONE_NAMES, *UNCLEAR_NAMES))
_ZONE: Final = (
    rf"(?:[Zz]|{_FAR}:?[0-5][0-9]|{_FAR})(?![0-9A-Za-z]|:[0-9])|[ \t]+(?:Z|{_FAR}:?[0-5][0-9])(?![0-9A-Za-z.]|:[0-9])"
    rf"|[ \t]*\(?(?:UTC|GMT){_FAR}(?::?[0-5][0-9])?(?![0-9])\)?|[ \t]*\(?(?:{_NAMES})(?![A-Za-z+-])\)?"
)
_ZONE_LIKE: Final = re.compile(
    r"[ \t]*[\[(]?[A-Z][a-z]+/[A-Z][A-Za-z_]+|[ \t]*[+-][0-9]{1,2}(?::?[0-9]{2})?(?![0-9A-Za-z.]|:[0-9])"
)
_A_NAME: Final = re.compile(r"[ \t]+[\[(]?(?P<name>[A-Z]{2,4}T)(?![A-Za-z0-9])")
"""What could be a zone that nobody here knows, or a word of the message."""
_FRACTIONS: Final = {".": r"(?:\.[0-9]+)?", ",": "(?:,[0-9]+)?", ":": "(?::[0-9]+)?"}
_FRACTION_TIMES: Final = {".": "%.f", ",": "%,f", ":": "%:f"}
_EPOCH: Final = re.compile(
    r"(?<![0-9A-Za-z.:/_-])1[0-9]{9}(?P<more>\.[0-9]{1,9}|[0-9]{9}|[0-9]{6}|[0-9]{3})?(?![0-9.])"
)
_EPOCHS: Final = {0: "epoch", 3: "epoch-ms", 6: "epoch-us", 9: "epoch-ns"}
_NO_DAY: Final = "The times have no date, so they are not read: sequences follow the order of the lines."


class TimeShape(NamedTuple):
    """A way of writing a time: the pattern with its group `time`, and the card's `time`; empty where it is not read."""

    pattern: str
    time: str
    note: str = ""


class _Span(NamedTuple):
    """A time as it stands in a line, cut into its parts; `text` is all of it but the weekday."""

    key: _Key
    text: str
    month: str
    hour: int
    at: int
    has_weekday: bool
    left_over: str
    name_behind: str


class _Key(NamedTuple):
    """What the times of lines must share to be written in one way."""

    date: int
    separator: str
    clock: int
    fraction: str
    half: str
    zone: str
    year: bool


class _Parts(NamedTuple):
    dates: tuple[tuple[str, tuple[str, ...]], ...]
    clocks: tuple[tuple[str, str], ...]
    pattern: re.Pattern[str]


@functools.cache
def _parts() -> _Parts:
    known: dict[str, Any] = tomllib.loads((FORMATS / "times.toml").read_text(encoding="utf-8"))
    dates = tuple((row["pattern"], tuple(row["times"])) for row in known["dates"])
    clocks = tuple((row["pattern"], row["time"]) for row in known["clocks"])
    any_date = "|".join(f"(?P<d{i}>{pattern.replace('MON', _LONG)})" for i, (pattern, _) in enumerate(dates))
    any_clock = "|".join(f"(?P<c{i}>{pattern})" for i, (pattern, _) in enumerate(clocks))
    whole = (
        rf"(?<![0-9A-Za-z.:/-])(?P<weekday>{_WEEKDAY})?(?P<text>(?:{any_date})(?P<separator>{_SEPARATOR})?(?:{any_clock})"
        rf"(?P<fraction>[.,:][0-9]{{1,9}})?(?P<half>{_HALF}(?=[Zz]?(?![A-Za-z])))?(?P<zone>{_ZONE})?"
        rf"(?P<year>[ \t]+(?:19[7-9]|20[0-9])[0-9](?![0-9A-Za-z:.-]))?)(?![0-9A-Za-z]|[.,:][0-9])"
    )
    return _Parts(dates, clocks, re.compile(whole))


def time_shapes(lines: Sequence[str], more: Sequence[str] = (), changed: float | None = None) -> list[TimeShape]:
    """The ways of writing times that most lines share, what stands first in the line first.

    more: lines from further on in the file;  changed: when it was last written, Unix seconds. Both tell the order of
    day, month and year where the digits leave it open.
    """
    looked_at = lines[:: max(1, len(lines) // _N_LOOKED_AT)]
    rows = [_spans(line) for line in looked_at]
    counts = Counter(key for row in rows for key in {span.key for span in row})
    found = _epochs(looked_at)
    for key, count in counts.items():
        if count >= MIN_SHARE * len(looked_at):
            spans = [span for row in [*rows, *map(_spans, more)] for span in row if span.key == key]
            fuller = [span for row in rows for span in row if _is_fuller(span.key, key)]
            place = sum(span.at for span in spans) / len(spans)
            found.append((place, _shape(key, spans, fuller, changed)))
    if not found:
        found = _clock_alone(looked_at)
    return [shape for _, shape in sorted(found, key=lambda pair: pair[0])][:_MAX_SHAPES]


def _spans(line: str) -> list[_Span]:
    """The first times of a line, at most one of each way of writing."""
    line = line[:_BEGINNING]
    found: dict[_Key, _Span] = {}
    for match in itertools.islice(_parts().pattern.finditer(line), _N_SPANS):
        span = _span(line, match)
        if span is not None:
            found.setdefault(span.key, span)
    return list(found.values())


def _span(line: str, match: re.Match[str]) -> _Span | None:
    parts, named = _parts(), match.groupdict()
    date = next(i for i in range(len(parts.dates)) if named[f"d{i}"])
    clock = next(i for i in range(len(parts.clocks)) if named[f"c{i}"])
    clock_text, time = named[f"c{clock}"], parts.clocks[clock][1]
    separator, fraction = named["separator"] or "", named["fraction"] or ""
    is_packed = time == "%H%M%S" and re.fullmatch("[0-9]{6,8}", named[f"d{date}"]) is not None
    if (not separator or time == "%H%M%S") and not is_packed:
        return None
    if time == "%H:%M" and fraction:
        return None
    has_year = not lacks_year(parts.dates[date][1][0])
    if named["year"] and (has_year or "MON" not in parts.dates[date][0]):
        # A number behind a whole date, or behind one of digits, is no year of it.
        shorter = parts.pattern.match(line[: match.start("year")], match.start())
        return _span(line, shorter) if shorter is not None else None
    half, zone, year = named["half"] or "", named["zone"] or "", bool(named["year"])
    key = _Key(date, _spaces(separator), clock, _fraction_kind(fraction), _half_kind(half), _zone_kind(zone), year)
    month = re.search(_LONG, named[f"d{date}"])
    return _Span(
        key=key,
        text=match["text"],
        month=month[0] if month else "",
        hour=int(re.match("[0-9]{1,2}", clock_text)[0]),  # type: ignore[index]
        at=match.start(),
        has_weekday=bool(named["weekday"]),
        left_over=_left_over(line[: match.start()], line[match.end() :], key, has_year=has_year or year),
        name_behind=(_A_NAME.match(line, match.end()) or {"name": ""})["name"],
    )


def _left_over(before: str, behind: str, key: _Key, *, has_year: bool) -> str:
    """What around a time could belong to it and is not understood; empty where nothing could."""
    if not has_year and (found := re.search(r"(?:19[7-9]|20[0-9])[0-9][ ,./-]+$", before)):
        return found[0].strip()
    if not has_year and (found := re.match(r"[ ,./'-]+(?:19[7-9]|20[0-9])[0-9](?![0-9A-Za-z:.-])", behind)):
        return found[0].strip()
    if not key.half and (found := re.match(r"[ \t]+[AaPp](?:\.?[Mm]\.?)?[Zz]?(?![A-Za-z0-9])", behind)):
        return found[0].strip()
    if not key.zone and (found := _ZONE_LIKE.match(behind)):
        return found[0].strip()
    return ""


def _spaces(separator: str) -> str:
    return re.sub(r"[ \t]+", lambda run: "\t" if "\t" in run[0] else " ", separator)


def _fraction_kind(fraction: str) -> str:
    return "." if fraction[:1] in ("", ".") else fraction[0]


def _half_kind(half: str) -> str:
    if "." in half:
        return half.strip()
    return "" if not half else half.replace(half.strip(), "%p").replace("\t", " ")


def _zone_kind(zone: str) -> str:
    """A zone as a card's `time` reads it; an unclear name as it is."""
    kind = re.sub(rf"(?:{'|'.join(ZONE_NAMES)})(?![A-Za-z+-])", "%Z", zone)
    if kind == zone:
        kind = re.sub(_OFFSETS, "%#z", zone)
    return re.sub(r"[ \t]+", " ", kind)


def _is_fuller(other: _Key, key: _Key) -> bool:
    """Whether times of the other way are like those of this one, and have a part more."""
    same = (other.date, other.separator, other.clock) == (key.date, key.separator, key.clock)
    more = (other.half and not key.half, other.zone and not key.zone, other.year and not key.year)
    return same and any(more)


def _shape(key: _Key, spans: Sequence[_Span], fuller: Sequence[_Span], changed: float | None) -> TimeShape:
    """The pattern and the `time` of one way of writing; fuller: times of other lines that have a part more."""
    parts = _parts()
    left_over = Counter(span.left_over for span in spans if span.left_over)
    is_long = any(len(span.month) > len("jan") for span in spans)
    pattern = parts.dates[key.date][0].replace("MON", _LONG if is_long else _SHORT)
    pattern += re.escape(key.separator).replace(r"\ ", r"[ \t]+").replace("\\\t", r"[ \t]+")
    pattern += parts.clocks[key.clock][0] + _FRACTIONS[key.fraction]
    clock = (
        parts.clocks[key.clock][1] + _FRACTION_TIMES[key.fraction] if "%S" in parts.clocks[key.clock][1] else "%H:%M"
    )
    pattern += _half_pattern(key.half) + _zone_pattern(key.zone) + (r"[ \t]+[0-9]{4}" if key.year else "")
    weekday = f"(?:{_WEEKDAY})?" if any(span.has_weekday for span in spans) else ""
    unread = _unread(key, spans, left_over)
    if unread:
        return TimeShape(f"{weekday}(?P<time>{pattern})", "", unread)
    if key.half and not any(span.hour == 0 or span.hour > _NOON for span in spans):
        clock = clock.replace("%H", "%I")
    rest = key.half + key.zone + (" %Y" if key.year else "")
    dates = [date.replace("%b", "%B") if is_long else date for date in parts.dates[key.date][1]]
    separator = key.separator if key.separator.strip() else " "
    times = [f"{date}{separator if key.separator else ''}{clock}{rest}" for date in dates]
    time, note = order_of([span.text for span in spans], times, changed)
    notes = [note, *_doubts(key, spans, fuller, has_weekday=bool(weekday))]
    return TimeShape(f"{weekday}(?P<time>{pattern})", time, " ".join(filter(None, notes)))


def _doubts(key: _Key, spans: Sequence[_Span], fuller: Sequence[_Span], *, has_weekday: bool) -> list[str]:
    """What times could be misread by, though it is likely that they are not."""
    notes = []
    if key.year and not has_weekday:
        notes.append(f"'{spans[0].text[-4:]}' behind the times is taken for their year.")
    name, count = Counter(span.name_behind for span in spans).most_common(1)[0]
    if name and not key.zone and count >= _NEARLY_ALL * len(spans):
        notes.append(f"'{name}' behind the times is taken for no zone; if it is one, give --zone.")
    if fuller:
        notes.append(f"Some times have more, as '{fuller[0].text.strip()}' has, which is not read: they may be wrong.")
    left_over = [span for span in spans if span.left_over]
    if len(left_over) >= _SOME * len(spans):
        text = f"{left_over[0].text.strip()} {left_over[0].left_over}"
        notes.append(f"What stands behind some times, as in '{text}', is taken for no part of them.")
    return notes


def _unread(key: _Key, spans: Sequence[_Span], left_over: Counter[str]) -> str:
    """Why times of this way are not read; empty where they are."""
    what = ""
    if left_over.total() >= len(spans) / 2:
        what = left_over.most_common(1)[0][0]
    elif "." in key.half or (key.half and any(span.hour == 0 or span.hour > _NOON for span in spans)):
        what = key.half.replace("%p", "AM or PM").strip()
    elif key.zone and "%" not in key.zone:
        what = key.zone.strip()
    elif key.year and re.search("[+-][0-9]{2}[ \t]+[0-9]{4}$", spans[0].text):
        # It would be read as hours and minutes, and the rest as the year.
        what = spans[0].text[-len("+02 2024") :]
    if not what:
        return ""
    text = spans[0].text.strip()
    return f"The times are not read: '{what}' with '{text}' is not understood, and they would be others without it."


def _half_pattern(half: str) -> str:
    return r"[ \t]?(?:[AaPp][Mm]|[AaPp][.][Mm][.])" if half else ""


def _zone_pattern(zone: str) -> str:
    """A pattern of what this kind of zone looks like; a header wants no look-around."""
    names, offsets = "[A-Z]{2,5}", r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
    pattern = re.escape(zone).replace(r"\ ", r"[ \t]+").replace("%Z", names)
    return pattern.replace("%\\#z", offsets).replace("%#z", offsets)


def _epochs(lines: Sequence[str]) -> list[tuple[float, TimeShape]]:
    """Numbers of the epoch, in seconds or in the parts of one that their length tells."""
    found = [match for line in lines if (match := _EPOCH.search(line[:_BEGINNING]))]
    digits = Counter(0 if (match["more"] or ".")[0] == "." else len(match["more"]) for match in found)
    if not digits or digits.most_common(1)[0][1] < MIN_SHARE * len(lines):
        return []
    n_digits = digits.most_common(1)[0][0]
    pattern = f"[0-9]{{{10 + n_digits}}}" if n_digits else r"[0-9]{10}(?:\.[0-9]+)?"
    place = sum(match.start() for match in found) / len(found)
    return [(place, TimeShape(f"(?P<time>{pattern})", _EPOCHS[n_digits]))]


def _clock_alone(lines: Sequence[str]) -> list[tuple[float, TimeShape]]:
    pattern = "[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?"
    n_found = sum(re.search(rf"(?:^|[\s\[]){pattern}", line[:_BEGINNING]) is not None for line in lines)
    return [(0.0, TimeShape(f"(?P<time>{pattern})", "", _NO_DAY))] if n_found >= MIN_SHARE * len(lines) else []
