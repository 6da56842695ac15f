"""bench: honest comparison of log anomaly detectors.

`bench.run(methods=["mlad"], scenario="bgl2tbird")` is `bench run`; what it gives is a `Results`. The names below are
imported when they are first used, so that `import bench` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

__version__ = "0.2.0"

_HOMES: Final = {
    "run": "bench.api.run",
    "Results": "bench.api.results",
    "load_results": "bench.api.results",
    "load_sequences": "bench.api.sequences",
    "from_sklearn": "bench.adapters",
    "from_pyod": "bench.adapters",
    "Detector": "bench.detector",
    "DetectorTags": "bench.detector",
    "Evidence": "bench.detector",
    "Sequences": "bench.types",
    "BenchError": "bench.errors",
}
"""Where each public name lives."""

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """The public name, imported now."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    # By name, since no room may know those that stand on it.
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
