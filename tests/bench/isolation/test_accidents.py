"""What a method does by accident ends in its own row: no other row changes, the run goes on, nothing is left behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.experiment.cell import Settings
from bench.experiment.executors import Local
from bench.experiment.runner import Listeners, run
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.records.store import Store
from tests.bench.isolation.plugins import ACCIDENTS, IMPORTS

HONEST = ("pca", "ngram", "new-event", "ecvc")
ENDED = "its process was ended by"
ROWS = {
    "Exits": ("error", "SystemExit: enough"),
    "OsExits": ("error", "its process ended itself (exit code 0)"),
    "Segfaults": ("error", f"{ENDED} SIGSEGV"),
    "KillsItself": ("error", f"{ENDED} SIGKILL"),
    "Hangs": ("timeout", "took longer than 2 s"),
    "SwallowsTheLimit": ("timeout", "took longer than 2 s"),
    "EatsMemory": ("out_of_memory", "the machine's memory did not suffice"),
    "Interrupts": ("error", "KeyboardInterrupt: "),
    "HalfASurrogate": ("error", "RuntimeError: cannot open \ufffd.log"),
    "UnreadableMessage": ("error", "Odd: its message cannot be read (ValueError)"),
    "SortsInputs": ("error", "ValueError: "),
    "Unlocks": ("error", "ValueError: "),
    "WritesByAddress": ("error", f"{ENDED} SIGSEGV"),
    "Forks": ("ok", None),
    "ForksAndDies": ("error", "its process ended itself (exit code 3)"),
    "PatchesMetrics": ("ok", None),
    "ChangesFolder": ("ok", None),
    "ClearsTheEnvironment": ("ok", None),
    "LeavesAThread": ("ok", None),
    "Prints": ("ok", None),
    "ReplacesTexts": ("error", "ValueError: score() returned float64 (1,)"),
    "LooksForLabels": ("ok", None),
    "TooSmallToTrain": (
        "out_of_memory",
        "the device's memory did not suffice: choose less than 512 by --set ",
    ),
    "Length": ("ok", None),
}


def records_of(names, folder, jobs=1, seeds=(0,), timeout_s=None):
    known = catalogue(None)
    methods = resolve_methods(list(names), [], folder / "facts")
    scenarios = [parse_scenario("hdfs@simulated", known)]
    cells = plan(scenarios, methods, splits=["chronological"], seeds=list(seeds), grouping=Grouping())
    said = []
    outcome = run(
        cells, Store(folder / "out"), known, Settings(timeout_s=timeout_s), lambda *told: None,
        listeners=Listeners(on_print=lambda told: said.append(told.line)), executor=Local(jobs),
    )  # fmt: skip
    return {record["method"].rpartition(":")[2]: record for record in outcome.records}, said


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return records_of(HONEST, tmp_path_factory.mktemp("alone"))[0]


def comparable(record):
    return {name: record[name] for name in ("metrics", "thresholds", "counts", "scores_sha256", "status")}


@pytest.fixture(scope="module", params=[1, 2])
def beside(request, tmp_path_factory):
    """All accidents with honest methods between them, in one run."""
    folder = tmp_path_factory.mktemp("beside")
    file = folder / "accidents.py"
    file.write_text(ACCIDENTS)
    names = [f"{file}:{name}" for name in ROWS]
    order = ["pca", *names[:8], "ngram", *names[8:16], "new-event", *names[16:]]
    environ, start = dict(os.environ), Path.cwd()
    records, said = records_of(order, folder, request.param, timeout_s=2)
    assert (dict(os.environ), Path.cwd()) == (environ, start)
    return records, said


@pytest.mark.slow_cases("2-Exits", "2-OsExits")
@pytest.mark.parametrize("name", ROWS)
def test_an_accident_ends_in_its_own_row(beside, name):
    status, reason = ROWS[name]
    record = beside[0][name]
    assert record["status"] == status, record["reason"]
    assert (record["reason"] or "").startswith(reason or "")
    assert (reason is None) == (record["reason"] is None)


def test_no_other_row_changes(beside, alone):
    assert alone.keys() <= beside[0].keys()
    for name, record in alone.items():
        assert comparable(beside[0][name]) == comparable(record), name
    honest = comparable(beside[0]["Length"])
    for name in ("PatchesMetrics", "ChangesFolder", "LeavesAThread", "Prints", "Forks", "LooksForLabels"):
        assert comparable(beside[0][name]) == honest, name


def test_what_is_printed_is_passed_on_clean_and_bounded(beside):
    said = beside[1]
    assert "| a row | of a table |" in said
    assert "from a child" in said or "... what else it prints is left out" in said
    assert all(line.isprintable() and len(line) <= 2000 for line in said)
    assert len(said) < 200


def test_nothing_is_left_running(beside):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = psutil.Process().children(recursive=True)
        left = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        # The nursery may stay, and one spare process of it.
        if len(left) <= 2:
            break
        time.sleep(0.1)
    assert len(left) <= 2, [child.cmdline() for child in left]


def test_a_write_by_torch_is_an_error(tmp_path):
    (tmp_path / "accidents.py").write_text(ACCIDENTS)
    records, _ = records_of([f"{tmp_path / 'accidents.py'}:WritesByTorch"], tmp_path)
    assert records["WritesByTorch"]["reason"].startswith(f"{ENDED} SIGSEGV")


def test_a_device_that_is_too_small_scores_in_parts_and_says_so(tmp_path):
    (tmp_path / "accidents.py").write_text(ACCIDENTS)
    names = [f"{tmp_path / 'accidents.py'}:{name}" for name in ("SmallDevice", "Length")]
    records, said = records_of(names, tmp_path)
    small, whole = records["SmallDevice"], records["Length"]
    assert small["monitor"]["scored_in_parts"] > 2
    assert any("the device's memory did not suffice: scoring 223 sequences in halves" in line for line in said)
    assert small["excluded"]["n"] > 0
    scores = [Store(tmp_path / "out").read_scores(record["run_id"])["test"] for record in (small, whole)]
    assert scores[0].tolist() == scores[1].tolist()


@pytest.mark.slow_cases("segfaults")
@pytest.mark.parametrize("name", IMPORTS)
def test_an_import_costs_its_own_row(tmp_path, alone, name):
    file = tmp_path / f"{name}.py"
    file.write_text(f"{IMPORTS[name]}\n{ACCIDENTS}")
    records, _ = records_of([f"{file}:Length", *HONEST], tmp_path)
    row = records.pop("Length")
    assert row["status"] == ("ok" if name == "prints" else "error")
    if row["status"] == "error":
        assert "when it was imported" in row["reason"] or "import" in row["reason"].lower()
    for honest in HONEST:
        assert comparable(records[honest]) == comparable(alone[honest])


@pytest.mark.slow
def test_tables_and_json_hold_nothing_that_a_method_prints(tmp_path):
    (tmp_path / "accidents.py").write_text(ACCIDENTS)
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "bench", "run", "-m", "accidents.py:Prints,accidents.py:OsExits",
             "-s", "hdfs@simulated", "--seeds", "1", "--out", "out", *more],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "of a table" not in done.stdout
        assert done.returncode == 3
        if more:
            assert len(json.loads(done.stdout)) == 9
        else:
            assert "of a table" in done.stderr
