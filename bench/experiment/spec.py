"""From what a user typed to resolved cells, each with a run_id that depends on everything that can change a number."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import registry
from bench.contract import amount_field
from bench.data.cards.card import Card
from bench.data.embedding import encoder_name
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import DataSpec
from bench.data.sequences.protocols import DRAWN, RETROSPECTIVE, canonical
from bench.errors import BenchError, choose_one
from bench.experiment.grades import covers, told_under
from bench.experiment.groups import NORMALS, stands_everywhere
from bench.experiment.scenario import Scenario
from bench.experiment.settings import convert, parse_settings
from bench.isolation.lodging import describe
from bench.llm.teacher import asks_a_model
from bench.records.record import run_id_of
from bench.registry import Description, DetectorRef, FieldInfo

PROTOCOL_VERSION: Final = 2
"""Raised whenever code of grouping, splits, parsing, thresholds or metrics changes a number."""

DEFAULT_PROFILE: Final = "paper"
"""The common budget that all methods get; `original` are a method's own published settings."""
NEAREST: Final = "nearest"
NEAREST_MIN_COSINE: Final = 0.8
VARIANTS: Final = (NEAREST,)


@dataclass(frozen=True)
class Method:
    """A detector with its variant and resolved config."""

    ref: DetectorRef
    description: Description
    variant: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    passed: Mapping[str, Any] = field(default_factory=dict)
    """What was given by --set: shown beside the name where it is not the default."""
    profile: str = DEFAULT_PROFILE
    """Which set of defaults its config comes from; another than `paper` only where the method has it."""
    is_company: bool = False
    """Whether it is a control that nobody named, there for the methods of the run."""

    @property
    def label(self) -> str:
        """The name of its row: `deeplog+nearest`, `mlad[alpha=1.3]`."""
        # Of a local file the folder stays out: it is the machine's.
        name = self.ref.name.replace("\\", "/").rpartition("/")[2] if self.ref.is_local else self.ref.name
        name = f"{name}+{self.variant}" if self.variant else name
        profile = {} if self.profile == DEFAULT_PROFILE else {"profile": self.profile}
        fields = self.description.fields
        defaults = _defaults(self.description, self.profile)
        # What is not part of the identity stays out: an endpoint's address says nothing of a result. So does a default
        # that was given: it is the run of the plain name.
        passed = {
            key: value
            for key, value in self.passed.items()
            if fields[key].identity and self.config.get(key) != defaults[key]
        }
        given = ",".join(f"{key}={value}" for key, value in sorted({**profile, **passed}.items()))
        return f"{name}[{given}]" if given else name

    @property
    def defaults(self) -> dict[str, Any]:
        """Its config under the common budget, before any `--set`."""
        return _defaults(self.description, DEFAULT_PROFILE)

    @property
    def asks_a_model(self) -> bool:
        """Whether it asks a language model under its config."""
        return asks_a_model(self.description.teacher, self.config)

    @property
    def looks_back(self) -> bool:
        """Whether it may be tested on what it was trained on: told failure times, or reading nothing of an event."""
        found = self.description
        return found.incidents or set(found.uses) <= {"lines"}

    @property
    def uses_texts(self) -> bool:
        """Whether sentence vectors take part, so that the encoder belongs to the run's identity."""
        return "texts" in self.description.uses or self.variant == NEAREST


@dataclass(frozen=True)
class Cell:
    """One run: a method on a scenario under a split with a seed."""

    scenario: Scenario
    method: Method
    split: str
    grouping: Grouping
    seed: int
    sample: int = 0
    """Test sequences that are drawn and scored at most; 0 = all."""
    incidents: str | tuple[tuple[float, float], ...] = ()
    """Given for this run: ranges in Unix seconds, or `35s` around abnormal lines; empty: those of the cards."""

    @property
    def data(self) -> DataSpec:
        """What data it needs; cells that share it share the preparation."""
        scenario = self.scenario
        return DataSpec(scenario.train, scenario.test, self.split, self.grouping, self.seed, scenario.auxiliary)

    @property
    def told(self) -> dict[str, str]:
        """What the method is told of each role that takes part, as texts of `bench.experiment.grades`."""
        found = self.method.description
        return told_under(found.told, found.told_with, self.method.config, self.scenario.roles)

    def spec(self) -> dict[str, Any]:
        """The resolved spec, as JSON: the run's identity."""
        spec = {
            "protocol_version": PROTOCOL_VERSION,
            "train": [edition_facts(card) for card in self.scenario.train],
            "test": [edition_facts(card) for card in self.scenario.test],
            "split": self.split,
            "seed": self.seed,
            "detector": _detector(self.method, self.scenario.roles),
        }
        if not all(card.has_sessions for card in self.scenario.cards):
            spec["grouping"] = dataclasses.asdict(self.grouping)
        if self.method.uses_texts:
            spec["encoder"] = encoder_name()
        if self.sample:  # only then, so that the records of whole runs keep their identity
            spec["sample"] = self.sample
        if self.scenario.auxiliary:
            spec["auxiliary"] = [edition_facts(card) for card in self.scenario.auxiliary]
        if self.incidents and self.method.description.incidents:
            spec["incidents"] = self.incidents
        return spec

    @property
    def data_seed(self) -> int | None:
        """The seed where it draws the data; None where it draws nothing, as under `chronological` and `given`."""
        is_drawn = self.split in DRAWN or (self.split == "transfer" and not self.scenario.is_ordered)
        return self.seed if is_drawn else None

    @property
    def data_key(self) -> tuple[object, ...]:
        """Cells with equal keys use the same data."""
        helpers = tuple(card.key for card in self.scenario.auxiliary)
        return (self.scenario.key, helpers, self.split, self.data_seed, self.grouping)

    @property
    def fit_key(self) -> tuple[object, ...]:
        """Cells with equal keys fit the same detector to the same data; a variant changes only what is scored."""
        config = json.dumps(dict(self.method.config), sort_keys=True)
        seed = self.seed if self.method.description.seeded else self.data_seed
        incidents = self.incidents if self.method.description.incidents else ()
        return (*self.data_key, self.method.ref, config, seed, incidents)

    @property
    def scores_key(self) -> tuple[object, ...]:
        """Cells with equal keys have the same scores: the seeds of a method that draws nothing, where nothing else is.

        A sample of the test sequences is drawn by the seed of its cell, whoever scores it.
        """
        drawn_by = self.seed if self.sample else None
        return (*self.fit_key, self.method.variant, self.sample, drawn_by)

    @property
    def run_id(self) -> str:
        """First 16 hex digits of SHA-256 over the canonical JSON of `spec()`."""
        return run_id(self.spec())


def run_id(spec: Mapping[str, Any]) -> str:
    """The identity of a resolved spec."""
    return run_id_of(spec)


def plan(
    scenarios: Sequence[Scenario],
    methods: Sequence[Method],
    *,
    splits: Sequence[str],
    seeds: Sequence[int],
    grouping: Grouping,
    sample: int = 0,
    incidents: str | tuple[tuple[float, float], ...] = (),
) -> list[Cell]:
    """All cells, ordered so that those which share their data stand together.

    A method that is not told of an auxiliary, or of incidents, is the same run with these and without.
    """
    splits = list(dict.fromkeys(canonical(name) for name in splits))
    for scenario in scenarios:
        if "transfer" in splits and not scenario.is_transfer:
            raise BenchError(
                f"the split 'transfer' needs a source and a target, and {scenario.key} is no transfer: "
                "use a scenario such as bgl2tbird, or --split chronological"
            )
        if RETROSPECTIVE in splits and scenario.is_transfer:
            raise BenchError(
                f"the split 'retrospective' trains and tests on all of one log, and {scenario.key} is a transfer: "
                "name one system, or use --split transfer"
            )
    for scenario in scenarios if sample else ():
        if sample < 2 * len(scenario.test):
            raise BenchError(
                f"a sample of {sample} cannot hold normal and abnormal sequences of each tested system of "
                f"{scenario.key}: give --sample at least {2 * len(scenario.test)}"
            )
    return [
        Cell(_scenario_of(method, scenario), method, split, grouping, seed, sample, incidents)
        for scenario, split, seed, method in itertools.product(scenarios, splits, seeds, methods)
        if _takes_part(method, split)
    ]


def _takes_part(method: Method, split: str) -> bool:
    """A control that is told labels keeps company under `transfer` alone, where all labels of a source are told.

    Within one system such methods have references of their own; under `paper` nobody is told labels. Under
    `retrospective` only those keep company that read nothing of an event, since the others have seen the test.
    """
    if split == RETROSPECTIVE and method.is_company:
        return method.looks_back
    told = method.description.told
    return not method.is_company or stands_everywhere(told) or split == "transfer"


def _scenario_of(method: Method, scenario: Scenario) -> Scenario:
    found = method.description
    told = told_under(found.told, found.told_with, method.config, scenario.roles)
    return scenario if "auxiliary" in told else dataclasses.replace(scenario, auxiliary=())


def resolve_methods(
    names: Sequence[str], settings: Sequence[str], cache: Path, profile: str = DEFAULT_PROFILE
) -> list[Method]:
    """Methods with configs from profile and `--set`, several for a swept value, and every control behind them."""
    refs = [_variant(name) for name in dict.fromkeys(names)]
    asked = [describe(ref, cache).told for ref, _ in refs]
    company = [ref for ref in registry.controls() if (ref, "") not in refs and _may_stand_beside(ref, asked, cache)]
    refs += [(ref, "") for ref in company]
    grids = parse_settings(settings)
    if unused := sorted(set(grids) - {ref.name for ref, _ in refs}):
        meant = choose_one(unused[0], [ref.name for ref, _ in refs])
        raise BenchError(f"--set names '{unused[0]}', which is not among the methods of this run: {meant}")
    methods = [
        method
        for ref, variant in refs
        for method in _configured(ref, variant, describe(ref, cache), grids.get(ref.name, {}), profile)
    ]
    methods = [dataclasses.replace(m, is_company=m.ref in company and not m.variant) for m in methods]
    _require_profile(methods, profile)
    return methods


def _require_profile(methods: Sequence[Method], profile: str) -> None:
    """Each method that was asked for has the profile; controls have none and run beside it as they are."""
    for method in methods:
        found = method.description
        if profile == DEFAULT_PROFILE or method.ref.is_control or found.error or profile in found.profiles:
            continue
        known = [DEFAULT_PROFILE, *sorted(found.profiles.keys() - {DEFAULT_PROFILE})]
        raise BenchError(
            f"the method '{method.ref.name}' has no profile '{profile}': "
            f"{choose_one(profile, known, more=', or leave it out of this run')}"
        )


def resolve_one(name: str, settings: Sequence[str], cache: Path) -> Method:
    """One method with one config."""
    ref = registry.find(name)
    found = [method for method in resolve_methods([name], settings, cache) if method.ref == ref]
    if len(found) != 1:
        raise BenchError(f"--set gives '{name}' several values: give one of each")
    return found[0]


def _may_stand_beside(control: DetectorRef, asked: Sequence[Mapping[str, str]], cache: Path) -> bool:
    """A control is told the source's normals; one that is told more joins methods that are told as much."""
    told = describe(control, cache).told
    return any(covers(other, told) for other in (NORMALS, *asked))


def _variant(name: str) -> tuple[DetectorRef, str]:
    base, plus, variant = name.rpartition("+")
    if not plus or ".py:" in variant:  # the plus belongs to a folder
        return registry.find(name), ""
    if variant not in VARIANTS:
        raise BenchError(f"unknown variant '+{variant}' of '{name}': {choose_one(variant, VARIANTS)}")
    return registry.find(base), variant


def _configured(
    ref: DetectorRef, variant: str, description: Description, grid: Mapping[str, list[str]], profile: str
) -> list[Method]:
    if description.error:
        return [Method(ref, description, variant)]
    defaults = _defaults(description, profile)
    chosen = profile if profile in description.profiles else DEFAULT_PROFILE
    converted = {key: [convert(ref, key, text, description) for text in texts] for key, texts in grid.items()}
    return [
        Method(
            ref,
            description,
            variant,
            defaults | dict(zip(converted, values, strict=True)),
            _shown(grid, texts),
            chosen,
        )
        for values, texts in zip(itertools.product(*converted.values()), itertools.product(*grid.values()), strict=True)
    ]


def _defaults(description: Description, profile: str) -> dict[str, Any]:
    """The config of a profile before any `--set`."""
    own = description.profiles.get(profile, {})
    return {name: _normal(info) for name, info in description.fields.items()} | dict(own)


def _normal(info: FieldInfo) -> Any:
    """The default as `_convert` would give it: `alpha: float = 1` and --set alpha=1.0 are one config."""
    whole = isinstance(info.default, int) and not isinstance(info.default, bool)
    return float(info.default) if info.kind == "float" and whole else info.default


def _shown(grid: Mapping[str, list[str]], texts: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(grid, texts, strict=True))


def edition_facts(card: Card) -> dict[str, Any]:
    """What of an edition belongs to the identity of a run on it."""
    return {
        "edition": card.key,
        "sha256": card.digests(),
        "format": card.format.identity(),
        "parser": dataclasses.asdict(card.parser),
        "drop_events": card.drop_events,
        **({"incidents": card.incidents} if card.incidents else {}),
        **({"lines": card.lines} if card.lines else {}),
        **({"cut": card.cut} if card.cut != "edition" else {}),
    }


def _counts(info: FieldInfo, value: Any) -> bool:
    """Whether a setting belongs to the identity."""
    return info.identity and not (info.where_used and value == _normal(info))


def _detector(method: Method, roles: tuple[str, ...]) -> dict[str, Any]:
    module, _, attribute = method.ref.target.partition(":")
    found, fields = method.description, method.description.fields
    # How much is told of a role that takes no part (only a transfer has a target) changes nothing.
    idle = [amount_field(role, grade) for role, grade in found.told.items() if role not in roles]
    return {
        "name": Path(module).stem if method.ref.is_local else method.ref.name,
        "class": f"{Path(module).name if method.ref.is_local else module}:{attribute}",
        "source_sha256": method.ref.version if method.ref.is_local else None,
        "variant": {"name": NEAREST, "min_cosine": NEAREST_MIN_COSINE} if method.variant == NEAREST else None,
        "config": {
            key: value for key, value in method.config.items() if _counts(fields[key], value) and key not in idle
        },
        **({"files": [[file["name"], file["sha256"]] for file in found.files]} if found.files else {}),
    }
