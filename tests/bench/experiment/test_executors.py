"""Groups of cells, what travels to a worker, and the executor of this machine with real processes."""

import json
import os
import pickle
import signal
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from bench.experiment.cell import Settings
from bench.experiment.executors import ExecutorOptions, Local, Workplace, find_executor, groups_of
from bench.experiment.runner import Listeners, Policy, run
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.isolation import nursery
from bench.llm.config import Service, use_service
from bench.records.claims import Claims
from bench.records.store import Store

METHODS = """
import json, os, time
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from bench.detector import Detector, DetectorTags, report_progress
from bench.llm.config import current_service

@dataclass(frozen=True)
class Config:
    log: str = field(default="", metadata={"identity": False})

class Length(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        self.write("begin")
        self.go()
        self.write("end")
        return self
    def write(self, what):
        if self.config.log:
            with Path(self.config.log).open("a") as stream:
                stream.write(json.dumps([type(self).__name__, self.seed, what, time.monotonic(), os.getpid()]) + "\\n")
    def go(self):
        pass
    def score(self, sequences):
        return sequences.lengths.astype(np.float64) + self.seed

class Slow(Length):
    def go(self):
        time.sleep(1.0)

class Slower(Length):
    def go(self):
        time.sleep(3600)

class Fails(Length):
    def go(self):
        raise RuntimeError("no")

class FailsOnce(Length):
    def go(self):
        flag = Path(self.config.log).with_name("failed")
        if not flag.exists():
            flag.touch()
            raise RuntimeError("the first time")

class Progresses(Length):
    def go(self):
        report_progress("epoch", 3, 30)

class ShowsBars(Length):
    def go(self):
        from tqdm import tqdm
        assert list(tqdm(range(3))) == [0, 1, 2]

class LeavesAThread(Length):
    def go(self):
        import threading
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()

class Asks(Length):
    def monitor(self):
        return {"max_calls": current_service().max_calls}
"""


@pytest.fixture
def cells(tmp_path):
    def make(*names, scenario="hdfs@simulated", seeds=(0,), more=()):
        file = tmp_path / "methods.py"
        file.write_text(METHODS)
        paths = [f"{file}:{name}" for name in names]
        given = [f"{path}.log={tmp_path / 'log'}" for path in paths if "+" not in path]
        resolved = resolve_methods([*paths, *more], given, tmp_path / "cache")
        methods = [method for method in resolved if not method.ref.is_control]
        return plan(
            [parse_scenario(text, catalogue(None)) for text in scenario.split(",")],
            methods, splits=["chronological"], seeds=seeds, grouping=Grouping(),
        )  # fmt: skip

    return make


@pytest.fixture
def spans(tmp_path):
    """When each fit began and ended, by method and seed."""

    def read():
        found = {}
        for line in (tmp_path / "log").read_text().splitlines():
            name, seed, what, at, pid = json.loads(line)
            found.setdefault((name, seed), {})[what] = (at, pid)
        return found

    return read


def go(cells, folder, watch=lambda *seen: None, settings=None, **options):
    return run(cells, Store(folder), catalogue(None), settings or Settings(), watch, **options)


def test_a_group_shares_data_and_the_detector_that_is_fitted():
    made = [
        SimpleNamespace(name=name, data_key=name[0], fit_key=name[:2])
        for name in ("a1x", "a2x", "b1x", "a1y", "b1y", "a2y")
    ]
    names = [[cell.name for cell in group] for group in groups_of(made)]
    assert names == [["a1x", "a1y"], ["a2x", "a2y"], ["b1x", "b1y"]]
    assert groups_of([]) == []


def test_a_group_and_its_workplace_travel(cells, tmp_path):
    service = Service(store=tmp_path / "llm", max_cost=2.0, price="1,1")
    place = Workplace(tmp_path / "results", catalogue(None), Settings(timeout_s=3), service)
    group, there = pickle.loads(pickle.dumps((groups_of(cells("Length"))[0], place)))
    assert [cell.run_id for cell in group] == [cell.run_id for cell in cells("Length")]
    assert (there.settings, there.service, there.catalogue) == (place.settings, place.service, place.catalogue)


def test_a_method_asks_by_the_service_of_its_command(cells, tmp_path):
    with use_service(Service(max_calls=7)):
        (record,) = go(cells("Asks"), tmp_path / "out").records
    assert record["monitor"] == {"max_calls": 7}


def test_two_jobs_give_the_records_of_one(cells, tmp_path):
    made = cells(
        "Length", scenario="hdfs@simulated,bgl@simulated", seeds=(0, 1), more=["pca", "ngram", "ngram+nearest"]
    )
    one = go(made, tmp_path / "one").records
    two = go(made, tmp_path / "two", executor=Local(2)).records
    same = ("run_id", "status", "metrics", "thresholds", "counts", "scores_sha256", "monitor")
    assert [[r.get(name) for name in same] for r in one] == [[r.get(name) for name in same] for r in two]


@pytest.mark.slow
def test_two_jobs_run_side_by_side_and_say_so(cells, spans, tmp_path):
    records = go(cells("Slow", seeds=(0, 1, 2, 3)), tmp_path / "out", executor=Local(2)).records
    found = spans()
    begins = sorted(values["begin"][0] for values in found.values())
    ends = sorted(values["end"][0] for values in found.values())
    assert begins[1] < ends[0]
    assert begins[3] < ends[2]
    assert begins[2] >= ends[0]
    assert {record["beside"] for record in records} == {1}
    assert {r["beside"] for r in go(cells("Length"), tmp_path / "alone").records} == {0}


@pytest.mark.slow
def test_data_are_prepared_once_for_all_jobs(cells, tmp_path, monkeypatch):
    asked = []
    prepare = Loader.prepare

    def counted(self, spec):
        asked.append(spec)
        time.sleep(0.2)
        return prepare(self, spec)

    monkeypatch.setattr(Loader, "prepare", counted)
    go(
        cells("Length", "Slow", scenario="hdfs@simulated,bgl@simulated", seeds=(0, 1)),
        tmp_path / "out",
        executor=Local(3),
    )
    assert len(asked) == 2


def test_cells_of_one_file_share_a_process_and_a_fitted_detector(cells, spans, tmp_path):
    go(cells("Length", "Length+nearest", "Progresses", seeds=(0, 1)), tmp_path / "out")
    found = spans()
    assert len(found) == 4  # a variant is not fitted again
    assert len({pid for values in found.values() for _, pid in values.values()}) == 1
    assert os.getpid() not in {pid for values in found.values() for _, pid in values.values()}


@pytest.mark.slow
def test_a_fit_is_not_made_beside_another_command_that_makes_it(cells, spans, tmp_path):
    made = cells("Length", "Length+nearest")
    with Claims(Store(tmp_path / "out").cache) as others:
        claim = others.take(made[0].run_id)
        runs = threading.Thread(target=go, args=(made, tmp_path / "out"))
        runs.start()
        time.sleep(2.0)
        assert not (tmp_path / "log").exists()
        claim.release()
        runs.join(60)
    assert set(spans()) == {("Length", 0)}
    assert len(list(Store(tmp_path / "out").records())) == 2
    assert (tmp_path / "log").read_text().count("begin") == 1


@pytest.mark.parametrize(("name", "n_processes"), [("ShowsBars", 1), ("LeavesAThread", 2)])
def test_a_process_with_threads_of_a_method_is_not_used_again(cells, spans, tmp_path, name, n_processes):
    go(cells(name, "Length"), tmp_path / "out")
    assert len({pid for values in spans().values() for _, pid in values.values()}) == n_processes


def test_progress_of_a_method_is_told_with_its_cell(cells, tmp_path):
    steps = []
    go(cells("Length", "Progresses"), tmp_path / "out", listeners=Listeners(on_step=steps.append))
    told = [(step.cell.method.ref.name.rpartition(":")[2], *step[1:]) for step in steps]
    assert ("Progresses", "epoch", 3, 30) in told


def test_a_failed_cell_is_tried_once_more_where_that_is_asked(cells, tmp_path):
    retry = Policy(retry=frozenset({"error"}))
    first = go(cells("FailsOnce"), tmp_path / "first")
    assert [record["status"] for record in first.records] == ["error"]
    (tmp_path / "failed").unlink()
    seen = []
    again = go(cells("FailsOnce", "Fails", "Length"), tmp_path / "again", lambda *told: seen.append(told), policy=retry)
    assert [record["status"] for record in again.records] == ["ok", "error", "ok"]
    assert again.n_failed == 1
    assert seen[-1][:2] == (5, 5)


def test_fail_fast_begins_nothing_more(cells, tmp_path):
    made = cells("Length", "Fails", "Slow")
    outcome = go(made, tmp_path / "out", policy=Policy(fail_fast=True))
    assert [record["status"] for record in outcome.records] == ["ok", "error"]
    assert not outcome.was_interrupted


def test_stopped_the_running_cell_is_finished_and_no_other_begins(cells, tmp_path):
    executor = Local()
    outcome = go(
        cells("Slow", seeds=(0, 1)), tmp_path / "out",
        lambda done, total, cell, record: record is None and executor.stop(), executor=executor,
    )  # fmt: skip
    assert [(record["spec"]["seed"], record["status"]) for record in outcome.records] == [(0, "ok")]
    assert outcome.was_interrupted


def test_a_worker_that_is_killed_costs_its_own_row(cells, spans, tmp_path):
    def kill():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (tmp_path / "log").exists() and ("Slower", 0) in spans():
                os.kill(spans()["Slower", 0]["begin"][1], signal.SIGKILL)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    records = go(cells("Length", "Slower", "Progresses"), tmp_path / "out").records
    thread.join()
    assert [record["status"] for record in records] == ["ok", "error", "ok"]
    assert records[1]["reason"].startswith("its process was ended by SIGKILL from outside")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)], ids=["SIGKILL", "SIGSTOP"]
)
def test_a_nursery_that_is_killed_or_stopped_is_replaced(cells, tmp_path, monkeypatch, number):
    monkeypatch.setattr(nursery, "_BIRTH_S", 2.0)
    assert go(cells("Length"), tmp_path / "one").records[0]["status"] == "ok"
    found = [child for child in psutil.Process().children() if any("guards" in word for word in child.cmdline())]
    assert len(found) == 1
    found[0].send_signal(number)
    assert go(cells("Length"), tmp_path / "two").records[0]["status"] == "ok"
    found[0].wait(20)


def test_an_error_of_the_engine_ends_the_run(cells, tmp_path, monkeypatch):
    def broken(self, spec):
        raise BenchError("the split leaves nothing")

    made = cells("Length", "Slow", seeds=(0, 1))
    monkeypatch.setattr(Loader, "prepare", broken)
    with pytest.raises(BenchError, match="the split leaves nothing"):
        go(made, tmp_path / "out", executor=Local(2))
    assert list(Store(tmp_path / "out").records()) == []


def test_executors_are_found_by_name():
    assert find_executor("local", ExecutorOptions(jobs=3)).jobs == 3
    with pytest.raises(BenchError, match="unknown executor 'slurm': choose one of local"):
        find_executor("slurm", ExecutorOptions())
