"""What the pages are made of: tables by page, rows by what is special about them, verdicts of paired comparisons."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from bench.data.sequences.protocols import block_of, is_cut
from bench.experiment.grades import asks_a_model
from bench.experiment.groups import is_control
from bench.records.probes import ProbeRecord, every_probe
from bench.records.record import standing
from bench.records.store import Store
from bench.reporting.comparisons.kept import every_kept
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.tables.rows import Row, Table
from bench.reporting.tables.table import make_tables

Family = Literal["within", "paper", "transfers", "combined", "chat", "drift"]
Kind = Literal["plain", "original", "steps", "setting"]
"""What a row is: a method as it comes, its published form, another budget, another setting changed."""

_STEPS, _PROFILE = "steps", "profile"
_SETTINGS: Final = re.compile(r"\[([^\]]+)\]")


@dataclass(frozen=True)
class Results:
    """All that the pages say comes from here."""

    tables: tuple[Table, ...]
    """Of the newest protocol alone."""
    protocol: int
    older: tuple[int, ...]
    """Earlier protocols whose records are here, and on no page."""
    verdicts: Verdicts
    probes: tuple[ProbeRecord, ...] = ()

    def of(self, *families: Family, simulated: bool = False) -> list[Table]:
        """The tables of these families, the most telling editions first."""
        found = [
            table
            for table in self.tables
            if family_of(table) in families and (simulated or standing_of(table) != "simulated")
        ]
        return sorted(found, key=lambda table: (_WORTH.index(standing_of(table)), table.key))


_WORTH: Final = ("evaluation", "development", "smoke", "simulated")


def gather(store: Store) -> Results:
    """Read a results folder."""
    tables = make_tables(store.records())
    protocols = sorted({table.key.protocol_version for table in tables})
    newest = protocols[-1] if protocols else 0
    chosen = tuple(table for table in tables if table.key.protocol_version == newest)
    verdicts, probes = Verdicts.of(every_kept(store)), tuple(every_probe(store.root))
    return Results(chosen, newest, tuple(protocols[:-1]), verdicts, probes)


def standing_of(table: Table) -> str:
    """What its numbers are good for; an auxiliary system of some rows is no matter of the table."""
    record = table.records[0]
    tested = {part["edition"] for part in (*record["spec"]["train"], *record["spec"]["test"])}
    tiers = {edition: tier for edition, tier in record["tiers"].items() if edition in tested}
    return standing({**record, "tiers": tiers or record["tiers"]})


def family_of(table: Table) -> Family:
    """The page a table belongs to."""
    key, spec = table.key, table.records[0]["spec"]
    methods = [row for row in table.rows if not is_control(row.group)]
    if key.sample or (methods and all(asks_a_model(row.records[0]) for row in methods)):
        return "chat"
    if block_of(key.split) is not None or (is_cut(key.split) and key.split != "chronological"):
        return "drift"
    if spec["train"] != spec["test"]:
        return "transfers"
    if len(spec["train"]) > 1:
        return "combined"
    return "paper" if key.split == "paper" else "within"


def kind_of(row: Row) -> Kind:
    """What is special about a row: its name says what it does not share with the plain one."""
    names = {part.partition("=")[0] for part in settings_of(row)}
    if not names:
        return "plain"
    alone: dict[str, Kind] = {_PROFILE: "original", _STEPS: "steps"}
    return alone.get(next(iter(names)), "setting") if len(names) == 1 else "setting"


def settings_of(row: Row) -> tuple[str, ...]:
    """What its name says that it does not share with the plain one: `steps=75`."""
    found = _SETTINGS.search(row.records[0]["method"])
    return tuple(found[1].split(",")) if found else ()


def steps_of(row: Row) -> int | None:
    """Its budget in optimiser steps; None of what is not trained in steps."""
    steps = row.records[0]["detector"]["config"].get(_STEPS)
    return None if steps is None else int(steps)


def methods_of(table: Table) -> list[Row]:
    """The methods of a table as they come, without changed settings."""
    return [row for row in table.rows if not is_control(row.group) and kind_of(row) == "plain"]
