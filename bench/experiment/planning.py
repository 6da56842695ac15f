"""The blocks of a suite, or what a user typed -> cells, and what a reader must know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import registry
from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.protocols import expanded
from bench.errors import BenchError
from bench.experiment.scenario import Scenario, parse_scenario
from bench.experiment.settings import parse_seeds
from bench.experiment.spec import Cell, Method, plan, resolve_methods
from bench.experiment.suites import SuitePart


@dataclass(frozen=True)
class Plan:
    """The cells of a suite, and what a reader must know of them."""

    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    """What was left out and why; which edition stands in for a full one."""


def plan_parts(parts: Sequence[SuitePart], catalogue: Catalogue, cache: Path) -> Plan:
    """All cells of all parts, those which share their data beside each other; cache: where detector facts are kept."""
    cells: list[Cell] = []
    notes: list[str] = []
    for part in parts:
        notes += [f"left out {scenario}: {reason}" for scenario, reason in part.left_out]
        scenarios = resolve_scenarios(part.scenarios, part.optional_scenarios, catalogue, notes)
        names = [*part.methods, *_installed(part.optional_methods, notes)]
        if not scenarios or not names:
            continue  # all of it is optional, and none of it here
        absent = {name.partition("+")[0] for name in part.optional_methods if name not in names}
        settings = [text for text in part.settings if text.partition("=")[0].rpartition(".")[0] not in absent]
        step = part.window_size if part.window_step is None else part.window_step
        methods = _resolved(names, settings, cache, part.profile)
        _require_use(part, methods)
        if part.auxiliary:
            scenarios = [scenario.with_auxiliary(part.auxiliary, catalogue) for scenario in scenarios]
        cells += plan(
            scenarios,
            methods,
            splits=expanded(part.splits),
            seeds=parse_seeds(part.seeds),
            grouping=Grouping(part.window_size, step),
            sample=part.sample,
            incidents=part.incidents,
        )
    first: dict[tuple[object, ...], int] = {}
    for position, cell in enumerate(cells):
        first.setdefault(cell.data_key, position)
    return Plan(tuple(sorted(cells, key=lambda cell: first[cell.data_key])), tuple(dict.fromkeys(notes)))


def _require_use(part: SuitePart, methods: Sequence[Method]) -> None:
    """What no method of a run would be told is a slip."""
    names = ", ".join(method.label for method in methods if not method.ref.is_control)
    if part.auxiliary and not any("auxiliary" in method.description.told for method in methods):
        raise BenchError(f"none of {names} is told of an auxiliary: leave --auxiliary out, or name a method that is")
    if part.incidents and not any(method.description.incidents for method in methods):
        raise BenchError(f"none of {names} learns from incidents: leave --incidents out, or name a method that does")


def _resolved(names: Sequence[str], settings: Sequence[str], cache: Path, profile: str) -> list[Method]:
    try:
        return resolve_methods(names, settings, cache, profile)
    except OSError as error:
        reason = error.strerror or error
        raise BenchError(f"'{cache}' cannot be written ({reason}): choose another folder with --out") from None


def resolve_scenarios(
    texts: Sequence[str], optional: Sequence[str], catalogue: Catalogue, notes: list[str]
) -> list[Scenario]:
    """Scenarios without repetition; what is left out of the optional ones, and what stands in, is added to notes."""
    found = {text: parse_scenario(text, catalogue) for text in texts}
    for text in optional:
        try:
            found.setdefault(text, parse_scenario(text, catalogue))
        except BenchError as error:
            notes.append(f"left out {text}: {error}")
    for text, scenario in found.items():
        for card in scenario.cards:
            best = catalogue.editions(card.name)[0]
            if best.key != card.key and card.key not in text:
                notes.append(f"{best.key} is not here: {card.key} stands in for it")
    return list({scenario.key: scenario for scenario in found.values()}.values())


def _installed(names: Sequence[str], notes: list[str]) -> list[str]:
    known = registry.available() if names else {}
    notes += [f"left out {name}: no such method is installed" for name in names if name.partition("+")[0] not in known]
    return [name for name in names if name.partition("+")[0] in known]
