"""A study: the choices that methods leave open, tried on development systems, and the rule by which a default changes.

It is a suite with a table [study] and a table [trials.METHOD] for each method:

    [study]
    metric = "ap"                        # of the validation part
    systems = ["hdfs@simulated", "bgl@simulated"]
    first_seeds = "0,"                   # all trials
    second_seeds = "1,2,3,4"             # the default and the best `candidates`
    [trials.mlad]
    changes = ["jitter=0.1,1.0", "k=1 & jitter=0.1"]

A change of several values is several trials, and `&` joins what changes together. `base` writes out a former default,
so that the study stays what it was after its result became the default.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError, choose_one
from bench.experiment.settings import parse_seeds, parse_settings

METRICS: Final = ("ap", "auroc")
_KEYS: Final = (
    "metric",
    "systems",
    "splits",
    "first_seeds",
    "second_seeds",
    "max_trials",
    "candidates",
    "only_better",
    "margin",
)
_TRIAL_KEYS: Final = ("changes", "systems", "base")
_NUMBERS: Final = {"max_trials": (int, 2), "candidates": (int, 1), "margin": (float, 0)}


@dataclass(frozen=True)
class Trial:
    """One config of one method in a study."""

    method: str
    systems: tuple[str, ...]
    base: tuple[str, ...] = ()
    """What the default of the study differs in from that of the Config: `min_cosine=0.9`."""
    changes: tuple[str, ...] = ()
    """What is tried: `jitter=0.1`; nothing is the default."""

    @property
    def label(self) -> str:
        """What stands in a table."""
        return ", ".join(self.changes) or "default"

    @property
    def is_default(self) -> bool:
        """Whether the others are compared with it."""
        return not self.changes

    @property
    def settings(self) -> tuple[str, ...]:
        """As texts of `--set`; a change wins over the base."""
        fields = dict(text.split("=", 1) for text in (*self.base, *self.changes))
        return tuple(f"{self.detector}.{key}={value}" for key, value in fields.items())

    @property
    def detector(self) -> str:
        """The method without its variant, as `--set` names it."""
        return self.method.partition("+")[0]


@dataclass(frozen=True)
class Study:
    """What is tried, on what, and how it is decided."""

    trials: Mapping[str, tuple[Trial, ...]]
    """By method, the default first."""
    splits: tuple[str, ...] = ("chronological",)
    metric: str = "ap"
    first_seeds: str = "0,"
    second_seeds: str = "1,2,3,4"
    candidates: int = 3
    """Changes of a method that run with the second seeds too, at most."""
    only_better: bool = False
    """Whether only those do that were better than the default with the first seeds; where none was, nothing runs."""
    margin: float = 0.01
    """By how much more than this a candidate's mean must be better."""

    @property
    def all_trials(self) -> tuple[Trial, ...]:
        """Of all methods."""
        return tuple(itertools.chain.from_iterable(self.trials.values()))

    @property
    def seeds(self) -> list[int]:
        """Of both stages."""
        return [*parse_seeds(self.first_seeds), *parse_seeds(self.second_seeds)]

    @property
    def rule(self) -> str:
        """In words."""
        first, second = (_seeds_in_words(text) for text in (self.first_seeds, self.second_seeds))
        better = " among those that were better than the default" if self.only_better else ""
        return (
            f"All trials of a method run with {first}. The default and the {self.candidates} changes with the highest "
            f"mean validation {self.metric.upper()} over the systems{better} run with {second} too. A default changes "
            f"only if a candidate's mean over all seeds and systems is better by more than {self.margin:g} and the "
            "95 % interval (Student) of its paired difference by seed lies above 0; of several the best, of equal ones "
            "the first listed; else the default stays."
        )


def read_study(path: Path, content: Mapping[str, Any]) -> Study:
    """The study of a suite file; what is wrong with it is a BenchError."""
    table = content["study"]
    if not isinstance(table, dict):
        raise BenchError(f"the study '{path}' has 'study' = {table!r}: write it as a table [study]")
    _check_known(path, table, _KEYS, "[study]")
    for key in ("run", "figure"):
        if key in content:
            raise BenchError(f"the study '{path}' has a [{key}] too: leave it out, its runs follow from its trials")
    metric = table.get("metric", "ap")
    if metric not in METRICS:
        raise BenchError(f"the study '{path}' has metric = {metric!r}: {choose_one(str(metric), METRICS)}")
    numbers = {key: _number(path, table, key) for key in _NUMBERS if key in table}
    most = numbers.pop("max_trials", 12)
    systems = _texts(path, "systems", table.get("systems"), "[study]")
    told = content.get("trials")
    if not isinstance(told, dict) or not told:
        raise BenchError(f"the study '{path}' tries nothing: add a table [trials.METHOD] with changes")
    if not isinstance(table.get("only_better", False), bool):
        raise BenchError(f"the study '{path}' has only_better = {table['only_better']!r}: write true or false")
    study = Study(
        trials={method: _trials(path, method, block, systems) for method, block in told.items()},
        splits=_texts(path, "splits", table.get("splits", ["chronological"]), "[study]"),
        metric=metric,
        first_seeds=str(table.get("first_seeds", "0,")),
        second_seeds=str(table.get("second_seeds", "1,2,3,4")),
        only_better=table.get("only_better", False),
        **numbers,
    )
    _check_seeds(path, study)
    for method, trials in study.trials.items():
        if len(trials) > most:
            raise BenchError(
                f"the study '{path}' has {len(trials)} trials of {method} with its default, and every method gets "
                f"at most {most}: leave out {len(trials) - most}"
            )
    return study


def batched(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials on the same systems, one of each detector at most: each detector takes one set of settings in a block."""
    batches: list[list[Trial]] = []
    for trial in trials:
        fitting = (batch for batch in batches if _fits(trial, batch))
        found = next(fitting, None)
        if found is None:
            batches.append([trial])
        else:
            found.append(trial)
    return batches


def _fits(trial: Trial, batch: Sequence[Trial]) -> bool:
    return batch[0].systems == trial.systems and all(other.detector != trial.detector for other in batch)


def _check_seeds(path: Path, study: Study) -> None:
    if len(set(study.seeds)) < len(study.seeds):
        raise BenchError(f"the study '{path}' has a seed in both stages: give the second stage further ones")


def _trials(path: Path, method: str, block: Any, systems: tuple[str, ...]) -> tuple[Trial, ...]:
    where = f"[trials.{method}]"
    if not isinstance(block, dict):
        raise BenchError(f"the study '{path}' has {where} = {block!r}: write a table with a list of changes")
    _check_known(path, block, _TRIAL_KEYS, where)
    changes = _texts(path, "changes", block.get("changes"), where)
    own = _texts(path, "systems", block["systems"], where) if "systems" in block else systems
    base = _texts(path, "base", block["base"], where) if "base" in block else ()
    if wrong := next((text for text in base if "=" not in text), None):
        raise BenchError(f"the study '{path}' has '{wrong}' in the base of {method}: write key=value")
    tried = [found for text in changes for found in _expanded(path, method, text)]
    if doubled := next((found for found in tried if tried.count(found) > 1), None):
        raise BenchError(f"the study '{path}' tries {method} with {' & '.join(doubled)} twice: name it once")
    return tuple(Trial(method, own, base, found) for found in ((), *tried))


def _expanded(path: Path, method: str, text: str) -> list[tuple[str, ...]]:
    """`k=1,2 & jitter=0.1` -> [("k=1", "jitter=0.1"), ("k=2", "jitter=0.1")]."""
    parts = [part.strip() for part in text.split("&")]
    try:
        (fields,) = parse_settings([f"x.{part}" for part in parts]).values()
    except (BenchError, ValueError):
        raise BenchError(
            f"the study '{path}' tries {method} with '{text}', which cannot be read: write k=1,10 or k=1 & jitter=0.1"
        ) from None
    if len(fields) < len(parts):
        raise BenchError(f"the study '{path}' tries {method} with '{text}', which sets a field twice: set it once")
    named = [[f"{key}={value}" for value in values] for key, values in fields.items()]
    return list(itertools.product(*named))


def _check_known(path: Path, table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := sorted(set(table) - set(known)):
        raise BenchError(
            f"the study '{path}' has the unknown key '{unknown[0]}' in {where}: {choose_one(unknown[0], known)}"
        )


def _texts(path: Path, key: str, texts: Any, where: str) -> tuple[str, ...]:
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BenchError(f"the study '{path}' needs a list '{key}' of texts in {where}")
    return tuple(texts)


def _number(path: Path, table: Mapping[str, Any], key: str) -> Any:
    kind, least = _NUMBERS[key]
    value = table[key]
    is_number = isinstance(value, int | kind) and not isinstance(value, bool)
    if not is_number or value < least:
        raise BenchError(f"the study '{path}' has {key} = {value!r}: write a number from {least}")
    return value


def _seeds_in_words(text: str) -> str:
    seeds = parse_seeds(text)
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
