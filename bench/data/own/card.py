"""Cards for logs of one's own: `bench data new mylogs app.log`; a second file becomes a further edition of it."""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench._files import replace_text
from bench.data.cards.card import Format, parse_card, read_toml
from bench.data.cards.catalogue import shipped_names
from bench.data.cards.checksums import file_sha256
from bench.data.own.events import event_lines, likely_first, with_events
from bench.data.own.format import Given, adapted, known_format
from bench.data.own.guess import Guess, guess, reread
from bench.data.own.heads import HEAD_LINES, glance, head
from bench.data.own.incidents import Incidents, incidents_toml, notes_of
from bench.data.own.layouts import UNKNOWN
from bench.data.own.place import all_placed
from bench.data.own.toml import toml_string
from bench.data.reading.builder import Clock
from bench.data.reading.events import event_rows, event_texts
from bench.data.reading.header import cut
from bench.data.reading.labels import label_incidents
from bench.data.reading.streams import PACKINGS
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL

_NAME: Final = re.compile("[a-z][a-z0-9_-]*")
_SYSTEM_FILE: Final = "_system.toml"
_LOG_SUFFIXES: Final = {".log", ".txt", ".json", ".jsonl", ".ndjson", ".out"}
_N_SHOWN: Final = 10
_RANK: Final = 50
_PLAIN: Final = Format()
_N_ALERTS: Final = 3


@dataclass(frozen=True)
class ShownLine:
    """A line as the reader cut it: time as ISO text and label as a word, or empty."""

    number: int
    time: str
    label: str
    message: str


@dataclass(frozen=True)
class NewCard:
    """What was written, and how the first lines are read with it."""

    key: str
    data_dir: Path
    is_told: bool
    """Whether `data_dir` was given by --data or BENCH_DATA, so that later commands find it by themselves."""
    log: str
    """The log file, relative to `data_dir`."""
    n_lines: int
    written: tuple[Path, ...]
    guess: Guess
    shown: tuple[ShownLine, ...]


def new_card(
    name: str,
    log: Path,
    *,
    data_dir: Path | None = None,
    given: Given | None = None,
    copy: bool = False,
    force: bool = False,
) -> NewCard:
    """Write the cards of a log below the data folder: by a guess, or by its system's format where there is one."""
    given = given or Given()
    _require_free_name(name)
    if not log.is_file():
        raise BenchError(f"the log '{log}' does not exist or is no file: give one log file")
    if not str(log.absolute()).isprintable():
        raise BenchError(f"the log {str(log)!r} has a name that a card cannot hold: rename it")
    told, folder = _data_folder(name, log, data_dir)
    edition = edition_of(log)
    system, card = targets = (folder / name / _SYSTEM_FILE, folder / name / f"{edition}.toml")
    adds = system.is_file() and not force
    _require_no_card(targets, force=force or (adds and not card.exists()))
    lines, notes = head(log)
    seen = glance(log)
    further = seen.behind(len(lines))
    known = known_format(system, given) if adds else None
    if known:
        found = reread(event_lines(lines, known[0]), f"the format of {name}", *known)
    else:
        found = guessed(lines, further, log, given)
    found, incidents = adapted(found, [*lines, *further], log, given)
    parts = {"log": log} | ({"labels": given.labels} if given.labels is not None else {})
    places = all_placed(parts, folder, name, copy=copy, force=force)
    rows = [_row(path, folder, role) for role, (path, _) in places.items()]
    own = _edition_format(found.form, known[0]) if known else {}
    edition_text = _edition_text(
        name,
        rows,
        found,
        rank=_rank(system) if adds else _RANK,
        n_lines=seen.n_lines,
        own=own,
        incidents=incidents,
    )
    system_text = system.read_text(encoding="utf-8") if adds else _system_text(name, log.name, found)
    parse_card(card, system_text, edition_text)
    if not adds:
        replace_text(system, system_text, way_out="make room, or use another data folder")
    replace_text(card, edition_text, way_out="make room, or use another data folder")
    links = (note for _, note in places.values() if note)
    missed = notes_of(incidents, _first_times(lines, found.form), is_whole=seen.n_lines <= len(lines))
    found = replace(found, notes=(*links, *notes, *found.notes, *missed))
    written = (card,) if adds else targets
    shown = _shown(lines, found, incidents)
    return NewCard(f"{name}@{edition}", folder, told, rows[0]["name"], seen.n_lines, written, found, shown)


def guessed(lines: list[str], further: list[str], log: Path, given: Given) -> Guess:
    """A guess from the lines that begin an event; which these are follows from a first look."""
    changed = log.stat().st_mtime

    def look(first: list[str], more: list[str]) -> Guess:
        return with_events(guess(first, given.read_as, given.session, given.normal, more=more, changed=changed), lines)

    found = look(likely_first(lines), likely_first(further))
    if not found.form.begins:
        return found
    return look(event_lines(lines, found.form), event_lines(further, found.form))


def _data_folder(name: str, log: Path, data_dir: Path | None) -> tuple[bool, Path]:
    """Whether the data folder was given, and which it is; without one it is the log's own."""
    told = data_dir or (Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None)
    folder = told or log.absolute().parent
    if not folder.is_dir():
        raise BenchError(f"the data folder '{folder}' does not exist: set BENCH_DATA or --data to an existing folder")
    if (folder / name).exists() and not (folder / name).is_dir():
        raise BenchError(f"{folder / name} is a file, and the cards need a folder of this name: choose another name")
    return told is not None, folder


def edition_of(log: Path) -> str:
    """The edition's name: the file's, without endings, in the characters that a card allows."""
    path = log.with_suffix("") if log.suffix.lower() in PACKINGS else log
    stem = path.stem if path.suffix.lower() in _LOG_SUFFIXES else path.name
    return re.sub("[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "log"


def ways_to_label(card: NewCard) -> dict[str, str]:
    """The ways labels can be given, each with the lines for the card and where there is one the command."""
    name, _, edition_name = card.key.partition("@")
    system, edition = (card.data_dir / name / file for file in (_SYSTEM_FILE, f"{edition_name}.toml"))
    session = card.guess.session or "order-[0-9]+"
    again = f"bench data new {name} {shlex.quote(str(card.data_dir / card.log))} --force" + (
        "" if card.is_told else f" --data {shlex.quote(str(card.data_dir))}"
    )
    by_session = f"# {again} --labels {{file}} --session {shlex.quote(session)}\n# or in {system}"
    labels = f"""# in {edition}
[[files]]
name = "{name}/{{file}}"   # relative to {card.data_dir}
sha256 = "unpublished"      # the checksum of what is found there is taken
role = "labels\""""
    return {
        "the first token of each line": f"""# {again} --label first-token
# or in {system}
[format]
label = "first-token"
normal = "-"                # what means normal; every other first token means abnormal
# header is matched on the line without its first token""",
        "a file with one row for each session": f"""{by_session.format(file="labels.csv")}
[format]
label = "label-file"
session = {toml_string(session)}   # the session id inside a message
label_key = "session"       # columns of the label file
label_value = "label"
normal = "normal"
{labels.format(file="labels.csv")}""",
        "a list of the abnormal sessions": f"""{by_session.format(file="abnormal.txt")}
[format]
label = "session-list"
session = {toml_string(session)}
{labels.format(file="abnormal.txt")}""",
        "time ranges of incidents": f"""# {again} --incidents incidents.csv
# or in {system}
[format]
label = "incidents"         # lines within one are abnormal, all others normal; times must be read
# in {edition}
[[incidents]]
start = 2024-01-31T10:00:00Z
end = 2024-01-31T10:20:00Z""",
        "none": f"""# {again} --label none
# or in {system}
[format]
label = "none"              # `bench data info` works; `bench run` needs labels""",
    }


def _require_free_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BenchError(f"'{name}' is no name for a data set: use lower-case letters, digits, _ and -, a letter first")
    taken = shipped_names()
    if name in taken:
        raise BenchError(
            f"'{name}' is the name of a shipped data set: choose another name, such as my-{name}, or "
            f"add an edition to it with `bench data prepare {name}@EDITION --from FILE`"
        )
    if any(name.endswith(f"2{other}") for other in taken):
        raise BenchError(f"'{name}' would be read as a transfer between two data sets: choose a name without the 2")


def _require_no_card(targets: tuple[Path, Path], *, force: bool) -> None:
    there = [path for path in targets if path.exists()]
    if there and not force:
        raise BenchError(f"the card {there[0]} exists: give --force to write it anew, choose another name, or edit it")


def _row(path: Path, folder: Path, role: str) -> dict[str, str]:
    """A file for `[[files]]`."""
    root = folder.absolute() if path.is_relative_to(folder.absolute()) else folder.resolve()
    digest = file_sha256(path)
    return {"name": path.absolute().relative_to(root).as_posix(), "sha256": digest, "role": role}


def _rank(system: Path) -> int:
    """Below the other editions, so that the bare name keeps its meaning."""
    others = (path for path in system.parent.glob("*.toml") if path.name != _SYSTEM_FILE)
    return max(0, min((int(read_toml(path).get("rank", _RANK)) for path in others), default=_RANK + 1) - 1)


def _edition_format(form: Format, system: Format) -> dict[str, Any]:
    """What the edition's format has of its own."""
    return {key: value for key, value in _values(form).items() if value != _values(system)[key]}


def _values(form: Format) -> dict[str, Any]:
    return {key: getattr(form, key) for key in form.__dataclass_fields__}


def _shown(lines: list[str], found: Guess, incidents: Incidents) -> tuple[ShownLine, ...]:
    """The first ten lines; up to three of these places go to the first lines labelled abnormal."""
    frame = pl.DataFrame({"line": lines})
    rows = event_rows(frame, found.form, starts=True)
    table = cut(frame[rows], found.form)
    table = table.with_columns(message=event_texts(frame[rows], found.form, table["message"]), number=rows + 1)
    times = Clock(found.form.year, found.form.zone).read(table["time"].to_numpy())
    labels = label_incidents(times, incidents) if found.form.label == "incidents" else table["label"].to_numpy()
    table = table.with_columns(time=times, label=labels)
    alerts = table.filter(pl.col("label") == ABNORMAL).head(_N_ALERTS)
    first = table.join(alerts.select("number"), on="number", how="anti").head(_N_SHOWN - len(alerts))
    words = {NORMAL: "normal", ABNORMAL: "abnormal"}
    return tuple(
        ShownLine(row["number"], _iso(row["time"]), words.get(row["label"], ""), row["message"])
        for row in pl.concat([first, alerts]).sort("number").iter_rows(named=True)
    )


def _first_times(lines: list[str], form: Format) -> NDArray[np.float64]:
    """Unix seconds of these lines, float64 (n_lines,); NaN where none is read."""
    return Clock(form.year).read(cut(pl.DataFrame({"line": lines}), form)["time"].to_numpy())


def _iso(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def _system_text(name: str, log_name: str, found: Guess) -> str:
    width = max(len(toml_string(mask)) for mask, _ in found.masks) + 1
    masks = "\n".join(f"  {(toml_string(mask) + ',').ljust(width)}  # {what}" for mask, what in found.masks)
    remark = "# session = {}   # uncomment to score sessions instead of windows of lines"
    session = "" if found.form.session else remark.format(toml_string(found.session or "order-[0-9]+"))
    return f"""# {name}: guessed by `bench data new` from the first lines of {json.dumps(log_name, ensure_ascii=False)}.
# {_described(found)} Correct what is wrong: see datasets/README.md.
licence = "not stated"
citation = "none"
homepage = ""

[format]
{_format_lines(_values(found.form))}{session}

[parser]
masks = [
{masks}
]
"""


def _described(found: Guess) -> str:
    if found.name == UNKNOWN:
        return "No known format fits, so each line is a message."
    return f"{found.name}: {found.matched:.1%} of {found.n_lines} lines matched."


def _format_lines(form: Mapping[str, Any], always: tuple[str, ...] = ("label", "normal", "header", "time")) -> str:
    """Keys of `[format]`; those that every card shows, and of the others those that are set."""
    remarks = {
        "label": "or 'first-token', 'label-file', 'session-list', 'incidents', 'none'",
        "normal": "the label that means normal",
        "year": "of the first line, since its time has none",
        "skip": "lines that are no events",
        "begins": "the first line of an event; others continue the one before",
        "event": "fields that no template merges, and the message",
    }
    shown = {key: value for key, value in form.items() if key in always or value != getattr(_PLAIN, key)}
    return "".join(
        f"{key} = {_toml(value)}" + (f"   # {remarks[key]}\n" if key in remarks else "\n")
        for key, value in shown.items()
    )


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_string, value))}]"
    return str(value) if isinstance(value, int) else toml_string(value)


def _edition_text(
    name: str,
    rows: list[dict[str, str]],
    found: Guess,
    *,
    rank: int,
    n_lines: int,
    own: Mapping[str, Any],
    incidents: Incidents,
) -> str:
    note = f"The card was guessed ({found.name}) from the first {min(found.n_lines, HEAD_LINES)} lines."
    files = "".join(
        f'\n[[files]]\nname = {toml_string(row["name"])}\nsha256 = "{row["sha256"]}"\nrole = "{row["role"]}"\n'
        for row in rows
    )
    form = f"\n[format]\n{_format_lines(own, always=tuple(own))}" if own else ""
    return f"""title = {toml_string(f"{name}: {rows[0]['name']}")}
tier = "development"
rank = {rank}
kind = "lines"
notes = {toml_string(note)}
{form}{files}{incidents_toml(incidents)}
[counts]
lines = {n_lines}
"""
