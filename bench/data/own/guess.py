"""From the first lines of a log: its format, where its label stands, masks, and what could be a session id.

A layout is tried by the reader itself, on the lines without their label; the one with the largest share of lines that
match and whose time is read wins, and among nearly equal ones the most specific.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import polars as pl

from bench.data.cards.card import Format
from bench.data.cards.clocks import lacks_year
from bench.data.own.layouts import (
    MASKS,
    NUMBERS,
    PLAIN,
    SESSION_WORDS,
    SESSIONS,
    UNKNOWN,
    Layout,
    layout_files,
)
from bench.data.own.moments import TimeShape, time_shapes
from bench.data.own.structured import json_layouts, logfmt_layouts
from bench.data.own.tokens import normal_token
from bench.data.reading.header import LEAP_YEAR, cut

GivenLabel = Literal["first-token", "none"]

MIN_SHARE: Final = 0.6
"""A layout that fits fewer lines is no layout of the file."""
_NEARLY: Final = 0.05
_SESSION_SHARE: Final = 0.8
_MAX_LABELS: Final = 100
_QUICK_LINES: Final = 200
_QUICK_LENGTH: Final = 4_000
_SHOWN: Final = 80


@dataclass(frozen=True)
class Guess:
    """What the first lines of a log look like. Shares are of the lines that are not blank."""

    name: str
    form: Format
    masks: tuple[tuple[str, str], ...]
    """Pattern and what it stands for."""
    session: str
    """A pattern that could be the session id; empty: none was found."""
    n_lines: int
    matched: float
    """0 where no layout is known that fits, though each line is a message then."""
    timed: float
    """Share of lines whose time was read; 0 where the layout has none."""
    notes: tuple[str, ...]


def guess(
    lines: list[str],
    label: GivenLabel | None = None,
    session: str | None = None,
    normal: str | None = None,
    *,
    more: Sequence[str] = (),
    changed: float | None = None,
) -> Guess:
    """How to read these lines; `label` overrides what the first tokens look like, `session` what an id looks like.

    normal: the first token that means normal, where it is not to be guessed;  more: lines from further on in the file;
    changed: when it was last written, Unix seconds. Both tell in which order day, month and year stand. Times without a
    year are read in the leap year 2000: `replace(found.form, year=...)` puts them into theirs.
    """
    numbers = [number for number, line in enumerate(lines, 1) if line.strip()] or [1]
    lines = [line for line in lines if line.strip()] or [""]
    found = _first_token_is_label(lines)
    form, notes = _label_form(lines, label or ("first-token" if found else "none"), normal)
    is_cut = found or form.label == "first-token"
    bare, further = ([_without_first_token(line) if is_cut else line for line in part] for part in (lines, more))
    layout, matched, timed = _choose(bare, further, changed)
    header = layout.header
    if found and form.label == "none":
        header = r"^\S*\s?" + header.removeprefix("^")
        notes = (*notes, "The first token looks like a label, so the header leaves it out of the message.")
    form = replace(form, header=header, time=layout.time, year=LEAP_YEAR if lacks_year(layout.time) else 0)
    table = cut(pl.DataFrame({"line": lines}), form)
    messages = table["message"].to_list()
    session = session or _session(messages)
    return Guess(
        name=layout.name,
        form=form,
        masks=_masks(messages, session),
        session=session,
        n_lines=len(lines),
        matched=matched,
        timed=timed,
        notes=(*notes, *([layout.note] if layout.note else []), *_odd_lines(lines, numbers, table, form)),
    )


def reread(lines: list[str], name: str, form: Format, masks: tuple[str, ...]) -> Guess:
    """How lines are read by a format that is known already."""
    numbers = [number for number, line in enumerate(lines, 1) if line.strip()] or [1]
    lines = [line for line in lines if line.strip()] or [""]
    table = cut(pl.DataFrame({"line": lines}), form)
    matched, timed = _read_shares(table)
    matched = 0.0 if name == UNKNOWN else matched
    notes = _odd_lines(lines, numbers, table, form)
    return Guess(name, form, tuple((mask, "") for mask in masks), form.session, len(lines), matched, timed, notes)


def _odd_lines(lines: list[str], numbers: list[int], table: pl.DataFrame, form: Format) -> tuple[str, ...]:
    """The first line that does not match, and the first whose time is not read."""
    is_timed = form.time != "" and "(?P<time>" in form.header
    odd = {
        "do not match and are kept whole": table["headerless"],
        "have a time that cannot be read": table["time"].is_nan() & ~table["headerless"] & is_timed,
    }
    notes = []
    for what, where in odd.items():
        if where.any():
            first = int(where.arg_max() or 0)
            notes.append(
                f"{int(where.sum()):,} of these lines {what}, first line {numbers[first]}: {_shown(lines[first])}"
            )
    return tuple(notes)


def _shown(line: str) -> str:
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line[:_SHOWN])
    return f"'{text}'" if len(line) <= _SHOWN else f"'{text}...'"


def _first_token_is_label(lines: list[str]) -> bool:
    """Whether the first token is `-` in most lines and one of few words in the others."""
    tokens = Counter(re.match(r"^\S*", line)[0] for line in lines)  # type: ignore[index]
    words = [token for token in tokens if token != "-"]
    if len(words) > _MAX_LABELS or not all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", word) for word in words):
        return False
    if not words:
        # Dashes alone could be the bullets of a list, unless a time stands behind them.
        return _choose([_without_first_token(line) for line in lines])[2] >= MIN_SHARE
    is_timed = sum(bool(re.match(r"\S+ [0-9]", line)) for line in lines) >= 0.9 * len(lines)
    return tokens["-"] >= (1 if is_timed else 0.5 * len(lines))


def _without_first_token(line: str) -> str:
    return re.sub(r"^\S*\s?", "", line, count=1)


def _label_form(lines: list[str], label: GivenLabel, normal: str | None) -> tuple[Format, tuple[str, ...]]:
    if label == "none":
        return Format(), ()
    if normal is not None:
        return Format(label="first-token", normal=normal), ()
    normal, notes = normal_token(lines)
    return Format(label="first-token", normal=normal), notes


def _choose(lines: list[str], more: Sequence[str] = (), changed: float | None = None) -> tuple[Layout, float, float]:
    """The best layout, the share of lines it matches, and the share whose time it reads."""
    shapes = time_shapes(lines, more, changed)
    files = layout_files()
    first = [layout for file in files if file.is_first for layout in file.layouts(shapes)]
    structured = json_layouts(lines, more, changed) or logfmt_layouts(lines, more, changed)
    rest = structured or [layout for file in files if not file.is_first for layout in file.layouts(shapes)]
    found = _best(lines, [*first, *rest])
    if found is not None:
        return found
    if structured:
        return structured[-1], 1.0, 0.0
    return _unknown(lines, shapes)


def _best(lines: list[str], candidates: list[Layout]) -> tuple[Layout, float, float] | None:
    """The first of the layouts that fit nearly as well as any, if one fits at all.

    No layout reads more lines than it matches: one that matches too few is not tried by the reader, which takes longer.
    """
    few = [line[:_QUICK_LENGTH] for line in lines[:: max(1, len(lines) // _QUICK_LINES)]]
    shares = [_matched(few, layout) for layout in candidates]
    frame = pl.DataFrame({"line": lines})
    results: dict[int, tuple[Layout, float, float]] = {}
    best = 0.0
    for share in sorted({share for share in shares if share >= MIN_SHARE - _NEARLY}, reverse=True):
        if best > share + _NEARLY:
            break
        for i, layout in enumerate(candidates):
            if shares[i] == share:
                results[i] = (layout, *_shares(frame, layout))
                best = max(best, _score(*results[i]))
    if best < MIN_SHARE:
        return None
    return next(results[i] for i in sorted(results) if _score(*results[i]) >= best - _NEARLY)


def _matched(lines: list[str], layout: Layout) -> float:
    if layout.evidence and _share_of(lines, layout.evidence) < MIN_SHARE:
        return 0.0
    return _share_of(lines, layout.header)


def _share_of(lines: list[str], pattern: str) -> float:
    found = re.compile(pattern)
    return sum(found.search(line) is not None for line in lines) / len(lines)


def _score(layout: Layout, matched: float, timed: float) -> float:
    return timed if layout.time else matched


def _unknown(lines: list[str], shapes: list[TimeShape]) -> tuple[Layout, float, float]:
    """Each line as a message; where a time stands near the beginning of most, it is read and stays in there."""
    frame = pl.DataFrame({"line": lines})
    for shape in shapes:
        note = f"The time that stands in each line is read, and stays in the message. {shape.note}".strip()
        header = f"^(?P<message>(?:[^{{]{{0,40}}?[^{{0-9A-Za-z.:/-])?{shape.pattern}.*)$"
        layout = Layout(UNKNOWN, header, shape.time, note)
        timed = _shares(frame, layout)[1] if shape.time else 0.0
        if timed >= MIN_SHARE:
            return layout, 0.0, timed
    why = next((shape.note for shape in shapes if shape.note), "")
    return PLAIN._replace(note=why), 0.0, 0.0


def _shares(frame: pl.DataFrame, layout: Layout) -> tuple[float, float]:
    year = LEAP_YEAR if lacks_year(layout.time) else 0
    return _read_shares(cut(frame, Format(header=layout.header, time=layout.time, year=year)))


def _read_shares(table: pl.DataFrame) -> tuple[float, float]:
    """Shares of lines that match the header, and whose time is read."""
    timed = (table["time"].is_not_nan() & ~table["headerless"]).sum()
    return 1.0 - int(table["headerless"].sum()) / len(table), int(timed) / len(table)


def _session(messages: list[str]) -> str:
    """A pattern of tokens that most messages have and several share, or nothing."""
    patterns = list(SESSIONS)
    for finder, pattern in SESSION_WORDS:
        words = Counter(word for message in messages for word in set(re.findall(finder, message)))
        patterns += [pattern.replace("NAME", re.escape(word)) for word, _ in words.most_common(3)]
    # Polars takes linear time also on a giant line, where Python's expressions may not.
    column = pl.Series(messages, dtype=pl.String)
    for pattern in patterns:
        found = column.str.extract_all(pattern)
        n_with = int((found.list.len() > 0).sum())
        distinct = found.explode().drop_nulls().n_unique()
        if n_with >= _SESSION_SHARE * len(messages) and 1 < distinct < n_with:
            return pattern
    return ""


def _masks(messages: list[str], session: str) -> tuple[tuple[str, str], ...]:
    column = pl.Series(messages, dtype=pl.String)
    used = tuple(mask for mask in MASKS if column.str.contains(mask[0]).any())
    own = ((session, "what may be the session id"),) if session and session not in {mask for mask, _ in used} else ()
    return (*own, *used, NUMBERS)
