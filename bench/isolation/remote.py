"""The engine's side of the border: a detector that lives in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from bench.detector import Detector, DetectorTags, Evidence, SequencePart, report_progress
from bench.errors import BenchError, CellTimeoutError
from bench.isolation import frames
from bench.isolation.nursery import Child, GuardEndedError, Nursery, bear, end_group, ended_how
from bench.isolation.prints import Prints
from bench.isolation.shared import SHELF
from bench.isolation.words import tags_of_words, words_of_ref, words_of_service
from bench.llm.config import Service
from bench.llm.teacher import asks_a_model
from bench.registry import Description, DetectorRef, description_from_json
from bench.types import Sequences

_TICK_S: Final = 0.2
_LAST_WORDS_S: Final = 2.0
"""How long an ended process may take to be seen as such."""
_MID_MESSAGE_S: Final = 60.0
_IMPORTS: Final = ("describe", "judge", "new")
"""Orders that import the class."""
_OOM_COUNTER: Final = Path("/proc/vmstat")


class MethodError(Exception):
    """What a method raised in its process."""

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(failure["message"])
        self.kind: str = failure["type"]
        self.frames: list[str] = failure["frames"]
        self.out_of_memory: bool = failure["out_of_memory"]
        self.on_device: bool = failure["on_device"]


class ProcessEndedError(Exception):
    """The process of a method is gone; the message says how."""

    def __init__(self, message: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


class ProcessLostError(ProcessEndedError):
    """The process that starts methods is gone, perhaps by what another method did: it may be tried apart."""


class MethodProcess:
    """A process that takes orders for one detector at a time; used by one thread.

    apart: a nursery of its own
    """

    def __init__(self, apart: Nursery | None = None) -> None:
        self._n_killed = _killed_for_memory()
        self._is_apart = apart is not None
        self._child: Child = bear() if apart is None else apart.bear()
        self._child.channel.settimeout(_MID_MESSAGE_S)
        self.prints = Prints(self._child.output)
        self._lent: set[int] = set()
        self.deadline: float | None = None
        """By `time.monotonic`; an order that is not done by then ends the process."""
        self.has_strays = False
        """Whether a method left threads behind, which would run beside the next one."""
        self.is_open = True

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    def ask(self, order: str, **words: Any) -> frames.Frame:
        """What the method answers; MethodError, ProcessEndedError or CellTimeoutError where it does not."""
        if not self.is_open:
            raise ProcessEndedError("its process has ended")
        try:
            frames.send(self._child.channel, {"order": order, **words})
        except OSError:
            raise self._gone(order) from None
        while True:
            answer = self._next(order)
            if "progress" in answer.header:
                report_progress(*answer.header["progress"])
                continue
            self.has_strays = answer.header["has_strays"]
            failure = answer.header.get("error")
            if failure is None:
                return answer
            raise BenchError(failure["message"]) if failure["is_bench_error"] else MethodError(failure)

    def lend(self, what: Sequences | NDArray[Any] | None) -> int | None:
        """Let the process read sequences or an array; returns the number by which orders name them."""
        if what is None:
            return None
        shared = SHELF.place(what)
        if shared.number not in self._lent:
            gone = SHELF.gone(self._lent)
            self._lent -= gone
            words = {"order": "lend", "number": shared.number, "layout": shared.layout, "gone": sorted(gone)}
            try:
                frames.send(self._child.channel, words, files=[shared.file])
            except OSError:
                raise self._gone("lend") from None
            self._lent.add(shared.number)
        return shared.number

    def limit(self, seconds: float | None) -> None:
        """What is asked from now on must be answered within so many seconds."""
        self.deadline = None if seconds is None else time.monotonic() + seconds

    def close(self) -> None:
        """End it, and what it started."""
        if self.is_open:
            self.is_open = False
            end_group(self._child.pid)
            self.prints.read()
            self._child.channel.close()
            os.close(self._child.output)
            os.close(self._child.status)

    def _next(self, order: str) -> frames.Frame:
        """The next message; while none comes, what is printed is passed on."""
        channel = self._child.channel
        while True:
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.close()
                raise CellTimeoutError
            wait = _TICK_S if self.deadline is None else min(_TICK_S, self.deadline - time.monotonic())
            talk, output, status = channel.fileno(), self._child.output, self._child.status
            watched = [talk, status] if self.prints.is_over else [talk, status, output]
            ready = frames.readable(watched, wait)
            if output in ready:
                self.prints.read()
            # What it sent before it ended is read first.
            if talk in ready or (status in ready and frames.readable([talk], 0)):
                try:
                    return frames.receive(channel)
                except (EOFError, OSError, ValueError):
                    raise self._gone(order) from None
            if status in ready:  # a process that it forked holds the channel open
                raise self._gone(order)

    def _gone(self, order: str) -> ProcessEndedError:
        try:
            code = ended_how(self._child, _LAST_WORDS_S)
        except GuardEndedError:
            if self._is_apart or not self._child.nursery.ends_soon():
                return ProcessEndedError("it ended the process that watches it")
            return ProcessLostError("the process that starts methods was ended")
        finally:
            self.close()
        if code is None:
            return ProcessEndedError("its process closed its side of the border")
        when = " when it was imported or made" if order in _IMPORTS else ""
        if code >= 0:
            return ProcessEndedError(f"its process ended itself{when} (exit code {code})")
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL and _killed_for_memory() > self._n_killed:
            return ProcessEndedError("the machine's memory did not suffice", out_of_memory=True)
        hints = {
            signal.SIGSEGV: "" if when else "; a write into what it is lent does this, for that is read-only",
            signal.SIGKILL: " from outside, perhaps by the system for want of memory",
        }
        return ProcessEndedError(f"its process was ended{when} by {name}{hints.get(signal.Signals(-code), '')}")


class RemoteTeacher:
    """The teacher of a detector over there: here nobody asks it."""

    def __init__(self, blocked: str | None) -> None:
        self._blocked = blocked

    def blocked(self) -> str | None:
        """The reason why nobody can be asked, or None."""
        return self._blocked

    def ask(self, prompts: Sequence[str]) -> list[str]:
        """Never called: the detector's process has a teacher of its own."""
        raise NotImplementedError


class RemoteDetector(Detector):
    """A detector in a process of its own: to the engine it is as any other."""

    def __init__(self, process: MethodProcess, ref: DetectorRef, config: Mapping[str, Any], **order: Any) -> None:
        """`order`: seed, device, threads, the `Service`, and `known`, the description that its row was made of."""
        service: Service = order.pop("service")
        known: Description | None = order.pop("known", None)
        self.process = process
        self.seed, self.device = order["seed"], order["device"]
        words: dict[str, Any] = {"ref": words_of_ref(ref), "config": dict(config), "service": words_of_service(service)}
        words["known"] = None if known is None else dataclasses.asdict(known)
        answer = process.ask("new", **words, **order).header
        self.config = SimpleNamespace(**config)
        tags = tags_of_words(answer["tags"])
        # An instance has its own tags here, those of its class over there; whom it asks its config says.
        self.tags: DetectorTags = dataclasses.replace(tags, teacher=asks_a_model(tags.teacher, config))  # type: ignore[misc]
        self.teacher = RemoteTeacher(answer["blocked"]) if answer["has_teacher"] else None
        self.native_threshold_ = answer["native"]
        self._uses: frozenset[SequencePart] = frozenset(answer["uses"])
        self._abstained: NDArray[np.bool_] | None = None
        self.cpu_seconds = {"fit": 0.0, "score": 0.0}
        self.base_mib: float = answer["base_mib"]
        """Memory of its process before it was fitted, MiB."""
        self.peak_mib = self.base_mib

    def begin(self, deadline: float | None) -> None:
        """Another cell uses it: what its scores take is counted anew."""
        self.process.deadline = deadline
        self.cpu_seconds["score"] = 0.0

    def uses(self) -> frozenset[SequencePart]:
        """As the detector says."""
        return self._uses

    def skip(self, train: Sequences) -> str | None:
        """As the detector says."""
        reason: str | None = self.process.ask("skip", train=self.process.lend(train)).header["reason"]
        return reason

    def fit(self, train: Sequences, labels: NDArray[np.int8] | None = None, *, evidence: Evidence = Evidence()) -> Self:
        """Fit it over there; its teacher is made there too."""
        lend = self.process.lend
        answer = self.process.ask(
            "fit",
            train=lend(train),
            labels=lend(labels),
            event_labels=lend(evidence.event_labels),
            roles=list(evidence.roles),
            incidents=[list(incident) for incident in evidence.incidents],
            files={name: str(path) for name, path in evidence.files.items()},
        ).header
        self.native_threshold_ = answer["native"]
        self._count("fit", answer)
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """float64 (n_sequences,): its scores."""
        return self._scores(sequences, lines=False)

    def score_lines(self, sequences: Sequences) -> NDArray[np.float64]:
        """float64 (n_events,): its scores of lines."""
        return self._scores(sequences, lines=True)

    def abstained(self, sequences: Sequences) -> NDArray[np.bool_] | None:
        """Which of the sequences scored just before it declined to judge."""
        return self._abstained

    def monitor(self) -> dict[str, Any]:
        """What it watched, and what its teacher was asked."""
        found: dict[str, Any] = self.process.ask("monitor").header["monitor"]
        return found

    def nearest_keys(self, sequences: Sequences, training_texts: Sequence[str], min_cosine: float) -> Sequences:
        """As `embedding.nearest_keys`, where the sentence model need not be loaded twice."""
        number = self.process.lend(sequences)
        answer = self.process.ask("nearest", sequences=number, n_texts=len(training_texts), min_cosine=min_cosine)
        return sequences.with_log_keys(np.frombuffer(answer.blob, np.int32))

    def _scores(self, sequences: Sequences, *, lines: bool) -> NDArray[np.float64]:
        answer = self.process.ask("score", sequences=self.process.lend(sequences), lines=lines)
        self._count("score", answer.header)
        n = answer.header["n"]
        self._abstained = None
        if answer.header["abstained"]:
            self._abstained = np.frombuffer(answer.blob, np.bool_, offset=8 * n)
        return np.frombuffer(answer.blob, np.float64, n)

    def _count(self, step: str, answer: Mapping[str, Any]) -> None:
        self.cpu_seconds[step] += answer["cpu_seconds"]
        self.peak_mib = max(self.peak_mib, answer["peak_mib"])


def description_from(process: MethodProcess, ref: DetectorRef) -> Description:
    """Tags and config fields, by importing the class in that process."""
    found = process.ask("describe", ref=words_of_ref(ref)).header["description"]
    return description_from_json(json.loads(json.dumps(found)))


def fault_of_config(process: MethodProcess, ref: DetectorRef, config: Mapping[str, Any]) -> str | None:
    """Why the class's Config does not accept these values, or None."""
    found: str | None = process.ask("judge", ref=words_of_ref(ref), config=dict(config)).header["fault"]
    return found


def _killed_for_memory() -> int:
    """How many processes the kernel ended for want of memory since it started; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in _OOM_COUNTER.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
