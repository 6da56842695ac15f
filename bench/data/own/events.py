"""What `bench data new` proposes for `skip`, `begins`, `fields` and `event`, from the first lines of a log.

The layout says where time and message stand; what makes an event is looked for in the lines themselves, so it is found
whatever the layout is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

import polars as pl

from bench.data.cards.card import Format
from bench.data.own.guess import Guess, reread
from bench.data.own.layouts import UNKNOWN
from bench.data.reading.events import event_rows, event_texts, field_values
from bench.data.reading.header import cut, without_label

BLANK: Final = r"^\s*$"
_MIN_SHARE: Final = 0.6
_MOST_WORDS: Final = 40
"""A field with more values is no kind of event."""
_MOST_ROUTES: Final = 100
_ROUTE_SHARE: Final = 0.1
_MOST_HEAD: Final = 0.5
_MOST_INDENTED: Final = 0.9

LEVELS: Final = (
    "trace|debug|info|information|notice|warn|warning|err|error|severe|crit|critical|alert|fatal|emerg|emergency|panic"
)
_METHODS: Final = "GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH|CONNECT|TRACE|PROPFIND"

_HOST = r'(?:[a-z]+://[^/ "]+)?'
PATHS: Final = (r'[^ "]+', rf'{_HOST}/[^/ ?"]*(?:/[^/ ?"]*)?', rf'{_HOST}/[^/ ?"]*')
"""Of a request: all of it, two parts, one; the first that leaves few kinds is taken."""
REQUESTS: Final = tuple(rf'"(?P<method>{_METHODS}) (?P<path>{path})[^"]*" (?P<status>[0-9]{{3}})\b' for path in PATHS)
"""Of access logs, in their common form."""
KLOG: Final = r"^(?P<level>[IWEF])[0-9]{4} [0-9:.]+ +[0-9]+ (?P<file>[^ :]+):[0-9]+\] "
LEVEL: Final = rf"^.{{0,80}}?\b(?P<level>(?i:{LEVELS}))\b"
"""A level near the front of a line."""

_LEVEL_GROUP: Final = re.compile(r"\(\?i:trace\|[a-z|]+\)")
"""The level in a header of `layouts`, which is made a field."""

_JSON_LEVELS: Final = ("level", "severity", "log.level", "levelname", "lvl", "loglevel", "Level", "@l", "PRIORITY")
_JSON_SOURCES: Final = (
    "logger",
    "logger_name",
    "name",
    "component",
    "SYSLOG_IDENTIFIER",
    "_SYSTEMD_UNIT",
    "module",
    "caller",
)
_JSON_REQUESTS: Final = (
    ("method", "request_method", "http_method", "verb"),
    ("path", "uri", "request_uri", "url", "route"),
    ("status", "status_code", "statusCode", "response_code"),
)
_CONTINUES: Final = re.compile(
    r"^(\s|Traceback \(|Caused by: |During handling of|The above exception|[]})]|\.\.\. [0-9]+ more|"
    r"[A-Za-z_][\w.$]*(Error|Exception|Warning|Interrupt|Exit|Throwable)\b)"
)


class _Proposal(NamedTuple):
    fields: tuple[str, ...]
    event: tuple[str, ...]
    note: str


def likely_first(lines: list[str]) -> list[str]:
    """The lines that do not look as if they continued others: a layout is found in them however long traces are."""
    found = [line for line in lines if _CONTINUES.match(line) is None]
    return found if any(line.strip() for line in found) else lines


def with_events(found: Guess, lines: list[str]) -> Guess:
    """The guess, with what is an event of these lines and a sentence about it."""
    form = replace(found.form, skip=BLANK, header=_LEVEL_GROUP.sub(r"(?P<level>\g<0>)", found.form.header, count=1))
    begins, note = _begins(form, lines)
    form = replace(form, begins=begins)
    notes = [note] if note else []
    frame = pl.DataFrame({"line": lines})
    frame = frame[event_rows(frame, form, starts=True)]
    bare = frame.select(without_label(form)).to_series()
    proposal = _request(bare) or _members(bare, frame, form) or _level(frame, bare, form)
    if proposal is not None:
        form = replace(form, fields=proposal.fields, event=proposal.event)
        notes.append(proposal.note)
    again = reread(frame["line"].to_list(), found.name, form, ())
    return replace(
        found,
        form=form,
        n_lines=again.n_lines,
        matched=0.0 if found.name == UNKNOWN else again.matched,
        timed=again.timed,
        notes=(*found.notes, *notes),
    )


def event_lines(lines: list[str], form: Format) -> list[str]:
    """Those lines that begin an event."""
    frame = pl.DataFrame({"line": lines}, schema={"line": pl.String})
    return frame[event_rows(frame, form, starts=True)]["line"].to_list()


def _begins(form: Format, lines: list[str]) -> tuple[str, str]:
    """How the first line of an event looks, where lines that continue one were seen."""
    frame = pl.DataFrame({"line": [line for line in lines if line.strip()]})
    table = cut(frame, form)
    bare = frame.select(without_label(form)).to_series()
    if form.header == Format().header:
        indented = bare.str.contains(r"^\s")
        if not indented.any() or indented[0] or indented.mean() > _MOST_INDENTED:  # type: ignore[operator]
            return "", ""
        return r"^\S", f"{_some(indented)} begin with a blank: they continue the line before (`begins`)."
    other = table["headerless"]
    looks = [_CONTINUES.match(line) is not None for line in bare.filter(other).to_list()]
    if not looks or sum(looks) < _MIN_SHARE * len(looks):
        return "", ""
    return _front(form.header), f"{_some(other)} have no header: they continue the line before (`begins`)."


def _some(rows: pl.Series) -> str:
    n = int(rows.sum())
    return f"{n:,} of the first {len(rows):,} lines" if n > 1 else f"One of the first {len(rows):,} lines"


def _front(header: str) -> str:
    """The header up to its time, where that stands in front; else all of it."""
    start = header.find("(?P<time>")
    if start < 0 or "(?P<message>" in header[:start]:
        return header
    depth, end = 0, start
    for match in re.finditer(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|[()]", header[start:]):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            end = start + match.end()
            break
    front = header[:end].replace("(?P<time>", "(?:")
    try:
        re.compile(front)
    except re.error:
        return header
    return front


def _request(bare: pl.Series) -> _Proposal | None:
    """Access logs in their common form."""
    if _share(bare.str.contains(REQUESTS[0])) < _MIN_SHARE:
        return None
    event = ("method", "path:route", "status:class")
    most = max(_MOST_ROUTES, _ROUTE_SHARE * len(bare))
    lines = bare.alias("line").to_frame()
    for number, pattern in enumerate(REQUESTS):
        form = Format(fields=(pattern,), event=event)
        if number == len(REQUESTS) - 1 or event_texts(lines, form, bare).n_unique() <= most:
            break
    of_path = f", of the first {len(REQUESTS) - number} parts of the path," if number else ""
    note = f"Of a request an event keeps method, route pattern{of_path} and class of the status."
    return _Proposal((pattern,), event, note)


def _members(bare: pl.Series, frame: pl.DataFrame, form: Format) -> _Proposal | None:
    """JSON lines and logfmt: the level and the source, or the request, and the message."""
    kind = "json" if _share(bare.str.contains(r"^\s*\{.*\}\s*$")) >= _MIN_SHARE else "logfmt"
    if kind == "logfmt" and _share(bare.str.contains(r'(?:^|\s)[A-Za-z_.]+=\S+.*\s[A-Za-z_.]+=("|\S)')) < _MIN_SHARE:
        return None
    names = (*_JSON_LEVELS, *_JSON_SOURCES, *(name for names in _JSON_REQUESTS for name in names))
    known = _usual(frame, form, names, kind)
    request = [next((name for name in names if name in known), "") for names in _JSON_REQUESTS]
    if all(request):
        event = (request[0], f"{request[1]}:route", f"{request[2]}:class")
        return _Proposal((kind,), event, f"An event is {' and '.join(request[:2])} and the class of {request[2]}.")
    few = [name for name in known if known[name] <= _MOST_WORDS]
    level = next((name for name in _JSON_LEVELS if name in few), None)
    source = next((name for name in _JSON_SOURCES if name in few and known[name] > 1), None)
    chosen = tuple(name for name in (level, source) if name)
    if not chosen:
        return None
    has_message = form.header != Format().header
    made = (*chosen, "message") if has_message else chosen
    more = " with the message; templates merge none of them." if has_message else "."
    return _Proposal((kind,), made, f"An event is {' and '.join(chosen)}{more}")


def _usual(frame: pl.DataFrame, form: Format, names: Iterable[str], kind: str) -> dict[str, int]:
    """The members that most lines have, and how many values each has."""
    asked = replace(form, fields=(kind,), event=tuple(names))
    values = field_values(frame, asked)
    return {name: column.n_unique() for name, column in values.items() if _share(column.is_not_null()) >= _MIN_SHARE}


def _level(frame: pl.DataFrame, bare: pl.Series, form: Format) -> _Proposal | None:
    """A level in front of the message, which the header leaves out."""
    if "(?P<level>" in form.header:
        return _Proposal((), ("level", "message"), "The level stands in front of each event.")
    if _share(bare.str.contains(KLOG)) >= _MIN_SHARE:
        return _Proposal((KLOG,), ("level", "file", "message"), "Level and file stand in front of each event.")
    levels = bare.str.extract(LEVEL, 1)
    if _share(levels.is_not_null()) < _MIN_SHARE or _inside_message(frame, levels, form):
        return None
    return _Proposal((LEVEL,), ("level", "message"), "The level stands in front of each event.")


def _inside_message(frame: pl.DataFrame, levels: pl.Series, form: Format) -> bool:
    """Whether the message has the level itself, where no field is needed for it."""
    both = pl.DataFrame({"message": cut(frame, form)["message"], "level": levels.fill_null("\0")})
    has = both.select(pl.col("message").str.contains(pl.col("level"), literal=True)).to_series()
    return _share(has.filter(levels.is_not_null())) > _MOST_HEAD


def _share(rows: pl.Series) -> float:
    return float(rows.sum()) / len(rows) if len(rows) else 0.0
