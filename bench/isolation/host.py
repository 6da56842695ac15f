"""The process of a method: it takes orders, calls the method, and sends back scores and words.

It knows no label that the method is not told, no record and no results folder. What goes wrong in it ends here.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import registry
from bench._files import cache_dir
from bench._memory import peak_memory_mib, reset_peak_memory
from bench._plain import jsonable
from bench.contract import require_abstained, require_monitor, require_native, require_scores
from bench.data.embedding import nearest_keys
from bench.detector import Detector, Evidence, Incident, listen_to_progress
from bench.errors import BenchError
from bench.isolation import frames
from bench.isolation.shared import open_arrays, unflatten
from bench.isolation.words import service_of_words, words_of_tags
from bench.llm.config import Service, use_service
from bench.llm.teacher import ChatTeacher, teacher_of
from bench.types import Sequences

Answer = tuple[dict[str, Any], bytes | memoryview]
_PROGRESS_S: Final = 0.1
_N_FRAMES: Final = 12
_PARENT_DEATH_SIGNAL: Final = 1


def main(channel: int) -> None:
    """Serve until the engine hangs up; never returns."""
    _die_with_the_engine()
    with socket.socket(fileno=channel) as talk:
        Host(talk).serve()
    os._exit(0)


class Host:
    """Holds one detector, and the sequences that the engine lent."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pid = os.getpid()
        self._folder = Path.cwd()
        self._lent: dict[int, dict[str, NDArray[Any]]] = {}
        self._sequences: dict[int, Sequences] = {}
        self._detector: Detector | None = None
        self._teacher: ChatTeacher | None = None
        self._service = Service()
        self._n_parts = 1
        """In how many parts the detector had to score, for want of device memory."""
        self._last_progress = 0.0
        self._orders: dict[str, Callable[[Any], Answer]] = {
            "describe": self._describe,
            "judge": self._judge,
            "new": self._new,
            "skip": self._skip,
            "fit": self._fit,
            "score": self._score,
            "nearest": self._nearest,
            "monitor": self._monitor,
        }

    def serve(self) -> None:
        """Take one order after the other."""
        listen_to_progress(self._tell_progress)
        while True:
            try:
                order = frames.receive(self._channel)
            except (EOFError, OSError):
                return
            if order.header["order"] == "lend":
                self._take(order)
                continue
            self._answer(order.header)

    def _answer(self, order: Mapping[str, Any]) -> None:
        try:
            with use_service(self._service):
                header, blob = self._orders[order["order"]](order)
        except BaseException as error:  # an exit or a panic of a method is an answer too
            header, blob = {"error": _failure(error)}, b""
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the method forked and let run out: there is one host
        header["has_strays"] = _has_strays()
        frames.send(self._channel, header, blob)

    def _tell_progress(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if (now - self._last_progress < _PROGRESS_S and done != total) or os.getpid() != self._pid:
            return
        if threading.current_thread() is threading.main_thread():
            self._last_progress = now
            frames.send(self._channel, {"progress": [str(what), int(done), int(total)]})

    def _take(self, order: frames.Frame) -> None:
        number = order.header["number"]
        self._lent[number] = open_arrays(order.files[0], order.header["layout"])
        for gone in order.header["gone"]:
            self._lent.pop(gone, None)
            self._sequences.pop(gone, None)

    def _sequences_of(self, number: int) -> Sequences:
        if number not in self._sequences:
            self._sequences[number] = unflatten(self._lent[number])
        # Objects of its own for each call: what is put in place of a part of them is gone with them.
        return _fresh(self._sequences[number])

    def _array_of(self, number: int | None) -> NDArray[Any] | None:
        return None if number is None else self._lent[number][""]

    @property
    def _fitted(self) -> Detector:
        assert self._detector is not None
        return self._detector

    # Orders

    def _describe(self, order: Mapping[str, Any]) -> Answer:
        return {"description": dataclasses.asdict(registry.describe_now(_ref(order)))}, b""

    def _judge(self, order: Mapping[str, Any]) -> Answer:
        """Whether a Config accepts its values; a class that cannot be loaded fails in its own cell."""
        try:
            config = registry.load(_ref(order)).Config
        except Exception:
            return {"fault": None}, b""
        try:
            config(**order["config"])
        except Exception as error:
            return {"fault": str(error)}, b""
        return {"fault": None}, b""

    def _new(self, order: Mapping[str, Any]) -> Answer:
        os.chdir(self._folder)
        self._detector, self._teacher, self._n_parts = None, None, 1
        self._service = service_of_words(order["service"])
        known = order["known"] and registry.description_from_json(order["known"])
        detector_class = registry.load(_ref(order), known)
        if _ref(order).is_local:
            _let_children_import(detector_class.__module__)
        _limit_torch(order["threads"])
        config = detector_class.Config(**order["config"])
        with use_service(self._service):
            made = detector_class(config, seed=order["seed"], device=order["device"])
            teacher = teacher_of(made)
        self._detector = made
        words = {
            "tags": words_of_tags(made.tags),
            "uses": sorted(made.uses()),
            "native": _native(made),
            "base_mib": reset_peak_memory(),
            "has_teacher": teacher is not None,
            "blocked": None if teacher is None else teacher.blocked(),
        }
        return words, b""

    def _skip(self, order: Mapping[str, Any]) -> Answer:
        reason = self._fitted.skip(self._sequences_of(order["train"]))
        return {"reason": None if reason is None else str(reason)}, b""

    def _fit(self, order: Mapping[str, Any]) -> Answer:
        train, labels = self._sequences_of(order["train"]), self._array_of(order["labels"])
        self._teacher = teacher_of(self._fitted)
        evidence = Evidence(
            roles=tuple(order["roles"]),
            incidents=tuple(Incident(*incident) for incident in order["incidents"]),
            event_labels=self._array_of(order["event_labels"]),
            files=MappingProxyType({name: Path(path) for name, path in order["files"].items()}),
            teacher=self._teacher,
        )
        with _measured() as spent:
            self._fitted.fit(train, labels, evidence=evidence)
        return {"native": _native(self._fitted), **spent}, b""

    def _score(self, order: Mapping[str, Any]) -> Answer:
        sequences = self._sequences_of(order["sequences"])
        with _measured() as spent:
            scores, abstained = self._scores_in_parts(sequences, lines=order["lines"])
        blob = np.ascontiguousarray(scores).tobytes()
        blob += b"" if abstained is None else np.ascontiguousarray(abstained).tobytes()
        return {"n": len(scores), "abstained": abstained is not None, **spent}, blob

    def _scores_in_parts(
        self, sequences: Sequences, *, lines: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
        """Scores and abstentions; in halves where the memory of the device does not suffice for all at once."""
        try:
            return self._scores(sequences, lines=lines)
        except Exception as error:
            if not _is_device_memory(error) or len(sequences) < 2:
                raise
        half = len(sequences) // 2
        self._n_parts += 1
        sys.stderr.write(f"the device's memory did not suffice: scoring {len(sequences)} sequences in halves\n")
        _free_device_memory()
        parts = [
            self._scores_in_parts(sequences.select(np.arange(start, stop)), lines=lines)
            for start, stop in ((0, half), (half, len(sequences)))
        ]
        abstained = [part if part is not None else np.zeros(len(scores), bool) for scores, part in parts]
        has_abstained = any(part is not None for _, part in parts)
        return np.concatenate([scores for scores, _ in parts]), np.concatenate(abstained) if has_abstained else None

    def _scores(self, sequences: Sequences, *, lines: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
        if lines:
            found = self._fitted.score_lines(sequences)
            scores = require_scores(found, sequences.n_events, "score_lines")
        else:
            scores = require_scores(self._fitted.score(sequences), len(sequences), "score")
        return scores, require_abstained(self._fitted.abstained(sequences), len(sequences))

    def _nearest(self, order: Mapping[str, Any]) -> Answer:
        sequences = self._sequences_of(order["sequences"])
        training = sequences.texts[: order["n_texts"]]
        found = nearest_keys(sequences, training, order["min_cosine"])
        return {}, np.ascontiguousarray(found.log_keys).tobytes()

    def _monitor(self, order: Mapping[str, Any]) -> Answer:
        asked = {} if self._teacher is None else self._teacher.facts()
        watched = require_monitor(self._fitted.monitor())
        parts = {"scored_in_parts": self._n_parts} if self._n_parts > 1 else {}
        return {"monitor": jsonable({**asked, **watched, **parts})}, b""


def _fresh(sequences: Sequences) -> Sequences:
    own = sequences.with_own_texts()
    return own if own.parameters is None else dataclasses.replace(own, parameters=dataclasses.replace(own.parameters))


def _ref(order: Mapping[str, Any]) -> registry.DetectorRef:
    return registry.DetectorRef(**order["ref"])


def _native(detector: Detector) -> float | None:
    return require_native(detector.native_threshold_)


@contextlib.contextmanager
def _measured() -> Iterator[dict[str, float]]:
    """Wall and CPU seconds of what is done meanwhile, all threads together, and the peak of memory so far."""
    spent: dict[str, float] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent |= {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": peak_memory_mib(),
    }


def _failure(error: BaseException) -> dict[str, Any]:
    frames_of = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {
        "type": type(error).__name__,
        "message": _text_of(error),
        "frames": frames_of[-_N_FRAMES:],
        "out_of_memory": isinstance(error, MemoryError) or _is_device_memory(error),
        "on_device": _is_device_memory(error),
        "is_bench_error": isinstance(error, BenchError),
    }


def _is_device_memory(error: BaseException) -> bool:
    """Whether it is torch's error of a full device; torch itself need not be here."""
    return type(error).__name__ == "OutOfMemoryError"


def _free_device_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as other:  # a message of its own that fails is no end of the host
        return f"its message cannot be read ({type(other).__name__})"


def _let_children_import(module: str) -> None:
    """What a method of a local file starts by multiprocessing looks its functions up by the name of their module."""
    path = Path(sys.modules[module].__file__ or "").resolve()
    folder = cache_dir() / "local"
    with contextlib.suppress(OSError):  # then it works for methods of installed packages alone
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (folder / f"{module}.py").symlink_to(path)
    sys.path += [place for place in (str(folder.absolute()), str(path.parent)) if place not in sys.path]


def _has_strays() -> bool:
    """Whether a method left threads behind; the one by which tqdm watches its bars does nothing."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return any(not type(thread).__module__.startswith("tqdm.") for thread in others)


def _limit_torch(threads: int) -> None:
    """Set torch's threads where a detector brought torch in; never import it for that."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _die_with_the_engine() -> None:
    """End when the engine is gone, however it went, and be the first to go where memory is short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the engine's to answer
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
