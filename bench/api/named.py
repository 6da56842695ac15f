"""Methods given as classes or detectors -> the names and settings by which the command line gives them.

Every method runs in a process of its own, which has to find it by name; so a run from Python is one that the command
line can repeat.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import registry
from bench.api.asked import listed
from bench.detector import Detector
from bench.errors import BenchError

Group = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of methods, and the settings that are theirs."""


def named(methods: Any, settings: tuple[str, ...]) -> list[Group]:
    """Groups of methods that run with the same settings; detectors with settings of their own stand alone."""
    items = [methods] if isinstance(methods, str | type | Detector) else list(methods or ())
    names: list[str] = []
    alone: list[Group] = []
    for item in items:
        own = settings_of(item) if isinstance(item, Detector) else ()
        if own:
            alone.append(((name_of(type(item)),), own))
        else:
            names += listed(item, "--methods", "mlad,deeplog") if isinstance(item, str) else [name_of(item)]
    if settings and not names:
        raise BenchError(f"the setting {settings[0]} is for a method given by name, and here is none")
    if not names and alone:
        return alone
    return [(tuple(listed(names, "--methods", "mlad,deeplog")), settings), *alone]


def name_of(given: Any) -> str:
    """The name of a detector's class: that of its entry point, of an adapter, or `path.py:Class`."""
    cls = type(given) if isinstance(given, Detector) else given
    if not (isinstance(cls, type) and issubclass(cls, Detector)):
        raise BenchError(
            f"{given!r} is no method: give a name, a subclass of bench.Detector, or bench.from_sklearn(estimator)"
        )
    adapted = getattr(cls, "reference", None)
    if isinstance(adapted, str):
        return adapted
    target = f"{cls.__module__}:{cls.__qualname__}"
    found = next((name for name, ref in registry.available().items() if ref.target == target), None)
    return found or f"{_file_of(cls)}:{cls.__qualname__}"


def _file_of(cls: type[Detector]) -> Path:
    """The file of a class, seen from here where it lies below; BenchError where another process cannot find it."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.__module__ == "__main__" or not file or not file.endswith(".py") or "." in cls.__qualname__:
        raise BenchError(
            f"the class '{cls.__qualname__}' is in no file that another process can import, and every method runs in "
            f"one: write it into a file of its own (in a notebook `%%writefile mine.py`), and give 'mine.py:Mine'"
        )
    path = Path(file).resolve()
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path


def settings_of(detector: Detector) -> tuple[str, ...]:
    """The settings in which a detector's config differs from its class's, as `--set` gives them."""
    config, default = detector.config, type(detector).Config()
    name = name_of(type(detector))
    changed = [
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(default, field.name)
    ]
    return tuple(_texts(name, changed, config))


def _texts(name: str, fields: Iterable[str], config: Any) -> Iterable[str]:
    for field in fields:
        value = getattr(config, field)
        text = value if isinstance(value, str) else json.dumps(value)
        if isinstance(value, str) and ("," in value or value.count(":") == 2 or value[:1] in '["{'):
            text = json.dumps(value)
        yield f"{name}.{field}={text}"
