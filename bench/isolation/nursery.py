"""Where processes of methods come from: one small process that forks them in milliseconds and sees how they end.

It imported what every method needs (numpy, the contract) and never a method, so each child is fresh. Each child has a
guard, a process that does nothing but wait: it says how the child ended and then ends all that the child started. When
the engine is gone, however it went, the nursery ends the guards, and a guard whose nursery is gone ends itself.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final, NamedTuple

from bench.errors import BenchError
from bench.isolation import frames

_BIRTH_S: Final = 30.0
"""How long a process may take to be born before its nursery counts as stopped."""
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
"""Read once, when numpy and the like are imported."""
_START: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from bench.isolation.guards import serve
serve(int(sys.argv[1]))
"""


class Child(NamedTuple):
    """A process that was born."""

    nursery: Nursery
    pid: int
    """Of the process, and of the group of all that it starts."""
    channel: socket.socket
    output: int
    """What it and its children print, to be read."""
    status: int
    """From which its wait status can be read once it has ended."""


class GuardEndedError(Exception):
    """The guard of a process is gone, and with it the process."""


class Nursery:
    """The engine's side."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
            )
        self._control = ours
        self._is_stopped = False
        self._lock = threading.Lock()
        self.threads = _thread_settings()
        self.owner = os.getpid()

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked for children."""
        return not self._is_stopped and self._process.poll() is None

    def ends_soon(self) -> bool:
        """Whether it has just been ended, seen within a second."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        return not self.is_alive

    def bear(self) -> Child:
        """A new process that waits for orders."""
        channel, theirs = socket.socketpair()
        output, output_theirs = os.pipe()
        status, status_theirs = os.pipe()
        request = {"environ": dict(os.environ), "folder": str(Path.cwd()), "path": sys.path}
        given = [theirs.fileno(), output_theirs, status_theirs]
        try:
            with self._lock:
                frames.send(self._control, request, files=given)
        except OSError:
            pass  # it is gone: its end of `status` is closed with ours
        finally:
            theirs.close()
            os.close(output_theirs)
            os.close(status_theirs)
        self._is_stopped = not frames.readable([status], _BIRTH_S)
        born = b"" if self._is_stopped else os.read(status, frames.STATUS.size)
        if len(born) == frames.STATUS.size:
            return Child(self, frames.STATUS.unpack(born)[0], channel, output, status)
        self.ends_soon()
        channel.close()
        os.close(output)
        os.close(status)
        raise BenchError(
            "no process can be started for a method: free memory, or raise the limit of processes (ulimit -u)"
        )

    def close(self) -> None:
        """End it, and with it all that was born here."""
        self._control.close()
        if os.getpid() == self.owner:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:  # somebody stopped it
                self._process.kill()
                self._process.wait()


def ended_how(child: Child, patience_s: float) -> int | None:
    """The exit code of a process, negative for a signal; None where it has not ended within that time.

    GuardEndedError: where nobody saw how it ended; what a guard watches is killed with it
    """
    if not frames.readable([child.status], patience_s):
        return None
    found = os.read(child.status, frames.STATUS.size)
    if len(found) < frames.STATUS.size:
        raise GuardEndedError
    return os.waitstatus_to_exitcode(frames.STATUS.unpack(found)[0])


_lock: Final = threading.Lock()
_nurseries: Final[list[Nursery]] = []
"""None or one."""


def bear() -> Child:
    """A new process from the nursery of this process, which is started when it is first needed."""
    with _lock:
        try:
            return _current().bear()
        except BenchError:
            if _fits(_nurseries[0]):
                raise
            return _current().bear()  # the other one was just killed, or is stopped


def _current() -> Nursery:
    if _nurseries and not _fits(_nurseries[0]):
        _nurseries.pop().close()
    if not _nurseries:
        _nurseries.append(Nursery())
    return _nurseries[0]


def _fits(nursery: Nursery) -> bool:
    return nursery.is_alive and nursery.owner == os.getpid() and nursery.threads == _thread_settings()


def _thread_settings() -> list[str | None]:
    return [os.environ.get(name) for name in _THREADS]


@atexit.register
def _close() -> None:
    if _nurseries and _nurseries[0].owner == os.getpid():
        _nurseries.pop().close()


def end_group(pid: int) -> None:
    """Kill a process and all that it started, but what left its group: that is for its guard."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
