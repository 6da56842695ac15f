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
from bench.records.record import (
    FINISHED,
    Record,
    archive_name,
    content_digest,
    parse_object,
    place_fault,
    record_digest,
    require_version,
    split_curves,
)

_OF_THE_MACHINE: Final = frozenset(
    {
        "started_at",
        "environment",
        "seconds",
        "cpu_seconds",
        "beside",
        "fitted_as",
        "memory_mib",
        "threads",
        "device",
        "code",
        "verified_with",
        "digest",
    }
)
"""What differs when the same run is done twice: when, where, in what company, by which code, and what was checked
since."""

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
        """The file a record belongs in; a BenchError where what it says of itself is no name of one."""
        wrong = place_fault(record)
        if wrong:
            raise BenchError(f"the record {record['run_id']} has no place in {self.folder}, {wrong}: delete it")
        return self.folder / f"{archive_name(record['scenario'], record['spec']['split'])}.jsonl"

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
            content: Any = require_version(parse_object(line.text, line.where, WAY_OUT), line.where)
            try:
                run_id, key = content["run_id"], sort_key(content)
            except (KeyError, TypeError):
                raise BenchError(f"{line.where} is damaged (no record of a run): {WAY_OUT}") from None
            if tuple(map(type, (*key, run_id))) != (str, int, str, str):
                raise BenchError(f"{line.where} is damaged (no record of a run): {WAY_OUT}")
            text = line.text
            if run_id in found and found[run_id][1] != text:
                text = self._of_two(found[run_id][1], text, line.where)
            found[run_id] = (key, text)
        return found

    def _of_two(self, known: str, other: str, where: str) -> str:
        """The line of the newer of two of one run."""
        records = {text: to_record(text, self.facts, where) for text in (known, other)}
        chosen = newer(records[known], records[other], where)
        return next((text for text, record in records.items() if record is chosen), None) or to_line(chosen, self.facts)


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
            if not gc.get_freeze_count():
                # What was read counts as old from here on: else all of it is looked through at once.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def sort_key(record: Record) -> SortKey:
    """The order of lines in a file."""
    return record["method"], record["spec"]["seed"], record["run_id"]


def newer(known: Record, other: Record, where: str) -> Record:
    """Of two records of one run the one with more; a BenchError where they say different things.

    A finished run goes before a failed one, then what has more threshold rules, then what started later. What a check
    wrote into `verified_with` is kept: their numbers are the same.
    """
    if differs(known, other):
        raise BenchError(
            f"{where} and another record of run {known['run_id']} differ in {differs(known, other)}: "
            "delete the one that is wrong"
        )
    chosen = max(known, other, key=_worth)
    rest = known if chosen is other else other
    if "verified_with" in chosen or "verified_with" not in rest or not _are_whole(known, other):
        return chosen
    if chosen["status"] not in FINISHED or rest["status"] not in FINISHED:
        return chosen
    checked: Any = chosen | {"verified_with": rest["verified_with"]}
    checked["digest"] = record_digest(checked)
    record: Record = checked
    return record


def _worth(record: Record) -> tuple[bool, int, str]:
    return record["status"] in FINISHED, len(record.get("thresholds", ())), record["started_at"]


def _are_whole(*records: Record) -> bool:
    """Whether they are as they were left: what was changed by hand gets no digest that fits."""
    return all(record_digest(record) == record["digest"] for record in records)


def differs(one: Record, other: Record) -> str:
    """Names of the fields in which two records of one run say different things.

    What tells of the machine and the code does not count, nor a threshold rule that only one of them holds, nor what a
    run says that failed: the other may not have.
    """
    if one["status"] not in FINISHED or other["status"] not in FINISHED:
        return "" if one["spec"] == other["spec"] else "spec"
    common = frozenset(one.get("thresholds", ())) & frozenset(other.get("thresholds", ()))
    a, b = (_with_rules(split_curves(record)[0], common) for record in (one, other))
    names = sorted((a.keys() | b.keys()) - _OF_THE_MACHINE)
    if "scores_sha256" not in a or "scores_sha256" not in b:  # of records before schema version 2 it is unknown
        names = [name for name in names if name != "scores_sha256"]
    return ", ".join(name for name in names if _content(a, name) != _content(b, name))


def _with_rules(record: dict[str, Any], rules: frozenset[str]) -> dict[str, Any]:
    """A record with these threshold rules alone."""
    blocks = {
        name: block
        | {
            "rules": _chosen(block["rules"], rules),
            "bootstrap": block["bootstrap"] | {"rules": _chosen(block["bootstrap"]["rules"], rules)},
        }
        for name, block in record.get("metrics", {}).items()
    }
    parts = {"thresholds": _chosen(record.get("thresholds", {}), rules), "metrics": blocks}
    return record | {name: part for name, part in parts.items() if name in record}


def _chosen(values: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def _content(record: dict[str, Any], name: str) -> str | None:
    return content_digest(record[name]) if name in record else None


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file that are not empty."""
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise BenchError(f"{path} is a folder, where a file of records belongs: move it away") from None
    for number, text in enumerate(_decoded(content, str(path)).split("\n"), 1):
        if text:
            yield Line(text, f"{path}, line {number}")


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BenchError(f"{where} is damaged ({error}): {WAY_OUT}") from None
