"""A frozen plan: which runs will be made, by which suites, defaults and code, written down before they are made.

It is a TOML file with every run id, so that records can be held against it without data and without planning anew.
What no method had been scored on when it was written is the blind evidence.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench._files import replace_text
from bench.errors import BenchError
from bench.experiment.code import InstalledCode, known_codes
from bench.experiment.spec import PROTOCOL_VERSION, Cell
from bench.experiment.suites import Suite
from bench.records.record import Record, content_digest

SEEN: Final[Mapping[str, str]] = {
    "hdfs@blocks-a": "it was looked at while MLAD's inputs were examined",
    "bgl@text-stream-a": "methods were scored on it when it was made, without a record",
    "iotdb_multilog@export": "methods were scored on it when it was made, without a record",
}
"""Editions that are not blind, whatever records say."""

_HEAD: Final = (
    "# Which runs are made, fixed before they were: written by `bench run --suite ... --freeze FILE`, run by\n"
    "# `bench run --frozen FILE`, checked by `bench audit plan`. Not to be edited.\n"
)
_DIGITS: Final = 16
_BARE: Final = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(frozen=True)
class FrozenSuite:
    """One suite as it was."""

    name: str
    """Of a shipped one, or its file as seen from the plan's folder."""
    sha256: str
    runs: int
    runs_sha256: str
    """Over its sorted run ids, a line each."""


@dataclass(frozen=True)
class Frozen:
    """What a plan file says."""

    protocol_version: int
    suites: tuple[FrozenSuite, ...]
    blind: tuple[str, ...]
    """Editions of tier evaluation that are tested, and on which no method had been scored."""
    not_blind: Mapping[str, str]
    """The others, and why."""
    code: Mapping[str, Sequence[str]]
    """By detector, `METHOD/ENGINE`: digests of the code that may make its runs."""
    defaults: Mapping[str, str]
    """By detector a digest of its defaults under the common budget."""
    runs: Mapping[str, Mapping[str, Sequence[str]]]
    """By `SCENARIO--SPLIT` and row of a table its run ids."""

    @property
    def run_ids(self) -> frozenset[str]:
        """Of all runs."""
        rows = (ids for rows in self.runs.values() for ids in rows.values())
        return frozenset(run_id for ids in rows for run_id in ids)


@dataclass(frozen=True)
class Held:
    """Records held against a plan."""

    done: int = 0
    missing: int = 0
    failed: int = 0
    """Neither ok nor skipped."""
    other_code: list[str] = field(default_factory=list)
    """Rows whose records the frozen code did not make."""
    outside: list[str] = field(default_factory=list)
    """Rows of editions of tier evaluation that the plan does not have."""
    n_outside: int = 0
    """Records that the plan does not have, of whatever tier."""
    n_in_other_plans: int = 0
    """Records that another plan has."""
    certificates: list[str] = field(default_factory=list)
    """Rows of scores by other code for a method of the plan: they ran elsewhere, so no plan has them."""


def freeze(
    suites: Sequence[tuple[str, Suite, Sequence[Cell]]],
    records: Iterable[Record],
    code: InstalledCode,
    before: Frozen | None = None,
) -> Frozen:
    """The plan of these suites (name in the file, suite, cells).

    records: all that there are, which tell what has been scored; before: a plan whose place it takes, whose editions
    that were not blind are not blind
    """
    cells = {cell.run_id: cell for _, _, found in suites for cell in found}
    blind, not_blind = _blindness(cells.values(), records, before)
    codes: dict[str, set[str]] = defaultdict(set)
    defaults: dict[str, str] = {}
    runs: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run_id, cell in cells.items():
        name = str(cell.spec()["detector"]["name"])  # as records call it
        codes[name].add(_code_text(code.of_cell(cell)))
        defaults.setdefault(name, content_digest(cell.method.defaults)[:_DIGITS])
        runs[f"{cell.scenario.key}--{cell.split}"][cell.method.label].append(run_id)
    return Frozen(
        PROTOCOL_VERSION,
        tuple(_frozen_suite(name, suite, found) for name, suite, found in suites),
        tuple(blind),
        not_blind,
        {name: sorted(found) for name, found in sorted(codes.items())},
        dict(sorted(defaults.items())),
        {place: dict(sorted(rows.items())) for place, rows in sorted(runs.items())},
    )


def suite_digest(suite: Suite) -> str:
    """SHA-256 of its file."""
    if suite.path is None:
        raise BenchError("only a suite can be frozen: name one with --suite")
    return hashlib.sha256(suite.path.read_bytes()).hexdigest()


def runs_digest(run_ids: Iterable[str]) -> str:
    """SHA-256 over run ids, whatever their order."""
    return hashlib.sha256("".join(f"{run_id}\n" for run_id in sorted(set(run_ids))).encode()).hexdigest()


def differences(frozen: Frozen, now: Frozen) -> list[str]:
    """Why what would run now is not the plan, in sentences; empty where it is. The code is not among it."""
    then, found = ({suite.name: suite for suite in plan.suites} for plan in (frozen, now))
    changed = [name for name in then if then[name].sha256 != found[name].sha256]
    told = [f"the file of the suite {name} has changed" for name in changed]
    if frozen.protocol_version != now.protocol_version:
        told.append(f"the protocol was {frozen.protocol_version} and is {now.protocol_version}")
    moved = [name for name, digest in frozen.defaults.items() if now.defaults.get(name, digest) != digest]
    if moved:
        told.append(f"the defaults of {', '.join(moved)} have changed")
    lost, more = frozen.run_ids - now.run_ids, now.run_ids - frozen.run_ids
    if lost or more:
        told.append(
            f"{len(lost)} of its {len(frozen.run_ids)} runs do not follow from its suites here, {len(more)} others do"
        )
    return told


def changed_code(frozen: Frozen, now: Frozen) -> list[str]:
    """The detectors whose runs another code would make."""
    return [name for name, codes in frozen.code.items() if not set(now.code.get(name, codes)) <= set(codes)]


def hold(frozen: Frozen, records: Iterable[Record], others: Collection[Frozen] = ()) -> Held:
    """What of a plan is done, and what was done beside it.

    records: all of a store;  others: further plans, whose runs are not beside it
    """
    known, seen = frozen.run_ids, set()
    elsewhere = frozenset().union(*(other.run_ids for other in others))
    done = failed = n_outside = n_elsewhere = 0
    other_code: dict[str, int] = defaultdict(int)
    outside: dict[str, int] = defaultdict(int)
    certificates: dict[str, int] = defaultdict(int)
    for record in records:
        if record["detector"].get("certifies"):
            certificates[_row(record)] += 1
            continue
        if record["run_id"] not in known and record["run_id"] in elsewhere:
            n_elsewhere += 1
            continue
        if record["run_id"] not in known:
            n_outside += 1
            if "evaluation" in record["tiers"].values():
                outside[_row(record)] += 1
            continue
        seen.add(record["run_id"])
        is_finished = record["status"] in ("ok", "skipped")
        done, failed = done + is_finished, failed + (not is_finished)
        if not _made_by(record, frozen.code):
            other_code[_row(record)] += 1
    missing = len(known - seen)
    counted = _counted(other_code), _counted(outside), n_outside, n_elsewhere, _counted(certificates)
    return Held(done, missing, failed, *counted)


def _counted(rows: Mapping[str, int]) -> list[str]:
    return [f"{row}: {n}" for row, n in sorted(rows.items())]


def write_frozen(path: Path, frozen: Frozen) -> None:
    """Write a plan file."""
    replace_text(path, _HEAD + "\n".join(_lines(frozen)) + "\n")


def read_frozen(path: Path) -> Frozen:
    """The plan of a file; what is wrong with it is a BenchError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        suites = tuple(FrozenSuite(**suite) for suite in content["suite"])
        runs = {place: {row: ids.split() for row, ids in rows.items()} for place, rows in content["runs"].items()}
        return Frozen(
            content["protocol_version"],
            suites,
            tuple(content["blind"]),
            content["not_blind"],
            content["code"],
            content["defaults"],
            runs,
        )
    except OSError as error:
        raise BenchError(
            f"the plan '{path}' cannot be read ({error.strerror or error}): write one with "
            f"`bench run --suite NAME --freeze {path}`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(
            f"the plan '{path}' is no plan ({type(error).__name__}: {error}): take it back from its commit"
        ) from None


def _frozen_suite(name: str, suite: Suite, cells: Sequence[Cell]) -> FrozenSuite:
    if suite.study is not None:
        raise BenchError(
            f"the study '{suite.name}' cannot be frozen, since its runs follow from records: run it before"
        )
    ids = {cell.run_id for cell in cells}
    return FrozenSuite(name, suite_digest(suite), len(ids), runs_digest(ids))


def _blindness(
    cells: Iterable[Cell], records: Iterable[Record], before: Frozen | None
) -> tuple[list[str], dict[str, str]]:
    """Editions of tier evaluation that are tested: blind ones, and the others with the reason.

    An edition that shares a file with one that was scored is not blind: its texts alone are new.
    """
    tested = {card.key: card for cell in cells for card in cell.scenario.test if card.tier == "evaluation"}
    scored: dict[str, str] = {}
    for record in records:
        for edition in (*record["spec"]["train"], *record["spec"]["test"]) if record["status"] == "ok" else ():
            scored |= dict.fromkeys(edition["sha256"].values(), edition["edition"])
    known = {**SEEN, **({} if before is None else before.not_blind)}
    blind, not_blind = [], {}
    for key, card in sorted(tested.items()):
        by = next((scored[digest] for digest in card.digests().values() if digest in scored), None)
        whole = next((name for name in known if key == name or key.startswith(f"{name}.")), None)
        if by is not None:
            not_blind[key] = f"records hold scores of methods on {by}"
        elif whole is not None:
            not_blind[key] = known[whole]
        else:
            blind.append(key)
    return blind, not_blind


def _made_by(record: Record, code: Mapping[str, Sequence[str]]) -> bool:
    """Whether the frozen code made a record, or was found to give the same numbers."""
    name = record["spec"]["detector"]["name"]
    return any(_code_text(found) in code.get(name, ()) for found in known_codes(record))


def _code_text(code: Mapping[str, str]) -> str:
    return f"{code.get('method', '')}/{code.get('engine', '')}"


def _row(record: Record) -> str:
    return f"{record['scenario']}, {record['spec']['split']}, {record['method']}"


def _lines(frozen: Frozen) -> Iterator[str]:
    yield f"protocol_version = {frozen.protocol_version}"
    yield f"blind = {json.dumps(list(frozen.blind))}"
    for suite in frozen.suites:
        yield "\n[[suite]]"
        yield from (f"{key} = {json.dumps(value)}" for key, value in vars(suite).items())
    for name in ("not_blind", "code", "defaults"):
        yield f"\n[{name}]"
        yield from (f"{_key(key)} = {json.dumps(value)}" for key, value in getattr(frozen, name).items())
    yield "\n[runs]"
    for place, rows in frozen.runs.items():
        yield f"\n[runs.{_key(place)}]"
        yield from (f'{_key(row)} = "{" ".join(ids)}"' for row, ids in rows.items())


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
