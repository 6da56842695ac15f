"""Claims of abstracts: one number for several logs. A mean of F1 cannot exceed the mean of what each log allows."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError, choose_one
from bench.experiment.measure import ALL
from bench.reporting import markdown
from bench.reporting.published.audit import IMPOSSIBLE, NOT_JUDGED, POSSIBLE
from bench.reporting.published.page import scenario_name
from bench.reporting.published.papers import published_file
from bench.reporting.tables.rows import Row, Table, aggregate, mean_of, shown_rule

_NUMBERS: Final = ("f1_above", "f1", "precision")
_EDITIONS: Final[Mapping[str, tuple[str, ...]]] = {"OpenStack": ("openstack", "openstack_ids")}
"""Our editions of a log that has a bound; `openstack_kalaki` is another log."""


@dataclass(frozen=True)
class Claim:
    """What an abstract, or someone who read the paper, says."""

    system: str
    says: str
    number: Decimal | None
    """F1, or the precision of a claim that names one only."""
    metric: str = ""
    """`f1_above`, `f1` or `precision`."""
    data: tuple[str, ...] = ()
    """The logs that it is an average over, where that is known."""
    version: str = ""
    """Which version of the paper says so."""
    source: str = ""
    """Where it was read."""
    detector: str = ""
    """The detector of this project, or nothing."""
    scenario: str = ""
    """Where it names one pair: that pair without editions, as `hdfs2bgl`."""


@dataclass(frozen=True)
class Bound:
    """The best F1 of any detector on event sequences of a log, under one reading of its labels."""

    data: str
    labels: str
    """Which labels these are."""
    f1: Decimal
    arithmetic: str


@dataclass(frozen=True)
class Judged:
    """A claim and what the bounds say of it."""

    claim: Claim
    verdict: str
    arithmetic: str

    def to_json(self) -> dict[str, Any]:
        """For programs; numbers as printed, as texts."""
        claim = self.claim
        return {
            "system": claim.system,
            "version": claim.version,
            "says": claim.says,
            "metric": claim.metric,
            "number": None if claim.number is None else str(claim.number),
            "data": list(claim.data),
            "scenario": claim.scenario,
            "source": claim.source,
            "verdict": self.verdict,
            "arithmetic": self.arithmetic,
        }


def load_claims(path: Path | None = None) -> tuple[list[Claim], list[Bound]]:
    """Claims and bounds of the file of published values; anything wrong with it is a BenchError."""
    path = published_file() if path is None else path
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        claims = [_claim(entry) for entry in content.get("claim", [])]
        bounds = [Bound(**entry) for entry in content.get("bound", [])]
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"'{path}' cannot be read ({error}): correct its TOML") from None
    except (KeyError, TypeError) as error:
        raise BenchError(f"'{path}' has a claim or bound in another form ({error}): see the shipped one") from None
    return claims, bounds


def _claim(entry: Mapping[str, Any]) -> Claim:
    metric = next((name for name in _NUMBERS if name in entry), "")
    rest = {name: value for name, value in entry.items() if name not in (*_NUMBERS, "data", "f1_gain")}
    return Claim(number=entry.get(metric), metric=metric, data=tuple(entry.get("data", ())), **rest)


def judge_claims(claims: Sequence[Claim], bounds: Sequence[Bound]) -> list[Judged]:
    """Each claim held against the bounds of the logs that it names, in their order."""
    return [_judged(claim, bounds) for claim in claims]


def _judged(claim: Claim, bounds: Sequence[Bound]) -> Judged:
    if claim.number is None or claim.metric == "precision" or not claim.data:
        why = "no F1" if claim.metric == "precision" or claim.number is None else "it names no log"
        return Judged(claim, NOT_JUDGED, why)
    of_log = {name: [bound for bound in bounds if bound.data == name] for name in claim.data}
    if not any(of_log.values()):
        return Judged(claim, NOT_JUDGED, "no bound of its logs is known")
    # Of several readings of the labels the one that allows most, in favour of what was printed.
    best = [max((bound.f1 for bound in found), default=Decimal(1)) for found in of_log.values()]
    mean = sum((Fraction(value) for value in best), Fraction(0)) / len(best)
    terms = " + ".join(f"{value}" for value in best)
    formula = f"mean over {', '.join(claim.data)} <= ({terms}) / {len(best)} = {float(mean):.3f}"
    sign = "<" if mean < Fraction(claim.number) else ">="
    verdict = IMPOSSIBLE if sign == "<" else POSSIBLE
    return Judged(claim, verdict, f"{formula} {sign} {claim.number}")


def differing_versions(claims: Sequence[Claim]) -> list[str]:
    """Systems of which several versions claim different things, a sentence for each."""
    found = []
    for system in dict.fromkeys(claim.system for claim in claims):
        said = {claim.version: claim.says for claim in claims if claim.system == system and claim.version}
        if len(set(said.values())) > 1:
            words = "; ".join(f"{version}: {says}" for version, says in said.items())
            found.append(f"- versions of {system} claim different things, so a number needs its version: {words}")
    return found


def render_claims(judged: Sequence[Judged], bounds: Sequence[Bound]) -> str:
    """Claims, the bounds behind their verdicts, and versions that differ, as markdown."""
    rows = [
        [j.claim.system, j.claim.version or "-", j.claim.says, j.claim.source or "-", j.verdict, j.arithmetic]
        for j in judged
    ]
    headers = ["system", "version", "claims", "read in", "verdict", "arithmetic"]
    parts = ["### Claims of abstracts", markdown.table(rows, headers)]
    lines = [[bound.data, bound.labels, str(bound.f1), bound.arithmetic] for bound in bounds]
    if lines:
        parts.append(
            "Best F1 of any detector on event sequences, sentence vectors of templates included; a higher one needs "
            "windows labelled by file, values of parameters, or other labels, and the papers do not say which:"
        )
        parts.append(markdown.table(lines, ["log", "labels", "bound", "arithmetic"]))
    parts += ["\n".join(differing_versions([j.claim for j in judged]))]
    return "\n\n".join(filter(None, parts)) + "\n"


def render_beside(tables: Sequence[Table], rule: str, systems: Collection[str], path: Path | None = None) -> str:
    """The claims of some systems, each beside our rows of its detector on every scenario, as markdown."""
    claims, bounds = load_claims(path)
    if unknown := sorted(set(systems) - {claim.system for claim in claims}):
        raise BenchError(
            f"no claim of '{unknown[0]}' is known: {choose_one(unknown[0], sorted({c.system for c in claims}))}"
        )
    judged = judge_claims([claim for claim in claims if claim.system in systems], bounds)
    rows = [row for j in judged for row in _beside(j, tables, rule)]
    headers = [
        "system",
        "version",
        "claims",
        "verdict",
        "ours on",
        "our row",
        "our F1 [95 %]",
        "our P",
        "AUROC",
        "oracle",
        "bound",
    ]
    said = (
        "A claim is one number for several logs, with a protocol that its abstract does not give; ours is one pair, "
        "split and threshold rule. The two are never averaged."
    )
    return "\n\n".join([said, markdown.table(rows, headers), render_claims(judged, bounds)])


def with_claimed_rows(
    tables: Sequence[Table], stored: Iterable[Table], systems: Collection[str], path: Path | None = None
) -> list[Table]:
    """The tables, each with the stored rows of those claimed systems that it has no row of.

    stored: the tables of all that is recorded
    """
    detectors = {claim.detector for claim in load_claims(path)[0] if claim.system in systems}
    known = {table.key: table.rows for table in stored}
    found = []
    for table in tables:
        missing = detectors - {_detector(row) for row in table.rows}
        more = [row for row in known.get(table.key, ()) if _detector(row) in missing]
        found.append(replace(table, rows=(*table.rows, *more)))
    return found


def _detector(row: Row) -> str:
    return str(row.records[0]["spec"]["detector"]["name"])


def _beside(judged: Judged, tables: Sequence[Table], rule: str) -> list[list[str]]:
    claim = judged.claim
    left = [claim.system, claim.version or "-", claim.says, judged.verdict]
    found = [
        [*left, f"{scenario_name(table)}, {table.key.split}", *_ours(row, rule), _bounded(table)]
        for table in tables
        if claim.scenario in ("", scenario_name(table))
        for row in table.rows
        if claim.detector and _detector(row) == claim.detector
    ]
    return found or [[*left, *["-"] * 7]]


def _ours(row: Row, rule: str) -> list[str]:
    if not row.finished:
        return [row.label, *["-"] * 4]
    shown = shown_rule(row, rule)
    f1 = aggregate(row, ALL, "f1", shown)
    others = [mean_of(row, ALL, name, shown) for name in ("precision", "auroc", "oracle_f1")]
    cell = "n/e" if f1 is None else f"{f1.mean:.3f} [{f1.low:.3f}, {f1.high:.3f}]"
    return [row.label, cell, *("-" if value is None else f"{value:.3f}" for value in others)]


def _bounded(table: Table) -> str:
    """Whether labels of a log with a bound take part."""
    names = {part["edition"].partition("@")[0] for side in ("train", "test") for part in table.records[0]["spec"][side]}
    return ", ".join(log for log, editions in _EDITIONS.items() if names & set(editions)) or "-"
