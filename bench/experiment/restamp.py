"""One cell of every method and kind of scenario, old commit against the code installed, on this machine.

Where both give the same numbers, the records of that method and kind say so in `verified_with`; what they were made
with stays as it is.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import registry
from bench.detector import Detector
from bench.errors import BenchError
from bench.experiment.again import Difference, differing
from bench.experiment.code import InstalledCode
from bench.experiment.environment import describe_environment
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import OLD_FOLDER, Record, Store

ROOT: Final = Path(__file__).resolve().parents[2]
"""The checkout, whose history holds the old commits."""


class Group(NamedTuple):
    """What one cell speaks for: records of one method on one kind of scenario, made at one commit."""

    method: str
    kind: str
    commit: str


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


def groups_of(records: Iterable[Record], code: InstalledCode, old: str | None) -> dict[Group, list[Record]]:
    """Records of this protocol that the installed code is not known to have made, by what one cell can speak for.

    old: the commit to hold them against, whatever they name themselves
    """
    groups: dict[Group, list[Record]] = defaultdict(list)
    for record in records:
        said = record["spec"]["detector"]
        is_other = bool(said["source_sha256"]) or record["spec"]["protocol_version"] != PROTOCOL_VERSION
        if record["status"] == "ok" and not is_other and code.standing(record).state in ("stale", "unknown"):
            variant = f"+{said['variant']['name']}" if said["variant"] else ""
            commit = old or _commit_of(record)
            groups[Group(said["name"] + variant, kind_of(record), commit)].append(record)
    return dict(sorted(groups.items()))


def kind_of(record: Record) -> str:
    """Simulated or real; one system, several, or a transfer."""
    spec = record["spec"]
    single = "several systems" if len(spec["test"]) > 1 else "one system"
    shape = single if spec["train"] == spec["test"] else "transfer"
    return f"{'simulated' if record['simulated'] else 'real'}, {shape}"


def restamp(groups: dict[Group, list[Record]], store: Store, data: Path | None) -> Iterator[Checked]:
    """Check one cell of each group, the quickest, and stamp the records of each group that agrees."""
    commits = sorted({group.commit for group in groups})
    for commit in commits:
        of_commit = {group: records for group, records in groups.items() if group.commit == commit}
        try:
            with _checkout(commit) as folder:
                for group, records in of_commit.items():
                    yield _check(group, records, store, data, folder)
        except _NoCheckoutError as error:
            for group, records in of_commit.items():
                yield Checked(group, len(records), _quickest(records)["run_id"], str(error))


class _NoCheckoutError(Exception):
    pass


def _check(group: Group, records: list[Record], store: Store, data: Path | None, folder: Path) -> Checked:
    record = _quickest(records)
    try:
        before, after = (_run(record, root, data) for root in (folder, ROOT))
    except BenchError as error:
        return Checked(group, len(records), record["run_id"], str(error))
    differences, _ = differing(before, after, _tolerance(record))
    checked = Checked(group, len(records), record["run_id"], differences=tuple(differences))
    if checked.agrees:
        _stamp(records, store, group.commit, record["run_id"])
    return checked


def _stamp(records: Iterable[Record], store: Store, commit: str, run_id: str) -> None:
    code = InstalledCode(store.cache)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for record in records:
        verified = {
            "code": code.of_record(record),
            "environment": describe_environment(),
            "date": today,
            "against": {"commit": commit, "run_id": run_id},
        }
        store.write(record | {"verified_with": verified})


def _commit_of(record: Record) -> str:
    """The commit that made a record; empty where none is known, or where files had been changed since."""
    environment = record["environment"]
    return "" if environment.get("git_dirty") else environment.get("git_commit") or ""


def _quickest(records: Iterable[Record]) -> Record:
    return min(records, key=lambda record: (sum(record["seconds"].values()), record["run_id"]))


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


def _run(record: Record, root: Path, data: Path | None) -> Record:
    """The record of this cell as the code below `root` makes it, in a process and a store of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-restamp-") as out:
        command = [sys.executable, "-m", "bench", "run", *typed(record), "--out", out]
        command += ["--data", str(data.resolve())] if data else []
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, check=False)
        made = _made(Path(out), record["run_id"])
        if made is None:
            raise BenchError(f"{root.name} does not make this run: {_last_line(done.stderr)}")
    if made["status"] != "ok":
        raise BenchError(f"it did not run again ({made['status']}): {made['reason']}")
    return made


def _made(out: Path, run_id: str) -> Record | None:
    """The record in a store that old or new code left: before the archive, records lay in `runs/`."""
    old = out / OLD_FOLDER / f"{run_id}.json"
    if old.is_file():
        made: Record = json.loads(old.read_text(encoding="utf-8"))
        return made
    return Store(out).read(run_id)


def typed(record: Record) -> list[str]:
    """The options of `bench run` that make a record's cell, every setting said: defaults may have changed."""
    spec, facts = record["spec"], record["detector"]
    said = spec["detector"]
    variant = f"+{said['variant']['name']}" if said["variant"] else ""
    options = ["--methods", said["name"] + variant, "--scenario", record["scenario"], "--split", spec["split"]]
    options += ["--seeds", f"{spec['seed']},", "--threads", str(record["threads"])]
    options += ["--profile", facts["profile"]] if facts.get("profile", "paper") != "paper" else []
    if "grouping" in spec:
        grouping = spec["grouping"]
        options += ["--window-size", str(grouping["window_size"]), "--window-step", str(grouping["window_step"])]
    options += ["--sample", str(spec["sample"])] if spec.get("sample") else []
    options += ["--auxiliary", ",".join(part["edition"] for part in spec["auxiliary"])] if "auxiliary" in spec else []
    options += ["--incidents", spec["incidents"]] if isinstance(spec.get("incidents"), str) else []
    for key, value in said["config"].items():
        options += ["--set", f"{said['name']}.{key}={_text(value)}"]
    return options


def _text(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "it says nothing"
