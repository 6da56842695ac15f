"""Labels permuted on disk: no score may move, for a method is told labels by the harness and by nobody else.

A small edition is written to a folder of its own and the method runs on it; then the labels behind its training part
are permuted in its file and in fresh caches, under the same names, and it runs again. Of a method that is told no
label of training, those are permuted too. A method that is told something of a target learns from a second edition, and
the labels of its target are permuted: all of them where it is told none.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.experiment.cell import CannotFitError, Settings, fit_again
from bench.experiment.grades import grade_of
from bench.experiment.scenario import Scenario, parse_scenario
from bench.experiment.spec import Cell, Method, plan

_N_WINDOWS: Final = 300
_SIZE: Final = 8
_CUTS: Final = [180, 240]
"""Windows at which training and validation end."""
_TARGET_CUTS: Final = [120, 150]
"""The same of a target under `transfer`: where what trains of its pool ends, and its pool."""
_SYSTEM: Final = "permuted"
"""The edition whose labels are permuted."""
_SOURCE: Final = "steady"
"""The edition that a method learns from whose target is the other."""
_CARD: Final = """title = "permuted"
licence = "CC0-1.0"
citation = "made here"
kind = "lines"
tier = "smoke"
rank = 1

[format]
label = "first-token"
time = "epoch"
header = '^(?P<time>[0-9]+) (?P<message>.*)$'

[parser]
masks = ['[0-9]+']
"""
_STEPS: Final = {
    _SYSTEM: ("job begins", "request read", "block sent", "cache refreshed", "job ends"),
    _SOURCE: ("task started", "file opened", "packet routed", "index rebuilt", "task stopped"),
}


class Permuted(NamedTuple):
    """What came of it."""

    reason: str | None
    """Why the method cannot run on the small edition, if so."""
    moved: int = 0
    """Test sequences with another score."""
    n: int = 0


def permute_labels(method: Method, settings: Settings) -> Permuted:
    """Score the small edition with its labels as they are and permuted."""
    learns_of_target = "target" in method.description.told
    with tempfile.TemporaryDirectory(prefix="permuted-") as folder:
        scores = []
        for seed in (None, 1):
            try:
                scores.append(_scores(method, settings, Path(folder), seed, is_target=learns_of_target))
            except CannotFitError as error:
                return Permuted(error.reason)
    first, second = scores
    same = np.isclose(first, second, rtol=1e-5, atol=1e-6)
    return Permuted(None, int((~same).sum()), len(first))


def _scores(
    method: Method, settings: Settings, folder: Path, seed: int | None, *, is_target: bool
) -> NDArray[np.float64]:
    """Scores of the test part; both times the files have the same names."""
    cuts = _TARGET_CUTS if is_target else _CUTS
    _write(folder / "data", _SYSTEM, _labels(seed, cuts, everywhere=_sees_no_label(method, is_target=is_target)))
    _write(folder / "data", _SOURCE, _labels(None, _CUTS, everywhere=False))
    with _cache(folder / f"cache-{seed}"):
        known = catalogue(folder / "data")
        name = f"{_SOURCE}2{_SYSTEM}" if is_target else _SYSTEM
        cell = _cell(method, parse_scenario(name, known), "transfer" if is_target else "chronological")
        detector, data = fit_again(cell, Loader(known).prepare(cell.data), settings)
        return detector.score(data.test.sequences)


def _cell(method: Method, scenario: Scenario, split: str) -> Cell:
    (cell,) = plan([scenario], [method], splits=[split], seeds=[0], grouping=Grouping(_SIZE, _SIZE))
    return cell


def _sees_no_label(method: Method, *, is_target: bool) -> bool:
    """Whether training is the same whatever the labels of the permuted edition are."""
    told = method.description.told
    if is_target:
        return grade_of(told["target"]) == "unlabelled" and not method.description.told_with
    return set(told.values()) <= {"unlabelled"} and not method.description.told_with


def _labels(seed: int | None, cuts: list[int], *, everywhere: bool) -> NDArray[np.bool_]:
    """Bool (n_windows,): which windows are abnormal; the number in each part stays."""
    rng = np.random.default_rng(0)
    labels = rng.random(_N_WINDOWS) < 0.15
    if seed is not None:
        permuting = np.random.default_rng(seed)
        for part in np.split(np.arange(_N_WINDOWS), cuts)[0 if everywhere else 1 :]:
            labels[part] = permuting.permutation(labels[part])
    return labels


def _write(folder: Path, name: str, abnormal: NDArray[np.bool_]) -> None:
    steps = _STEPS[name]
    rng = np.random.default_rng(2)
    lines = []
    for window in range(_N_WINDOWS):
        start = int(rng.integers(len(steps)))
        odd = rng.random() < 0.15
        for i in range(_SIZE):
            step = "device failed" if odd and i == 3 else steps[(start + i) % len(steps)]
            label = "BAD" if abnormal[window] and i == 3 else "-"
            lines.append(f"{label} {1_600_000_000 + 30 * window + i} {step} {int(rng.integers(1000))}\n")
    system = folder / name
    system.mkdir(parents=True, exist_ok=True)
    (system / "_system.toml").write_text(_CARD)
    (system / "small.toml").write_text(f'[[files]]\nname = "{name}/small.log"\nsha256 = "unpublished"\n')
    (system / "small.log").write_text("".join(lines))


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Caches below the folder, so that what was read before is not read again."""
    before = os.environ.get("BENCH_CACHE")
    os.environ["BENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["BENCH_CACHE"]
        else:
            os.environ["BENCH_CACHE"] = before
