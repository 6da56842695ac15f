"""Suites: named experiments in TOML, shipped in `suites/` or given as a file.

A suite has [[run]] blocks, whose cells `bench run --suite` runs, and may have a [figure], which is made from their
records. What is optional is left out where it is not here. A suite with a table [study] is a study: see `study.py`.

A suite names methods, and by design also `path.py:Class`: to run a suite file is to run the code that it names, so read
one that came from elsewhere. What it may not do unasked is say where log lines and a key are sent, or where answers are
kept.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError, choose_one
from bench.experiment.study import Study, Trial, batched, read_study

_FOLDER: Final = Path(__file__).with_name("suites")
_LISTS: Final = ("scenarios", "optional_scenarios", "methods", "optional_methods", "splits", "set", "auxiliary")
_MAY_BE_EMPTY: Final = ("set", "auxiliary", "optional_scenarios", "optional_methods")
_KEYS: Final = (*_LISTS, "seeds", "window_size", "window_step", "profile", "sample", "incidents", "left_out")
_SUITE_KEYS: Final = ("description", "thresholds", "llm", "figure", "run", "study", "trials")
_LLM_MODES: Final = ("record", "replay", "live")
SECONDS: Final = r"[0-9]+(\.[0-9]+)?s"
"""How incidents are written that are so many seconds around abnormal lines."""
_PLACES: Final = ("base_url", "store")
"""Settings that say where something goes; whoever runs a suite gives them, or agrees."""


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
    profile: str = "paper"
    sample: int = 0
    """Test sequences that are drawn and scored at most; 0 = all."""
    auxiliary: tuple[str, ...] = ()
    """Data sets that help methods which are told of them."""
    incidents: str | tuple[tuple[float, float], ...] = ()
    """Known failures: ranges in Unix seconds, or `35s` around the abnormal lines of training."""
    optional_scenarios: tuple[str, ...] = ()
    """Left out where their data are not here."""
    optional_methods: tuple[str, ...] = ()
    """Left out where they are not installed."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Scenarios that its data do not allow, each with the reason, which the plan says."""


@dataclass(frozen=True)
class Suite:
    """A named experiment."""

    name: str
    description: str
    parts: tuple[SuitePart, ...] = field(default_factory=tuple)
    thresholds: tuple[str, ...] = ()
    """Threshold rules that its records hold besides the default ones."""
    llm: str | None = None
    """Where answers of chat models come from, unless the command line says: record, replay or live."""
    figure: Mapping[str, Any] = field(default_factory=dict)
    """What is made of its records: `kind` and the options of that kind."""
    study: Study | None = None
    """Its parts are then the first stage."""
    path: Path | None = None
    """Its file."""


def suite_names() -> list[str]:
    """Names of the shipped suites."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def trial_parts(trials: Sequence[Trial], study: Study, seeds: str) -> list[SuitePart]:
    """The runs of trials of a study, in few blocks: one trial of each method in each."""
    return [
        SuitePart(
            batch[0].systems,
            tuple(trial.method for trial in batch),
            study.splits,
            seeds,
            tuple(setting for trial in batch for setting in trial.settings),
        )
        for batch in batched(trials)
    ]


def load_suite(name: str) -> Suite:
    """A shipped suite by its name, or one from a TOML file."""
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file() or not (name.endswith(".toml") or name in suite_names()):
        meant = choose_one(name, suite_names(), more=", or give a .toml file")
        raise BenchError(f"unknown suite '{name}': {meant}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"the suite '{path}' cannot be read ({error}): correct its TOML") from None
    if unknown := sorted(set(content) - set(_SUITE_KEYS)):
        raise BenchError(
            f"the suite '{path}' has the unknown key '{unknown[0]}': {choose_one(unknown[0], _SUITE_KEYS)}"
        )
    if "study" in content:
        study = read_study(path, content)
        parts = tuple(trial_parts(study.all_trials, study, study.first_seeds))
        return Suite(path.stem, content.get("description", ""), parts, study=study, path=path)
    if "trials" in content:
        raise BenchError(f"the suite '{path}' has trials and no [study]: say there what they run on")
    figure = content.get("figure", {})
    if "figure" in content and not (isinstance(figure, dict) and isinstance(figure.get("kind"), str)):
        raise BenchError(f"the suite '{path}' has a [figure] without a kind: name one, or leave the block out")
    blocks = content.get("run", [])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks) or not (blocks or figure):
        raise BenchError(f"the suite '{path}' has no [[run]] block: add one with scenarios and methods")
    _check_texts(path, "thresholds", content.get("thresholds", []), "at its top")
    return Suite(
        path.stem,
        content.get("description", ""),
        tuple(_part(path, block) for block in blocks),
        tuple(content.get("thresholds", [])),
        _llm(path, content.get("llm")),
        figure,
        path=path,
    )


def require_no_places(suite: Suite) -> None:
    """Refuse a suite that says where log lines, the key of the environment or answers go; read before it is run."""
    for setting in (setting for part in suite.parts for setting in part.settings):
        name, _, value = setting.partition("=")
        if name.rpartition(".")[2] in _PLACES and value:
            raise BenchError(
                f"the suite '{suite.name}' sets {name}, so it chooses where log lines, a key or answers go: add "
                "--allow-endpoint if you trust it, or leave that out and set OPENAI_BASE_URL or BENCH_LLM_STORE"
            )


def _part(path: Path, block: Mapping[str, Any]) -> SuitePart:
    if unknown := sorted(set(block) - set(_KEYS)):
        raise BenchError(f"the suite '{path}' has the unknown key '{unknown[0]}': {choose_one(unknown[0], _KEYS)}")
    for key in ("scenarios", "methods", *(key for key in _LISTS[1:] if key in block and key != "methods")):
        texts = block.get(key)
        _check_texts(path, key, texts, "in each [[run]] block")
        may_be_empty = key in _MAY_BE_EMPTY or block.get(f"optional_{key}")
        if not texts and not may_be_empty:
            raise BenchError(f"the suite '{path}' needs a list '{key}' that is not empty in each [[run]] block")
    for key, unit in (("window_size", "lines"), ("window_step", "lines"), ("sample", "test sequences")):
        if key in block and (not isinstance(block[key], int) or isinstance(block[key], bool)):
            raise BenchError(f"the suite '{path}' has '{key}' = {block[key]!r}: write a whole number of {unit}")
    return SuitePart(
        scenarios=tuple(block["scenarios"]),
        methods=tuple(block["methods"]),
        splits=tuple(block.get("splits", ["chronological"])),
        seeds=str(block.get("seeds", 5)),
        settings=tuple(block.get("set", [])),
        window_size=block.get("window_size", 20),
        window_step=block.get("window_step"),
        profile=block.get("profile", "paper"),
        sample=block.get("sample", 0),
        incidents=_seconds(path, block.get("incidents", "")),
        auxiliary=tuple(block.get("auxiliary", [])),
        optional_scenarios=tuple(block.get("optional_scenarios", [])),
        optional_methods=tuple(block.get("optional_methods", [])),
        left_out=_left_out(path, block.get("left_out", {})),
    )


def _seconds(path: Path, incidents: Any) -> str | tuple[tuple[float, float], ...]:
    """`35s` around abnormal lines; where the key is not there, the incidents of the cards."""
    if isinstance(incidents, str) and (not incidents or re.fullmatch(SECONDS, incidents)):
        return incidents or ()
    raise BenchError(f"the suite '{path}' has incidents = {incidents!r}: write seconds around abnormal lines, as '35s'")


def _left_out(path: Path, reasons: Any) -> tuple[tuple[str, str], ...]:
    """A table of reasons, each with the list of scenarios that it keeps out."""
    if not isinstance(reasons, dict):
        raise BenchError(f"the suite '{path}' has a left_out that is no table: write reason = [scenarios]")
    for reason, scenarios in reasons.items():
        _check_texts(path, f"left_out.{reason}", scenarios, "in each [[run]] block")
    return tuple((scenario, reason) for reason, scenarios in reasons.items() for scenario in scenarios)


def _llm(path: Path, mode: Any) -> str | None:
    if mode is not None and mode not in _LLM_MODES:
        raise BenchError(f"the suite '{path}' has llm = {mode!r}: {choose_one(str(mode), _LLM_MODES)}")
    return None if mode is None else str(mode)


def _check_texts(path: Path, key: str, texts: Any, where: str) -> None:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BenchError(f"the suite '{path}' needs a list '{key}' of texts {where}")
