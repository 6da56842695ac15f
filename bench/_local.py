"""Importing a file of a user's: under a name of its own, and with the modules beside it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

_LOCAL: Final = "bench_local_"
"""What the module of a local file is called begins so."""


def load_file(path: Path) -> ModuleType:
    """The module of a file, under a name of its own."""
    name = f"{_LOCAL}{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def beside(place: Path | None) -> Iterator[None]:
    """Let a local file import the files beside it, which are forgotten afterwards: another folder may have such too.

    The folder stands last, so that it hides nothing that is installed.
    """
    folder = str(place)
    if place is None or folder in sys.path:
        yield
        return
    known = set(sys.modules)
    sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - known:
            top = name.partition(".")[0]
            if top not in known and _stands_in(folder, top, sys.modules[name]):
                del sys.modules[name]


def _stands_in(folder: str, top: str, module: ModuleType) -> bool:
    """Whether a module comes from `top.py` or `top/` of a folder, and not from an environment that lies in it."""
    path = Path(getattr(module, "__file__", None) or "").resolve()
    return path.is_relative_to(folder) and path.relative_to(folder).parts[:1] in ((top,), (f"{top}.py",))
