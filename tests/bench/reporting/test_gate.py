"""The gate fails when a recorded value is missing or fell by more than its tolerance, and never otherwise."""

import json

import pytest

from bench.errors import BenchError
from bench.evaluation import measures
from bench.evaluation.measures import Measure
from bench.evaluation.stats import LEVELS
from bench.records.store import SCHEMA_VERSION, Store
from bench.reporting.gate import Finding, compare_with_baseline, load_baseline, rows_by_name, unlisted
from bench.reporting.gate import write_baseline as write_with_scores
from bench.reporting.gate_part import WHOLE, Part

RULE = "conformal:0.01"
NAME = "bgl@a | chronological | 20/20 | protocol 1 | toy"


def record(method="toy", seed=0, f1=0.9, *, scenario="bgl@a", status="ok", native=None, digest="00", day=1, protocol=1):
    flat = [f1] * len(LEVELS)
    edition = {"edition": scenario, "sha256": digest}
    rules = {RULE: {"f1": f1}} | ({"native": {"f1": 0.4}} if native else {})
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": f"{method}{seed}{scenario}",
        "spec": {
            "protocol_version": protocol,
            "train": [edition],
            "test": [edition],
            "split": "chronological",
            "seed": seed,
            "grouping": {"window_size": 20, "window_step": 20},
            "detector": {"name": method},
        },
        "scenario": scenario,
        "method": method,
        "status": status,
        "reason": None if status == "ok" else "no",
        "detector": {"supervision": "normal-only"},
        "thresholds": {RULE: {"value": 1.0, "reason": None}, "native": {"value": native}},
        "metrics": {
            "all": {
                "ranking": {"auroc": 0.95, "ap": 0.85},
                "rules": rules,
                "bootstrap": {"levels": list(LEVELS), "auroc": flat, "ap": flat}
                | {"rules": {name: {"f1": flat} for name in rules}},
            }
        },
        "started_at": f"2026-01-0{day}T00:00:00+00:00",
    }


@pytest.fixture
def baseline(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, [record(seed=0, f1=0.8), record(seed=1, f1=1.0)])
    return path


def write_baseline(path, records, part=WHOLE):
    """Of records without scores: the tolerance decides."""
    return write_with_scores(path, records, Store(path.parent / "results"), part).n_rows


def failures(path, records, part=WHOLE):
    return [
        f"{finding.row}: {finding}"
        for finding in compare_with_baseline(records, load_baseline(path), part)
        if finding.failed
    ]


def test_the_baseline_holds_the_means_and_the_seeds(baseline):
    content = load_baseline(baseline)
    assert content["rows"] == {NAME: {"seeds": [0, 1], "f1": 0.9, "auroc": 0.95, "ap": 0.85}}
    assert content["tolerance"] == 0.02
    assert content["rule"] == RULE


def test_the_same_records_pass_and_every_value_is_compared(baseline):
    findings = compare_with_baseline([record(seed=0, f1=0.8), record(seed=1, f1=1.0)], load_baseline(baseline))
    assert [(finding.metric, finding.failed) for finding in findings] == [
        ("f1", False),
        ("ap", False),
        ("auroc", False),
    ]


def test_a_metric_that_is_better_when_lower_fails_by_rising(baseline, monkeypatch):
    row = Measure("ap", "ranking", "AP", in_gate=True, higher_is_better=False)
    monkeypatch.setattr(measures, "MEASURES", (row,))
    for ap, failed in ((0.5, False), (0.86, False), (0.9, True)):
        made = [record(seed=seed) for seed in (0, 1)]
        for each in made:
            each["metrics"]["all"]["ranking"]["ap"] = ap
        assert [finding.failed for finding in compare_with_baseline(made, load_baseline(baseline))] == [failed]


@pytest.mark.parametrize(
    ("f1", "n_failed"), [(0.95, 0), (1.0, 0), (0.9, 0), (0.89, 0), (0.88, 0), (0.8799, 1), (0.5, 1)]
)
def test_a_drop_within_the_tolerance_passes_and_beyond_it_fails(baseline, f1, n_failed):
    found = failures(baseline, [record(seed=seed, f1=f1) for seed in (0, 1)])
    assert len(found) == n_failed
    said = f"{NAME}: f1 {f1:.4f}, baseline 0.9000: worse by {0.9 - f1:.4f}, tolerance 0.02"
    assert all(text == said for text in found)


def test_auroc_and_ap_are_held_too(baseline):
    worse = [record(seed=seed) for seed in (0, 1)]
    for one in worse:
        one["metrics"]["all"]["ranking"] = {"auroc": 0.5, "ap": 0.5}
    assert [text.split(": ")[1].split()[0] for text in failures(baseline, worse)] == ["ap", "auroc"]


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no record"),
        ([record("other", seed=seed) for seed in (0, 1)], "no record"),
        ([record(seed=0)], "no record of seed 1"),
        ([record(seed=0), record(seed=1, status="error")], "error, no (seed 1)"),
        ([record(seed=seed, scenario="bgl@b") for seed in (0, 1)], "no record"),
        ([record(seed=seed, protocol=2) for seed in (0, 1)], "no record"),
    ],
)
def test_a_row_or_a_seed_without_a_record_fails_and_says_what_is_missing(baseline, records, why):
    found = compare_with_baseline(records, load_baseline(baseline))
    assert [finding.failed for finding in found] == [True, True, True]
    assert {finding.why for finding in found} == {why}


def test_more_seeds_and_more_methods_change_nothing(baseline):
    records = [record(seed=0, f1=0.8), record(seed=1, f1=1.0), record(seed=2, f1=0.0), record("new", f1=0.0)]
    assert failures(baseline, records) == []


def test_a_tolerance_set_by_hand_counts_and_survives_an_update(baseline):
    content = load_baseline(baseline)
    content["rows"][NAME]["tolerance"] = 0.3
    content["tolerance"] = 0.05
    baseline.write_text(json.dumps(content))
    lower = [record(seed=seed, f1=0.65) for seed in (0, 1)]
    assert failures(baseline, lower) == []
    write_baseline(baseline, lower)
    assert load_baseline(baseline)["rows"][NAME] == {
        "seeds": [0, 1],
        "f1": 0.65,
        "auroc": 0.95,
        "ap": 0.85,
        "tolerance": 0.3,
    }
    assert load_baseline(baseline)["tolerance"] == 0.05


def test_a_suite_restricts_what_is_compared(tmp_path):
    path = tmp_path / "baseline.json"
    records = [record(), record(scenario="tbird@b")]
    write_baseline(path, records)
    assert failures(path, records[:1], Part(frozenset({"bgl@a"}))) == []
    assert len(failures(path, records[:1])) == 3
    with pytest.raises(BenchError, match="no row to compare"):
        failures(path, records, Part(frozenset({"hdfs@c"})))


def test_a_suite_restricts_what_is_updated(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, [record(), record(scenario="tbird@b")])
    count = write_baseline(path, [record(f1=0.5), record(scenario="tbird@b", f1=0.1)], Part(frozenset({"bgl@a"})))
    assert count == 1
    assert sorted(row["f1"] for row in load_baseline(path)["rows"].values()) == [0.5, 0.9]


def test_a_failed_run_cannot_become_a_baseline(tmp_path):
    with pytest.raises(BenchError, match=r"toy' failed \(error: no\): run it again"):
        write_baseline(tmp_path / "baseline.json", [record(), record(seed=1, status="error")])
    assert not (tmp_path / "baseline.json").exists()


def test_a_skipped_row_is_no_row_of_the_baseline(tmp_path):
    path = tmp_path / "baseline.json"
    assert write_baseline(path, [record(), record("skips", status="skipped")]) == 1


def test_without_records_there_is_no_baseline(tmp_path):
    with pytest.raises(BenchError, match="no finished record"):
        write_baseline(tmp_path / "baseline.json", [])


def test_what_flags_everything_is_held_by_its_native_rule(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, [record("all-positive", native="-inf")])
    (row,) = load_baseline(path)["rows"].values()
    assert row["f1"] == 0.4


def test_where_data_changed_the_last_run_counts():
    rows = rows_by_name([record(f1=0.1, digest="01", day=2), record(f1=0.9, digest="00", day=1)])
    assert [one["metrics"]["all"]["rules"][RULE]["f1"] for one in rows[NAME].records] == [0.1]
    rows = rows_by_name([record(f1=0.1, digest="01", day=1), record(f1=0.9, digest="00", day=2)])
    assert [one["metrics"]["all"]["rules"][RULE]["f1"] for one in rows[NAME].records] == [0.9]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("{", "is damaged"),
        ("[]", "no table 'rows'"),
        ('{"rows": 3}', "no table 'rows'"),
        ('{"rows": {"a": {"f1": 1}}}', "no table 'rows' with seeds"),
    ],
)
def test_what_is_wrong_with_a_baseline_is_a_sentence(tmp_path, content, words):
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BenchError, match=words):
        load_baseline(path)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ap": NAN}, "the ap nan in its row 'bgl@a"),
        ({"f1": -INFINITE}, "the f1 -inf in its row"),
        ({"auroc": "0.9"}, "the auroc '0.9' in its row"),
        ({"f1": None}, "the f1 None in its row"),
        ({"f1": True}, "the f1 True in its row"),
        ({"f1": 10**400}, "no number from 0 to 1"),
        ({"tolerance": NAN}, "the tolerance nan in its row"),
        ({"tolerance": INFINITE}, "the tolerance inf in its row"),
        ({"tolerance": -0.1}, "the tolerance -0.1 in its row"),
        ({"tolerance": None}, "the tolerance None in its row"),
        ({"seeds": "01"}, "the seeds '01' in its row"),
        ({"seeds": 3}, "the seeds 3 in its row"),
        ({"seeds": []}, r"the seeds \[\] in its row"),
        ({"seeds": [0, "1"]}, "no list of whole numbers"),
        ({"seeds": [True]}, "no list of whole numbers"),
        ({"seeds": [0, 0]}, "no list of whole numbers, each once"),
    ],
)
def test_what_no_value_can_be_compared_with_is_refused(baseline, change, words):
    content = json.loads(baseline.read_text())
    content["rows"][NAME] |= change
    baseline.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=words):
        load_baseline(baseline)


@pytest.mark.parametrize("tolerance", [NAN, INFINITE, -1, 1.5, "0.02", None, [0.02]])
def test_a_tolerance_for_all_rows_is_a_number_from_0_to_1(baseline, tolerance):
    content = json.loads(baseline.read_text()) | {"tolerance": tolerance}
    baseline.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"the tolerance .* which is no number from 0 to 1"):
        load_baseline(baseline)


def test_a_row_without_metrics_and_brackets_without_end_are_refused(baseline):
    content = json.loads(baseline.read_text())
    content["rows"][NAME] = {"seeds": [0]}
    baseline.write_text(json.dumps(content))
    with pytest.raises(BenchError, match="no f1, auroc or ap in its row"):
        load_baseline(baseline)
    baseline.write_text("[" * 100_000)
    with pytest.raises(BenchError, match="is damaged"):
        load_baseline(baseline)


def test_a_value_that_is_no_number_fails():
    assert Finding(NAME, "ap", 0.9, NAN, 0.02).failed
    assert Finding(NAME, "ap", NAN, 0.9, 0.02).failed


def test_rows_that_the_baseline_lacks_are_named(baseline):
    records = [record(), record("new"), record("skips", status="skipped"), record("late", scenario="tbird@b")]
    new = NAME.replace("toy", "new")
    assert unlisted(records, load_baseline(baseline), Part(frozenset({"bgl@a"}))) == [new]
    assert len(unlisted(records, load_baseline(baseline))) == 2


def test_a_metric_that_a_row_of_the_baseline_lacks_is_named(baseline):
    content = json.loads(baseline.read_text())
    del content["rows"][NAME]["ap"]
    baseline.write_text(json.dumps(content))
    records = [record(seed=0), record(seed=1)]
    assert unlisted(records, load_baseline(baseline)) == [f"{NAME}: ap"]


def test_only_the_newest_protocol_becomes_a_baseline_and_is_missed_in_it(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, [record(protocol=1)])
    both = [record(protocol=1), record("gone", protocol=1), record(f1=0.7, protocol=2), record("new", protocol=2)]
    newer, new = NAME.replace("protocol 1", "protocol 2"), NAME.replace("protocol 1 | toy", "protocol 2 | new")
    assert unlisted(both, load_baseline(path)) == [new, newer]
    assert write_baseline(path, both) == 2
    assert load_baseline(path)["rows"].keys() == {newer, new}
    assert unlisted(both, load_baseline(path)) == []


def test_a_folder_is_no_baseline(tmp_path):
    with pytest.raises(BenchError, match=r"cannot be read .*: give a file"):
        load_baseline(tmp_path)
    with pytest.raises(BenchError, match="cannot be written"):
        write_baseline(tmp_path, [record()])
