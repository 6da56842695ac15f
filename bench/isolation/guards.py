"""The nursery's side: it forks guards, and each guard forks one method's process and ends what that leaves."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final, NoReturn, TextIO

from bench._memory import keep_freed_memory
from bench.isolation import frames, host

_LAST_S: Final = 4.0
"""How long what must end is looked for."""
_PARENT_DEATH_SIGNAL: Final = 1
_CHILD_SUBREAPER: Final = 36
_CHILDREN: Final = Path("/proc/thread-self/children")


def serve(control: int) -> None:
    """Fork guards until the engine hangs up; then end them all, and with them what they guard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt_orphans()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *ignored: None)
    channel = socket.socket(fileno=control)
    guards: set[int] = set()
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            guards -= _reaped()
            _kill(set(_own_children()) - guards)  # what was left by guards that a method killed
        if control in ready:
            try:
                request = frames.receive(channel)
            except (EOFError, OSError, ValueError):
                break
            guards |= _fork_guard(request, [control, woken, wake])
            for file in request.files:
                os.close(file)
    for guard in guards:
        with contextlib.suppress(ProcessLookupError):
            os.kill(guard, signal.SIGTERM)
            os.kill(guard, signal.SIGCONT)
    _wait_for_all(_LAST_S)
    _end_all()


def _fork_guard(request: frames.Frame, not_ours: list[int]) -> set[int]:
    """The number of the guard; nothing where there is no room for one, which the engine sees as the end of a file."""
    try:
        pid = os.fork()
    except OSError:
        return set()
    if pid:
        return {pid}
    try:
        for file in not_ours:
            os.close(file)
        _guard(request)
    finally:
        os._exit(1)  # never goes on as a second nursery


def _guard(request: frames.Frame) -> NoReturn:
    """Fork a method's process, tell how it ends, and end what it leaves."""
    channel, output, status = request.files
    nursery = os.getppid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *ignored: _leave())
    _adopt_orphans()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != nursery:
        os._exit(1)
    pid = os.fork()
    if pid == 0:
        try:
            _settle(request)
            host.main(channel)
        finally:
            os._exit(1)
    os.close(channel)
    os.close(output)
    os.write(status, frames.STATUS.pack(pid))
    ended = code = 0
    while ended != pid:
        ended, code = os.wait()
    with contextlib.suppress(OSError):
        os.write(status, frames.STATUS.pack(code))
    os.close(status)
    _leave()


def _leave() -> NoReturn:
    """End all that is left, and itself."""
    try:
        _end_all()
    finally:
        os._exit(0)


def _settle(request: frames.Frame) -> None:
    """Take over folder, environment and import path of the engine as they are now; print where it listens."""
    _, output, status = request.files
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(status)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout, sys.stderr = _line_by_line(1), _line_by_line(2)
    os.environ.clear()
    os.environ.update(request.header["environ"])
    sys.path[:] = request.header["path"]
    os.chdir(request.header["folder"])
    keep_freed_memory()


def _line_by_line(file: int) -> TextIO:
    return open(file, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _adopt_orphans() -> None:
    """Let what a child started become one's own when its parent ends, also out of its session (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reaped() -> set[int]:
    """The children that have ended since."""
    ended: set[int] = set()
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            ended.add(pid)
    return ended


def _wait_for_all(patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while _own_children() and time.monotonic() < deadline:
        _reaped()
        time.sleep(0.002)


def _end_all() -> None:
    """Kill all children, and what becomes a child when its parent is killed."""
    deadline = time.monotonic() + _LAST_S
    while (left := _own_children()) and time.monotonic() < deadline:
        _kill(left)
        _reaped()
        time.sleep(0.002)


def _kill(pids: Collection[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _own_children() -> list[int]:
    try:
        return [int(pid) for pid in _CHILDREN.read_text().split()]
    except OSError:
        import psutil

        return [child.pid for child in psutil.Process().children()]
