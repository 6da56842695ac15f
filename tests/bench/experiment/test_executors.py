"""The seam for executors: batches, what travels to a worker, and workers that hang or die, in real processes."""

import multiprocessing
import pickle
import time
from types import SimpleNamespace

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.experiment.cell import Settings
from bench.experiment.executors import Event, Worker, Workplace, batches, ended
from bench.experiment.runner import run
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.llm.config import Service, current_service, use_service
from bench.records.store import Store

METHODS = """
import os, time
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class Length(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return sequences.lengths.astype(np.float64)

class Hangs(Length):
    def fit(self, train, labels=None, *, evidence=None):
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                pass

class Dies(Length):
    def fit(self, train, labels=None, *, evidence=None):
        os._exit(0)
"""


def serve(place, batch, pipe):
    for event in Worker(place).run(batch):
        pipe.send(event)
    pipe.close()


class OneProcessEach:
    """A process for each batch, ended from outside when a cell takes too long; begun anew behind it."""

    def __init__(self, limit_s):
        self.limit_s = limit_s

    def run(self, batches, place):
        for batch in batches:
            rest = batch
            while rest:
                done = 0
                for event in self.until_it_ends(rest, place):
                    done += event.is_finished
                    yield event
                rest = rest[done:]

    def until_it_ends(self, batch, place):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=serve, args=(place, batch, theirs))
        process.start()
        theirs.close()
        begun = None
        try:
            while ours.poll(self.limit_s if begun else 60):
                event = ours.recv()
                begun = None if event.is_finished else event
                yield event
            status, reason = "timeout", "ended from outside"
        except EOFError:
            status, reason = "error", "the worker is gone"
        process.kill()
        process.join()
        if begun is not None:
            yield ended(begun, Store(place.out), status, reason)


@pytest.fixture
def cells(tmp_path, monkeypatch):
    def make(*names, scenario="hdfs@simulated", seeds=(0,)):
        (tmp_path / "methods.py").write_text(METHODS)
        resolved = resolve_methods([f"{tmp_path / 'methods.py'}:{name}" for name in names], [], tmp_path / "cache")
        methods = [method for method in resolved if not method.ref.is_control]
        return plan(
            [parse_scenario(text, catalogue(None)) for text in scenario.split(",")],
            methods, splits=["chronological"], seeds=seeds, grouping=Grouping(),
        )  # fmt: skip

    return make


def test_a_batch_shares_data_and_stands_by_the_detector_that_is_fitted():
    made = [
        SimpleNamespace(name=name, data_key=name[0], fit_key=name[:2])
        for name in ("a1x", "a2x", "b1x", "a1y", "b1y", "a2y")
    ]
    assert [[cell.name for cell in batch] for batch in batches(made)] == [["a1x", "a1y", "a2x", "a2y"], ["b1x", "b1y"]]
    assert batches([]) == []


def test_a_batch_and_its_workplace_travel(cells, tmp_path):
    service = Service(store=tmp_path / "llm", max_cost=2.0, price="1,1")
    place = Workplace(tmp_path / "results", catalogue(None), Settings(timeout_s=3), service)
    batch, there = pickle.loads(pickle.dumps((batches(cells("Length"))[0], place)))
    assert [cell.run_id for cell in batch] == [cell.run_id for cell in cells("Length")]
    assert (there.settings, there.service, there.catalogue) == (place.settings, place.service, place.catalogue)


def test_a_worker_asks_by_the_service_of_its_workplace(cells, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "bench.experiment.executors.run_cell", lambda *given: seen.append(current_service()) or (given[3], None)
    )
    place = Workplace(tmp_path / "results", catalogue(None), Settings(), Service(max_calls=7))
    with use_service(Service(max_calls=1)):
        for _ in Worker(place).run(batches(cells("Length"))[0]):
            assert current_service().max_calls == 1  # between two events it is the caller's again
    assert [service.max_calls for service in seen] == [7]


def test_other_processes_give_the_records_of_this_one(cells, tmp_path):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    made = cells("Length", scenario="hdfs@simulated,bgl@simulated", seeds=(0, 1))
    told = []
    run(made, here, catalogue(None), Settings(), lambda *seen: None)
    run(made, there, catalogue(None), Settings(), lambda *seen: told.append(seen[:2]), executor=OneProcessEach(60))
    for cell in made:
        one, other = here.read(cell.run_id), there.read(cell.run_id)
        assert one["metrics"] == other["metrics"]
        assert one["counts"] == other["counts"]
    assert told == [(0, 4), (1, 4), (1, 4), (2, 4), (2, 4), (3, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("name", "status", "reason"), [("Hangs", "timeout", "ended from outside"), ("Dies", "error", "the worker is gone")]
)
def test_a_worker_that_hangs_or_dies_costs_its_own_row_only(cells, tmp_path, name, status, reason):
    store = Store(tmp_path / "results")
    start = time.monotonic()
    outcome = run(
        cells("Length", name), store, catalogue(None), Settings(), lambda *seen: None, executor=OneProcessEach(5)
    )
    assert time.monotonic() - start < 100
    records = {record["method"].partition(":")[2]: record for record in outcome.records}
    assert (records[name]["status"], records[name]["reason"]) == (status, reason)
    assert records[name]["counts"]["n_test"] > 0
    assert records["Length"]["status"] == "ok"
    assert store.read(records[name]["run_id"])["status"] == status
    again = run(cells("Length"), store, catalogue(None), Settings(), lambda *seen: None)
    assert again.n_resumed == 1


def test_what_was_kept_before_the_worker_ended_is_not_touched(cells, tmp_path):
    store, (cell,) = Store(tmp_path / "results"), cells("Length")
    place = Workplace(store.root, catalogue(None), Settings(), Service())
    begun, finished = Worker(place).run((cell,))
    assert ended(begun, store, "error", "gone") == finished
    assert store.read(cell.run_id)["status"] == "ok"
    later = {**begun.record, "started_at": "2999-01-01T00:00:00+00:00"}
    assert ended(Event(cell, later, is_finished=False), store, "error", "gone").record["status"] == "error"
