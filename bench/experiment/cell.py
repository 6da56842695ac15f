"""One cell: a method is fitted and scored on prepared data, and what comes of it is a record, also when it fails."""

from __future__ import annotations

import datetime
import re
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bench import registry
from bench._plain import jsonable
from bench.contract import require_monitor
from bench.data.sequences.loader import Prepared
from bench.detector import Detector, Teacher
from bench.errors import BenchError, CellTimeoutError, harmless
from bench.evaluation.thresholds import ThresholdRule
from bench.experiment.code import InstalledCode
from bench.experiment.environment import describe_environment
from bench.experiment.measure import default_rules, measure
from bench.experiment.scoring import excluded_facts, sample_facts, score_parts
from bench.experiment.spec import Cell, Method
from bench.experiment.told import Handout, counts, hand_out
from bench.isolation.lodging import Lodging
from bench.isolation.remote import MethodError, ProcessEndedError, ProcessLostError, RemoteDetector
from bench.llm.config import Service
from bench.llm.teacher import ChatTeacher
from bench.records.record import SCHEMA_VERSION, Record, Scores

MAX_REASON: Final = 500
"""Characters of a failure's reason that a record keeps."""


_FOLDERS: Final = re.compile(r"(?<![\w./:~-])(?:/[^/\s'\":,]+)*/(?=[^/\s'\":,])")


@dataclass(frozen=True)
class Settings:
    """What does not belong to a run's identity."""

    device: str = "cpu"
    precision: str = "float32"
    """Given to every method whose Config has a field of this name that is not part of its identity."""
    compile: bool = False
    """As `precision`."""
    threads: int = 1
    timeout_s: float | None = None
    extra_rules: tuple[ThresholdRule, ...] = ()


@dataclass
class Data:
    """The prepared data of cells, and the seconds they took."""

    prepared: Prepared
    seconds: float
    cpu_seconds: float = 0.0


def run_cell(cell: Cell, data: Data, fitter: Fitter, record: Record) -> tuple[Record, Scores | None]:
    """Fit, score and measure; returns the record that `new_record` began, and the scores of one that is ok.

    ProcessLostError: where another method may have ended its process; of this record nothing is to be kept
    """
    prepared, settings = data.prepared, fitter.settings
    scores: Scores | None = None
    try:
        fitter.begin()
        runnable = _runnable(cell, prepared, fitter, record)
        if runnable is not None:
            scores = _fit_and_score(*runnable, cell, fitter, record)
            rules = list(dict.fromkeys([*default_rules(is_transfer=cell.scenario.is_transfer), *settings.extra_rules]))
            record |= measure(scores, prepared.systems, rules, split=cell.split)
    except (KeyboardInterrupt, ProcessLostError):
        raise
    except BaseException as error:  # what one method does is no end of the run
        record |= _outcome(error, cell, settings)
    record["memory_mib"] = fitter.memory
    return record, scores if record["status"] == "ok" else None


def taken_over(record: Record, fitted: Record) -> Record:
    """The record that `new_record` began, with all that another seed of a method without chance has found."""
    plain: dict[str, Any] = dict(fitted)
    found = ("status", "reason", "monitor", "metrics", "thresholds", "validation", "excluded", "memory_mib")
    nothing = {"fit": 0.0, "score": 0.0}
    record["seconds"] |= nothing
    record["cpu_seconds"] |= nothing
    taken: Any = {name: plain[name] for name in found if name in plain}
    record |= taken
    record["fitted_as"] = fitted["run_id"]
    return record


def _outcome(error: BaseException, cell: Cell, settings: Settings) -> Record:
    """Status and reason of a cell that failed."""
    if isinstance(error, CellTimeoutError):
        return {"status": "timeout", "reason": f"took longer than {settings.timeout_s:g} s"}
    if isinstance(error, MethodError) and error.on_device:
        return {"status": "out_of_memory", **_failure(error), "reason": _smaller_batch(error, cell)}
    if isinstance(error, MemoryError) or (isinstance(error, MethodError) and error.out_of_memory):
        return {"status": "out_of_memory", "reason": "the machine's memory did not suffice"}
    if isinstance(error, ProcessEndedError):
        return {"status": "out_of_memory" if error.out_of_memory else "error", "reason": str(error)}
    return {"status": "error", **_failure(error)}


def _smaller_batch(error: MethodError, cell: Cell) -> str:
    """What to do where a device is too small to train on; another batch is another run."""
    found = next((name for name in cell.method.config if name.startswith("batch")), None)
    if found is None:
        return f"{error.kind}: {one_line(error)}"
    setting, value = f"{cell.method.ref.name}.{found}", cell.method.config[found]
    way_out = f"choose less than {value} by --set {setting}=... (another batch is another run)"
    return one_line(f"the device's memory did not suffice: {way_out}: {error}")


def new_record(cell: Cell, data: Data, settings: Settings, code: InstalledCode) -> Record:
    """The record of a cell as it stands before anything ran."""
    method, prepared = cell.method, data.prepared
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": cell.run_id,
        "spec": cell.spec(),
        "scenario": cell.scenario.key,
        "simulated": [card.key for card in cell.scenario.cards if card.standing == "simulated"],
        "tiers": {card.key: card.tier for card in cell.scenario.cards},
        "method": method.label,
        "systems": list(prepared.systems),
        "status": "ok",
        "reason": None,
        "detector": {
            "told": None if method.description.error else cell.told,
            "teacher": method.description.teacher,
            "incidents": method.description.incidents,
            "is_control": method.ref.is_control,
            "config": {**method.config, **_options(method, settings)},
            "config_passed": dict(method.passed),
            "profile": method.profile,
            "distribution": method.ref.distribution,
            "version": None if method.ref.is_local else method.ref.version,
        },
        "code": code.of_cell(cell),
        "counts": counts(cell, prepared),
        **sample_facts(cell, prepared),
        "seconds": {"prepare": round(data.seconds, 3)},
        "cpu_seconds": {"prepare": round(data.cpu_seconds, 3)},
        "threads": settings.threads,
        "device": settings.device,
        "environment": describe_environment(),
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _options(method: Method, settings: Settings) -> dict[str, Any]:
    """Settings of the run that this method takes in its config; what --set says of them goes first."""
    chosen = {"precision": settings.precision, "compile": settings.compile}
    fields = method.description.fields
    return {
        name: value
        for name, value in chosen.items()
        if name in fields and not fields[name].identity and name not in method.passed
    }


class Maker(Protocol):
    """Makes the detectors of a fitter, in whatever process."""

    def make(self, cell: Cell, config: dict[str, Any], settings: Settings) -> Detector:
        """A detector that is not fitted."""


class InThisProcess:
    """For what needs the detector itself, such as its vectors: nothing keeps it from what this process holds."""

    def make(self, cell: Cell, config: dict[str, Any], settings: Settings) -> Detector:
        """As `Maker.make`."""
        detector_class = registry.load(cell.method.ref, cell.method.description)
        _limit_torch(settings.threads)
        return detector_class(detector_class.Config(**config), seed=cell.seed, device=settings.device)


class Elsewhere:
    """In a process that holds nothing but what the method is told and asked."""

    def __init__(self, lodging: Lodging, service: Service) -> None:
        self._lodging = lodging
        self._service = service
        self.deadline: float | None = None

    def make(self, cell: Cell, config: dict[str, Any], settings: Settings) -> Detector:
        """As `Maker.make`."""
        return self._lodging.detector(
            cell.method.ref,
            config,
            known=cell.method.description,
            deadline=self.deadline,
            is_suspect=bool(cell.method.description.error),
            seed=cell.seed,
            device=settings.device,
            threads=settings.threads,
            service=self._service,
        )


class Fitter:
    """Fits detectors and keeps the last one, since a variant such as `deeplog+nearest` only scores other sequences."""

    def __init__(self, settings: Settings, maker: Maker | None = None) -> None:
        self.settings = settings
        self._maker = maker or InThisProcess()
        self._last: tuple[object, Detector, float] | None = None
        self._teacher: Teacher | None = None
        self.memory: dict[str, float] = {}
        """Of the method's process in this cell, MiB: its peak, and how much that is above what it held before."""

    def begin(self) -> None:
        """A new cell: its time runs from now."""
        self.memory = {}
        limit = self.settings.timeout_s
        deadline = None if limit is None else time.monotonic() + limit
        if isinstance(self._maker, Elsewhere):
            self._maker.deadline = deadline
            if self._last is not None and isinstance(self._last[1], RemoteDetector):
                self._last[1].begin(deadline)

    def new(self, cell: Cell) -> Detector:
        """The detector of a cell, fitted already where the cell before fitted the same one on the same data."""
        if self._last is not None and self._last[0] == cell.fit_key and _is_there(self._last[1]):
            return self._last[1]
        self._last = None
        config = {**cell.method.config, **_options(cell.method, self.settings)}
        return self._maker.make(cell, config, self.settings)

    def fit(self, detector: Detector, cell: Cell, given: Handout) -> float:
        """Fit it unless that was done; returns the seconds it took."""
        if self._last is None or self._last[1] is not detector:
            self._last = None
            start = time.perf_counter()
            self._teacher = given.evidence.teacher
            detector.fit(given.train, given.labels, evidence=given.evidence)
            self._last = (cell.fit_key, detector, time.perf_counter() - start)
        return self._last[2]

    def monitored(self, detector: Detector) -> dict[str, Any]:
        """What the detector says of itself, and what the teacher that it was given was asked."""
        asked = self._teacher.facts() if isinstance(self._teacher, ChatTeacher) else {}
        return {**asked, **require_monitor(detector.monitor())}


def _is_there(detector: Detector) -> bool:
    return not isinstance(detector, RemoteDetector) or detector.process.is_open


class CannotFitError(BenchError):
    """A detector that is skipped on such data; `reason` says why."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"'{label}' cannot be fitted: {reason}")
        self.reason = reason


def fit_again(cell: Cell, prepared: Prepared, settings: Settings) -> tuple[Detector, Prepared]:
    """The detector of a cell as its run fitted it, and the data as it may see them; CannotFitError where it is skipped.

    For what no record holds, such as the vectors of a figure.
    """
    _, detector, visible = _fitted(cell, prepared, settings)
    return detector, visible


def _fitted(cell: Cell, prepared: Prepared, settings: Settings) -> tuple[Fitter, Detector, Prepared]:
    fitter = Fitter(settings)
    detector = fitter.new(cell)
    given = hand_out(cell, prepared, detector)
    if given.reason is not None:
        raise CannotFitError(cell.method.label, given.reason)
    fitter.fit(detector, cell, given)
    return fitter, detector, given.data


def ask_all(cell: Cell, prepared: Prepared, settings: Settings) -> dict[str, Any] | None:
    """What the detector of a cell says of itself after all scores of its run; None where it is skipped. No record."""
    try:
        fitter, detector, visible = _fitted(cell, prepared, settings)
    except CannotFitError:
        return None
    score_parts(detector, visible, cell)
    return fitter.monitored(detector)


def _runnable(cell: Cell, prepared: Prepared, fitter: Fitter, record: Record) -> tuple[Detector, Handout] | None:
    """The detector and what it is told, or None where it cannot run on such data; the record then says why."""
    reason = prepared.skip_reason
    if reason is None:
        detector = fitter.new(cell)
        start = time.perf_counter()
        given = hand_out(cell, prepared, detector)
        reason = given.reason
        record["seconds"]["prepare"] = round(record["seconds"]["prepare"] + time.perf_counter() - start, 3)
        if reason is None:
            return detector, given
    record |= {"status": "skipped", "reason": reason}
    return None


def _fit_and_score(detector: Detector, given: Handout, cell: Cell, fitter: Fitter, record: Record) -> Scores:
    record["seconds"]["fit"] = round(fitter.fit(detector, cell, given), 3)
    start = time.perf_counter()
    scores = score_parts(detector, given.data, cell)
    record["seconds"]["score"] = round(time.perf_counter() - start, 3)
    record["monitor"] = _rounded(jsonable(fitter.monitored(detector)))
    if isinstance(detector, RemoteDetector):
        record["cpu_seconds"] |= {step: round(spent, 3) for step, spent in detector.cpu_seconds.items()}
        fitter.memory = {"peak_rss": detector.peak_mib, "added": round(detector.peak_mib - detector.base_mib, 1)}
    record |= excluded_facts(scores)
    return scores


def _rounded(value: Any) -> Any:
    """Floats to six significant digits: what was watched is for reading, and records are reviewed as diffs."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _limit_torch(threads: int) -> None:
    """Set torch's threads where a detector brought torch in; never import it for that."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _failure(error: BaseException) -> Record:
    """Reason and frames of an exception, without the machine's paths."""
    if isinstance(error, MethodError):
        return {"reason": f"{error.kind}: {one_line(error)}", "traceback": error.frames}
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {"reason": f"{type(error).__name__}: {one_line(error)}", "traceback": frames[-12:]}


def one_line(error: BaseException | str) -> str:
    """The message in one line, of each absolute path only the last part: folders are the machine's business."""
    text = _FOLDERS.sub("", harmless(" ".join(str(error).split())))
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."
