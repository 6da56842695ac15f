"""Which records a check of old code against new speaks for, and what it leaves in them."""

from contextlib import contextmanager

import pytest

import bench
from bench.experiment import restamp as made_by
from bench.experiment.code import InstalledCode
from bench.experiment.measure import are_scores_of
from bench.experiment.restamp import expected_s, kind_of, needing, restamp, typed
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.record import SCORES_ONLY, run_id_of
from bench.records.store import Store
from bench.records.upkeep import pack
from bench.records.verify import problems
from tests.bench.records.conftest import made, scores_of

NOW = {"method": "a" * 16, "engine": "a" * 16}
OTHER_ENGINE = NOW | {"engine": "b" * 16}
OTHER_METHOD = NOW | {"method": "b" * 16}
COMMIT = "c" * 40


class Now(InstalledCode):
    """The code of every method is the same."""

    def of_record(self, record):
        return NOW


def record(method="toy", seed=0, *, code=OTHER_ENGINE, config=None, spec=None, detector=None, **changes):
    found = made(method, seed, **changes)
    found["spec"] |= {"protocol_version": PROTOCOL_VERSION} | (spec or {})
    found["spec"]["detector"] |= {"source_sha256": "", "variant": None, "config": config or {}}
    found["detector"] |= detector or {}
    found["environment"] = {"git_commit": COMMIT, "git_dirty": False}
    return found | {"run_id": run_id_of(found["spec"])} | ({"code": code} if code else {})


def test_records_are_told_apart_by_what_can_be_done_about_them():
    records = [
        record("engine"),
        record("method", code=OTHER_METHOD),
        record("both", code={"method": "b" * 16, "engine": "b" * 16}),
        record("unknown", code=None),
        record("current", code=NOW),
        record("checked", verified_with={"code": NOW}),
        record("partly", code=OTHER_METHOD, verified_with={"code": OTHER_ENGINE}),
        record("elsewhere", code=None, detector={"division": SCORES_ONLY}),
        record("skipped", status="skipped"),
        record("older", spec={"protocol_version": PROTOCOL_VERSION - 1}),
    ]
    found = needing(records, Now(), None)
    assert [group.method for group in found.groups] == ["engine", "partly", "unknown"]
    assert found.changed == {"both": 1, "method": 1}
    assert found.unfinished == 1
    everything = needing(records, Now(), None, changed_methods=True)
    assert [group.method for group in everything.groups] == ["both", "engine", "method", "partly", "unknown"]
    assert everything.changed == {}
    assert {group.commit for group in found.groups} == {COMMIT}
    assert {group.commit for group in needing(records, Now(), "v1").groups} == {"v1"}


def test_a_cell_speaks_for_one_way_to_split_and_for_what_its_method_reads():
    records = {
        "real, one system, chronological": record(),
        "real, one system, chronological, texts": record(spec={"encoder": "a"}),
        "real, one system, paper": record(split="paper"),
        "real, one system, prequential": record(split="prequential:5,2"),
        "real, transfer, transfer": record(scenario="bgl@raw12k2tbird@raw29k", split="transfer"),
        "simulated, one system, chronological": record(simulated=["bgl@raw12k"]),
        "real, one system, chronological, asks a model": record(detector={"teacher": True}),
    }
    assert [kind_of(found) for found in records.values()] == list(records)
    assert len(needing(records.values(), Now(), None).groups) == len(records)
    assert typed(records["real, one system, chronological, asks a model"])[-2:] == ["--llm", "replay"]


def test_one_command_makes_the_cells_of_many_methods():
    options = typed(record("a", config={"k": 2}), record("b", config={"x": None}))
    assert options[:4] == ["--methods", "a,b", "--scenario", "bgl@raw12k"]
    assert options[-4:] == ["--set", "a.k=2", "--set", "b.x=none"]


def test_networks_are_checked_with_fewer_steps_where_that_is_asked(commands, tmp_path):
    store = Store(tmp_path / "results")
    long = record("long", config={"steps": 600})
    for each in (long, record("short", config={"steps": 5}), record("none"), record("epochs", config={"steps": None})):
        store.write(each, scores_of())
    groups = needing(store.records(), Now(), None).groups
    outcomes = {checked.group.method: checked for checked in restamp(groups, store, Now(), steps=60)}
    assert commands == [["epochs", "long", "none", "short"]] * 2
    assert all(checked.agrees for checked in outcomes.values())
    stamps = {each["method"]: each["verified_with"]["against"] for each in store.records()}
    assert {against["steps"] for against in stamps.values()} == {60}
    assert stamps["long"]["run_id"] != long["run_id"]
    assert store.read(long["run_id"])["spec"] == long["spec"]
    assert typed(made_by._shortened(long, 60))[-2:] == ["--set", "long.steps=60"]
    seconds = {name: expected_s(groups, n) for name, n in (("whole", None), ("short", 60))}
    assert seconds["whole"] - seconds["short"] == pytest.approx(2 * 0.9 * long["seconds"]["fit"])


def test_a_cell_of_fewer_steps_is_the_run_that_they_give(tmp_path):
    def run(steps):
        out = tmp_path / str(steps)
        bench.run("dagmm", "bgl@simulated", seeds=[0], settings={"dagmm.steps": steps}, out=out, progress=False)
        return next(each for each in Store(out).records() if each["spec"]["detector"]["name"] == "dagmm")

    assert made_by._shortened(run(9), 3)["run_id"] == run(3)["run_id"]


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What is run in place of commands: each gives the records back, unless a method `refused` is among them."""
    run = []

    @contextmanager
    def checkout(commit):
        yield tmp_path

    def give_back(records, root, means, whose):
        run.append([found["method"] for found in records])
        is_refused = "refused" in run[-1]
        found = {} if is_refused else {each["run_id"]: each for each in records}
        return made_by._Made(whose, found, "it has no setting 'x'" if is_refused else "")

    monkeypatch.setattr(made_by, "_checkout", checkout)
    monkeypatch.setattr(made_by, "_run", give_back)
    return run


def test_packed_records_are_stamped_and_keep_scores_curves_and_numbers(commands, tmp_path):
    store = Store(tmp_path / "results")
    records = [record("a", seed) for seed in (2, 0, 1)] + [
        record("b"),
        record("refused"),
        record("other", split="paper"),
    ]
    before = [store.write(each, scores_of()) for each in records]
    pack(store)
    groups = needing(store.records(), Now(), None).groups
    assert expected_s(groups) == pytest.approx(2 * 4 * 0.6)
    outcomes = {checked.group.method: checked for checked in restamp(groups, store, Now())}
    assert commands == [["a", "b", "refused"]] * 2 + [["a"]] * 2 + [["b"]] * 2 + [["refused"]] * 2 + [["other"]] * 2
    assert outcomes["refused"].problem == "the old code does not make this run: it has no setting 'x'"
    assert (outcomes["a"].n_records, outcomes["a"].run_id) == (3, records[1]["run_id"])
    assert [name for name, checked in outcomes.items() if checked.agrees] == ["a", "b", "other"]
    assert list(problems(store, are_scores_of)) == []
    pack(store)
    assert list(problems(store, are_scores_of)) == []
    for was in before:
        now = store.read(was["run_id"])
        verified = now.pop("verified_with", None)
        assert (verified is None) == (was["method"] == "refused")
        assert now | {"digest": 0} == was | {"digest": 0}
        if verified:
            assert (verified["code"], verified["against"]["commit"]) == (NOW, COMMIT)
    assert needing(store.records(), Now(), None).groups.keys() == {outcomes["refused"].group}
