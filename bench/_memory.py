"""Peak memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def reset_peak_memory() -> float:
    """Start a new measurement of peak memory where the kernel can (Linux); returns what is in use now, MiB."""
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
