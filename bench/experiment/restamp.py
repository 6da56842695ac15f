"""One cell of every method and kind of scenario, old commit against the code installed, on this machine.

Where both give the same numbers, the records of that method and kind say so in `verified_with`; what they were made
with stays as it is. A cell speaks for the engine, which treats all settings of a method alike; where the method's own
code changed, that is not so, and its records are run again.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import registry
from bench.detector import Detector
from bench.errors import BenchError
from bench.experiment.again import Difference, differing
from bench.experiment.code import InstalledCode, known_codes
from bench.experiment.environment import describe_environment
from bench.experiment.past import for_steps
from bench.experiment.settings import quoted
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.record import run_id_of
from bench.records.store import OLD_FOLDER, Record, Store

ROOT: Final = Path(__file__).resolve().parents[2]
"""The checkout, whose history holds the old commits."""


class Group(NamedTuple):
    """What one cell speaks for: records of one method on one kind of scenario, made at one commit."""

    method: str
    kind: str
    commit: str


class Needing(NamedTuple):
    """Records that the installed code is not known to have made, by what can be done about them."""

    groups: Mapping[Group, list[Record]]
    """To be checked, by what one cell can speak for."""
    changed: Mapping[str, int]
    """How many there are of each method whose own code changed, and which are not checked for that."""
    unfinished: int
    """Those that are not ok, and hold no number to compare: `bench run` makes them again."""


@dataclass(frozen=True)
class Checked:
    """What came of one group."""

    group: Group
    n_records: int
    run_id: str
    problem: str = ""
    """Why it could not be checked, or nothing."""
    differences: tuple[Difference, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether old and new code gave the same numbers."""
        return not self.problem and not self.differences


class _Cell(NamedTuple):
    """The record whose cell is run for a group."""

    group: Group
    record: Record


class _Made(NamedTuple):
    """What code made of some cells."""

    whose: str
    records: dict[str, Record]
    said: str
    """Its last words, where it did not make all."""


def needing(
    records: Iterable[Record], code: InstalledCode, old: str | None, *, changed_methods: bool = False
) -> Needing:
    """Records of this protocol that the installed code is not known to have made.

    old: the commit to hold them against, whatever they name themselves
    changed_methods: check also those whose method's own code changed
    """
    groups: dict[Group, list[Record]] = defaultdict(list)
    changed: Counter[str] = Counter()
    unfinished = 0
    for record in records:
        said = record["spec"]["detector"]
        is_other = bool(said["source_sha256"]) or record["spec"]["protocol_version"] != PROTOCOL_VERSION
        if is_other or code.standing(record).state not in ("stale", "unknown"):
            continue
        if record["status"] != "ok":
            unfinished += 1
        elif not changed_methods and _has_changed_method(record, code):
            changed[said["name"]] += 1
        else:
            groups[Group(method_of(record), kind_of(record), old or _commit_of(record))].append(record)
    return Needing(dict(sorted(groups.items())), dict(sorted(changed.items())), unfinished)


def _has_changed_method(record: Record, code: InstalledCode) -> bool:
    """Whether its method's own code is another; of a record that names no code nobody knows."""
    known = known_codes(record)
    return bool(known) and code.of_record(record)["method"] not in [found.get("method") for found in known]


def kind_of(record: Record) -> str:
    """Simulated or real; one system, several, or a transfer; how it is split; what the method reads beside log keys."""
    spec = record["spec"]
    single = "several systems" if len(spec["test"]) > 1 else "one system"
    shape = single if spec["train"] == spec["test"] else "transfer"
    words = ["simulated" if record["simulated"] else "real", shape, spec["split"].partition(":")[0]]
    words += ["texts"] if "encoder" in spec else []
    words += ["asks a model"] if record["detector"].get("teacher") else []
    return ", ".join(words)


def restamp(
    groups: Mapping[Group, list[Record]],
    store: Store,
    code: InstalledCode,
    means: Sequence[str] = (),
    steps: int | None = None,
) -> Iterator[Checked]:
    """Check one cell of each group, on the smallest data, and stamp the records of each group that agrees.

    Cells of different methods on the same data are run by one command.

    means: further options of `bench run`, as --data and --jobs
    steps: the largest number of optimiser steps that a network is trained for; None as in its record
    """
    cells = [_Cell(group, _shortened(_smallest(records), steps)) for group, records in groups.items()]
    for commit in sorted({group.commit for group in groups}):
        of_commit = [cell for cell in cells if cell.group.commit == commit]
        try:
            with _checkout(commit) as folder:
                for batch in _batches(of_commit):
                    for checked in _check(batch, groups, means, folder):
                        if checked.agrees:
                            against: dict[str, Any] = {"commit": commit, "run_id": checked.run_id}
                            against |= {} if steps is None else {"steps": steps}
                            _stamp(groups[checked.group], store, code, against)
                        yield checked
        except _NoCheckoutError as error:
            for group, record in of_commit:
                yield Checked(group, len(groups[group]), record["run_id"], str(error))


def expected_s(groups: Mapping[Group, list[Record]], steps: int | None = None) -> float:
    """Seconds that the cells took in their runs, twice: what a check takes, beside reading and controls."""
    return 2 * sum(_seconds(_smallest(records), steps) for records in groups.values())


def _seconds(record: Record, steps: int | None) -> float:
    had = _steps_of(record)
    fewer = None if steps is None or had is None else min(steps, had)
    return sum(for_steps(record["seconds"], had, fewer).values())


def _steps_of(record: Record) -> int | None:
    """Optimiser steps of its training; None where they are not counted so."""
    found: int | None = record["spec"]["detector"]["config"].get("steps")
    return found


def _shortened(record: Record, steps: int | None) -> Record:
    """The record of the cell with no more steps than these, as far as it says which run it is."""
    had = _steps_of(record)
    if steps is None or had is None or had <= steps:
        return record
    spec = record["spec"]
    detector = spec["detector"] | {"config": spec["detector"]["config"] | {"steps": steps}}
    shorter = spec | {"detector": detector}
    return record | {"spec": shorter, "run_id": run_id_of(shorter)}


class _NoCheckoutError(Exception):
    pass


def _batches(cells: Iterable[_Cell]) -> list[list[_Cell]]:
    """Cells that one command can make: on the same data, each of another method."""
    batches: dict[tuple[str, ...], list[dict[str, _Cell]]] = defaultdict(list)
    for cell in cells:
        name, same_data = cell.record["spec"]["detector"]["name"], batches[tuple(_place(cell.record))]
        batch = next((batch for batch in same_data if name not in batch), None)
        if batch is None:
            batch = {}
            same_data.append(batch)
        batch[name] = cell
    return [list(batch.values()) for same_data in batches.values() for batch in same_data]


def _check(
    batch: Sequence[_Cell], groups: Mapping[Group, list[Record]], means: Sequence[str], folder: Path
) -> Iterator[Checked]:
    records = [cell.record for cell in batch]
    old = _run(records, folder, means, "the old code")
    new = _run(records, ROOT, means, "the installed code")
    for group, record in batch:
        is_alone = len(batch) == 1
        if not is_alone and any(record["run_id"] not in made.records for made in (old, new)):
            # One command refuses all of its cells for what is wrong with one.
            yield from _check([_Cell(group, record)], groups, means, folder)
            continue
        checked = Checked(group, len(groups[group]), record["run_id"])
        problem = _problem(record, old) or _problem(record, new)
        if problem:
            yield replace(checked, problem=problem)
            continue
        before, after = (made.records[record["run_id"]] for made in (old, new))
        differences, _ = differing(before, after, _tolerance(record))
        yield replace(checked, differences=tuple(differences))


def _problem(record: Record, made: _Made) -> str:
    """Why there are no numbers of it, or nothing."""
    found = made.records.get(record["run_id"])
    if found is None:
        return f"{made.whose} does not make this run: {made.said}"
    return "" if found["status"] == "ok" else f"{made.whose} does not run it ({found['status']}): {found['reason']}"


def _stamp(records: Iterable[Record], store: Store, code: InstalledCode, against: Mapping[str, Any]) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for record in records:
        verified = {
            "code": code.of_record(record),
            "environment": describe_environment(),
            "date": today,
            "against": dict(against),
        }
        store.write(record | {"verified_with": verified})


def _commit_of(record: Record) -> str:
    """The commit that made a record; empty where none is known, or where files had been changed since."""
    environment = record["environment"]
    return "" if environment.get("git_dirty") else environment.get("git_commit") or ""


def _smallest(records: Iterable[Record]) -> Record:
    """That on the fewest sequences, so that the cells of many methods are on the same data."""

    def size(record: Record) -> tuple[int, str, int, str]:
        counts, spec = record["counts"], record["spec"]
        return counts["n_train"] + counts["n_test"], record["scenario"], spec["seed"], record["run_id"]

    return min(records, key=size)


def _tolerance(record: Record) -> float:
    try:
        detector = registry.load(registry.find(record["spec"]["detector"]["name"]))
    except Exception:
        return Detector.tolerance
    return detector.tolerance


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """A folder with the tree of a commit; removed again, whatever happens in it."""
    if not commit:
        raise _NoCheckoutError("the record names no commit, or files had been changed since: give --old REF")
    with tempfile.TemporaryDirectory(prefix="bench-old-") as folder:
        place = Path(folder) / "tree"
        done = _git("worktree", "add", "--detach", str(place), commit)
        if done.returncode:
            raise _NoCheckoutError(f"the commit '{commit}' is not in this checkout ({_last_line(done.stderr)})")
        try:
            yield place
        finally:
            _git("worktree", "remove", "--force", str(place))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchError(f"git cannot be run ({error.strerror}): install it, as old commits are needed") from None


def _run(records: Sequence[Record], root: Path, means: Sequence[str], whose: str) -> _Made:
    """The records of these cells as the code below `root` makes them, in a process and a store of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-restamp-") as out:
        command = [sys.executable, "-m", "bench", "run", *typed(*records), *means, "--out", out]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, check=False)
        found = {record["run_id"]: _made(Path(out), record["run_id"]) for record in records}
    made = {run_id: record for run_id, record in found.items() if record is not None}
    return _Made(whose, made, _last_line(done.stderr))


def _made(out: Path, run_id: str) -> Record | None:
    """The record in a store that old or new code left: before the archive, records lay in `runs/`."""
    old = out / OLD_FOLDER / f"{run_id}.json"
    if old.is_file():
        made: Record = json.loads(old.read_text(encoding="utf-8"))
        return made
    return Store(out).read(run_id)


def typed(*records: Record) -> list[str]:
    """The options of `bench run` that make the cells of records, every setting said: defaults may have changed.

    They are on the same data, each of another method.
    """
    options = ["--methods", ",".join(map(method_of, records)), *_place(records[0])]
    for record in records:
        said = record["spec"]["detector"]
        for key, value in said["config"].items():
            options += ["--set", f"{said['name']}.{key}={_text(value)}"]
    return options


def method_of(record: Record) -> str:
    """`deeplog+nearest`, as --methods takes it."""
    said = record["spec"]["detector"]
    return str(said["name"]) + (f"+{said['variant']['name']}" if said["variant"] else "")


def _place(record: Record) -> list[str]:
    """The options that a record's method shares with others."""
    spec, facts = record["spec"], record["detector"]
    options = ["--scenario", record["scenario"], "--split", spec["split"]]
    options += ["--seeds", f"{spec['seed']},", "--threads", str(record["threads"])]
    options += ["--profile", facts["profile"]] if facts.get("profile", "paper") != "paper" else []
    if "grouping" in spec:
        grouping = spec["grouping"]
        options += ["--window-size", str(grouping["window_size"]), "--window-step", str(grouping["window_step"])]
    options += ["--sample", str(spec["sample"])] if spec.get("sample") else []
    options += ["--auxiliary", ",".join(part["edition"] for part in spec["auxiliary"])] if "auxiliary" in spec else []
    options += ["--incidents", spec["incidents"]] if isinstance(spec.get("incidents"), str) else []
    return [*options, "--llm", "replay"] if facts.get("teacher") else options


def _text(value: Any) -> str:
    return "none" if value is None else quoted(value) if isinstance(value, str) else json.dumps(value)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "it says nothing"
