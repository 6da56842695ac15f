"""JSON lines and logfmt: headers that pull the message and the time out of a line of named fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from bench.data.own.layouts import EPOCHS, MESSAGE_KEYS, TIME_KEYS, TIMES, Layout, TimeShape

_MIN_SHARE: Final = 0.6
_AGREE: Final = 0.99
_ESCAPED: Final = r'(?:[^"\\]|\\.)*'
_PAIR: Final = re.compile(rf'(?:^|\s)([A-Za-z_@][A-Za-z0-9_.@-]*)=("{_ESCAPED}"|[^\s"]*)')


def json_layouts(lines: list[str]) -> list[Layout]:
    """Layouts for lines that are JSON objects, the best first and the whole line last; none for other lines."""
    rows = [_json_object(line) for line in lines]
    message = rf'"KEY"\s*:\s*"(?P<message>{_ESCAPED})"'
    time = r'"KEY"\s*:\s*"?TIME"?'
    return _layouts("JSON lines", lines, rows, messages=[message], time=time, plain=_unescaped)


def logfmt_layouts(lines: list[str]) -> list[Layout]:
    """Layouts for lines of key=value pairs, the best first and the whole line last; none for other lines."""
    rows = [_logfmt_fields(line) for line in lines]
    # A bare value ends where the next key begins; where that cuts quoted values short, they keep their quotes.
    bare = r'KEY="?(?P<message>(?:[^"\\]|\\.)*?)(?:"|$| [A-Za-z_@][A-Za-z0-9_.@-]*=)'
    quoted = rf'KEY=(?P<message>"{_ESCAPED}"|[^\s"]*)'
    messages = [rf"(?:|.*? ){value}" for value in (bare, quoted)]
    return _layouts("logfmt", lines, rows, messages=messages, time=r'(?:|.*? )KEY="?TIME"?', plain=_unquoted)


def _layouts(
    name: str,
    lines: list[str],
    rows: list[dict[str, Any] | None],
    *,
    messages: list[str],
    time: str,
    plain: Callable[[str], str],
) -> list[Layout]:
    known = [row for row in rows if row]
    if len(known) < _MIN_SHARE * len(lines):
        return []
    shape, time_key = _time_field(known)
    key = _key(known, MESSAGE_KEYS)
    found: list[Layout] = []
    if key is not None:
        for pattern in messages:
            message = "^.*?" + pattern.replace("KEY", re.escape(key))
            if _agree(message, key, lines, rows, plain):
                found = _with_time(name, message, _time_pattern(time, time_key, shape), shape)
                break
    return [*found, _whole_line(name, key)]


def _whole_line(name: str, key: str | None) -> Layout:
    why = f"The field '{key}' cannot be cut out by one pattern" if key else "No field has a usual name of a message"
    return Layout(name, "^(?P<message>.*)$", "", f"{why}, so the whole line is the message.")


def _with_time(name: str, message: str, time: str, shape: TimeShape | None) -> list[Layout]:
    """The time before the message, behind it, or not at all."""
    note = f"The message is what stands in the field, with its escapes. {shape.note if shape else ''}".strip()
    lost = "No time is read: it stands in no fixed order to the message, or in no known form."
    untimed = Layout(name, message + ".*$", "", lost)
    if shape is None:
        return [untimed]
    before = Layout(name, f"^.*?{time}{message.removeprefix('^')}.*$", shape.time, note)
    behind = Layout(name, f"{message}.*?{time}.*$", shape.time, note)
    return [before, behind, untimed]


def _time_pattern(time: str, key: str | None, shape: TimeShape | None) -> str:
    return time.replace("KEY", re.escape(key)).replace("TIME", shape.pattern) if key and shape else ""


def _time_field(rows: list[dict[str, Any]]) -> tuple[TimeShape | None, str | None]:
    """How the time is written, and in which field."""
    for key in TIME_KEYS:
        values = [str(row[key]) for row in rows if key in row]
        for shape in (*TIMES, *EPOCHS):
            if shape.time and sum(bool(re.fullmatch(shape.pattern, v)) for v in values) >= _MIN_SHARE * len(rows):
                return shape, key
    return None, None


def _key(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if sum(isinstance(row.get(key), str) for row in rows) >= _MIN_SHARE * len(rows):
            return key
    return None


def _agree(
    header: str, key: str, lines: list[str], rows: list[dict[str, Any] | None], plain: Callable[[str], str]
) -> bool:
    """Whether the pattern cuts out what a real parser of the format finds."""
    pairs = [(line, row[key]) for line, row in zip(lines, rows, strict=True) if row and isinstance(row.get(key), str)]
    cuts = ((re.search(header, line), value) for line, value in pairs)
    agreeing = sum(bool(match and plain(match["message"]) == value) for match, value in cuts)
    return agreeing >= _AGREE * len(pairs)


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
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
