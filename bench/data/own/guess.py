"""From the first lines of a log: its format, where its label stands, masks, and what could be a session id.

A layout is tried by the reader itself, on the lines without their label; the one with the largest share of lines that
match and whose time is read wins, and among nearly equal ones the most specific.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import polars as pl

from bench.data.cards.card import Format
from bench.data.own.layouts import (
    FIXED,
    LEVELLED,
    MASKS,
    NUMBERS,
    PLAIN,
    SESSION_WORDS,
    SESSIONS,
    SYSLOG,
    TIMED,
    TIMES,
    Layout,
    TimeShape,
    lacks_year,
)
from bench.data.own.structured import json_layouts, logfmt_layouts
from bench.data.own.tokens import normal_token
from bench.data.reading.header import LEAP_YEAR, cut
from bench.data.reading.lines import decode
from bench.data.reading.streams import PACKINGS, unpacked
from bench.errors import BenchError

GivenLabel = Literal["first-token", "none"]

HEAD_BYTES: Final = 4_000_000
HEAD_LINES: Final = 2_000
MIN_SHARE: Final = 0.6
"""A layout that fits fewer lines is no layout of the file."""
_NEARLY: Final = 0.05
_SESSION_SHARE: Final = 0.8
_MAX_LABELS: Final = 100
_CONTROL_BYTES: Final = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_MAX_CONTROL_SHARE: Final = 0.01
_PACKED: Final = (".7z", ".tar", ".tgz", ".rar")


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
    timed: float
    """Share of lines whose time was read; 0 where the layout has none."""
    notes: tuple[str, ...]


def count_lines(path: Path) -> int:
    """Lines of a log file as the reader counts them; the file is streamed."""
    count, last = 0, b"\n"
    with unpacked(path) as stream:
        while block := stream.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _require_readable(path: Path) -> None:
    if path.suffix.lower() in _PACKED:
        raise BenchError(
            f"'{path.name}' is packed in a way that is not read here: unpack it, or pack it as {', '.join(PACKINGS)}"
        )


def head(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """The first lines of a file, at most 2,000 and 4 MB, and what was odd about them."""
    _require_readable(path)
    with unpacked(path) as stream:
        content = stream.read(HEAD_BYTES)
    if _is_binary(content):
        raise BenchError(
            f"'{path.name}' is no text in UTF-8 (it has control bytes such as NUL, or is UTF-16): convert it to UTF-8"
        )
    notes = []
    if len(content) == HEAD_BYTES:
        whole, newline, _ = content.rpartition(b"\n")
        content = whole if newline else content
        if not newline:
            notes.append("The first line is longer than 4 MB and was looked at in part.")
    content, replaced = decode(content)
    if len(replaced):
        notes.append(f"{len(replaced)} of these lines have bytes that are no UTF-8; they are read as U+FFFD.")
    lines = content.decode().removesuffix("\n").split("\n")[:HEAD_LINES]
    if not any(line.strip() for line in lines):
        raise BenchError(
            f"'{path.name}' has no line to look at among its first {HEAD_LINES}: give a log file with text"
        )
    return [line.rstrip("\r") for line in lines], tuple(notes)


def _is_binary(content: bytes) -> bool:
    n_control = len(content) - len(content.translate(None, _CONTROL_BYTES))
    return content[:2] in (b"\xff\xfe", b"\xfe\xff") or n_control > _MAX_CONTROL_SHARE * len(content)


def guess(
    lines: list[str],
    label: GivenLabel | None = None,
    session: str | None = None,
    normal: str | None = None,
) -> Guess:
    """How to read these lines; `label` overrides what the first tokens look like, `session` what an id looks like.

    normal: the first token that means normal, where it is not to be guessed

    Times without a year are read in the leap year 2000: `replace(found.form, year=...)` puts them into theirs.
    """
    lines = [line for line in lines if line.strip()] or [""]
    found = _first_token_is_label(lines)
    form, notes = _label_form(lines, label or ("first-token" if found else "none"), normal)
    is_cut = found or form.label == "first-token"
    bare = [_without_first_token(line) for line in lines] if is_cut else lines
    layout, matched, timed = _choose(bare)
    header = layout.header
    if found and form.label == "none":
        header = r"^\S*\s?" + header.removeprefix("^")
        notes = (*notes, "The first token looks like a label, so the header leaves it out of the message.")
    form = replace(form, header=header, time=layout.time, year=LEAP_YEAR if lacks_year(layout.time) else 0)
    messages = cut(pl.DataFrame({"line": lines}), form)["message"].to_list()
    session = session or _session(messages)
    return Guess(
        name=layout.name,
        form=form,
        masks=_masks(messages, session),
        session=session,
        n_lines=len(lines),
        matched=matched,
        timed=timed,
        notes=(*notes, layout.note) if layout.note else notes,
    )


def reread(lines: list[str], name: str, form: Format, masks: tuple[str, ...]) -> Guess:
    """How lines are read by a format that is known already."""
    lines = [line for line in lines if line.strip()] or [""]
    table = cut(pl.DataFrame({"line": lines}), form)
    matched, timed = _read_shares(table)
    return Guess(name, form, tuple((mask, "") for mask in masks), form.session, len(lines), matched, timed, ())


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


def _choose(lines: list[str]) -> tuple[Layout, float, float]:
    """The best layout, the share of lines it matches, and the share whose time it reads."""
    frame = pl.DataFrame({"line": lines})
    structured = json_layouts(lines) or logfmt_layouts(lines)
    candidates = structured or [*FIXED, *_application_layouts(lines)]
    results = [(layout, *_shares(frame, layout)) for layout in candidates]
    scores = [timed if layout.time else matched for layout, matched, timed in results]
    best = max(scores, default=0.0)
    if best < MIN_SHARE:
        return structured[-1] if structured else PLAIN, 1.0, 0.0
    return next(result for result, score in zip(results, scores, strict=True) if score >= best - _NEARLY)


def _shares(frame: pl.DataFrame, layout: Layout) -> tuple[float, float]:
    year = LEAP_YEAR if lacks_year(layout.time) else 0
    return _read_shares(cut(frame, Format(header=layout.header, time=layout.time, year=year)))


def _read_shares(table: pl.DataFrame) -> tuple[float, float]:
    """Shares of lines that match the header, and whose time is read."""
    timed = (table["time"].is_not_nan() & ~table["headerless"]).sum()
    return 1.0 - int(table["headerless"].sum()) / len(table), int(timed) / len(table)


def _application_layouts(lines: list[str]) -> list[Layout]:
    """Layouts with a level, of syslog, or only with a time, for the way times are written in these lines."""
    shape = _time_shape(lines)
    if shape is None:
        return [*SYSLOG]

    def layout(name: str, header: str) -> Layout:
        return Layout(name, header.replace("TIME", shape.pattern), shape.time, shape.note)

    return [*(layout("log4j-like", header) for header in LEVELLED), *SYSLOG, layout("time first", TIMED)]


def _time_shape(lines: list[str]) -> TimeShape | None:
    starts = [line[:120] for line in lines]
    counts = [sum(re.search(rf"(?:^|[\s\[]){shape.pattern}", start) is not None for start in starts) for shape in TIMES]
    best = max(counts)
    if best < MIN_SHARE * len(lines):
        return None
    return next(shape for shape, count in zip(TIMES, counts, strict=True) if count >= best - _NEARLY * len(lines))


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
