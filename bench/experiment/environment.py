"""What machine and software a record was made with, without any name or path of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "mlad-bench",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "sentence-transformers",
    "drain3",
    "polars",
)

VECTOR_INSTRUCTIONS: Final = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "sve", "asimd")
"""As Linux names them, the widest first."""


@cache
def describe_environment() -> dict[str, Any]:
    """Python, platform, processor, its vector instructions, cores, package versions, and this checkout's commit."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "cpu": _cpu(),
        "instructions": instructions(_cpu_info()),
        "cores": os.cpu_count(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        **_commit(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


@cache
def _cpu_info() -> dict[str, str]:
    try:
        return first_processor(Path("/proc/cpuinfo").read_text())
    except OSError:
        return {}


def first_processor(text: str) -> dict[str, str]:
    """What Linux says of the first processor, by name."""
    pairs = (line.partition(":") for line in text.strip().partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def instructions(processor: Mapping[str, str]) -> str:
    """The vector instructions by which libraries choose how to sum, so that last digits differ; empty: not known."""
    flags = (processor.get("flags") or processor.get("Features") or "").split()
    return " ".join(name for name in VECTOR_INSTRUCTIONS if name in flags)


def _commit() -> dict[str, Any]:
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return {"git_commit": None, "git_dirty": None}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain", "--", "bench", "methods", "datasets", "pyproject.toml"))
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": dirty}


def _git(root: Path, *arguments: str) -> str:
    # Without a lock, which a kill would leave in the user's repository.
    command = ["git", "--no-optional-locks", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
