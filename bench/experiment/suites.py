"""Suites: named experiments in TOML, shipped in `suites/` or given as a file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError

_FOLDER: Final = Path(__file__).with_name("suites")
_KEYS: Final = ("scenarios", "methods", "splits", "seeds", "set", "window_size", "window_step")


@dataclass(frozen=True)
class SuitePart:
    """One block of a suite: every method on every scenario under every split."""

    scenarios: tuple[str, ...]
    methods: tuple[str, ...]
    splits: tuple[str, ...] = ("chronological",)
    seeds: str = "5"
    settings: tuple[str, ...] = ()
    window_size: int = 20
    window_step: int | None = None


@dataclass(frozen=True)
class Suite:
    """A named experiment."""

    name: str
    description: str
    parts: tuple[SuitePart, ...] = field(default_factory=tuple)


def suite_names() -> list[str]:
    """Names of the shipped suites."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_suite(name: str) -> Suite:
    """A shipped suite by its name, or one from a TOML file."""
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file() or not (name.endswith(".toml") or name in suite_names()):
        raise BenchError(f"unknown suite '{name}': choose one of {', '.join(suite_names())}, or give a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"the suite '{path}' cannot be read ({error}): correct its TOML") from None
    blocks = content.get("run", [])
    if not blocks or not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise BenchError(f"the suite '{path}' has no [[run]] block: add one with scenarios and methods")
    return Suite(path.stem, content.get("description", ""), tuple(_part(path, block) for block in blocks))


def _part(path: Path, block: Mapping[str, Any]) -> SuitePart:
    if unknown := sorted(set(block) - set(_KEYS)):
        raise BenchError(f"the suite '{path}' has the unknown key '{unknown[0]}': known are {', '.join(_KEYS)}")
    for key in ("scenarios", "methods", *(key for key in ("splits", "set") if key in block)):
        texts = block.get(key)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BenchError(f"the suite '{path}' needs a list '{key}' of texts in each [[run]] block")
        if not texts and key != "set":
            raise BenchError(f"the suite '{path}' needs a list '{key}' that is not empty in each [[run]] block")
    for key in ("window_size", "window_step"):
        if key in block and (not isinstance(block[key], int) or isinstance(block[key], bool)):
            raise BenchError(f"the suite '{path}' has '{key}' = {block[key]!r}: write a whole number of lines")
    return SuitePart(
        scenarios=tuple(block["scenarios"]),
        methods=tuple(block["methods"]),
        splits=tuple(block.get("splits", ["chronological"])),
        seeds=str(block.get("seeds", 5)),
        settings=tuple(block.get("set", [])),
        window_size=block.get("window_size", 20),
        window_step=block.get("window_step"),
    )
