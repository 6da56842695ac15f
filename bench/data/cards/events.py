"""What of a line is an event, as a card declares it: `skip`, `begins`, `fields` and `event` of its `[format]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast, get_args

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.card import Format

MAX_TEMPLATES: Final = 20_000
"""Where parsing stops unless a card says otherwise."""
MESSAGE: Final = "message"
WHOLE_MESSAGE: Final = (MESSAGE,)
"""The event of a card that says nothing of it."""

How = Literal["", "class", "route"]
"""How a value stands in an event: as it is, as its class (404 is 4xx), as the pattern of a path."""

OBJECTS: Final = ("json", "logfmt")
"""Words of `fields`: the line is an object, or pairs, whose members are fields by their names."""

_NAME: Final = re.compile(r"[A-Za-z_@][A-Za-z0-9_.@-]*")


class EventPart(NamedTuple):
    """A field in an event."""

    field: str
    how: How = ""


def key_parts(event: Sequence[str]) -> tuple[EventPart, ...]:
    """The fields in front of the message, each of which is one word of the event."""
    found = (name.partition(":") for name in event if name != MESSAGE)
    return tuple(EventPart(name, cast(How, how)) for name, _, how in found)


def expressions(fields: Sequence[str]) -> list[str]:
    """Those `fields` that are regular expressions."""
    return [pattern for pattern in fields if pattern not in OBJECTS]


def check_events(path: Path, form: Format) -> None:
    """Refuse an event that no line could have; `path` is the card, and its patterns are known to be some."""
    if not form.event:
        raise BenchError(f"the card {path} has an empty `event`: name its fields, or leave it out for ['message']")
    if MESSAGE in form.event[:-1] or len(set(form.event)) < len(form.event):
        raise BenchError(f"the card {path} has event = {list(form.event)}: name each field once, and the message last")
    known = [name for pattern in (form.header, *expressions(form.fields)) for name in re.compile(pattern).groupindex]
    for pattern in expressions(form.fields):
        if not re.compile(pattern).groupindex:
            raise BenchError(
                f"the card {path} has '{pattern}' among `fields`: give it a named group such as (?P<level>[A-Z]+), "
                f"or write {' or '.join(OBJECTS)}"
            )
    for part in key_parts(form.event):
        _check_part(path, form, part, known)


def _check_part(path: Path, form: Format, part: EventPart, known: list[str]) -> None:
    ways = [how for how in get_args(How) if how]
    if part.how and part.how not in ways:
        raise BenchError(f"the card {path} has '{part.field}:{part.how}' in `event`: choose one of {', '.join(ways)}")
    if _NAME.fullmatch(part.field) is None:
        raise BenchError(f"the card {path} has '{part.field}' in `event`: name a field, such as level or status:class")
    if part.field not in known and not set(OBJECTS) & set(form.fields):
        raise BenchError(
            f"the card {path} has '{part.field}' in `event`, which no pattern gives: known are "
            f"{', '.join(dict.fromkeys(known))}; add (?P<{part.field}>...) to its header or `fields`"
        )
