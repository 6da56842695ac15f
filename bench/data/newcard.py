"""Cards for logs of one's own, written from a guess: `bench data new mylogs app.log`."""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from bench.data.catalogue import file_sha256, shipped_names
from bench.data.guess import HEAD_LINES, GivenLabel, Guess, count_lines, guess, head
from bench.data.header import cut
from bench.data.streams import PACKINGS
from bench.data.writing import replacing, toml_string, write_text
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL

_NAME: Final = re.compile("[a-z][a-z0-9_-]*")
_SYSTEM_FILE: Final = "_system.toml"
_LOG_SUFFIXES: Final = {".log", ".txt", ".json", ".jsonl", ".ndjson", ".out"}
_N_SHOWN: Final = 10
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
    label: GivenLabel | None = None,
    copy: bool = False,
    force: bool = False,
) -> NewCard:
    """Guess the format of a log and write its two cards below the data folder."""
    _require_free_name(name)
    if not log.is_file():
        raise BenchError(f"the log '{log}' does not exist or is no file: give one log file")
    if not str(log.absolute()).isprintable():
        raise BenchError(f"the log {str(log)!r} has a name that a card cannot hold: rename it")
    told = data_dir or (Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None)
    folder = told or log.absolute().parent
    if not folder.is_dir():
        raise BenchError(f"the data folder '{folder}' does not exist: set BENCH_DATA or --data to an existing folder")
    if (folder / name).exists() and not (folder / name).is_dir():
        raise BenchError(f"{folder / name} is a file, and the cards need a folder of this name: choose another name")
    edition = edition_of(log)
    targets = (folder / name / _SYSTEM_FILE, folder / name / f"{edition}.toml")
    _require_no_card(targets, force=force)
    lines, notes = head(log)
    found = guess(lines, label)
    n_lines = count_lines(log)
    inside = _place(log, folder, name, copy=copy, force=force)
    stat = inside.stat()
    digest = file_sha256(inside, stat.st_size, stat.st_mtime_ns)
    relative = _relative(inside, folder)
    texts = (_system_text(name, log.name, found), _edition_text(name, relative, digest, n_lines, found))
    for target, text in zip(targets, texts, strict=True):
        write_text(target, text)
    found = Guess(**{**vars(found), "notes": (*notes, *found.notes)})
    return NewCard(
        f"{name}@{edition}", folder, told is not None, relative, n_lines, targets, found, _shown(lines, found)
    )


def edition_of(log: Path) -> str:
    """The edition's name: the file's, without endings, in the characters that a card allows."""
    path = log.with_suffix("") if log.suffix.lower() in PACKINGS else log
    stem = path.stem if path.suffix.lower() in _LOG_SUFFIXES else path.name
    return re.sub("[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "log"


def ways_to_label(card: NewCard) -> dict[str, str]:
    """The ways labels can be given, each with the lines for the card."""
    system, edition = card.written
    session = card.guess.session or "order-[0-9]+"
    return {
        "the first token of each line": f"""# in {system}
[format]
label = "first-token"
normal = "-"                # what means normal; every other first token means abnormal
# header is matched on the line without its first token""",
        "a file with one row for each session": f"""# in {system}
[format]
label = "label-file"
session = {toml_string(session)}   # the session id inside a message
label_key = "session"       # columns of the label file
label_value = "label"
normal = "normal"
# in {edition}
[[files]]
name = "{card.key.partition("@")[0]}/labels.csv"   # relative to {card.data_dir}
sha256 = "..."              # sha256sum labels.csv
role = "labels\"""",
        "none": f"""# in {system}
[format]
label = "none"              # `bench data info` works; `bench run` needs labels""",
    }


def _require_free_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BenchError(f"'{name}' is no name for a data set: use lower-case letters, digits, _ and -, a letter first")
    taken = shipped_names()
    if name in taken:
        raise BenchError(f"'{name}' is the name of a shipped data set: choose another name, such as my-{name}")
    if any(name.endswith(f"2{other}") for other in taken):
        raise BenchError(f"'{name}' would be read as a transfer between two data sets: choose a name without the 2")


def _require_no_card(targets: tuple[Path, Path], *, force: bool) -> None:
    there = [path for path in targets if path.exists()]
    if there and not force:
        raise BenchError(f"the card {there[0]} exists: give --force to write it anew, choose another name, or edit it")


def _place(log: Path, folder: Path, name: str, *, copy: bool, force: bool) -> Path:
    """Where the log lies below the data folder; it is copied there when that was asked for."""
    for path, root in ((log.absolute(), folder.absolute()), (log.resolve(), folder.resolve())):
        if path.is_relative_to(root) and ".." not in path.parts:
            return path
    if not copy:
        raise BenchError(f"'{log}' is not below the data folder {folder}: move it there, or give --copy to copy it")
    target = folder / name / log.name
    if target.exists() and not force:
        raise BenchError(f"{target} exists: give --force to replace it by '{log}', or remove it")
    with replacing(target) as stream, log.open("rb") as source:
        shutil.copyfileobj(source, stream, 1 << 20)
    return target


def _relative(path: Path, folder: Path) -> str:
    root = folder.absolute() if path.is_relative_to(folder.absolute()) else folder.resolve()
    return path.absolute().relative_to(root).as_posix()


def _shown(lines: list[str], found: Guess) -> tuple[ShownLine, ...]:
    """The first ten lines; up to three of these places go to the first lines labelled abnormal."""
    table = cut(pl.DataFrame({"line": lines}), found.form).with_row_index("number", 1)
    alerts = table.filter(pl.col("label") == ABNORMAL).head(_N_ALERTS)
    first = table.join(alerts.select("number"), on="number", how="anti").head(_N_SHOWN - len(alerts))
    words = {NORMAL: "normal", ABNORMAL: "abnormal"}
    return tuple(
        ShownLine(row["number"], _iso(row["time"]), words.get(row["label"], ""), row["message"])
        for row in pl.concat([first, alerts]).sort("number").iter_rows(named=True)
    )


def _iso(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def _system_text(name: str, log_name: str, found: Guess) -> str:
    session = toml_string(found.session or "order-[0-9]+")
    width = max(len(toml_string(mask)) for mask, _ in found.masks) + 1
    masks = "\n".join(f"  {(toml_string(mask) + ',').ljust(width)}  # {what}" for mask, what in found.masks)
    return f"""# {name}: guessed by `bench data new` from the first lines of {json.dumps(log_name, ensure_ascii=False)}.
# {found.name}: {found.matched:.1%} of {found.n_lines} lines matched. Correct what is wrong: see datasets/README.md.
licence = "not stated"
citation = "none"
homepage = ""

[format]
label = {toml_string(found.form.label)}   # or 'first-token', 'label-file', 'none'
normal = {toml_string(found.form.normal)}   # the label that means normal
header = {toml_string(found.form.header)}
time = {toml_string(found.form.time)}
# session = {session}   # uncomment to score sessions instead of windows of lines

[parser]
masks = [
{masks}
]
"""


def _edition_text(name: str, relative: str, digest: str, n_lines: int, found: Guess) -> str:
    note = f"The card was guessed ({found.name}) from the first {min(found.n_lines, HEAD_LINES)} lines."
    return f"""title = {toml_string(f"{name}: {relative}")}
tier = "development"
rank = 50
kind = "lines"
notes = {toml_string(note)}

[[files]]
name = {toml_string(relative)}
sha256 = "{digest}"

[counts]
lines = {n_lines}
"""
