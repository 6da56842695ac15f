"""What `bench data new` knows of log formats: how times, headers, variables and session ids are usually written.

All patterns are in the dialect of cards: no look-around, so that Python and polars read them alike.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Layout(NamedTuple):
    """A way of writing log lines: a header and a time as in a card's `[format]`."""

    name: str
    header: str
    time: str = ""
    note: str = ""
    """What a user should know about this choice, one sentence."""


class TimeShape(NamedTuple):
    """A way of writing a time: the pattern with its group `time`, and the card's `time`."""

    pattern: str
    time: str
    note: str = ""


PLAIN: Final = Layout("plain", "^(?P<message>.*)$")

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = "[0-9]{2}:[0-9]{2}:[0-9]{2}"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_ZONE = "(?:Z|[+-][0-9]{2}:?[0-9]{2})"
_NO_DAY = "The times have no date, so they are not read: sequences follow the order of the lines."

_SYSLOG_TIME = "%b %d %H:%M:%S"
"""Without a year; the card says which one it is."""

_ISO_ZONED = TimeShape(rf"(?P<time>{_DAY}T{_CLOCK}(?:\.[0-9]+)?{_ZONE})", "%Y-%m-%dT%H:%M:%S%.f%#z")

TIMES: Final = (
    _ISO_ZONED,
    TimeShape(rf"(?P<time>{_DAY}T{_CLOCK},[0-9]{{3}})", "%Y-%m-%dT%H:%M:%S,%3f"),
    TimeShape(rf"(?P<time>{_DAY}T{_CLOCK}(?:\.[0-9]+)?)", "%Y-%m-%dT%H:%M:%S%.f"),
    TimeShape(rf"(?P<time>{_DAY} {_CLOCK},[0-9]{{3}})", "%Y-%m-%d %H:%M:%S,%3f"),
    TimeShape(rf"(?P<time>{_DAY} {_CLOCK}(?:\.[0-9]+)? ?{_ZONE})", "%Y-%m-%d %H:%M:%S%.f %#z"),
    TimeShape(rf"(?P<time>{_DAY} {_CLOCK}(?:\.[0-9]+)?)", "%Y-%m-%d %H:%M:%S%.f"),
    TimeShape(rf"(?P<time>[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}} {_CLOCK}(?:\.[0-9]+)?)", "%Y/%m/%d %H:%M:%S%.f"),
    TimeShape(rf"(?P<time>[0-9]{{2}}/[0-9]{{2}}/[0-9]{{2}} {_CLOCK})", "%y/%m/%d %H:%M:%S"),
    TimeShape("(?P<time>[0-9]{6} [0-9]{6})", "%y%m%d %H%M%S"),
    TimeShape(rf"(?P<time>[0-9]{{2}} {_MONTH} [0-9]{{4}} {_CLOCK},[0-9]{{3}})", "%d %b %Y %H:%M:%S,%3f"),
    TimeShape(rf"(?P<time>[0-9]{{2}}/{_MONTH}/[0-9]{{4}} {_CLOCK})", "%d/%b/%Y %H:%M:%S"),
    TimeShape(rf"(?P<time>[0-9]{{2}}/{_MONTH}/[0-9]{{4}}:{_CLOCK} [+-][0-9]{{4}})", "%d/%b/%Y:%H:%M:%S %z"),
    TimeShape(
        rf"(?P<time>[A-Z][a-z]{{2}} {_MONTH} [0-9]{{2}} {_CLOCK}(?:\.[0-9]+)? [0-9]{{4}})", "%a %b %d %H:%M:%S%.f %Y"
    ),
    TimeShape(rf"(?P<time>{_MONTH} [ 0-9][0-9] {_CLOCK})", _SYSLOG_TIME),
    TimeShape(rf"(?P<time>[0-9]{{2}}-[0-9]{{2}} {_CLOCK}(?:\.[0-9]+)?)", "%m-%d %H:%M:%S%.f"),
    TimeShape(rf"(?P<time>{_CLOCK}(?:[.,][0-9]+)?)", "", _NO_DAY),
)
"""Most complete first."""


def lacks_year(time: str) -> bool:
    """Whether times of this pattern stand in no year."""
    return time not in ("", "epoch") and "%Y" not in time and "%y" not in time


EPOCHS: Final = (
    TimeShape(r"(?P<time>[0-9]{10}\.[0-9]+)", "epoch"),
    TimeShape("(?P<time>[0-9]{10})[0-9]{9}", "epoch", "Nanoseconds of the epoch are read as whole seconds."),
    TimeShape("(?P<time>[0-9]{10})[0-9]{6}", "epoch", "Microseconds of the epoch are read as whole seconds."),
    TimeShape("(?P<time>[0-9]{10})[0-9]{3}", "epoch", "Milliseconds of the epoch are read as whole seconds."),
    TimeShape("(?P<time>[0-9]{10})", "epoch"),
)

_STRUCTURED_DATA = r'(?:-|(?:\[(?:[^\]"\\]|"(?:[^"\\]|\\.)*")*\])+)'

FIXED: Final = (
    Layout(
        "BGL-like",
        r"^(?P<time>[0-9]{10}) [0-9]{4}\.[0-9]{2}\.[0-9]{2} \S+ [0-9]{4}-[0-9]{2}-[0-9]{2}-\S+ \S+ \S+ \S+ \S+ "
        "(?P<message>.*)$",
        "epoch",
    ),
    Layout(
        "Thunderbird-like (epoch, date, node, syslog)",
        rf"^(?P<time>[0-9]{{10}}) [0-9]{{4}}\.[0-9]{{2}}\.[0-9]{{2}} \S+ {_MONTH} +[0-9]+ {_CLOCK} \S+ "
        "(?P<message>.*)$",
        "epoch",
    ),
    Layout("epoch first", r"^(?P<time>[0-9]{10}(?:\.[0-9]+)?) (?P<message>.*)$", "epoch"),
    Layout(
        "syslog (RFC 5424)",
        rf"^(?:<[0-9]+>)?[0-9]{{1,2}} {_ISO_ZONED.pattern} \S+ \S+ \S+ \S+ {_STRUCTURED_DATA} ?(?P<message>.*)$",
        _ISO_ZONED.time,
    ),
    Layout(
        "access log",
        rf"^(?:\S+ ){{3,4}}\[(?P<time>[0-9]{{2}}/{_MONTH}/[0-9]{{4}}:{_CLOCK} [+-][0-9]{{4}})\] "
        r'(?P<message>"(?:[^"\\]|\\.)*" [0-9]{3} \S+)(?: .*)?$',
        "%d/%b/%Y:%H:%M:%S %z",
        "The message is request, status and size; client, referrer and browser are left out.",
    ),
)

SYSLOG: Final = (
    Layout(
        "syslog (RFC 5424)",
        rf"^(?:<[0-9]+>)?{_ISO_ZONED.pattern} \S+ (?P<message>[^ :\[]+(?:\[[0-9]+\])?: .*)$",
        _ISO_ZONED.time,
        "This is syslog with ISO times; the program's name stays in the message.",
    ),
    Layout(
        "syslog (RFC 3164)",
        rf"^(?:<[0-9]+>)?(?P<time>{_MONTH} [ 0-9][0-9] {_CLOCK}) \S+ (?P<message>.*)$",
        _SYSLOG_TIME,
    ),
)
"""Tried after the levelled ones, because a level behind the time would pass for a host."""

_LEVEL = r"\[? *(?i:trace|debug|info|notice|warn|warning|error|err|severe|fatal|critical) *\]?"

LEVELLED: Final = (
    rf"^TIME +(?:- +)?{_LEVEL} +\[.*?\] +- +(?P<message>.*)$",
    rf"^TIME +{_LEVEL} +[0-9]+ +--- +\[.*?\] +\S+ +: +(?P<message>.*)$",
    rf"^TIME +(?:[0-9]+ +)?{_LEVEL} +(?:\[[^\]]*\] +)?\S+: (?P<message>.*)$",
    rf"^TIME +\[.*?\] +{_LEVEL} +\S+ +- +(?P<message>.*)$",
    rf"^TIME +- +\S+ +- +{_LEVEL} +- +(?P<message>.*)$",
    rf"^TIME +\| +{_LEVEL} +\| +\S+ +- +(?P<message>.*)$",
    rf"^\[TIME +{_LEVEL} +\S+\] +(?P<message>.*)$",
    rf"^(?:\S+ )?TIME +[0-9]+ +{_LEVEL} +\S+ +(?P<message>.*)$",
    rf"^TIME +(?:- +)?{_LEVEL} +\[.*?\]:? +(?P<message>.*)$",
    rf"^\[?TIME\]?(?: +- +| *[:,|] *| *){_LEVEL}(?: +- +|: +| +\| +| +)(?P<message>.*)$",
    rf"^{_LEVEL}[ :]+\[?TIME\]?(?: +- +|: +| +)(?P<message>.*)$",
)
"""Headers of application logs with a level, most specific first; TIME stands for the pattern of the time."""

TIMED: Final = r"^\[?TIME\]?(?: +- +|[:,] +| *\| *| +)(?P<message>.*)$"

MESSAGE_KEYS: Final = (
    "message",
    "msg",
    "@message",
    "short_message",
    "MESSAGE",
    "Message",
    "event",
    "log",
    "text",
    "body",
)
TIME_KEYS: Final = ("@timestamp", "timestamp", "time", "ts", "Timestamp", "datetime", "asctime", "date", "@t", "t")

_ADDRESS = "[0-9]{1,3}(?:\\.[0-9]{1,3}){3}(?::[0-9]+)?"
_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

SESSIONS: Final = ("blk_-?[0-9]+", f"req-{_UUID}", _UUID)
"""Tokens that are session ids wherever most lines have one."""

SESSION_WORDS: Final = (
    (r"\b([A-Za-z_]*[iI][dD])=[A-Za-z0-9_.:-]+", r"\bNAME=[A-Za-z0-9_.:-]+"),
    (r"\b([A-Za-z]{2,}[_-])[0-9][0-9_]*\b", r"\bNAME[0-9][0-9_]*\b"),
)
"""How ids are found with the word before them, and the pattern for one such word."""

MASKS: Final = (
    (rf"\b{_UUID}\b", "UUIDs"),
    (_ADDRESS, "network addresses"),
    (r"\bR[0-9]{2}-[A-Z0-9]+(?:-[A-Z0-9]+)*(?::[A-Z0-9]+-[A-Z0-9]+)?", "rack, midplane, node card, chip"),
    (r"(?:/[A-Za-z0-9_.$#@:+~-]+){2,}/?", "paths"),
    (r"\b0[xX][0-9a-fA-F]+\b", "hex numbers"),
    (r"\b[0-9a-fA-F]*[0-9][0-9a-fA-F]{7,}\b", "bare hex words"),
)
"""Kept in a card where they match a line."""

NUMBERS: Final = (r"-?\b[0-9]+(?:\.[0-9]+)?\b", "numbers")
"""In every card."""
