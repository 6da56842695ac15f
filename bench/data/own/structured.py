"""JSON lines and logfmt: headers that pull the message and the time out of a line of named fields.

Fields are those of the outer object: a key inside a nested one is another field, and is passed over. An arrow in the
name of a field goes into an object: `t->$date` is `{"t": {"$date": ...}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from bench.data.own.layouts import Layout, fields_of
from bench.data.own.moments import TimeShape, time_shapes

Rows = Sequence[dict[str, Any] | None]

_MIN_SHARE: Final = 0.6
_AGREE: Final = 0.99
_ESCAPED: Final = r'(?:[^"\\]|\\.)*'
_STRING: Final = rf'"{_ESCAPED}"'
_INTO: Final = "->"
_DEPTH: Final = 3
"""Objects in objects that a pattern can pass over."""
_PAIR: Final = re.compile(rf'(?:^|\s)([A-Za-z_@][A-Za-z0-9_.@-]*)=("{_ESCAPED}"|[^\s"]*)')


class _Field(NamedTuple):
    """A field by its name, and the time in it where it holds one."""

    name: str
    shape: TimeShape | None = None
    is_known: bool = True


def json_layouts(lines: Sequence[str], more: Sequence[str] = (), changed: float | None = None) -> list[Layout]:
    """Layouts for lines that are JSON objects, the best first and the whole line last; none for other lines."""
    rows = [_json_object(line) for line in lines]
    found = _fields("json", rows, [_json_object(line) for line in more], changed)
    if found is None:
        return []
    message, time = found
    if message is None:
        return [_whole_line("JSON lines", None)]
    text = _member(message.name, rf'"(?P<message>{_ESCAPED})"')
    cut = rf"^\s*\{{{text}.*$"
    if not _agree(cut, "message", message.name, lines, rows, plain=_unescaped):
        return [_whole_line("JSON lines", message.name)]
    untimed = Layout("JSON lines", cut, "", _LOST)
    if time is None or time.shape is None:
        return [untimed]
    moment = _member(time.name, f'"?{time.shape.pattern}"?', is_passed=True)
    headers = [rf"^\s*\{{{moment}{text}.*$", rf"^\s*\{{{text}{moment}.*$"]
    return [*_timed("JSON lines", headers, time, lines, rows), untimed]


def logfmt_layouts(lines: Sequence[str], more: Sequence[str] = (), changed: float | None = None) -> list[Layout]:
    """Layouts for lines of key=value pairs, the best first and the whole line last; none for other lines."""
    rows = [_logfmt_fields(line) for line in lines]
    found = _fields("logfmt", rows, [_logfmt_fields(line) for line in more], changed)
    if found is None:
        return []
    message, time = found
    if message is None:
        return [_whole_line("logfmt", None)]
    key = re.escape(message.name)
    # A bare value ends where the next key begins; where that cuts quoted values short, they keep their quotes.
    bare = rf'{key}="?(?P<message>(?:[^"\\]|\\.)*?)(?:"|$| [A-Za-z_@][A-Za-z0-9_.@-]*=)'
    quoted = rf'{key}=(?P<message>"{_ESCAPED}"|[^\s"]*)'
    for value in (bare, quoted):
        text = rf"(?:|.*? ){value}"
        if _agree(f"^{text}.*$", "message", message.name, lines, rows, plain=_unquoted):
            break
    else:
        return [_whole_line("logfmt", message.name)]
    untimed = Layout("logfmt", f"^{text}.*$", "", _LOST)
    if time is None or time.shape is None:
        return [untimed]
    moment = rf'(?:|.*? ){re.escape(time.name)}="?{time.shape.pattern}"?'
    headers = [f"^{moment}(?: |$){text}.*$", f"^{text}.*?{moment}(?: .*)?$"]
    return [*_timed("logfmt", headers, time, lines, rows), untimed]


_LOST: Final = "No time is read: it stands in no fixed order to the message, or in no known form."


def _timed(name: str, headers: list[str], time: _Field, lines: Sequence[str], rows: Rows) -> list[Layout]:
    """Those of the headers that find the time which is in the field."""
    assert time.shape is not None
    note = "The message is what stands in the field, with its escapes."
    if not time.is_known:
        note += f" The time is that of the field '{time.name}'."
    note = f"{note} {time.shape.note}".strip()
    return [
        Layout(name, header, time.shape.time, note)
        for header in headers
        if time.shape.time and _agree(header, "time", time.name, lines, rows, plain=str)
    ]


def _whole_line(name: str, key: str | None) -> Layout:
    why = f"The field '{key}' cannot be cut out by one pattern" if key else "No field has a usual name of a message"
    return Layout(name, "^(?P<message>.*)$", "", f"{why}, so the whole line is the message.")


def _member(name: str, value: str, *, is_passed: bool = False) -> str:
    """A pattern of what leads to a value of the outer object, and of the value; is_passed: and of what ends it."""
    nested = r"\{\}"
    for _ in range(_DEPTH):
        nested = rf'\{{(?:[^{{}}"]|{_STRING}|{nested})*\}}'
    between = rf'(?:[^{{}}"]|{_STRING}|{nested})*?'
    *outer, last = [re.escape(part) for part in name.split(_INTO)]
    opened = "".join(rf'{between}"{part}"\s*:\s*\{{' for part in outer)
    end = (rf"\s*{between}\}}" * len(outer) or r"\s*[,}]") if is_passed else ""
    return rf'{opened}{between}"{last}"\s*:\s*{value}{end}'


def _fields(kind: str, rows: Rows, more: Rows, changed: float | None) -> tuple[_Field | None, _Field | None] | None:
    """The fields of message and time; None where too few lines have fields at all."""
    known = [row for row in rows if row]
    if len(known) < _MIN_SHARE * len(rows) or not known:
        return None
    names = fields_of(kind)
    message = next((name for name in names["message"] if _share(known, name, _text) >= _MIN_SHARE), None)
    further = [row for row in more if row]
    present = [name for name in names["time"] if _share(known, name, _has) >= _MIN_SHARE]
    # Where a field is named as a time is, no other field is taken for it.
    for name in present[:1] or _others(known, message):
        values = [text for row in known if (text := _value(row, name))]
        if len(values) < _MIN_SHARE * len(known):
            continue
        shape = next(iter(time_shapes(values, [_value(row, name) for row in further], changed)), None)
        if shape is not None and shape.time and all(_is_start(value) for value in values[:9]):
            return _field(message), _Field(name, shape, bool(present))
    return _field(message), None


def _field(name: str | None) -> _Field | None:
    return _Field(name) if name is not None else None


def _is_start(value: str) -> bool:
    """Whether a value begins as a time does, so that a sentence with a time in it is none."""
    return len(value) <= len("Wednesday, 01 September 2024 10:00:00.000000000 +00:00") and bool(re.match(r"\w", value))


def _others(rows: Sequence[dict[str, Any]], message: str | None) -> list[str]:
    """Fields with other names, in the order in which they stand in the first lines."""
    names = dict.fromkeys(key for row in rows[:9] for key, value in row.items() if not isinstance(value, dict | list))
    return [name for name in names if name != message]


def _value(row: dict[str, Any], name: str) -> str:
    """The text of a field; empty where there is none."""
    found: Any = row
    for part in name.split(_INTO):
        found = found.get(part) if isinstance(found, dict) else None
    return str(found) if isinstance(found, str | _Number) else ""


def _has(row: dict[str, Any], name: str) -> bool:
    return _value(row, name) != ""


def _text(row: dict[str, Any], name: str) -> bool:
    found: Any = row
    for part in name.split(_INTO):
        found = found.get(part) if isinstance(found, dict) else None
    return isinstance(found, str) and not isinstance(found, _Number)


def _share(rows: Sequence[dict[str, Any]], name: str, has: Callable[[dict[str, Any], str], bool]) -> float:
    return sum(has(row, name) for row in rows) / len(rows)


def _agree(header: str, group: str, key: str, lines: Sequence[str], rows: Rows, *, plain: Callable[[str], str]) -> bool:
    """Whether the pattern cuts out what a real parser of the format finds, wherever it finds something."""
    pattern = re.compile(header)
    pairs = [(line, _value(row, key)) for line, row in zip(lines, rows, strict=True) if row and _value(row, key)]
    cuts = [(match, value) for line, value in pairs if (match := pattern.search(line))]
    agreeing = sum(plain(match[group]) == value for match, value in cuts)
    # A header for another order of the fields may find nothing, but never something else.
    needed = pairs if group == "message" else cuts
    return agreeing > 0 and agreeing >= _AGREE * len(needed)


class _Number(str):
    """A number as it stands in the line."""

    __slots__ = ()


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line, parse_float=_Number, parse_int=_Number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _logfmt_fields(line: str) -> dict[str, Any] | None:
    pairs = _PAIR.findall(line)
    covered = sum(len(key) + 1 + len(value) for key, value in pairs) + len(pairs) - 1
    if len(pairs) < 2 or covered < 0.9 * len(line.strip()):
        return None
    return {key: _unquoted(value) for key, value in reversed(pairs)}


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
