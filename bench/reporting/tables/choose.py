"""One record out of the tables, by what a user types: method, scenario, split, seed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.data.sequences.protocols import canonical, expanded
from bench.errors import BenchError, choose_one, did_you_mean
from bench.experiment.measure import are_scores_of
from bench.records.record import Record, Scores
from bench.records.store import Store
from bench.reporting.tables.protocols import of_one_protocol
from bench.reporting.tables.rows import Row, Table
from bench.reporting.tables.table import make_tables

DEFAULT_SPLIT: Final = "chronological"
_COMMA_OUTSIDE: Final = re.compile(r",(?![^\[]*\])")
"""Not one between the settings of `mlad[alpha=1.3,k=2]`."""
_EDITION: Final = "(?:@[a-z0-9._-]+)?"


@dataclass(frozen=True)
class Asked:
    """Which record is meant; what is None is chosen, and said."""

    method: str
    """A row of the tables, as they name it."""
    scenario: str
    """As the tables name it, with or without the editions, or a part of its name."""
    split: str | None = None
    seed: int | None = None
    protocol: int | None = None


@dataclass(frozen=True)
class Chosen:
    """The record that was meant, and the row it stands in."""

    row: Row
    record: Record
    notes: tuple[str, ...] = ()
    """What a reader must know of the choice."""


def choose_record(store: Store, asked: Asked) -> Chosen:
    """The finished record that is meant; whatever does not fit is a BenchError that lists what there is."""
    tables, notes = choose_tables(store, asked)
    having = [table for table in tables if any(row.method == asked.method for row in table.rows)]
    if not having:
        names = dict.fromkeys(row.method for table in tables for row in table.rows)
        where = f"{tables[0].key.scenario}, {tables[0].key.split}"
        meant = choose_one(asked.method, names, listing="bench table")
        raise BenchError(f"no table of {where} has a row '{asked.method}': {meant}")
    having.sort(key=lambda table: max(record["started_at"] for record in table.records))
    if len(having) > 1:
        notes.append(f"{len(having)} tables fit (other windows, samples or data): shown is the one that ran last")
    row = next(row for row in having[-1].rows if row.method == asked.method)
    record = run_of(row, asked.seed)
    store.require_unchanged([record])
    return Chosen(row, record, tuple(notes))


def choose_tables(store: Store, asked: Asked) -> tuple[list[Table], list[str]]:
    """The tables of one scenario, split and protocol, and what a reader must know of the choice."""
    places = _places(store)
    scenario = _one_scenario(asked.scenario, dict.fromkeys(name for name, _ in places), store)
    splits = [split for name, split in places if name == scenario]
    split = _one_split(asked.split, splits, scenario)
    found = make_tables(store.table_records(lambda name, cut: (name, cut) == (scenario, split)))
    shown = of_one_protocol(found, asked.protocol)
    notes = [shown.note] if shown.note else []
    if asked.split is None and len(splits) > 1:
        notes.append(f"shown is the split {split}; there are {', '.join(s for s in splits if s != split)} too")
    return shown.tables, notes


def fitting_rows(store: Store, scenario: str | None, split: str | None, methods: str | None) -> list[Row]:
    """The rows of all tables of the newest protocol that fit; BenchError where none does.

    scenario: a part of its name;  methods: names of rows, with commas
    """
    splits = None if split is None else expanded([split])
    tables = make_tables(
        store.table_records(
            lambda name, cut: (scenario is None or scenario in name) and (splits is None or cut in splits)
        )
    )
    rows = [row for table in of_one_protocol(tables).tables for row in table.rows]
    if not rows:
        raise nothing_fits(store, scenario, "--scenario, --split or --out")
    if methods is None:
        return rows
    known = dict.fromkeys(row.method for row in rows)
    asked = row_names(methods)
    for name in asked:
        if name not in known:
            meant = choose_one(name, known, listing="bench table")
            raise BenchError(f"no table that fits has a row '{name}': {meant}")
    return [row for row in rows if row.method in asked]


def nothing_fits(store: Store, scenario: str | None, others: str) -> BenchError:
    """The error where no table is of what was asked for.

    others: what else may be given, as `--scenario, --split or --out`
    """
    names = dict.fromkeys(name for name, _ in _places(store))
    if scenario is None or any(scenario in name for name in names):
        return BenchError(f"no record in {store.root} fits: run something first, or give another {others}")
    return BenchError(f"no record in {store.root} is of the scenario '{scenario}': {_scenarios_near(scenario, names)}")


def _scenarios_near(asked: str, names: Iterable[str]) -> str:
    """As `choose_one`; scenarios are also near by their names without editions."""
    known = list(names)
    systems = "|".join(sorted({name for key in known for name in re.findall(r"([a-z_]+)@", key)}))
    bare = [re.sub(rf"@[a-z0-9._-]+?(?=2(?:{systems})@|\+|$)", "", key) for key in known]
    meant = did_you_mean(asked, known) or did_you_mean(asked, bare)
    return meant + choose_one("", known)


def scores_of_record(record: Record, store: Store) -> Scores:
    """The stored scores of a record; BenchError where they are not here, or not its own."""
    scores = trusted_scores(record, store)
    if scores is None:
        path = store.scores / f"{record['run_id']}.npz"
        raise BenchError(
            f"the scores of '{record['method']}' are not here ({path}): copy them from where it ran, "
            "or delete its record and run it again"
        )
    return scores


def trusted_scores(record: Record, store: Store) -> Scores | None:
    """The scores of a record, None where they are not here; BenchError where they are not its own."""
    scores = store.read_scores(record["run_id"])
    if scores is None:
        return None
    try:
        is_own = are_scores_of(record, scores)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        is_own = False
    if not is_own:
        raise BenchError(
            f"the scores {store.scores / record['run_id']}.npz are not those of their record: delete both and run again"
        )
    return scores


def row_names(text: str) -> list[str]:
    """The names of rows in a list with commas, each once."""
    names = (name.strip() for name in _COMMA_OUTSIDE.split(text))
    return [name for name in dict.fromkeys(names) if name]


def _places(store: Store) -> list[tuple[str, str]]:
    """Scenario and split of all records, without reading those of the archive."""
    found: list[tuple[str, str]] = []

    def note(scenario: str, split: str) -> bool:
        found.append((scenario, split))
        return False

    for _ in store.by_table(note):
        pass
    if not found:
        raise BenchError(f"there is no record in {store.root}: run something first, or give another --out")
    return found


def _one_scenario(asked: str, names: Iterable[str], store: Store) -> str:
    """The scenario that is meant: by its whole name, else without editions, else by a part of it."""
    known = list(names)
    bare = "".join(_EDITION + re.escape(char) if char in "2+" else re.escape(char) for char in asked) + _EDITION
    exact = [name for name in known if name == asked]
    without = [name for name in known if re.fullmatch(bare, name)]
    found = exact or without or [name for name in known if asked in name]
    if not found:
        raise BenchError(f"no record in {store.root} is of the scenario '{asked}': {_scenarios_near(asked, known)}")
    if len(found) > 1:
        raise BenchError(f"'{asked}' fits {len(found)} scenarios in {store.root}: {choose_one(asked, found)}")
    return found[0]


def _one_split(asked: str | None, splits: Sequence[str], scenario: str) -> str:
    if asked is None:
        return DEFAULT_SPLIT if DEFAULT_SPLIT in splits else splits[0]
    name = canonical(asked)
    if name not in splits:
        raise BenchError(f"{scenario} has no record under the split '{name}': {choose_one(name, splits)}")
    return name


def run_of(row: Row, seed: int | None) -> Record:
    """The finished record of a seed, or of the first; BenchError where there is none."""
    finished = {record["spec"]["seed"]: record for record in row.finished}
    if not finished:
        raise BenchError(f"'{row.method}' has no finished run: {row.failure}")
    if seed is None:
        return finished[min(finished)]
    if seed not in finished:
        known = ", ".join(map(str, sorted(finished)))
        raise BenchError(f"'{row.method}' has no finished run of seed {seed}: choose one of {known}")
    return finished[seed]
