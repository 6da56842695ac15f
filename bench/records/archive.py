"""Records as JSON lines: `records/<scenario>--<split>.jsonl`, a sorted line a run; what they share in `facts.jsonl`."""

from __future__ import annotations

import contextlib
import gc
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._files import replace_text
from bench.errors import BenchError
from bench.records import facts
from bench.records.facts import Facts
from bench.records.lines import WAY_OUT, from_content, to_line, to_record
from bench.records.record import Record, content_digest, parse_object, split_curves

_OF_THE_MACHINE: Final = frozenset({"started_at", "environment", "seconds", "memory_mib", "digest"})
"""What differs when the same run is done twice."""

SortKey = tuple[str, int, str]


class Line(NamedTuple):
    """One line of an archive file."""

    text: str
    where: str
    """How an error calls it."""


class Archive:
    """The folder of committed records. What is read stays as it was when this object first needed it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._facts: Facts | None = None

    @property
    def facts(self) -> Facts:
        """What its records share."""
        if self._facts is None:
            self._facts = Facts(self.folder)
        return self._facts

    def forget(self) -> None:
        """Read `facts.jsonl` anew when it is needed next."""
        self._facts = None

    def files(self) -> list[Path]:
        """The files of records, by name."""
        return [path for path in sorted(self.folder.glob("*.jsonl")) if path.name != facts.NAME]

    def read(self, path: Path) -> list[Record]:
        """The records of a file, one for each run."""
        found: dict[str, Record] = {}
        lines = list(lines_of(path))
        with without_collection():
            for line, content in zip(lines, _parsed(lines), strict=True):
                record = from_content(content, self.facts, line.where)
                known = found.get(record["run_id"])
                found[record["run_id"]] = newer(known, record, line.where) if known else record
        return list(found.values())

    def read_at(self, path: Path, offset: int) -> Record | None:
        """The record of the line that begins there; None where that file is gone or ends before."""
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                text = stream.readline()
        except FileNotFoundError:
            return None
        if not text:
            return None
        try:
            return self._parsed(text, str(path))
        except BenchError:
            # Lines are counted only where one has to be named.
            number = path.read_bytes()[:offset].count(b"\n") + 1
            return self._parsed(text, f"{path}, line {number}")

    def add(self, records: Iterable[Record]) -> None:
        """Put records in their lines, over older ones of the same run; nothing is written before all can be."""
        self.forget()
        groups: dict[Path, list[Record]] = defaultdict(list)
        for record in records:
            groups[self.path_of(record)].append(record)
        texts = {path: self._with(path, group) for path, group in groups.items()}
        self.facts.save()
        for path, text in texts.items():
            replace_text(path, text)

    def tidy(self) -> list[Path]:
        """Sort the lines of each file and leave one for each run, as after a merge by git; returns what changed."""
        self.forget()
        changed = []
        for path in self.files():
            old = path.read_bytes()
            text = self._with(path, ())
            if text.encode() != old:
                replace_text(path, text)
                changed.append(path)
        return changed

    def path_of(self, record: Record) -> Path:
        """The file a record belongs in."""
        return self.folder / f"{record['scenario']}--{record['spec']['split']}.jsonl"

    def _parsed(self, text: bytes, where: str) -> Record:
        return to_record(_decoded(text, where), self.facts, where)

    def _with(self, path: Path, records: Iterable[Record]) -> str:
        lines = self._sortable(path)
        for record in records:
            lines[record["run_id"]] = (sort_key(record), to_line(record, self.facts))
        return "".join(text + "\n" for _, text in sorted(lines.values()))

    def _sortable(self, path: Path) -> dict[str, tuple[SortKey, str]]:
        """Key and text of each line; of two lines of one run that of the newer."""
        found: dict[str, tuple[SortKey, str]] = {}
        for line in lines_of(path) if path.is_file() else ():
            content: Any = parse_object(line.text, line.where, WAY_OUT)
            try:
                run_id, key = content["run_id"], sort_key(content)
            except (KeyError, TypeError):
                raise BenchError(f"{line.where} is damaged (no record of a run): {WAY_OUT}") from None
            text = line.text
            if run_id in found and found[run_id][1] != text:
                known = to_record(found[run_id][1], self.facts, line.where)
                other = to_record(text, self.facts, line.where)
                text = found[run_id][1] if newer(known, other, line.where) is known else text
            found[run_id] = (key, text)
        return found


def _parsed(lines: list[Line]) -> list[dict[str, Any]]:
    """The objects of lines: parsed at once, so that they share their keys; one by one where a line is damaged."""
    try:
        contents = json.loads(f"[{','.join(line.text for line in lines)}]")
    except (ValueError, RecursionError):
        contents = []
    if len(contents) == len(lines) and all(isinstance(content, dict) for content in contents):
        return list(contents)
    return [parse_object(line.text, line.where, WAY_OUT) for line in lines]


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Stop the search for garbage: JSON has no cycles, and a third of the time went into looking for them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def sort_key(record: Record) -> SortKey:
    """The order of lines in a file."""
    return record["method"], record["spec"]["seed"], record["run_id"]


def newer(known: Record, other: Record, where: str) -> Record:
    """Of two records of one run the one started later; a BenchError where they say different things."""
    if differs(known, other):
        raise BenchError(
            f"{where} and another record of run {known['run_id']} differ in {differs(known, other)}: "
            "delete the one that is wrong"
        )
    return max(known, other, key=lambda record: record["started_at"])


def differs(one: Record, other: Record) -> str:
    """Names of the fields in which two records of one run differ; those that tell of the machine do not count."""
    a, b = split_curves(one)[0], split_curves(other)[0]
    names = sorted((a.keys() | b.keys()) - _OF_THE_MACHINE)
    return ", ".join(name for name in names if _content(a, name) != _content(b, name))


def _content(record: dict[str, Any], name: str) -> str | None:
    return content_digest(record[name]) if name in record else None


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file that are not empty."""
    for number, text in enumerate(_decoded(path.read_bytes(), str(path)).split("\n"), 1):
        if text:
            yield Line(text, f"{path}, line {number}")


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BenchError(f"{where} is damaged ({error}): {WAY_OUT}") from None
