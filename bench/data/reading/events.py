"""Lines -> events, as a card declares them: which lines begin one, and what fields stand in front of its message.

Everything works on columns; a card that declares nothing passes through untouched.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Format
from bench.data.cards.events import MESSAGE, OBJECTS, WHOLE_MESSAGE, EventPart, expressions, key_parts
from bench.data.reading.header import without_label
from bench.data.reading.log import WILDCARD

NOTHING: Final = "-"
"""The word of a field that a line does not have."""
_LONGEST_WORD: Final = 200

_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
ROUTE_VALUES: Final = "|".join(
    (
        _UUID,
        r"\b[0-9a-fA-F]*[0-9][0-9a-fA-F]{4,}\b",
        r"\b[0-9a-fA-F]{4,}[0-9][0-9a-fA-F]*\b",
        r"[A-Za-z0-9_~%+-]{32,}",
        r"\b[0-9]+(?:\.[0-9]+)*\b",
        "[0-9]{3,}",
    )
)
"""What stands for one thing of many in a path: identifiers, hashes, long tokens, numbers; `v1` and `s3` stay."""
_NO_PATH: Final = r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*|[?#;].*$"


def has_events(form: Format) -> bool:
    """Whether some lines are no events of their own."""
    return bool(form.skip or form.begins)


def is_keyed(form: Format) -> bool:
    """Whether fields stand in front of the message, or in its place."""
    return form.event != WHOLE_MESSAGE


def n_key_words(form: Format) -> int:
    """How many words of an event's text are fields."""
    return len(key_parts(form.event))


class EventRows(NamedTuple):
    """Which of some lines are events."""

    rows: NDArray[np.int64]
    n_skipped: int
    """Lines that match `skip`; all others continue an event."""


def events_of(lines: pl.DataFrame, form: Format, *, starts: bool) -> EventRows:
    """Which rows of `line` begin an event; starts: whether the first of them begins one in any case."""
    bare = lines.select(pl.col("line").str.strip_chars_end("\r")).select(without_label(form)).to_series()
    kept = ~bare.str.contains(form.skip) if form.skip else pl.repeat(True, len(bare), dtype=pl.Boolean, eager=True)
    is_event = (kept & bare.str.contains(form.begins) if form.begins else kept).to_numpy().copy()
    n_kept = int(kept.sum())
    if starts and n_kept:
        is_event[kept.arg_max()] = True
    return EventRows(np.flatnonzero(is_event), len(bare) - n_kept)


def event_rows(lines: pl.DataFrame, form: Format, *, starts: bool) -> NDArray[np.int64]:
    """The rows of `events_of` alone."""
    return events_of(lines, form, starts=starts).rows


def event_texts(lines: pl.DataFrame, form: Format, messages: pl.Series) -> pl.Series:
    """The text of each event; messages: as they were masked. A line that gives no field keeps its message."""
    if not is_keyed(form):
        return messages
    values = field_values(lines, form)
    words = [_as_word(values[part.field], part).alias(f"{i}") for i, part in enumerate(key_parts(form.event))]
    rest = messages if MESSAGE in form.event else _where_nothing(values, messages)
    return pl.select(pl.concat_str([*words, rest.alias("rest")], separator=" ")).to_series().str.strip_chars_end(" ")


def values_in_events(lines: pl.DataFrame, form: Format, messages: pl.Series, pattern: str) -> pl.Series:
    """What stands behind the `<*>` of each event, a list a line; pattern: of what masks replaced in the message."""
    if not is_keyed(form):
        return messages.str.extract_all(pattern)
    values = field_values(lines, form)
    routes = [_as_path(values[part.field]) for part in key_parts(form.event) if part.how == "route"]
    rest = messages if MESSAGE in form.event else _where_nothing(values, messages)
    found = [path.fill_null("").str.extract_all(ROUTE_VALUES).alias(f"{i}") for i, path in enumerate(routes)]
    return pl.select(pl.concat_list([*found, rest.str.extract_all(pattern).alias("rest")])).to_series()


def field_values(lines: pl.DataFrame, form: Format) -> dict[str, pl.Series]:
    """A column of texts for each field of the event; null where a line has none."""
    bare = lines.select(pl.col("line").str.strip_chars_end("\r")).select(without_label(form))
    found: dict[str, pl.Series] = {}
    for pattern in (form.header, *expressions(form.fields)):
        names = [part.field for part in key_parts(form.event) if part.field in re.compile(pattern).groupindex]
        if names:
            groups = bare.select(pl.col("line").str.extract_groups(pattern)).to_series().struct
            for name in names:
                found[name] = _first_of(found.get(name), groups.field(name))
    for part in key_parts(form.event):
        for kind in OBJECTS:
            if kind in form.fields:
                read = _of_json if kind == "json" else _of_pairs
                found[part.field] = _first_of(found.get(part.field), read(bare.to_series(), part.field))
    return found


def _first_of(known: pl.Series | None, values: pl.Series) -> pl.Series:
    return values if known is None else pl.select(pl.coalesce(known, values)).to_series()


def _of_json(lines: pl.Series, name: str) -> pl.Series:
    """A member of JSON objects, of the outer one before those within; with dots also the member of a member."""
    value = rf'"{re.escape(name)}"\s*:\s*(?:"([^"\\]*)"|(-?[0-9][0-9.eE+-]*|true|false))'
    frame = lines.alias("line").to_frame()
    # Where one brace opens and the name stands once, an expression finds what a parser would, in a sixth of the time.
    simple = frame.select(
        (pl.col("line").str.count_matches("{", literal=True) == 1)
        & (pl.col("line").str.count_matches(f'"{name}"', literal=True) <= 1)
    ).to_series()
    found = frame.select(pl.coalesce(pl.col("line").str.extract(value, i) for i in (1, 2))).to_series()
    if simple.all():
        return found
    paths = [f"$['{name}']"] + ([f"$.{name}"] if "." in name else [])
    parsed = frame.filter(~simple).select(pl.coalesce(pl.col("line").str.json_path_match(path) for path in paths))
    return found.scatter((~simple).arg_true(), parsed.to_series())


def _of_pairs(lines: pl.Series, name: str) -> pl.Series:
    quoted = r'"(?:[^"\\]|\\.)*"'
    # In front there are whole quoted values, so that no pair is found inside of one.
    value = rf'^(?:[^"]|{quoted})*?(?:^|\s){re.escape(name)}=(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))'
    frame = lines.alias("line").to_frame()
    return frame.select(pl.coalesce(pl.col("line").str.extract(value, i) for i in (1, 2))).to_series()


def _as_path(values: pl.Series) -> pl.Series:
    return values.str.replace_all(_NO_PATH, "")


def _as_word(values: pl.Series, part: EventPart) -> pl.Series:
    """One word for each value."""
    if part.how == "class":
        values = values.str.replace(r"^\s*([1-9])[0-9]{2}\s*$", "${1}xx")
    elif part.how == "route":
        values = _as_path(values).str.replace_all(ROUTE_VALUES, WILDCARD)
    values = values.str.strip_chars().str.replace_all(r"\s+", "_").str.slice(0, _LONGEST_WORD).fill_null("")
    return values.replace("", NOTHING)


def _where_nothing(values: dict[str, pl.Series], messages: pl.Series) -> pl.Series:
    """The messages of lines that have none of the fields, for all others nothing."""
    nothing = pl.select(pl.all_horizontal(*(column.is_null().alias(name) for name, column in values.items())))
    return pl.select(pl.when(nothing.to_series()).then(messages).otherwise(pl.lit(""))).to_series()
