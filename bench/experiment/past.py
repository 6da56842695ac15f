"""What past runs took: seconds, memory and data of each record, read when they are asked for."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bench.data.cards.card import Card
from bench.data.cards.catalogue import unit_of
from bench.experiment.scenario import Scenario
from bench.experiment.spec import PROTOCOL_VERSION, Cell
from bench.records.record import Record, archive_name, own_seconds
from bench.records.store import Store


class Place(NamedTuple):
    """The data of a run, but for its seed."""

    scenario: str
    split: str
    grouping: str
    sample: int


class Setting(NamedTuple):
    """What runs there."""

    name: str
    variant: str
    config: str
    """All but the optimiser steps."""
    steps: int | None = None
    """Optimiser steps of its training; None where they are not counted."""


class Machine(NamedTuple):
    """What a run was on, as far as records tell."""

    cpu: str
    device: str


@dataclass(frozen=True)
class Taken:
    """What one finished run took."""

    run_id: str
    setting: Setting
    place: Place
    machine: Machine
    seconds: Mapping[str, float]
    """`prepare`, `fit`, `score`."""
    is_cpu: bool
    """CPU seconds; else of the wall clock."""
    memory_mib: float | None
    lines: int
    """Of the editions that were trained on."""
    protocol: int = PROTOCOL_VERSION
    """Version of the protocol it ran under."""

    def trained_for(self, steps: int | None) -> Taken:
        """The same with so many optimiser steps: a fit takes in proportion to them."""
        if steps is None or not self.setting.steps:
            return self
        setting = self.setting._replace(steps=steps)
        return replace(self, setting=setting, seconds=for_steps(self.seconds, self.setting.steps, steps))


def for_steps(seconds: Mapping[str, float], had: int | None, steps: int | None) -> dict[str, float]:
    """The seconds of each stage, had it trained for so many optimiser steps: a fit takes in proportion to them.

    had: the steps it trained for; as they are where either is not known, or none were made
    """
    if steps is None or not had:
        return dict(seconds)
    return {**seconds, "fit": seconds.get("fit", 0.0) * steps / had}


class Past:
    """The records of stores, those of the first before those of the same run in another."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = list({store.root.resolve(): store for store in stores}.values())
        self._read: dict[str, list[Record]] = {}
        self._known: dict[str, list[Taken]] = {}

    def at(self, place: Place) -> list[Taken]:
        """The runs on these data, of whatever seed."""
        return [taken for taken in self._taken(_file_of(place)) if taken.place == place]

    def skipped(self, place: Place) -> dict[Setting, str]:
        """Why methods were skipped on these data, where no seed of them ran; an older protocol gives no reason."""
        records = [
            r
            for r in self._records(_file_of(place))
            if _place_of(r["scenario"], r["spec"]) == place and r["spec"]["protocol_version"] == PROTOCOL_VERSION
        ]
        reasons = {setting_of(r["spec"]["detector"]): str(r["reason"]) for r in records if r["status"] == "skipped"}
        ran = {setting_of(r["spec"]["detector"]) for r in records if r["status"] == "ok"}
        return {setting: reason for setting, reason in reasons.items() if setting not in ran}

    @functools.cached_property
    def all(self) -> list[Taken]:
        """All runs."""
        return [taken for name in sorted(self._files) for taken in self._taken(name)]

    def lines_of(self, scenario: Scenario) -> int:
        """Lines of the editions that are trained on, as records or cards say; 0 where that is unknown."""
        found = [self._lines.get(card.key) or _declared_lines(card) for card in scenario.train]
        return sum(found) if all(found) else 0

    @functools.cached_property
    def _lines(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in self._files:
            for record in self._records(name)[:1]:
                found |= record["counts"].get("n_lines", {})
        return found

    @functools.cached_property
    def _files(self) -> set[str]:
        """The archive files of all records, by name without ending."""
        return {path.stem for store in self._stores for path in store.archive.files()} | self._inbox.keys()

    @functools.cached_property
    def _inbox(self) -> dict[str, dict[str, Record]]:
        found: dict[str, dict[str, Record]] = defaultdict(dict)
        for store in reversed(self._stores):
            for record in store.inbox_records():
                found[archive_name(record["scenario"], record["spec"]["split"])][record["run_id"]] = record
        return found

    def _records(self, name: str) -> list[Record]:
        if name not in self._read:
            found: dict[str, Record] = {}
            for store in reversed(self._stores):
                path = store.archive.folder / f"{name}.jsonl"
                found |= {record["run_id"]: record for record in store.archive.read(path)} if path.is_file() else {}
            self._read[name] = list((found | self._inbox.get(name, {})).values())
        return self._read[name]

    def _taken(self, name: str) -> list[Taken]:
        if name not in self._known:
            records = [record for record in self._records(name) if record["status"] == "ok"]
            self._known[name] = [_taken_by(record) for record in records if own_seconds(record)]
        return self._known[name]


def _file_of(place: Place) -> str:
    return archive_name(place.scenario, place.split)


def place_of(cell: Cell) -> Place:
    """The data of a cell."""
    return _place_of(cell.scenario.key, cell.spec())


def setting_of(detector: Mapping[str, Any]) -> Setting:
    """What runs, by the detector of a spec; every version of a local file is the same."""
    variant = json.dumps(detector.get("variant"), sort_keys=True)
    # A local file is called by its stem, whichever of its classes is meant.
    name = detector["class"] if detector.get("source_sha256") else detector["name"]
    config = dict(detector["config"])
    steps = config.pop("steps", None)
    return Setting(name, variant, json.dumps(config, sort_keys=True), steps)


def _place_of(scenario: str, spec: Mapping[str, Any]) -> Place:
    grouping = json.dumps(spec.get("grouping"), sort_keys=True)
    return Place(scenario, spec["split"], grouping, spec.get("sample", 0))


def _taken_by(record: Record) -> Taken:
    spec, lines = record["spec"], record["counts"].get("n_lines", {})
    return Taken(
        record["run_id"],
        setting_of(spec["detector"]),
        _place_of(record["scenario"], spec),
        Machine(str(record["environment"].get("cpu", "")), record["device"]),
        own_seconds(record),
        "cpu_seconds" in record,
        record["memory_mib"].get("peak_rss"),
        sum(lines.get(part["edition"], 0) for part in spec["train"]),
        spec["protocol_version"],
    )


def _declared_lines(card: Card) -> int:
    if card.lines is not None and unit_of(card) == "lines":
        return card.lines[1] - card.lines[0]
    return card.counts.get("lines", 0)
