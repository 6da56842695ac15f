"""The executor of a Ray cluster, with Ray itself on this machine; clusters of several nodes: tests/bench/cli."""

import importlib.util
import json
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import DataSpec, Loader
from bench.errors import BenchError
from bench.experiment.cell import Data, Settings
from bench.experiment.code import InstalledCode
from bench.experiment.executors import ExecutorOptions, Local, find_executor
from bench.experiment.on_ray import OnRay
from bench.experiment.parcels import Parcel
from bench.experiment.ray_cluster import Cluster
from bench.experiment.ray_slot import prepare
from bench.experiment.runner import Listeners, Policy, run
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.records.store import Store

METHODS = """
import json, os, time
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from bench.detector import Detector, DetectorTags, report_progress

@dataclass(frozen=True)
class Config:
    log: str = field(default="", metadata={"identity": False})

class Length(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        with Path(self.config.log).open("a") as stream:
            stream.write(json.dumps([type(self).__name__, self.seed, os.getpid(), os.environ["OMP_NUM_THREADS"]]))
            stream.write("\\n")
        self.go()
        return self
    def go(self):
        pass
    def score(self, sequences):
        return sequences.lengths.astype(np.float64) + self.seed

class Slow(Length):
    def go(self):
        report_progress("epoch", 3, 30)
        print("here")
        time.sleep(1.0)

class Sleeps(Length):
    def go(self):
        time.sleep(3600)

class Fails(Length):
    def go(self):
        raise RuntimeError("no")

class Exits(Length):
    def go(self):
        os._exit(3)
"""
SAME = (
    "run_id",
    "status",
    "reason",
    "metrics",
    "thresholds",
    "validation",
    "counts",
    "scores_sha256",
    "monitor",
    "code",
)


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with two CPUs and little memory."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray keeps a token in the home folder
        try:
            ray.init(
                address="local", num_cpus=2, object_store_memory=80_000_000, include_dashboard=False, _temp_dir=folder,
                _node_ip_address="127.0.0.1", log_to_driver=False, logging_level="ERROR",
                runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
            )  # fmt: skip
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cells(tmp_path):
    def make(*names, scenario="hdfs@simulated", seeds=(0,), more=(), settings=()):
        file = tmp_path / "methods.py"
        file.write_text(METHODS)
        paths = [f"{file}:{name}" for name in names]
        given = [f"{path}.log={tmp_path / 'log'}" for path in paths]
        resolved = resolve_methods([*paths, *more], [*given, *settings], tmp_path / "cache")
        wanted = {*paths, *(name.partition("+")[0] for name in more)}
        methods = [method for method in resolved if method.ref.name in wanted]
        return plan(
            [parse_scenario(text, catalogue(None)) for text in scenario.split(",")],
            methods, splits=["chronological"], seeds=seeds, grouping=Grouping(),
        )  # fmt: skip

    return make


@pytest.fixture
def fits(tmp_path):
    """Name, seed, process and threads of each fit that began."""

    def read():
        return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    return read


def go(cells, folder, executor, watch=lambda *seen: None, settings=None, **options):
    return run(cells, Store(folder), catalogue(None), settings or Settings(), watch, executor=executor, **options)


def plain(records):
    return [[record.get(name) for name in SAME] for record in records]


def same_as_here(made, folder):
    here = go(made, folder / "here", Local(2)).records
    there = go(made, folder / "there", OnRay(ExecutorOptions(jobs=2))).records
    assert plain(there) == plain(here)
    assert {record["status"] for record in there} == {"ok"}
    assert [record.get("fitted_as") for record in there] == [record.get("fitted_as") for record in here]


@pytest.mark.slow
def test_records_are_those_of_this_machine(cluster, cells, tmp_path):
    same_as_here(cells(scenario="hdfs@simulated", seeds=(0, 1), more=["pca", "ngram", "ecvc"]), tmp_path)


@pytest.mark.trains
@pytest.mark.slow
def test_records_of_networks_and_variants_are_those_of_this_machine(cluster, cells, tmp_path):
    more, settings = ["ngram", "ngram+nearest", "deeplog"], ["deeplog.steps=20"]
    made = cells(scenario="hdfs@simulated,bgl@simulated", seeds=(0, 1), more=more, settings=settings)
    same_as_here(made, tmp_path)


@pytest.mark.slow
def test_data_are_prepared_once_on_a_node(cluster, cells, tmp_path, monkeypatch):
    asked = []
    prepared = Cluster.prepared

    def counted(self, place, cell, node):
        asked.append((cell.scenario.key, node.id))
        return prepared(self, place, cell, node)

    monkeypatch.setattr(Cluster, "prepared", counted)
    go(cells("Slow", scenario="hdfs@simulated,bgl@simulated", seeds=(0, 1)), tmp_path / "out", OnRay(ExecutorOptions()))
    assert sorted(asked) == [("bgl@simulated", asked[0][1]), ("hdfs@simulated", asked[0][1])]


@pytest.mark.slow
def test_a_method_that_crashes_is_a_row_and_is_not_begun_again(cluster, cells, fits, tmp_path):
    records = go(cells("Exits", "Fails", "Length"), tmp_path / "out", OnRay(ExecutorOptions())).records
    assert [record["status"] for record in records] == ["error", "error", "ok"]
    assert records[0]["reason"] == "its process ended itself (exit code 3)"
    assert records[1]["reason"] == "RuntimeError: no"
    assert sorted(name for name, *_ in fits()) == ["Exits", "Fails", "Length"]


@pytest.mark.slow
def test_a_time_limit_holds(cluster, cells, tmp_path):
    (record,) = go(cells("Sleeps"), tmp_path / "out", OnRay(ExecutorOptions()), settings=Settings(timeout_s=2)).records
    assert (record["status"], record["reason"]) == ("timeout", "took longer than 2 s")


@pytest.mark.slow
def test_progress_and_prints_arrive(cluster, cells, tmp_path):
    steps, prints = [], []
    go(
        cells("Slow"), tmp_path / "out", OnRay(ExecutorOptions()),
        listeners=Listeners(on_step=steps.append, on_print=prints.append),
    )  # fmt: skip
    assert ("epoch", 3, 30) in [step[1:] for step in steps]
    assert [said.line for said in prints] == ["here"]
    assert {told.cell.method.ref.name.rpartition(":")[2] for told in [*steps, *prints]} == {"Slow"}


@pytest.mark.slow
def test_stopped_the_running_cells_are_finished_and_no_other_begins(cluster, cells, tmp_path):
    executor = OnRay(ExecutorOptions(jobs=1))
    outcome = go(
        cells("Slow", seeds=(0, 1)), tmp_path / "out", executor,
        lambda done, total, cell, record: record is None and executor.stop(),
    )  # fmt: skip
    assert [(record["spec"]["seed"], record["status"]) for record in outcome.records] == [(0, "ok")]
    assert outcome.was_interrupted


@pytest.mark.slow
def test_aborted_nothing_is_kept_and_no_process_of_a_method_is_left(cluster, cells, fits, tmp_path):
    def watch(done, total, cell, record):
        while not (tmp_path / "log").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(cells("Sleeps"), tmp_path / "out", OnRay(ExecutorOptions()), watch)
    ((_, _, pid, _),) = fits()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
    assert list(Store(tmp_path / "out").records()) == []


@pytest.mark.slow
def test_fail_fast_begins_nothing_more(cluster, cells, tmp_path):
    made = cells("Length", "Fails", "Slow")
    outcome = go(made, tmp_path / "out", OnRay(ExecutorOptions(jobs=1)), policy=Policy(fail_fast=True))
    assert [record["status"] for record in outcome.records][-1] == "error"
    assert len(outcome.records) < len(made)


def slot_of(pid):
    """The Ray actor above a method's process, whatever stands between them."""
    return next(process for process in psutil.Process(pid).parents() if process.name().startswith("ray::"))


@pytest.mark.slow
def test_a_cell_whose_worker_is_lost_runs_again_and_in_the_end_is_a_row(cluster, cells, fits, tmp_path):
    def kill():
        n_killed, until = 0, time.monotonic() + 120
        while n_killed < 4 and time.monotonic() < until:
            begun = fits() if (tmp_path / "log").exists() else []
            if len(begun) > n_killed:
                n_killed += 1
                slot_of(begun[-1][2]).kill()
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    (record,) = go(cells("Sleeps"), tmp_path / "out", OnRay(ExecutorOptions(jobs=1))).records
    thread.join()
    assert (record["status"], record["reason"]) == ("error", "its Ray worker or node was lost 4 times")
    assert len(fits()) == 4


@pytest.mark.slow
def test_a_node_with_other_code_is_one_sentence(cluster, cells, tmp_path, monkeypatch):
    made = cells("Length")
    monkeypatch.setattr(InstalledCode, "of_cell", lambda self, cell: {"method": "0", "engine": "0"})
    with pytest.raises(BenchError, match=r"the Ray node .* has other code of 'methods.py:Length', or of bench, than"):
        go(made, tmp_path / "out", OnRay(ExecutorOptions()))
    assert list(Store(tmp_path / "out").records()) == []


@pytest.mark.slow
def test_data_that_cannot_be_prepared_are_one_sentence(cluster, cells, own_system, tmp_path):
    made = cells("Length")
    known = own_system({"app.log": b"- 1 fine\n" * 40}, kind="lines")
    shutil.rmtree(known.data_dir)
    with pytest.raises(BenchError, match=r"^it has no data folder .*/data: put the files there"):
        run(
            made, Store(tmp_path / "out"), known, Settings(), lambda *seen: None,
            executor=OnRay(ExecutorOptions()),
        )  # fmt: skip


@pytest.mark.slow
def test_a_cluster_without_room_is_one_sentence(cluster):
    with pytest.raises(BenchError, match=r"no node .* takes 64 CPUs and 0 GPUs; there is 2 CPUs and 0 GPUs: lower"):
        assert OnRay(ExecutorOptions(threads=64)).jobs


@pytest.mark.slow
def test_jobs_are_what_the_nodes_have_room_for(cluster):
    assert OnRay(ExecutorOptions()).jobs == 2
    assert OnRay(ExecutorOptions(threads=2)).jobs == 1
    assert OnRay(ExecutorOptions(jobs=7)).jobs == 7


@pytest.mark.slow
def test_shares_of_a_gpu_do_not_span_two(cluster):
    def room(gpus, each, cpus=16):
        found = Cluster(ExecutorOptions())
        found._options = ExecutorOptions(gpus_per_cell=each)
        return found._room_of({"CPU": cpus, "GPU": gpus})

    assert [room(2, 0.25), room(2, 0.4), room(2, 1), room(3, 2), room(0, 0.5), room(2, 0.1, cpus=4)] == [
        8,
        4,
        2,
        1,
        0,
        4,
    ]


def test_without_ray_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("bench.experiment.on_ray.find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"needs Ray, which is not installed: pip install 'mlad-bench\[ray\]'"):
        find_executor("ray", ExecutorOptions())


def test_a_parcel_holds_everything_but_what_is_read_from_disk(tmp_path):
    known = catalogue(None)
    card = known.resolve("bgl@simulated")
    spec = DataSpec((card,), (card,))
    loader = Loader(known)
    data = Data(loader.prepare(spec), 1.5, 0.5)
    parcel = Parcel(data, loader, spec)
    elsewhere = Loader(known)
    found = parcel.open(elsewhere)
    assert (found.seconds, found.cpu_seconds, found.prepared.facts) == (1.5, 0.5, data.prepared.facts)
    for part in ("train", "validation", "test"):
        one, other = getattr(data.prepared, part), getattr(found.prepared, part)
        assert np.array_equal(one.sequences.fingerprints(), other.sequences.fingerprints())
        assert np.array_equal(one.labels, other.labels)
        assert any(np.shares_memory(other.labels, array) for array in parcel.arrays)
    assert found.prepared.sources[0].log is elsewhere.log(card)
    assert found.prepared.with_raw.test.sequences.raw.values.to_list() == (
        data.prepared.with_raw.test.sequences.raw.values.to_list()
    )


def test_a_node_without_the_data_folder_says_which(cells, tmp_path):
    (cell,) = cells("Length")
    known = catalogue(tmp_path)
    missing = tmp_path / "elsewhere"
    fault, parcel = prepare(type(known)(known.cards, missing), cell, str(Path.cwd()))
    assert parcel is None
    assert fault == f"it has no data folder {missing}: put the files there as they are on this machine"
