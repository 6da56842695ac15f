"""Readers: the files of an edition -> `Log`, one row per line or event, as arrays.

A raw line is cut into label, time and message by polars' regular expressions; the label is removed first, so that no
header, mask, parser or encoder can see it. What matches a mask becomes `<*>`, and only the distinct masked messages are
kept, with an index per line.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards import Card, Catalogue
from bench.data.header import cut, has_plain_spaces
from bench.errors import BenchError
from bench.types import NORMAL, UNLABELLED

WILDCARD: Final = "<*>"


@dataclass(frozen=True, slots=True)
class Log:
    """An edition as read: one row per log line (or pre-parsed event), in file order.

    message_ids: int32 (n_lines,)      index into messages
    messages: tuple[str, ...]          distinct masked messages; for id streams the template texts
    labels: int8 (n_lines,)            0 normal, 1 abnormal, -1 unlabelled
    times: float64 (n_lines,)          Unix seconds, or NaN
    file_starts: int64 (n_files,)      first line of each file: windows restart there
    session_lines, session_codes       int64, int32 (n_pairs,): line l belongs to session c; None without sessions
    session_ids: tuple[str, ...];  session_labels: int8 (n_sessions,)
    is_parsed: bool                    messages are templates already, no parser runs
    n_replaced: int                    lines with bytes that are no UTF-8, replaced by U+FFFD
    n_headerless: int                  lines whose header did not match and that were kept whole as message
    """

    message_ids: NDArray[np.int32]
    messages: tuple[str, ...]
    labels: NDArray[np.int8]
    times: NDArray[np.float64]
    file_starts: NDArray[np.int64]
    session_lines: NDArray[np.int64] | None = None
    session_codes: NDArray[np.int32] | None = None
    session_ids: tuple[str, ...] = ()
    session_labels: NDArray[np.int8] | None = None
    is_parsed: bool = False
    n_replaced: int = 0
    n_headerless: int = 0

    def __len__(self) -> int:
        return len(self.message_ids)


def read(card: Card, catalogue: Catalogue) -> Log:
    """Read an edition; every problem with its files is a BenchError that names the file."""
    if card.kind == "id-stream":
        return _read_id_stream(card, catalogue)
    if card.kind == "id-sessions":
        return _read_id_sessions(card, catalogue)
    contents = list(_simulated(card) if card.kind == "simulated" else _raw_files(card, catalogue))
    return _read_lines(card, contents, _label_table(card, catalogue))


def decompress(path: Path) -> bytes:
    """The content of a plain, gz, xz or single-member zip file."""
    members: list[str] = []
    try:
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        if path.suffix == ".xz":
            return lzma.decompress(path.read_bytes())
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
                if len(members) == 1:
                    return archive.read(members[0])
        else:
            return path.read_bytes()
    except (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise BenchError(f"'{path.name}' cannot be unpacked ({error}): it is damaged; fetch it again") from None
    raise BenchError(f"'{path.name}' holds {len(members)} files: unpack it and name the one that is meant in the card")


def _raw_files(card: Card, catalogue: Catalogue) -> Iterator[bytes]:
    for file in card.files_of("log"):
        yield decompress(catalogue.path(file))


def _simulated(card: Card) -> Iterator[bytes]:
    yield simulated_files(card)["lines"]


def simulated_files(card: Card) -> dict[str, bytes]:
    """What the generator of a simulated edition makes: `lines`, and `labels` where the system keeps them apart."""
    from bench.data.simulate import simulate

    made = simulate(card.simulate, seed=card.seed)
    files = {"lines": made.lines} | ({"labels": made.label_file} if made.label_file is not None else {})
    for name, content in files.items():
        found = hashlib.sha256(content).hexdigest()
        if found != card.sha256.get(name):
            raise BenchError(
                f"the {name} simulated for '{card.key}' have SHA-256 {found[:12]}..., the card says "
                f"{card.sha256.get(name, 'nothing')[:12]}...: after a change of its grammar, correct the card"
            )
    return files


def _label_table(card: Card, catalogue: Catalogue) -> pl.DataFrame | None:
    if card.format.label != "label-file":
        return None
    if card.kind == "simulated":
        content = simulated_files(card)["labels"]
    else:
        files = card.files_of("labels")
        if not files:
            raise BenchError(f"the card '{card.key}' says labels stand in a file but names none: add role = \"labels\"")
        content = decompress(catalogue.path(files[0]))
    table = _csv(content, card)
    _require_columns(table, (card.format.label_key, card.format.label_value), card)
    return table


def _read_lines(card: Card, contents: list[bytes], label_table: pl.DataFrame | None) -> Log:
    decoded = [decode(content) for content in contents]
    series = [pl.read_lines(io.BytesIO(content), name="line") for content, _ in decoded]
    plain = all(has_plain_spaces(content) for content, _ in decoded)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in series])[:-1]]).astype(np.int64)
    masks = "|".join(f"(?:{mask})" for mask in card.parser.masks)
    try:
        table = cut(pl.concat(series), card.format, plain_spaces=plain)
        masked = table["message"].str.replace_all(masks, WILDCARD) if masks else table["message"]
    except pl.exceptions.ComputeError as error:
        # Python accepts patterns that polars' linear-time engine refuses.
        lines = str(error).splitlines()
        reason = next((line for line in lines if line.startswith("error: ")), lines[0])
        raise BenchError(f"the card '{card.key}' has a pattern that cannot be used ({reason}): rewrite it") from None
    ids, messages = _factorise(masked)
    log = Log(
        message_ids=ids,
        messages=messages,
        labels=table["label"].to_numpy(),
        times=table["time"].to_numpy(),
        file_starts=starts,
        n_replaced=sum(count for _, count in decoded),
        n_headerless=int(table["headerless"].sum()),
    )
    _require_times(log, card)
    return _with_sessions(log, table["message"], card, label_table) if card.format.session else log


def _require_times(log: Log, card: Card) -> None:
    form = card.format
    is_declared = bool(form.time) and "(?P<time>" in form.header and log.n_headerless < len(log)
    if is_declared and np.isnan(log.times).all():
        raise BenchError(f"no time in '{card.key}' can be read as '{form.time}': correct `time` in its card")


def decode(content: bytes) -> tuple[bytes, int]:
    """Content that is valid UTF-8, and how many lines had to be repaired for it."""
    if content.isascii():
        return content, 0
    try:
        content.decode()
    except UnicodeDecodeError:
        lines = content.split(b"\n")
        repaired = [line.decode(errors="replace").encode() for line in lines]
        return b"\n".join(repaired), sum(old != new for old, new in zip(lines, repaired, strict=True))
    return content, 0


def _factorise(values: pl.Series) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Index per row and the distinct values in order of first occurrence."""
    distinct = values.unique(maintain_order=True)
    table = pl.DataFrame({"value": distinct, "id": np.arange(len(distinct), dtype=np.int32)})
    ids = values.to_frame("value").join(table, on="value", how="left", maintain_order="left")["id"]
    return ids.to_numpy(), tuple(distinct.to_list())


def _with_sessions(log: Log, messages: pl.Series, card: Card, label_table: pl.DataFrame | None) -> Log:
    """Attach sessions: a line belongs to every session whose id it names, once; lines that name none to no session."""
    pairs = (
        pl.DataFrame({"line": np.arange(len(log), dtype=np.int64), "message": messages})
        .select("line", pl.col("message").str.extract_all(card.format.session).list.unique(maintain_order=True))
        .explode("message")
        .drop_nulls()
    )
    if pairs.is_empty():
        raise BenchError(f"no line of '{card.key}' names a session: correct `session` in its card")
    codes, ids = _factorise(pairs["message"])
    labels = np.full(len(ids), UNLABELLED, np.int8)
    if label_table is not None:
        labels = _session_labels(ids, label_table, card)
    return Log(
        **{name: getattr(log, name) for name in Log.__slots__}
        | {
            "session_lines": pairs["line"].to_numpy(),
            "session_codes": codes,
            "session_ids": ids,
            "session_labels": labels,
        }
    )


def _session_labels(ids: tuple[str, ...], table: pl.DataFrame, card: Card) -> NDArray[np.int8]:
    form = card.format
    values = table.select(
        pl.col(form.label_key).alias("session"),
        (pl.col(form.label_value) != form.normal).cast(pl.Int8).alias("label"),
    ).unique("session", keep="first")
    joined = pl.DataFrame({"session": ids}).join(values, on="session", how="left", maintain_order="left")
    return joined["label"].fill_null(UNLABELLED).to_numpy()


def _read_id_stream(card: Card, catalogue: Catalogue) -> Log:
    file = card.files_of("events")[0]
    table = _csv(decompress(catalogue.path(file)), card)
    _require_columns(table, ("event_id", "label"), card)
    table = table.slice(card.drop_events)
    labels = _whole_numbers(table, "label", card)
    events = _whole_numbers(table, "event_id", card)
    if events.null_count():
        raise BenchError(f"a table of '{card.key}' has an event without event_id: correct it")
    ids, distinct = _codes(events.to_numpy())
    return Log(
        message_ids=ids,
        messages=_template_texts(distinct, card, catalogue),
        labels=(labels != NORMAL).cast(pl.Int8).fill_null(UNLABELLED).to_numpy(),
        times=np.full(len(ids), np.nan),
        file_starts=np.zeros(1, np.int64),
        is_parsed=True,
    )


def _read_id_sessions(card: Card, catalogue: Catalogue) -> Log:
    path = catalogue.path(card.files_of("sessions")[0])
    try:
        with np.load(path) as arrays:
            events, labels = arrays["X"], arrays["y"]
    except (OSError, KeyError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise BenchError(f"'{path.name}' holds no arrays X and y ({error}): fetch it again") from None
    if events.ndim != 2 or labels.shape != events.shape[:1]:
        raise BenchError(
            f"'{path.name}' holds X {events.shape} and y {labels.shape}: one row of X for each y is needed"
        )
    is_event = events != 0
    ids, distinct = _codes(events[is_event])
    return Log(
        message_ids=ids,
        messages=_template_texts(distinct, card, catalogue),
        labels=np.full(len(ids), UNLABELLED, np.int8),
        times=np.full(len(ids), np.nan),
        file_starts=np.zeros(1, np.int64),
        session_lines=np.arange(len(ids), dtype=np.int64),
        session_codes=np.repeat(np.arange(len(events), dtype=np.int32), is_event.sum(axis=1)),
        session_ids=tuple(map(str, range(len(events)))),
        session_labels=labels.astype(np.int8),
        is_parsed=True,
    )


def _codes(values: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Index of each value among the distinct ones, and these, ascending; several times faster than np.unique."""
    distinct = pl.Series(values).unique().sort().to_numpy()
    return np.searchsorted(distinct, values).astype(np.int32), distinct


def _whole_numbers(table: pl.DataFrame, column: str, card: Card) -> pl.Series:
    """A column of text as Int64; null where the cell is empty."""
    numbers = table[column].cast(pl.Int64, strict=False)
    wrong = table[column].filter(numbers.is_null() & table[column].is_not_null())
    if len(wrong):
        raise BenchError(f"a table of '{card.key}' has the {column} '{wrong[0]}': only whole numbers are understood")
    return numbers


def _template_texts(event_ids: NDArray[np.int64], card: Card, catalogue: Catalogue) -> tuple[str, ...]:
    """Text of each event id; ids without a text of their own stay apart from each other by their number."""
    files = card.files_of("templates")
    known: dict[int, str] = {}
    if files:
        table = _csv(decompress(catalogue.path(files[0])), card)
        _require_columns(table, ("event_id", card.template_column), card)
        numbers = _whole_numbers(table, "event_id", card).to_list()
        texts = table[card.template_column].str.strip_chars().to_list()
        known = {number: text for number, text in zip(numbers, texts, strict=True) if number is not None and text}
    return tuple(known.get(event_id, f"unknown event {event_id}") for event_id in event_ids.tolist())


def _csv(content: bytes, card: Card) -> pl.DataFrame:
    """A table of text: a session called 007 keeps its zeros, and nothing is spent on guessing types."""
    try:
        return pl.read_csv(content, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise BenchError(f"a table of '{card.key}' is no CSV file ({first}): fetch it again") from None


def _require_columns(table: pl.DataFrame, columns: tuple[str, ...], card: Card) -> None:
    for column in columns:
        if column not in table.columns:
            raise BenchError(
                f"a table of '{card.key}' has no column '{column}': it has {', '.join(table.columns)}; correct the card"
            )
