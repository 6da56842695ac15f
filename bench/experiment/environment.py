"""What machine and software a record was made with, without any name or path of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
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


@cache
def describe_environment() -> dict[str, Any]:
    """Python, platform, processor, cores, package versions, and the commit of this checkout."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "cpu": _cpu(),
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
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


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
