"""The shape of a run's record, what stands behind its numbers, and the digests that bind it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench._plain import jsonable
from bench.errors import BenchError
from bench.records.shape import fault_of

SCHEMA_VERSION: Final = 2
FINISHED: Final = ("ok", "skipped")
"""Statuses that resume does not run again."""

SERIES: Final = "prequential"
"""Its splits are blocks of one series: fifty and more files with a few records each, did they not share one."""
SCORES_ONLY: Final = "scores only"
"""The division of records whose method ran elsewhere: its scores were given, and nothing else is known."""

Scores = dict[str, NDArray[Any]]
Standing = Literal["simulated", "smoke", "development", "evaluation"]
WEAKEST_FIRST: Final[tuple[Standing, ...]] = ("simulated", "smoke", "development", "evaluation")

_PLAIN_LIST: Final = re.compile(r"(?<=: )\[\n(?: +[-\d.eE]+,?\n)+ +\]")
_LINE_BREAK: Final = re.compile(r"\n +")


class Certifies(TypedDict):
    """Of imported scores: which method here the code that gave them is for."""

    method: str
    """A row's name."""
    code: str
    """Which code, in the importer's words."""


class DetectorFacts(TypedDict):
    """Which detector ran, and with what."""

    told: NotRequired[dict[str, str] | None]
    """Grade by role; None where the method could not be described."""
    teacher: NotRequired[bool]
    incidents: NotRequired[bool]
    supervision: NotRequired[str]
    """Of records made before contract 0.2, in place of the three above: `grades.told_of` reads both."""
    is_control: bool
    division: NotRequired[str]
    """`scores only` where the method ran elsewhere; else it ran here."""
    certifies: NotRequired[Certifies]
    config: dict[str, Any]
    config_passed: dict[str, Any]
    profile: NotRequired[str]
    distribution: str | None
    version: str | None


class Record(TypedDict, total=False):
    """One run. Fields that this program does not know are kept as they are.

    Every record has those up to `started_at`; a part of one, as what its scores say, may have any.
    """

    schema_version: int
    run_id: str
    spec: dict[str, Any]
    """The resolved spec, whose hash is the run_id."""
    scenario: str
    simulated: list[str]
    tiers: dict[str, str]
    method: str
    systems: list[str]
    status: str
    reason: str | None
    detector: DetectorFacts
    counts: dict[str, Any]
    seconds: dict[str, float]
    """Of the wall clock: `prepare`, `fit`, `score`."""
    cpu_seconds: dict[str, float]
    """The same of the processor, as far as the run's own process used it."""
    beside: int
    """Cells that ran on this machine at the same time; 0 alone, unknown of records without it."""
    fitted_as: str
    """The run whose scores were taken over: that of another seed, of a method that draws nothing."""
    threads: int
    device: str
    environment: dict[str, Any]
    started_at: str
    memory_mib: dict[str, float]
    monitor: Any
    """What the method says of itself; its `epochs` are the training curves, which are kept apart."""
    thresholds: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    validation: dict[str, Any]
    sample: dict[str, Any]
    excluded: dict[str, Any]
    traceback: list[str]
    code: dict[str, str]
    verified_with: dict[str, Any]
    """Written by a later check beside what the run wrote, never over it."""
    scores_sha256: str
    """Of the score arrays, whatever their file's compression; unknown of records before schema version 2."""
    digest: str
    """Of the record itself, without this field and without the training curves."""


def standings(record: Mapping[str, Any]) -> dict[str, Standing]:
    """What each edition of a record (or of a probe's or comparison's) is good for."""
    simulated = record["simulated"]
    return {key: "simulated" if key in simulated else tier for key, tier in record["tiers"].items()}


def standing(record: Mapping[str, Any]) -> Standing:
    """The weakest standing among the editions: what a number made from them can be called."""
    found = set(standings(record).values())
    return next((name for name in WEAKEST_FIRST if name in found), "evaluation")


def ran_elsewhere(record: Mapping[str, Any]) -> bool:
    """Whether its method ran elsewhere and only its scores were given, so that no code of this program made them."""
    return bool(record["detector"].get("division") == SCORES_ONLY)


def own_seconds(record: Mapping[str, Any]) -> Mapping[str, float]:
    """What a run took by itself: CPU seconds where they are known, else wall seconds.

    Empty where only wall seconds are known and other runs stretched them, and where it took over the scores of another.
    """
    if "fitted_as" in record:
        return {}
    if "cpu_seconds" in record:
        cpu: Mapping[str, float] = record["cpu_seconds"]
        return cpu
    return {} if record.get("beside") else record["seconds"]


def run_id_of(spec: Mapping[str, Any]) -> str:
    """The identity of a resolved spec: first 16 hex digits of SHA-256 over its canonical JSON."""
    return content_digest(jsonable(spec))[:16]


def record_digest(record: Mapping[str, Any]) -> str:
    """32 hex digits over the plain record, its own digest and the training curves left out."""
    without = {key: value for key, value in record.items() if key != "digest"}
    return content_digest(split_curves(without)[0])[:32]


def scores_digest(scores: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of score arrays, however they are compressed."""
    sha256 = hashlib.sha256()
    for name, array in sorted(scores.items()):
        sha256.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()


def split_curves(record: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """A record without its training curves, and these, or None."""
    monitor = record.get("monitor")
    if not isinstance(monitor, dict) or monitor.get("epochs") is None:
        return dict(record), None
    rest = {key: value for key, value in monitor.items() if key != "epochs"}
    return {**record, "monitor": rest}, monitor["epochs"]


def split_in_file(split: str) -> str:
    """A split as names of files have it: `chronological:50,70` is `chronological-50-70`."""
    return split.replace(":", "-").replace(",", "-")


def archive_name(scenario: str, split: str) -> str:
    """The file, without its ending, that records of a scenario and split lie in; the blocks of a series share one."""
    name, _, numbers = split.partition(":")
    family = f"{name}:{numbers.partition(',')[0]}" if name == SERIES else split
    return f"{scenario}--{split_in_file(family)}"


def holds_series(file_name: str) -> bool:
    """Whether an archive file of this name has the records of several splits."""
    return file_name.rpartition("--")[2].partition("-")[0] == SERIES


def split_of_file(text: str) -> str:
    """The split that `split_in_file` wrote."""
    name, *numbers = text.split("-")
    return f"{name}:{','.join(numbers)}" if numbers else name


def place_fault(record: Mapping[str, Any]) -> str:
    """Why a record has no file in an archive, as the end of a sentence: its scenario and split are to name it."""
    spec = record["spec"]
    train, test = ("+".join(part["edition"] for part in spec[role]) for role in ("train", "test"))
    key = train if spec["train"] == spec["test"] else f"{train}2{test}"
    if record["scenario"] != key:
        return f"its scenario '{record['scenario']}' is not the '{key}' of its spec"
    name = f"{key}--{spec['split']}"
    is_kept = split_of_file(split_in_file(spec["split"])) == spec["split"]
    if not is_kept or not name.isprintable() or "/" in name or "\\" in name:
        return f"its scenario and split '{name}' are no name of a file"
    return ""


def content_digest(content: Any) -> str:
    """SHA-256 of plain JSON content, whatever the order of its keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def parse_record(text: str, where: str, way_out: str) -> Record:
    """A record from its JSON; what is wrong with it is a BenchError.

    where: how the error calls it;  way_out: what to do about a damaged one
    """
    return require_version(parse_object(text, where, way_out), where)


def is_newer(content: Mapping[str, Any]) -> bool:
    """Whether a later program wrote it, which may keep in it what this one does not know."""
    version = content.get("schema_version")
    return isinstance(version, int) and version > SCHEMA_VERSION


def require_version(content: dict[str, Any], where: str) -> Record:
    """The content of a record if this program reads its schema; else a BenchError."""
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        hint = "update bench" if is_newer(content) else "use the version that wrote it, or another --out"
        raise BenchError(f"{where} has schema version {version}, this program reads {SCHEMA_VERSION}: {hint}")
    return content  # type: ignore[return-value]  # its fields are the writer's promise


def require_shape(record: Record, where: str, way_out: str) -> Record:
    """The record if it holds what every record holds; else a BenchError that names the field."""
    wrong = fault_of(record)
    if wrong:
        raise BenchError(f"{where} is damaged ('{wrong}' is missing or of another type): {way_out}")
    return record


def parse_object(text: str, where: str, way_out: str) -> dict[str, Any]:
    """A JSON object, or a BenchError."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BenchError(f"{where} is damaged ({error}): {way_out}") from None
    except RecursionError:
        raise BenchError(f"{where} is damaged (nested too deeply): {way_out}") from None
    if not isinstance(content, dict):
        raise BenchError(f"{where} is damaged (no JSON object): {way_out}")
    return content


def record_text(record: Any) -> str:
    """A record as its file holds it: keys in order, one line for each, a list of plain values on one line."""
    text = json.dumps(jsonable(record), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return _PLAIN_LIST.sub(lambda found: _one_line(found[0]), text) + "\n"


def _one_line(text: str) -> str:
    return _LINE_BREAK.sub(" ", text).replace("[ ", "[").replace(" ]", "]")
