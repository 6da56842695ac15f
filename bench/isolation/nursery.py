"""Where processes of methods come from: one small process that forks them in milliseconds and sees how they end.

It imported what every method needs (numpy, the contract) and never a method, so each child is fresh. When the engine
is gone, however it went, the nursery ends all children and what these started.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from bench.errors import BenchError
from bench.isolation import frames

_STATUS: Final = struct.Struct("!i")
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
"""Read once, when numpy and the like are imported."""
_START: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from bench.isolation.nursery import serve
serve(int(sys.argv[1]))
"""


class Child(NamedTuple):
    """A process that was born."""

    pid: int
    """Of the process, and of the group of all that it starts."""
    channel: socket.socket
    output: int
    """What it and its children print, to be read."""
    status: int
    """From which its wait status can be read once it has ended."""


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
        self._lock = threading.Lock()
        self.threads = _thread_settings()
        self.owner = os.getpid()

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked for children."""
        return self._process.poll() is None

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
            pid = _STATUS.unpack(os.read(status, _STATUS.size))[0]
        except (OSError, struct.error):
            channel.close()
            os.close(output)
            os.close(status)
            raise BenchError(
                "no process can be started for a method: free memory, or raise the limit of processes (ulimit -u)"
            ) from None
        finally:
            theirs.close()
            os.close(output_theirs)
            os.close(status_theirs)
        return Child(pid, channel, output, status)

    def close(self) -> None:
        """End it, and with it all that was born here."""
        self._control.close()
        if os.getpid() == self.owner:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)


def ended_how(child: Child, patience_s: float) -> int | None:
    """The exit code of a process, negative for a signal; None where it has not ended within that time."""
    if not frames.readable([child.status], patience_s):
        return None
    found = os.read(child.status, _STATUS.size)
    # Nothing where the nursery itself was killed: its children are then killed by the kernel.
    return os.waitstatus_to_exitcode(_STATUS.unpack(found)[0]) if len(found) == _STATUS.size else -signal.SIGKILL


_lock: Final = threading.Lock()
_nurseries: Final[list[Nursery]] = []
"""None or one."""


def bear() -> Child:
    """A new process from the nursery of this process, which is started when it is first needed."""
    with _lock:
        if _nurseries and not _fits(_nurseries[0]):
            _nurseries.pop().close()
        if not _nurseries:
            _nurseries.append(Nursery())
        return _nurseries[0].bear()


def _fits(nursery: Nursery) -> bool:
    return nursery.is_alive and nursery.owner == os.getpid() and nursery.threads == _thread_settings()


def _thread_settings() -> list[str | None]:
    return [os.environ.get(name) for name in _THREADS]


@atexit.register
def _close() -> None:
    if _nurseries and _nurseries[0].owner == os.getpid():
        _nurseries.pop().close()


# The other side


def serve(control: int) -> None:
    """Bear children until the engine hangs up; then end them all."""
    from bench.isolation import host

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *ignored: None)
    channel = socket.socket(fileno=control)
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _reap(children)
        if control in ready:
            try:
                request = frames.receive(channel)
            except (EOFError, OSError, ValueError):
                break
            pid = _fork()
            if pid == 0:
                try:
                    _settle(request, [control, woken, wake, *children.values()])
                    host.main(request.files[0])
                finally:
                    os._exit(1)  # a child never goes on as a second nursery
            _note(pid, request, children)
    for pid in children:
        end_group(pid)
    for pid in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # so that what they took counts as taken by the command


def end_group(pid: int) -> None:
    """Kill a process and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _fork() -> int:
    try:
        return os.fork()
    except OSError:
        return -1


def _settle(request: frames.Frame, not_ours: list[int]) -> None:
    """Take over folder, environment and import path of the engine as they are now; print where it listens."""
    _, output, status = request.files
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for file in (*not_ours, status):
        os.close(file)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout, sys.stderr = _line_by_line(1), _line_by_line(2)
    os.environ.clear()
    os.environ.update(request.header["environ"])
    sys.path[:] = request.header["path"]
    os.chdir(request.header["folder"])


def _line_by_line(file: int) -> TextIO:
    return open(file, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _note(pid: int, request: frames.Frame, children: dict[int, int]) -> None:
    """Tell the engine the new process's number, and keep where its end is to be told."""
    channel, output, status = request.files
    os.close(channel)
    os.close(output)
    if pid < 0:
        os.close(status)
        return
    with contextlib.suppress(OSError):
        os.write(status, _STATUS.pack(pid))
    children[pid] = status


def _reap(children: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        file = children.pop(pid, None)
        if file is not None:
            with contextlib.suppress(OSError):
                os.write(file, _STATUS.pack(status))
            os.close(file)
