"""What is to be run, as a user says it: texts of the command line or lists of Python become a suite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.experiment.suites import Suite

Texts = str | Sequence[str]
"""One text with commas, or several."""


@dataclass(frozen=True)
class Asked:
    """What to run, as far as it was said; a suite names all of it itself."""

    methods: Any = None
    """Names (`mlad`, `deeplog+nearest`, `mine.py:Mine`, `sklearn:OneClassSVM`), detector classes, or detectors."""
    scenario: Texts | None = None
    train: str | None = None
    test: str | None = None
    seeds: int | str | Sequence[int] | None = None
    settings: Sequence[str] | Mapping[str, Any] | None = None
    """`method.key=value`, or a mapping from `method.key` to a value."""
    split: Texts | None = None
    profile: str | None = None
    window_size: int | None = None
    window_step: int | None = None
    sample: int | None = None
    auxiliary: Texts | None = None
    incidents: str | None = None
    editions: Texts | None = None
    """With the scenario `all2each`: the editions between which every transfer is run."""

    @property
    def says_something(self) -> bool:
        """Whether anything was said."""
        return any(value is not None for value in vars(self).values())

    def suite(self, data: Path | None = None) -> Suite:
        """The suite without a name that runs this; data: folder of the data sets."""
        from bench.api.named import named
        from bench.experiment.suites import Suite, SuitePart

        common: dict[str, Any] = {
            "scenarios": tuple(_scenarios(self, data)),
            "splits": tuple(_splits("chronological" if self.split is None else self.split)),
            "seeds": _seeds(self.seeds),
            "window_size": 20 if self.window_size is None else self.window_size,
            "window_step": self.window_step,
            "profile": self.profile or "paper",
            "sample": self.sample or 0,
            "auxiliary": tuple(listed(self.auxiliary, "--auxiliary", "spirit") if self.auxiliary else ()),
            "incidents": _incidents(self.incidents) if self.incidents else (),
        }
        settings = _setting_texts(self.settings)
        groups = named(_whose(settings) if self.methods is None else self.methods, settings)
        return Suite("", "", tuple(SuitePart(methods=names, settings=said, **common) for names, said in groups))


def suites_of(names: Texts | None, asked: Asked, data: Path | None = None, *, allow_endpoint: bool) -> list[Suite]:
    """The suites of these names, or what was asked for in their place; both together are a BenchError."""
    from bench.experiment.suites import load_suite, require_no_places

    if not names:
        return [asked.suite(data)]
    if asked.says_something:
        raise BenchError(
            "--suite names its own methods, scenarios, seeds, splits, settings, profile, windows, sample, "
            "auxiliary and incidents: leave these options out, or copy its TOML file and change that"
        )
    found = [load_suite(name) for name in listed(names, "--suite", "smoke")]
    for suite in found if not allow_endpoint else ():
        require_no_places(suite)
    return found


def listed(texts: Texts | None, option: str, example: str) -> list[str]:
    """Each text once; BenchError where there is none."""
    parts = texts.split(",") if isinstance(texts, str) else list(texts or ())
    items = [part.strip() for part in parts if part.strip()]
    if not items:
        raise BenchError(f"{option} is empty: give at least one, e.g. {option} {example}")
    return list(dict.fromkeys(items))


def _scenarios(asked: Asked, data: Path | None) -> list[str]:
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.scenario import ALL_PAIRS, every_pair

    scenario, train, test = asked.scenario, asked.train, asked.test
    if (scenario == ALL_PAIRS) != bool(asked.editions):
        raise BenchError(
            f"--scenario {ALL_PAIRS} and --editions belong together: give --scenario {ALL_PAIRS} --editions bgl,tbird"
        )
    if asked.editions and not (train or test):
        return every_pair(listed(asked.editions, "--editions", "bgl,tbird"), catalogue(data))
    if scenario and not (train or test):
        return listed(scenario, "--scenario", "bgl2tbird")
    if train and not scenario:
        return [f"{train}2{test}" if test else train]
    raise BenchError("say what to run on: either --scenario bgl2tbird, or --train bgl --test tbird")


def _splits(texts: Texts) -> list[str]:
    from bench.data.sequences.protocols import separated

    found = separated(texts) if isinstance(texts, str) else list(texts)
    if not found:
        raise BenchError("--split is empty: give at least one, e.g. --split chronological")
    return list(dict.fromkeys(found))


def _seeds(seeds: int | str | Sequence[int] | None) -> str:
    """As the command line writes them: `5`, or `3,7`."""
    if seeds is None:
        return "5"
    return str(seeds) if isinstance(seeds, int | str) else "".join(f"{seed}," for seed in seeds)


def _whose(settings: tuple[str, ...]) -> tuple[str, ...]:
    """The methods that settings are of, which run where none is named."""
    from bench.experiment.settings import parse_settings

    return tuple(parse_settings(list(settings)))


def _setting_texts(settings: Sequence[str] | Mapping[str, Any] | None) -> tuple[str, ...]:
    if not isinstance(settings, Mapping):
        return tuple(settings or ())
    return tuple(f"{name}={value}" for name, value in settings.items())


def _incidents(text: str) -> str | tuple[tuple[float, float], ...]:
    """Ranges of a file in Unix seconds, or `35s`."""
    from bench.data.own.incidents import read_incidents
    from bench.experiment.suites import SECONDS

    if re.fullmatch(SECONDS, text):
        return text
    return tuple(read_incidents(Path(text)))
