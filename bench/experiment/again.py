"""A stored record run again: its cell made of what it says, and what the new numbers differ in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench import registry
from bench._plain import jsonable
from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.grouping import Grouping
from bench.errors import BenchError
from bench.evaluation.thresholds import parse_rule
from bench.experiment.cell import Settings
from bench.experiment.code import InstalledCode, difference
from bench.experiment.runner import run
from bench.experiment.scenario import Scenario
from bench.experiment.spec import DEFAULT_PROFILE, Cell, Method
from bench.isolation.lodging import describe
from bench.records.record import ran_elsewhere
from bench.records.store import Record, Scores, Store

_SECTIONS: Final = ("ranking", "rules")


class Difference(NamedTuple):
    """One number of a record that came out otherwise."""

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.before)} before, {_shown(self.after)} now"


@dataclass(frozen=True)
class Reproduction:
    """A record beside what its cell gives now."""

    record: Record
    again: Record
    tolerance: float
    n_numbers: int
    differences: tuple[Difference, ...]
    """Numbers off by more than the tolerance, the largest first."""
    scores_off: float | None
    """How far the most different score is off; None where the record's scores are not here."""
    surroundings: tuple[str, ...]
    """What differs in code, environment and settings of the run, one sentence each."""

    @property
    def holds(self) -> bool:
        """Whether all numbers and scores agree within the tolerance."""
        return not self.differences and (self.scores_off is None or self.scores_off <= self.tolerance)


def reproduce(record: Record, store: Store, catalogue: Catalogue, threads: int | None = None) -> Reproduction:
    """Run the cell of a record again, in a store of its own; a BenchError where that cannot be done here."""
    if record["status"] != "ok":
        raise BenchError(
            f"the record {record['run_id']} holds no numbers ({record['status']}: {record['reason']}): "
            "choose one that is ok"
        )
    cell = cell_of(record, catalogue, store)
    with tempfile.TemporaryDirectory(prefix="bench-again-") as folder:
        temporary = Store(Path(folder))
        settings = _settings(record, threads)
        (again,) = run([cell], temporary, catalogue, settings, lambda *ignored: None).records
        after = temporary.read_scores(again["run_id"])
    if again["status"] != "ok":
        raise BenchError(f"'{record['method']}' did not run again ({again['status']}): {again['reason']}")
    tolerance = registry.load(cell.method.ref, cell.method.description).tolerance
    differences, n_numbers = differing(record, again, tolerance)
    return Reproduction(
        record,
        again,
        tolerance,
        n_numbers,
        tuple(differences),
        _off(store.read_scores(record["run_id"]), after),
        tuple(_surroundings(record, again)),
    )


def cell_of(record: Record, catalogue: Catalogue, store: Store) -> Cell:
    """The cell that a record is of, with the code and cards of today; a BenchError where they give another one."""
    spec = record["spec"]
    train, test = (tuple(catalogue.resolve(part["edition"]) for part in spec[role]) for role in ("train", "test"))
    grouping = Grouping(**spec["grouping"]) if "grouping" in spec else Grouping()
    method = _method_of(record, store)
    helpers = tuple(catalogue.resolve(part["edition"]) for part in spec.get("auxiliary", ()))
    scenario = Scenario(train, test, helpers)
    incidents = _incidents_of(spec)
    cell = Cell(scenario, method, spec["split"], grouping, spec["seed"], spec.get("sample", 0), incidents)
    today = jsonable(cell.spec())
    other = sorted(name for name in spec.keys() | today.keys() if _compared(spec, name) != _compared(today, name))
    if other:
        raise BenchError(
            f"the record {record['run_id']} cannot be run again: today's spec differs in {', '.join(other)} "
            "(another card, file or setting): check out the commit that the record names"
        )
    return cell


def _incidents_of(spec: Mapping[str, Any]) -> str | tuple[tuple[float, float], ...]:
    given = spec.get("incidents", ())
    return given if isinstance(given, str) else tuple((float(start), float(end)) for start, end in given)


def differing(before: Record, after: Record, tolerance: float) -> tuple[list[Difference], int]:
    """Metrics of two records of one cell that differ by more than the tolerance, largest first; and how many there are.

    Only rules that the older one knows are compared.
    """
    old, new = _numbers(before), _numbers(after)
    found = [(_distance(value, new.get(name)), Difference(name, value, new.get(name))) for name, value in old.items()]
    found = [entry for entry in found if entry[0] > tolerance]
    return [difference for _, difference in sorted(found, key=lambda entry: (-entry[0], entry[1].name))], len(old)


def _method_of(record: Record, store: Store) -> Method:
    said, facts = record["spec"]["detector"], record["detector"]
    if ran_elsewhere(record):
        raise BenchError(f"'{record['method']}' cannot be run again: it ran elsewhere, only its scores were imported")
    if not said["class"].partition(":")[0].endswith(".py"):
        ref = registry.find(said["name"])
    else:
        ref = registry.find(InstalledCode(store.cache).target(record))
    description = describe(ref, store.cache)
    if description.error:
        raise BenchError(f"'{record['method']}' cannot be run again: {description.error}")
    config = {**facts["config"], **said["config"]}
    if unknown := sorted(config.keys() - description.fields.keys()):
        raise BenchError(f"'{record['method']}' cannot be run again: it has no setting '{unknown[0]}' any more")
    variant = said["variant"]["name"] if said["variant"] else ""
    passed, profile = facts["config_passed"], facts.get("profile", DEFAULT_PROFILE)
    return Method(ref, description, variant, config, passed, profile)


def _compared(spec: Mapping[str, Any], name: str) -> Any:
    """A part of a spec; an edited local file is another run, but here it is what is to be compared."""
    part = spec.get(name)
    return {**part, "source_sha256": None} if name == "detector" and part else part


def _settings(record: Record, threads: int | None) -> Settings:
    config = record["detector"]["config"]
    return Settings(
        device=record["device"],
        precision=config.get("precision", "float32"),
        compile=config.get("compile", False),
        threads=record["threads"] if threads is None else threads,
        extra_rules=tuple(parse_rule(text) for text in record["thresholds"]),
    )


def _numbers(record: Record) -> dict[str, Any]:
    """Every metric by its path: `all, ranking, auroc`."""
    blocks = {
        f"{block}, {section}": metrics[section]
        for block, metrics in record["metrics"].items()
        for section in _SECTIONS
        if section in metrics
    }
    return dict(_flat(blocks, ""))


def _flat(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}, ")
        else:
            yield f"{path}{name}", value


def _distance(before: Any, after: Any) -> float:
    """How far two values are apart, relative where the first is larger than 1; infinite where they are of two kinds."""
    if before == after:
        return 0.0
    if not all(isinstance(value, int | float) for value in (before, after)):
        return float("inf")
    return float(abs(before - after) / max(1.0, abs(before)))


def _off(before: Scores | None, after: Scores | None) -> float | None:
    if before is None or after is None:
        return None
    worst = 0.0
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.shape != old.shape:
            return float("inf")
        # Scores are finite, so what cannot be subtracted is a weight or a threshold that is infinite in both.
        differs = old != new
        a, b = old[differs].astype(np.float64), new[differs].astype(np.float64)
        if a.size:
            apart = np.abs(a - b) / np.maximum(1.0, np.abs(a))
            worst = max(worst, float(np.where(np.isfinite(apart), apart, np.inf).max()))
    return worst


def _surroundings(record: Record, again: Record) -> Iterator[str]:
    made_by = record.get("code")
    if not made_by:
        yield "code: of the record unknown, as it was made before records named it"
    elif why := difference(made_by, again["code"]):
        yield f"code: {why}"
    before, after = _environment(record), _environment(again)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name}: {_shown(before.get(name))} before, {_shown(after.get(name))} now"


def _environment(record: Record) -> dict[str, Any]:
    environment: dict[str, Any] = dict(record["environment"])
    packages = environment.pop("packages", {})
    return {**environment, **packages, "threads": record["threads"], "device": record["device"]}


def _shown(value: Any) -> str:
    # None of a package means that one of the two records does not name it, not that it was not installed.
    return "not named" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)
