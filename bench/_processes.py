"""Whether a process of this machine has ended, also where its number was given to another one since."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
HAS_ENDED: Final = -1.0
"""The start of a process that has ended but was not waited for."""


@functools.cache
def boot() -> str:
    """Which boot of the machine, and which of its pid namespaces: where a pid means a process.

    Nothing but the host's name tells boots apart where there is no /proc; starting times do then.
    """
    try:
        boot_id = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot_id} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


@functools.cache
def place() -> str:
    """Where a pid means a process, also after a reboot, in 8 hex digits: host and pid namespace."""
    words = f"{socket.gethostname()} {boot().rpartition(' ')[2]}"
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def started(pid: int) -> float | None:
    """When a process started; `HAS_ENDED` where nobody waited for it yet; None where that is not told.

    On Linux in ticks since the boot, as the kernel counts them: psutil adds the time of the boot, which moves when
    the clock is set.
    """
    if not (_PROC / "self/stat").exists():
        return _started_elsewhere(pid)
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # Threads outlive the first one by a moment.
    has_ended = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return HAS_ENDED if has_ended else float(fields[19])


def has_ended(pid: int, since: float) -> bool | None:
    """Whether the process of this boot that started then has ended; None where that is not told.

    since: as `started` told of it, below 0 where it did not
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # a process of another user; no pid of this machine
    found = started(pid)
    return None if found is None or since < 0 else found != since


def _started_elsewhere(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return HAS_ENDED if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.Error, OSError):
        return None
