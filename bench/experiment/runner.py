"""Runs cells and keeps their records: resume, one preparation for many methods, a failure is a record with a reason."""

from __future__ import annotations

import datetime
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import registry
from bench._memory import peak_memory_mib, reset_peak_memory
from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.loader import Loader, Prepared
from bench.detector import Detector
from bench.errors import BenchError
from bench.evaluation.thresholds import ThresholdRule, parse_rule
from bench.experiment.environment import describe_environment
from bench.experiment.grades import asks_a_model
from bench.experiment.measure import can_measure, default_rules, measure
from bench.experiment.scoring import excluded_facts, sample_facts, score_parts
from bench.experiment.spec import Cell, Method
from bench.experiment.told import Handout, counts, hand_out
from bench.records.store import FINISHED, SCHEMA_VERSION, Record, Scores, Store, jsonable


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
class Outcome:
    """What a run did."""

    records: list[Record] = field(default_factory=list)
    n_resumed: int = 0

    @property
    def n_failed(self) -> int:
        """Records that are neither ok nor skipped."""
        return sum(record["status"] not in FINISHED for record in self.records)


class CellTimeoutError(BaseException):
    """A cell took longer than it was given; no Exception, so that a detector's own `except Exception` lets it pass."""


_FOLDERS: Final = re.compile(r"(?<![\w./:~-])(?:/[^/\s'\":,]+)*/(?=[^/\s'\":,])")

Watch = Callable[[int, int, Cell, Record | None], None]
"""Called with (done, total, cell, record or None before it starts); done and total count the runs still to do."""

MAX_REASON: Final = 500
"""Characters of a failure's reason that a record keeps."""


def run(
    cells: Sequence[Cell],
    store: Store,
    catalogue: Catalogue,
    settings: Settings,
    watch: Watch,
    *,
    on_resume: Callable[[int, int], None] = lambda n_resumed, total: None,
) -> Outcome:
    """Run what has no finished record, in order, and return the records of all cells.

    What a user can get wrong is a BenchError before the first cell runs; only a split that leaves no sequences is found
    when its data are first prepared. After that, as after Ctrl-C or a kill, all finished cells are kept. `on_resume` is
    told how many records are taken over, of how many, before anything runs.
    """
    store.require_writable()
    store.remove_leftovers()
    cells = list({cell.run_id: cell for cell in cells}.values())
    ids = [cell.run_id for cell in cells]
    kept = {run_id: record for run_id in dict.fromkeys(ids) if (record := _resumable(run_id, store, settings))}
    missing = [cell for cell, run_id in zip(cells, ids, strict=True) if run_id not in kept]
    _check_configs(missing)
    _verify_files(missing, catalogue)
    on_resume(len(kept), len(cells))
    fitter = _Fitter(settings)
    done = dict(kept)
    for position, (cell, prepared) in enumerate(_with_data(missing, Loader(catalogue))):
        watch(position, len(missing), cell, None)
        # Another command may have finished it meanwhile: two that share a store share the work.
        record = _resumable(cell.run_id, store, settings) or _run_cell(cell, prepared, store, fitter)
        done[record["run_id"]] = record
        watch(position + 1, len(missing), cell, record)
    return Outcome([done[run_id] for run_id in ids], n_resumed=len(kept))


def _resumable(run_id: str, store: Store, settings: Settings) -> Record | None:
    """The finished record with all rules asked for, adding rules from its stored scores; None if it must run."""
    record = store.read(run_id)
    if record is None or record["status"] not in FINISHED:
        return None
    if record["status"] == "skipped" and asks_a_model(record):
        return None  # what it lacked is not in the data (an endpoint, a store of answers), and may be there now
    missing = [rule for rule in settings.extra_rules if _lacks(record, rule)]
    if record["status"] == "skipped" or not missing:
        return record
    scores = store.read_scores(run_id)
    if scores is None or not all(can_measure(rule, scores) for rule in missing):
        return None
    rules = [*_rules_of(record), *missing]
    record |= measure(scores, record["systems"], rules, split=record["spec"]["split"])
    return store.write(record)


def _lacks(record: Record, rule: ThresholdRule) -> bool:
    """Whether a record should hold a rule and does not; only combined systems can have thresholds of their own."""
    combined = len(record["spec"]["test"]) > 1 and record["spec"]["test"] == record["spec"]["train"]
    return str(rule) not in record.get("thresholds", {}) and (combined or not rule.is_per_system)


def _rules_of(record: Record) -> list[ThresholdRule]:
    return [parse_rule(text) for text in record["thresholds"]]


def _check_configs(cells: Sequence[Cell]) -> None:
    """Let every Config judge the values of --set before anything runs; what else is wrong fails in its own cell."""
    for method in {cell.method.label: cell.method for cell in cells}.values():
        if method.description.error or not method.passed:
            continue
        try:
            config = registry.load(method.ref).Config
        except Exception:
            continue
        try:
            config(**method.config)
        except Exception as error:
            raise BenchError(f"'{method.label}' does not accept its --set: {_one_line(error)}") from None


def _verify_files(cells: Sequence[Cell], catalogue: Catalogue) -> None:
    """Compare the checksums of all files before the first cell runs, not when the last one needs them."""
    for card in {card.key: card for cell in cells for card in cell.scenario.cards}.values():
        for file in card.files if card.kind != "simulated" else ():
            catalogue.path(file)


def _with_data(cells: Sequence[Cell], loader: Loader) -> Iterator[tuple[Cell, tuple[Prepared, float]]]:
    """Each cell with its data and the seconds they took; neighbours that share data share the preparation."""
    last = None
    for cell in cells:
        if cell.data_key != last:
            start = time.perf_counter()
            prepared = loader.prepare(cell.data)
            last, current = cell.data_key, (prepared, time.perf_counter() - start)
        yield cell, current


def _run_cell(cell: Cell, data: tuple[Prepared, float], store: Store, fitter: _Fitter) -> Record:
    prepared, seconds = data
    settings = fitter.settings
    record = _new_record(cell, prepared, settings)
    record["seconds"]["prepare"] = round(seconds, 3)
    scores: Scores | None = None
    before = reset_peak_memory()
    try:
        with _time_limit(settings.timeout_s):
            runnable = _runnable(cell, prepared, fitter, record)
            if runnable is not None:
                before = reset_peak_memory()
                scores = _fit_and_score(*runnable, cell, fitter, record)
        if scores is not None:
            rules = list(dict.fromkeys([*default_rules(is_transfer=cell.scenario.is_transfer), *settings.extra_rules]))
            record |= measure(scores, prepared.systems, rules, split=cell.split)
    except CellTimeoutError:
        record |= {"status": "timeout", "reason": f"took longer than {settings.timeout_s:g} s"}
    except MemoryError:
        record |= {"status": "out_of_memory", "reason": "the machine's memory did not suffice"}
    except (Exception, SystemExit) as error:
        out_of_memory = type(error).__name__ == "OutOfMemoryError"
        record |= {"status": "out_of_memory" if out_of_memory else "error", **_failure(error)}
    peak = peak_memory_mib()
    record["memory_mib"] = {"peak_rss": peak, "added": round(peak - before, 1)}
    return store.write(record, scores if record["status"] == "ok" else None)


def _new_record(cell: Cell, prepared: Prepared, settings: Settings) -> Record:
    method = cell.method
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": cell.run_id,
        "spec": cell.spec(),
        "scenario": cell.scenario.key,
        "simulated": [card.key for card in cell.scenario.cards if card.kind == "simulated"],
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
        "counts": counts(cell, prepared),
        **sample_facts(cell, prepared),
        "seconds": {},
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


class _Fitter:
    """Fits detectors and keeps the last one, since a variant such as `deeplog+nearest` only scores other sequences."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._last: tuple[object, Detector, float] | None = None

    def new(self, cell: Cell) -> Detector:
        """The detector of a cell, fitted already where the cell before fitted the same one on the same data."""
        if self._last is not None and self._last[0] == cell.fit_key:
            return self._last[1]
        detector_class = registry.load(cell.method.ref)
        _limit_torch(self.settings.threads)
        config = detector_class.Config(**{**cell.method.config, **_options(cell.method, self.settings)})
        return detector_class(config, seed=cell.seed, device=self.settings.device)

    def fit(self, detector: Detector, cell: Cell, given: Handout) -> float:
        """Fit it unless that was done; returns the seconds it took."""
        if self._last is None or self._last[1] is not detector:
            self._last = None
            start = time.perf_counter()
            detector.fit(given.train, given.labels, evidence=given.evidence)
            self._last = (cell.fit_key, detector, time.perf_counter() - start)
        return self._last[2]


class CannotFitError(BenchError):
    """A detector that is skipped on such data; `reason` says why."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"'{label}' cannot be fitted: {reason}")
        self.reason = reason


def fit_again(cell: Cell, prepared: Prepared, settings: Settings) -> tuple[Detector, Prepared]:
    """The detector of a cell as its run fitted it, and the data as it may see them; CannotFitError where it is skipped.

    For what no record holds, such as the vectors of a figure.
    """
    fitter = _Fitter(settings)
    detector = fitter.new(cell)
    given = hand_out(cell, prepared, detector)
    if given.reason is not None:
        raise CannotFitError(cell.method.label, given.reason)
    fitter.fit(detector, cell, given)
    return detector, given.data


def ask_all(cell: Cell, prepared: Prepared, settings: Settings) -> dict[str, Any] | None:
    """What the detector of a cell says of itself after all scores of its run; None where it is skipped. No record."""
    try:
        detector, visible = fit_again(cell, prepared, settings)
    except CannotFitError:
        return None
    score_parts(detector, visible, cell)
    return detector.monitor()


def _runnable(cell: Cell, prepared: Prepared, fitter: _Fitter, record: Record) -> tuple[Detector, Handout] | None:
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


def _fit_and_score(detector: Detector, given: Handout, cell: Cell, fitter: _Fitter, record: Record) -> Scores:
    record["seconds"]["fit"] = round(fitter.fit(detector, cell, given), 3)
    start = time.perf_counter()
    scores = score_parts(detector, given.data, cell)
    record["seconds"]["score"] = round(time.perf_counter() - start, 3)
    record["monitor"] = _rounded(jsonable(detector.monitor()))
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


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise CellTimeoutError after so many seconds; without SIGALRM (Windows, other threads) there is no limit."""
    if seconds is None or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(signum: int, frame: Any) -> None:
        raise CellTimeoutError

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _failure(error: BaseException) -> dict[str, Any]:
    """Reason and frames of an exception, without the machine's paths."""
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {"reason": f"{type(error).__name__}: {_one_line(error)}", "traceback": frames[-12:]}


def _one_line(error: BaseException) -> str:
    """The message in one line, of each absolute path only the last part: folders are the machine's business."""
    text = _FOLDERS.sub("", " ".join(str(error).split()))
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."
