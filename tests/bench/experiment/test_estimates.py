"""What cells will take, from hand-made records: which record counts, how it is scaled, what a running ratio does."""

import dataclasses

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.experiment.environment import describe_environment
from bench.experiment.estimates import Estimate, Estimates, makespan, scaled, shared_seconds
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods, run_id
from bench.records.store import Store
from bench.records.upkeep import pack

HERE = {"cpu": describe_environment()["cpu"]}
THERE = {"cpu": "another processor"}
LINES = {"hdfs@simulated": 12_000, "bgl@simulated": 16_000, "tbird@simulated": 16_000}


@pytest.fixture
def cell_of(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    known = catalogue()

    def make(name, seed=0, scenario="hdfs@simulated", split="chronological", settings=()):
        methods = resolve_methods([name], settings, tmp_path / "cache")
        found = plan([parse_scenario(scenario, known)], methods, splits=[split], seeds=[seed], grouping=Grouping())
        return found[0]

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def keep(store, cell, fit, *, cpu=True, on=HERE, peak=100.0, score=0.0, **changes):
    """A record of a cell that took so long; without `cpu`, it knows its wall seconds alone."""
    seconds = {"prepare": 0.5, "fit": fit, "score": score}
    key = cell.scenario.key
    empty = {"n": 4, "n_abnormal": 2, "rules": {}, "bootstrap": {"levels": [], "rules": {}}}
    ranking = {"ap": 0.5, "auroc": 0.5, "prevalence": 0.5, "all_positive_f1": 0.6}
    names = ("train", "train_abnormal", "validation", "validation_abnormal", "test", "test_abnormal", "log_keys")
    shares = {"known_keys_share": 1.0, "seen_in_training_share": 1.0}
    record = {
        "schema_version": 2,
        "run_id": cell.run_id,
        "spec": cell.spec(),
        "scenario": key,
        "simulated": [],
        "tiers": {},
        "method": cell.method.label,
        "systems": [],
        "status": "ok",
        "reason": None,
        "detector": {"told": {}, "is_control": False, "config": {}},
        "counts": {f"n_{name}": 1 for name in names} | shares | {"n_lines": {key: LINES.get(key, 0)}},
        "seconds": {name: 3 * value for name, value in seconds.items()} if cpu else seconds,
        "memory_mib": {"peak_rss": peak, "added": 1.0},
        "threads": 1,
        "device": "cpu",
        "environment": on,
        "started_at": "2026-11-22T01:46:42+00:00",
        "thresholds": {},
        "metrics": {"all": empty | {"ranking": ranking}},
    }
    return store.write(record | ({"cpu_seconds": seconds} if cpu else {}) | changes)


def test_the_nearest_record_counts_and_its_kind_is_named(store, cell_of):
    cell = cell_of("deeplog", seed=0)
    assert Estimates(store).seconds(cell) == (0.0, 0.0, None, "no record", True)
    keep(store, cell_of("deeplog", scenario="bgl@simulated"), 40.0)
    assert Estimates(store).seconds(cell).source == "other edition scaled"
    for seed, fit in ((1, 10.0), (2, 12.0), (3, 50.0)):
        keep(store, cell_of("deeplog", seed=seed), fit, peak=500.0 + seed, score=1.0)
    assert Estimates(store).seconds(cell) == (12.0, 1.0, 501.0, "same edition", True)
    keep(store, cell, 11.0)
    assert Estimates(store).seconds(cell)[::3] == (11.0, "own record")


def test_records_of_the_archive_count_as_those_of_the_inbox_do(store, cell_of):
    keep(store, cell_of("deeplog", seed=1), 10.0)
    pack(store)
    keep(store, cell_of("deeplog", seed=2), 20.0)
    assert Estimates(Store(store.root)).seconds(cell_of("deeplog")).fit == 15.0


def test_only_the_files_that_are_needed_are_read(store, cell_of, monkeypatch):
    keep(store, cell_of("deeplog", seed=1), 10.0)
    keep(store, cell_of("deeplog", seed=1, scenario="bgl@simulated"), 10.0)
    pack(store)
    found, estimates = [], Estimates(store)
    read = type(store.archive).read
    monkeypatch.setattr(type(store.archive), "read", lambda self, path: found.append(path.stem) or read(self, path))
    estimates.seconds(cell_of("deeplog"))
    assert found == ["hdfs@simulated--chronological"]
    estimates.seconds(cell_of("deeplog", scenario="tbird@simulated"))
    assert sorted(found) == ["bgl@simulated--chronological", "hdfs@simulated--chronological"]


def test_cpu_seconds_go_before_wall_seconds_and_of_these_the_lowest_counts(store, cell_of):
    keep(store, cell_of("deeplog", seed=1), 30.0, cpu=False)
    keep(store, cell_of("deeplog", seed=2), 20.0, cpu=False, beside=0)
    keep(store, cell_of("deeplog", seed=3), 90.0, cpu=False)
    assert Estimates(store).seconds(cell_of("deeplog")).fit == 20.0
    keep(store, cell_of("deeplog", seed=4), 25.0, beside=1)
    assert Estimates(store).seconds(cell_of("deeplog")).fit == 25.0


def test_wall_seconds_of_a_shared_machine_do_not_count(store, cell_of):
    keep(store, cell_of("deeplog", seed=1), 5.0, cpu=False, beside=1)
    keep(store, cell_of("deeplog", seed=2), 20.0, cpu=False)
    assert Estimates(store).seconds(cell_of("deeplog")).fit == 20.0


def test_what_took_over_the_scores_of_another_run_took_nothing_by_itself(store, cell_of):
    keep(store, cell_of("pca", seed=1), 5.0)
    for seed in (2, 3):
        keep(store, cell_of("pca", seed=seed), 0.0, fitted_as=cell_of("pca", seed=1).run_id)
    assert Estimates(store).seconds(cell_of("pca"))[::3] == (5.0, "same edition")


def test_what_only_shared_machines_know_is_no_record(store, cell_of):
    keep(store, cell_of("pca", seed=1), 5.0, cpu=False, beside=1)
    assert Estimates(store).seconds(cell_of("pca")).source == "no record"


def test_another_machine_is_scaled_by_what_ran_on_both(store, cell_of):
    keep(store, cell_of("deeplog", seed=1), 30.0, on=THERE)
    found = Estimates(store).seconds(cell_of("deeplog"))
    assert (found.fit, found.is_of_here) == (30.0, False)
    keep(store, cell_of("mlad", seed=1, scenario="bgl@simulated"), 4.0, on=THERE)
    keep(store, cell_of("mlad", seed=2, scenario="bgl@simulated"), 2.0)
    assert Estimates(store).seconds(cell_of("deeplog")).fit == pytest.approx(15.0)
    keep(store, cell_of("deeplog", seed=1, scenario="bgl@simulated"), 10.0, on=THERE)
    keep(store, cell_of("deeplog", seed=2, scenario="bgl@simulated"), 1.0)
    found = Estimates(store).seconds(cell_of("deeplog"))
    assert (found.fit, found.source, found.is_of_here) == (pytest.approx(3.0), "same edition", False)
    keep(store, cell_of("deeplog", seed=2), 7.0)
    assert Estimates(store).seconds(cell_of("deeplog")) == (7.0, 0.0, 100.0, "same edition", True)


def test_a_gpu_is_another_machine(store, cell_of):
    keep(store, cell_of("deeplog", seed=1), 30.0, device="cuda")
    assert not Estimates(store).seconds(cell_of("deeplog")).is_of_here
    assert Estimates(store, device="cuda").seconds(cell_of("deeplog")).is_of_here


def test_other_settings_count_where_these_never_ran(store, cell_of):
    keep(store, cell_of("mlad", seed=1), 8.0)
    keep(store, cell_of("mlad", seed=1, scenario="bgl@simulated"), 30.0)
    swept = cell_of("mlad", settings=["mlad.alpha=1.35"])
    assert Estimates(store).seconds(swept)[::3] == (8.0, "same edition")


def test_a_fit_takes_in_proportion_to_its_steps(store, cell_of):
    keep(store, cell_of("mlad", settings=["mlad.steps=0"]), 0.1)
    keep(store, cell_of("mlad", settings=["mlad.steps=600"]), 60.0, score=3.0)
    keep(store, cell_of("mlad", settings=["mlad.steps=600", "mlad.alpha=1.1"]), 900.0)
    keep(store, cell_of("mlad", settings=["mlad.steps=600"], scenario="bgl@simulated"), 400.0)
    for steps, fit in ((2400, 240.0), (150, 15.0)):
        found = Estimates(store).seconds(cell_of("mlad", settings=[f"mlad.steps={steps}"]))
        assert (found.fit, found.score, found.source) == (pytest.approx(fit), 3.0, "same edition")
    assert Estimates(store).seconds(cell_of("mlad", seed=1, settings=["mlad.steps=0"])).fit == pytest.approx(0.1)
    assert Estimates(store).seconds(cell_of("mlad", seed=1, settings=["mlad.steps=0", "mlad.alpha=2"])).fit == 0


def test_a_store_behind_the_first_tells_what_that_does_not_know(store, cell_of, tmp_path):
    other = Store(tmp_path / "other")
    keep(other, cell_of("deeplog"), 10.0)
    assert Estimates(store, other).seconds(cell_of("deeplog")).fit == 10.0
    keep(store, cell_of("deeplog"), 12.0)
    assert Estimates(store, other).seconds(cell_of("deeplog")).fit == 12.0


def test_a_power_law_through_what_is_known():
    assert scaled([100, 1_000, 10_000], [1.0, 10.0, 100.0], 100_000) == pytest.approx(1_000.0)
    assert scaled([100, 10_000], [2.0, 2.0], 1_000_000) == pytest.approx(2.0)
    assert scaled([100], [2.0], 400) == pytest.approx(8.0)
    assert scaled([100, 200], [3.0, 5.0], 0) == 4.0
    assert scaled([100, 200], [0.0, 0.0], 400) == 0.0
    one_outlier = scaled([1, 10, 100, 1_000, 10_000], [1.0, 10.0, 9_999.0, 1_000.0, 10_000.0], 100_000)
    assert one_outlier == pytest.approx(100_000.0)
    assert scaled([100, 1_000], [100.0, 1.0], 10_000) == pytest.approx(10.0)  # more lines never take less


def test_the_longest_first_on_the_job_that_is_free_first():
    assert makespan([], 2) == 0.0
    assert makespan([5.0, 4.0, 3.0, 3.0], 1) == 15.0
    assert makespan([3.0, 3.0, 4.0, 5.0], 2) == 8.0
    assert makespan([9.0, 1.0], 4) == 9.0


def test_a_shared_fit_counts_once_and_equal_scores_once(cell_of):
    def took(cell):
        return Estimate(10.0, 1.0, None, "own record")

    seeds = [cell_of("pca", seed=seed) for seed in range(3)]
    assert shared_seconds(seeds, took) == [11.0]
    drawn = [cell_of("deeplog", seed=seed) for seed in range(2)]
    assert shared_seconds(drawn, took) == [11.0, 11.0]
    variants = [cell_of("deeplog"), cell_of("deeplog+nearest")]
    assert shared_seconds(variants, took) == [12.0]
    sampled = [dataclasses.replace(cell, sample=10) for cell in seeds]
    assert shared_seconds(sampled, took) == [13.0]


def test_what_is_left_follows_what_was_measured(store, cell_of):
    for name in ("deeplog", "mlad"):
        keep(store, cell_of(name, seed=9), 100.0)
    estimates = Estimates(store)
    cells = [cell_of("deeplog", seed=seed) for seed in range(4)]
    assert estimates.left(cells) == pytest.approx(400.0)
    assert estimates.left(cells, jobs=2) == pytest.approx(200.0)
    estimates.observe(cells[0], 50.0)
    after_one = estimates.left(cells[1:])
    assert 150.0 < after_one < 165.0
    estimates.observe(cells[1], 50.0)
    assert estimates.left(cells[1:]) < after_one
    # Another method, which was not seen yet, follows what was seen of all.
    assert estimates.left([cell_of("mlad")]) == pytest.approx(100 * (5 + 100) / (5 + 200))


def test_a_method_without_a_record_takes_what_it_took_or_what_others_take(store, cell_of):
    estimates = Estimates(store)
    new = [cell_of("mlad", seed=seed) for seed in range(3)]
    assert estimates.left(new) is None
    assert estimates.left([]) is None
    keep(store, cell_of("deeplog", seed=9), 30.0)
    estimates = Estimates(store)
    assert estimates.left([cell_of("deeplog"), new[0]]) == pytest.approx(60.0)
    estimates.observe(new[0], 4.0)
    assert estimates.left(new[1:]) == pytest.approx(8.0)


def test_a_skipped_run_is_known_by_its_reason_unless_a_seed_ran(store, cell_of):
    nothing = {"status": "skipped", "reason": "no data for it"}
    keep(store, cell_of("deeplog", seed=1), 0.0, **nothing)
    assert Estimates(store).skipped(cell_of("deeplog")) == "no data for it"
    assert Estimates(store).skipped(cell_of("mlad")) is None
    keep(store, cell_of("deeplog", seed=2), 1.0)
    assert Estimates(store).skipped(cell_of("deeplog")) is None


def of_another_protocol(cell, version):
    """The same cell, as another version of the protocol would have named its run."""
    spec = cell.spec() | {"protocol_version": version}
    return {"spec": spec, "run_id": run_id(spec)}


def test_what_an_older_protocol_took_counts_only_where_the_newest_has_no_record(store, cell_of):
    old, cell = of_another_protocol(cell_of("pca", seed=1), 0), cell_of("pca", seed=2)
    keep(store, cell_of("pca", seed=1), 90.0, **old)
    assert Estimates(store).seconds(cell).fit == 90.0
    keep(store, cell_of("pca", seed=3), 10.0)
    assert Estimates(store).seconds(cell).fit == 10.0


def test_why_an_older_protocol_skipped_a_method_is_no_reason_now(store, cell_of):
    old = of_another_protocol(cell_of("deeplog", seed=1), 0)
    keep(store, cell_of("deeplog", seed=1), 0.0, **old, status="skipped", reason="refused then")
    assert Estimates(store).skipped(cell_of("deeplog")) is None
