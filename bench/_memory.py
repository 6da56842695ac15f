"""Peak memory of this process, and what becomes of memory that it frees."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 2**30


def keep_freed_memory() -> None:
    """Let freed memory serve the next block, up to a GiB, where the allocator is glibc's; elsewhere nothing changes.

    Else every step of a network gets its activations as new pages from the kernel, and waits until each is cleared.
    """
    with contextlib.suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        allocator.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


def reset_peak_memory() -> float:
    """Give freed memory back and start a new measurement of peak memory, where the system can (Linux).

    Returns what is in use now, MiB.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_memory_mib()
    return peak_memory_mib()


def peak_memory_mib() -> float:
    """Highest resident memory since the last reset, MiB; where the kernel cannot reset, since the process started."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text().splitlines()
        kibibytes = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
        if kibibytes is not None:
            return round(kibibytes / 1024, 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
