"""Comparisons of a method with other rows, from records and scores on disk: what pairs, what is kept, what holds."""

import json
from unittest.mock import ANY

import numpy as np
import pytest

from bench.errors import BenchError
from bench.evaluation.thresholds import parse_rule
from bench.experiment.measure import measure
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import Store
from bench.reporting.comparisons.differences import (
    VERSION,
    against_of,
    compare_rows,
    comparison_requests,
    require_scores,
)
from bench.reporting.comparisons.kept import (
    chosen,
    footer,
    heading,
    keep,
    lines,
    notes,
    outdated_comparisons,
    parse_metrics,
    stored,
    totals,
)
from bench.reporting.comparisons.quick import with_quick
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.files import outdated_tables, renew_tables, write_tables
from bench.reporting.reading import kept_verdicts, reading
from bench.reporting.tables.table import make_tables

RULES = [parse_rule(text) for text in ("native", "conformal:0.01", "oracle")]
LABELS = np.repeat(np.array([0, 1], dtype=np.int8), [60, 20])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def add(store, make_record):
    """Write a run whose abnormal sequences score higher by `gain`; `labels` are those of its test set."""

    def write(method="toy", seed=0, gain=2.0, *, labels=LABELS, native=(), n_validation=200, **options):
        rng = np.random.default_rng([seed, *method.encode()])
        arrays = {
            "test": rng.normal(size=len(labels)) + gain * labels,
            "test_labels": labels,
            "test_system": np.zeros(len(labels), dtype=np.uint8),
            "validation": rng.normal(size=n_validation),
            "validation_labels": np.zeros(n_validation, dtype=np.int8),
            "validation_system": np.zeros(n_validation, dtype=np.uint8),
            "native": np.array(native, dtype=np.float64),
        }
        record = make_record(method, seed, **options)
        record |= measure(arrays, record["systems"], RULES, split=record["spec"]["split"])
        return store.write(record, arrays)

    return write


def compare_all(store, method="toy", against="all"):
    (request,) = comparison_requests(make_tables(store.records()), method, against)
    require_scores([request], store)
    return compare_rows(request, store)


def pairs_of(comparison, other):
    row = next(row for row in comparison["rows"] if row["method"] == other)
    seeds = {run_id: run["seed"] for run_id, run in comparison["runs"].items()}
    return [tuple(seeds[run_id] for run_id in pair) for pair in row["run_ids"]]


def test_a_comparison_holds_values_of_the_records_and_names_its_runs(store, add):
    ours = [add(seed=seed, gain=3) for seed in range(4)]
    theirs = [add("weak", seed, gain=0.5) for seed in range(4)]
    made = compare_all(store)
    (row,) = made["rows"]
    ap = row["metrics"]["ap"]
    mean = [np.mean([r["metrics"]["all"]["ranking"]["ap"] for r in side]) for side in (ours, theirs)]
    assert (ap["value"], ap["other_value"]) == pytest.approx(mean, abs=1e-6)
    assert ap["difference"] == pytest.approx(mean[0] - mean[1], abs=2e-6)
    assert ap["low"] < ap["difference"] < ap["high"]
    assert (ap["verdict"], ap["n_seeds"]) == ("better", 4)
    f1 = [np.mean([r["metrics"]["all"]["rules"]["conformal:0.01"]["f1"] for r in side]) for side in (ours, theirs)]
    assert row["metrics"]["f1"]["difference"] == pytest.approx(f1[0] - f1[1], abs=2e-6)
    assert row["run_ids"] == [[a["run_id"], b["run_id"]] for a, b in zip(ours, theirs, strict=True)]
    assert set(made["runs"]) == {record["run_id"] for record in ours + theirs}
    assert (made["n_test"], made["n_test_abnormal"]) == (40, 10)


def test_the_other_way_round_is_worse(store, add):
    add(gain=3)
    add("weak", gain=0.5)
    there, back = compare_all(store)["rows"][0], compare_all(store, "weak")["rows"][0]
    assert there["metrics"]["auroc"]["verdict"] == "better"
    assert back["metrics"]["auroc"]["verdict"] == "worse"
    assert back["metrics"]["auroc"]["low"] == -there["metrics"]["auroc"]["high"]


def test_best_control_stands_for_those_that_methods_are_held_against(store, add):
    add(gain=1)
    add("other", gain=2)
    add("weak", gain=0.2, supervision="control")
    add("strong", gain=1.5, supervision="control")
    requests = comparison_requests(make_tables(store.records()), "best-control", "all")
    assert [(r.row.method, [other.method for other in r.others]) for r in requests] == [("strong", ["other", "toy"])]
    assert [against_of(name, None) for name in ("best-control", "strong")] == ["all", "controls"]
    assert against_of("best-control", "toy") == "toy"
    (named,) = comparison_requests(make_tables(store.records()), "best-control", "toy")
    assert [other.method for other in named.others] == ["toy"]
    with pytest.raises(BenchError, match="no table has a control beside a method of --against controls"):
        comparison_requests(make_tables(store.records()), "best-control", "controls")


def test_best_control_leaves_out_blocks_and_cuts_beside_the_usual_one(store, add):
    splits = ["chronological", "chronological:50,70", "paper", "prequential:5,1"]
    for split in splits:
        add(gain=1, split=split)
        add("strong", gain=1.5, supervision="control", split=split)
    tables = make_tables(store.records())
    requests = comparison_requests(tables, "best-control", "all")
    assert sorted(request.table.key.split for request in requests) == ["chronological", "paper"]
    named = [table for table in tables if table.key.split == "chronological:50,70"]
    (request,) = comparison_requests(named, "best-control", "all")
    assert request.table.key.split == "chronological:50,70"


def test_equal_seeds_pair_and_one_seed_stands_beside_all_of_the_other(store, add):
    for seed in (0, 1, 2):
        add(seed=seed)
    for seed in (1, 2, 3):
        add("several", seed)
    add("single", 7)
    made = compare_all(store)
    assert pairs_of(made, "several") == [(1, 1), (2, 2)]
    assert pairs_of(made, "single") == [(0, 7), (1, 7), (2, 7)]
    assert pairs_of(compare_all(store, "single"), "toy") == [(7, 0), (7, 1), (7, 2)]


def test_where_the_seed_draws_the_test_set_only_equal_seeds_pair(store, add):
    flipped = LABELS[::-1].copy()
    for seed, labels in ((0, LABELS), (1, flipped)):
        add(seed=seed, labels=labels, split="paper")
    add("single", 1, labels=flipped, split="paper")
    add("stranger", 5, split="paper")
    made = compare_all(store)
    assert pairs_of(made, "single") == [(1, 1)]
    assert {row["method"]: row["failure"] for row in made["rows"]} == {
        "single": None,
        "stranger": "no seed in common: toy has 0, 1, stranger 5",
    }
    assert notes(made)[-1] == "one seed, spread between seeds unseen: single"


def test_other_test_labels_are_a_row_with_the_reason_and_leave_the_rest(store, add):
    add()
    add("good")
    add("other-data", labels=LABELS[::-1].copy())
    made = compare_all(store)
    failures = {row["method"]: row["failure"] for row in made["rows"]}
    assert failures == {"good": None, "other-data": "its test labels are not those of toy: run both again"}
    assert lines(made)[-1].verdict == failures["other-data"]


def test_scores_that_are_not_those_of_the_record_are_a_row_with_the_reason(store, add):
    add()
    wrong = add("wrong")
    arrays = store.read_scores(wrong["run_id"])
    store.write(wrong, arrays | {"test": -arrays["test"]})
    (row,) = compare_all(store)["rows"]
    assert row["failure"] == f"the stored scores of {wrong['run_id']} give another ap than its record"


@pytest.mark.parametrize("method", ["toy", "wrong"])
def test_scores_of_another_digest_are_refused_also_where_every_metric_is_the_same(store, add, method):
    runs = {"toy": add(), "wrong": add("wrong"), "right": add("right")}
    run_id = runs[method]["run_id"]
    arrays = store.read_scores(run_id)
    with (store.scores / f"{run_id}.npz").open("wb") as stream:
        np.savez(stream, **arrays | {"test": np.concatenate([arrays["test"][:60][::-1], arrays["test"][60:]])})
    failures = {row["method"]: row["failure"] for row in compare_all(store)["rows"]}
    refused = f"the stored scores of {run_id} are not those of its record: delete both and run it again"
    assert failures == {"wrong": refused, "right": None if method == "wrong" else refused}


def test_a_failed_row_says_why(store, add, make_record):
    add()
    store.write(make_record("broken") | {"status": "error", "reason": "ValueError: no"})
    (row,) = compare_all(store)["rows"]
    assert row["failure"] == "broken: error, ValueError: no (seed 0)"
    assert row["metrics"] is None


def test_a_test_set_of_one_kind_cannot_be_compared(store, add):
    normal = np.zeros(80, dtype=np.int8)
    add(labels=normal)
    add("other", labels=normal)
    (row,) = compare_all(store)["rows"]
    assert row["failure"] == "its test set has only one kind of sequences"


def test_f1_is_that_of_the_reported_rule(store, add):
    add(gain=3)
    add("flags-all", native=[-np.inf], supervision="control")
    add("no-threshold", n_validation=3)
    made = compare_all(store)
    rows = {row["method"]: row for row in made["rows"]}
    assert rows["flags-all"]["rule"] == "native"
    assert rows["flags-all"]["metrics"]["f1"]["other_value"] == pytest.approx(2 * 20 / (80 + 20))
    assert rows["no-threshold"]["metrics"]["f1"] is None
    assert rows["no-threshold"]["metrics"]["ap"] is not None
    assert [line.verdict for line in lines(made) if line.against == "no-threshold"][-1] == "threshold not estimable"
    note = "F1 of flags-all: by its native rule, which flags everything"
    assert note in notes(made)
    assert note not in notes(chosen([made], "all", ["ap"])[0])


def test_against_chooses_controls_all_or_names(store, add):
    for name, supervision in (("toy", "normal-only"), ("a[x=1,y=2]", "normal-only"), ("random", "control")):
        add(name, supervision=supervision)
    tables = make_tables(store.records())

    def others(against):
        return [row.method for request in comparison_requests(tables, "toy", against) for row in request.others]

    assert others("controls") == ["random"]
    assert others("all") == ["a[x=1,y=2]", "random"]
    assert others("a[x=1,y=2],random") == ["a[x=1,y=2]", "random"]
    assert others("a[x=1,y=2]") == ["a[x=1,y=2]"]
    with pytest.raises(BenchError, match="'nobody' stands in no table of toy"):
        comparison_requests(tables, "toy", "random,nobody")
    with pytest.raises(BenchError, match="no table has a row 'toys': did you mean toy"):
        comparison_requests(tables, "toys", "all")


def test_missing_scores_are_one_sentence(store, add):
    add()
    gone = add("weak", 4)
    (store.root / "scores" / f"{gone['run_id']}.npz").unlink()
    with pytest.raises(BenchError, match=r"scores of 1 of 2 runs .* as of weak on bgl@raw12k, chronological, seed 4"):
        compare_all(store)


def kept(store, against="all"):
    made = compare_all(store, against=against)
    return keep(made, store, make_tables(store.records())), made


def test_what_is_kept_prints_again_without_scores(store, add):
    add(gain=3)
    add("weak", gain=0.5)
    path, made = kept(store)
    assert path == store.root / "comparisons" / "bgl@raw12k--chronological--toy.json"
    for scores in (store.root / "scores").iterdir():
        scores.unlink()
    (again,) = stored(store, "toy", scenario="bgl", split="chronological")
    assert lines(again) == lines(made)
    assert (
        heading(again)
        == f"toy on bgl@raw12k, chronological, protocol {PROTOCOL_VERSION}: 40 test sequences, 10 abnormal"
    )
    assert outdated_comparisons(store) == {}
    for scenario, split in (("hdfs", None), (None, "paper")):
        with pytest.raises(BenchError, match="leave --stored out"):
            stored(store, "toy", scenario=scenario, split=split)


def keep_all(store, method, against="all"):
    tables = make_tables(store.records())
    return [
        keep(compare_rows(request, store), store, tables) for request in comparison_requests(tables, method, against)
    ]


def test_what_is_kept_of_the_best_control_is_found_by_that_word(store, add):
    add(gain=1)
    add("other", gain=2)
    add("weak", gain=0.2, supervision="control")
    add("strong", gain=1.5, supervision="control")
    with pytest.raises(BenchError, match="no comparison of 'best-control' that fits is kept"):
        stored(store, "best-control", scenario=None, split=None)
    (path,) = keep_all(store, "best-control")
    assert path.name.endswith("--strong.json")
    (made,) = stored(store, "best-control", scenario=None, split=None)
    (again,) = stored(store, "strong", scenario=None, split=None)
    assert made == again
    # What is kept of it beside other controls, and of what is not the best, is not meant.
    keep_all(store, "strong")
    keep_all(store, "weak")
    assert stored(store, "best-control", scenario=None, split=None) == [made | {"runs": ANY}]
    assert [row["method"] for row in made["rows"]] == ["other", "toy"]
    with pytest.raises(BenchError, match="no comparison of 'best-control'"):
        stored(store, "best-control", scenario=None, split="paper")
    add("strongest", gain=4, supervision="control")
    with pytest.raises(BenchError, match="no comparison of 'best-control'"):
        stored(store, "best-control", scenario=None, split=None)


def test_what_is_kept_of_a_best_control_must_hold_as_far_as_it_is_shown(store, add):
    for name, options in {"toy": {}, "strong": {"supervision": "control"}, "weak": {"supervision": "control"}}.items():
        add(name, gain=0.1 if name == "weak" else 2, **options)
    keep_all(store, "strong")
    add("weak", 1, gain=0.1, supervision="control")
    assert len(stored(store, "best-control", scenario=None, split=None)) == 1
    add("toy", 1)
    with pytest.raises(BenchError, match=r"strong\.json differs from the records"):
        stored(store, "best-control", scenario=None, split=None)


def test_a_row_in_the_comparison_of_another_is_found_turned_round(store, add):
    for seed in (0, 1):
        add(seed=seed, gain=2, native=[-np.inf])
        add("weak", seed, gain=0.5)
        add("other", seed, gain=1)
    keep_all(store, "toy")
    (turned,) = stored(store, "weak", scenario=None, split=None)
    made = compare_all(store, "weak", "toy")
    assert turned["rows"] == made["rows"]
    assert (heading(turned), lines(turned), notes(turned)) == (heading(made), lines(made), notes(made))
    # Beside its own comparison it is a further row, and of two of the same pair its own stays.
    keep_all(store, "weak", "other")
    keep_all(store, "other", "weak")
    (both,) = stored(store, "weak", scenario=None, split=None)
    assert [row["method"] for row in both["rows"]] == ["other", "toy"]
    assert set(both["runs"]) >= {run_id for row in both["rows"] for pair in row["run_ids"] for run_id in pair}
    # As far as it holds.
    add("toy", 2)
    add("weak", 2)
    (own,) = stored(store, "weak", scenario=None, split=None)
    assert [row["method"] for row in own["rows"]] == ["other"]
    add("other", 2)
    with pytest.raises(BenchError, match=r"weak\.json differs from the records"):
        stored(store, "weak", scenario=None, split=None)


def test_a_new_seed_makes_a_comparison_outdated(store, add):
    for name in ("toy", "weak"):
        add(name)
    path, _ = kept(store)
    for name in ("toy", "weak"):
        add(name, 1)
    expected = "differs from the records (weak: other runs): run `bench compare toy --against all`"
    assert outdated_comparisons(store) == {path: expected}
    with pytest.raises(BenchError, match="other runs"):
        stored(store, "toy", scenario=None, split=None)


def test_other_values_of_the_same_run_make_it_outdated(store, add):
    add()
    record = add("weak")
    path, _ = kept(store)
    record["metrics"]["all"]["ranking"]["ap"] += 0.01
    store.write(record)
    assert "weak: other values" in outdated_comparisons(store)[path]


def test_a_comparison_without_records_of_another_version_or_damaged_is_outdated(store, add):
    add()
    weak = add("weak")
    path, made = kept(store)
    (store.root / "inbox" / f"{weak['run_id']}.json").unlink()
    assert "weak has no record" in outdated_comparisons(store)[path]
    path.write_text(json.dumps(made | {"version": 0}))
    assert "another version" in outdated_comparisons(store)[path]
    path.write_text("{")
    assert "damaged" in outdated_comparisons(store)[path]
    path.write_text("[]")
    assert "damaged" in outdated_comparisons(store)[path]
    path.write_text(json.dumps({"rows": [], "runs": {}, "version": VERSION}))
    assert "damaged" in outdated_comparisons(store)[path]
    for method in ("toy", "best-control"):
        with pytest.raises(BenchError, match=f"the comparison {path} is damaged"):
            stored(store, method, scenario=None, split=None)


def test_rows_that_are_kept_and_still_hold_stay_beside_new_ones(store, add):
    for name in ("toy", "a", "b", "c"):
        add(name)
    kept(store, "a,b")
    add("b", 1)  # one seed of toy: b's pairs are others now
    path, _ = kept(store, "c")
    assert [row["method"] for row in json.loads(path.read_text())["rows"]] == ["a", "c"]
    assert outdated_comparisons(store) == {}


def test_tables_that_share_a_name_keep_their_comparisons_apart(store, add):
    for digest in ("aa", "bb"):
        for name in ("toy", "weak"):
            record = add(name, 0 if digest == "aa" else 1)
            sides = [{"edition": "bgl@raw12k", "sha256": digest}]
            record["spec"] |= {"train": sides, "test": sides}
            store.write(record)
    tables = make_tables(store.records())
    paths = {keep(compare_rows(request, store), store, tables) for request in comparison_requests(tables, "toy", "all")}
    assert len(paths) == 2
    assert outdated_comparisons(store) == {}


def test_the_footer_counts_verdicts_and_corrects_for_their_number(store, add):
    add(gain=3)
    add("weak", gain=0.5)
    add("twin", gain=3)
    found = chosen([compare_all(store)], "all", ["ap", "auroc"])
    assert totals(found)["differences"] == 4
    assert totals(found)["better"] == 2
    assert footer(found).startswith("4 differences, 95 % each: 2 better, 0 worse, 2 not separable; after Holm's")
    (only,) = chosen(found, "weak", ["ap"])
    assert [(line.against, line.metric) for line in lines(only)] == [("weak", "AP")]
    with pytest.raises(BenchError, match="leaves no row"):
        chosen(found, "controls", ["ap"])


def test_holm_leaves_fewer_than_plain_verdicts(store, add):
    add(gain=3)
    comparison = {"rows": [{"metrics": {"ap": {"p": 0.03, "verdict": "better"}}} for _ in range(10)]}
    assert totals([comparison]) == {"differences": 10, "better": 10, "worse": 0, "not_separable": 0, "after_holm": 0}


def test_metrics_by_name():
    assert parse_metrics("f1, ap") == ["ap", "f1"]
    with pytest.raises(BenchError, match="'mcc' is not compared: choose one of ap, auroc, f1"):
        parse_metrics("ap,mcc")


def test_samples_are_not_compared(make_record):
    whole, drawn = (make_record(name) for name in ("toy", "chat"))
    drawn["spec"]["sample"] = 24
    tables = make_tables([whole, make_record("random", supervision="control"), drawn])
    assert [request.table.key.sample for request in comparison_requests(tables, "toy", "controls")] == [0]
    with pytest.raises(BenchError, match="'chat' was run on samples only"):
        comparison_requests(tables, "chat", "controls")


# --------------------------------------------------------------------------------------- what is said below tables


@pytest.fixture
def with_control(store, add):
    """A good and a bad method beside a control, three seeds each."""
    for seed in range(3):
        add("good", seed, gain=4)
        add("bad", seed, gain=0.1)
        add("clock", seed, gain=1, supervision="control")
    return store


def the_table(store):
    (table,) = make_tables(store.records())
    return table


def first_line(store, verdicts):
    return reading(the_table(store), "conformal:0.01", verdicts)[0]


def test_the_reading_is_that_of_what_is_kept_in_either_direction(with_control):
    keep(compare_all(with_control, "clock"), with_control, [the_table(with_control)])
    said = first_line(with_control, kept_verdicts(with_control, the_table(with_control)))
    assert said.startswith("Better than the best control, clock (AP ")
    assert "): good. Cannot be told apart from it: bad." in said
    for path in (with_control.root / "comparisons").iterdir():
        path.unlink()
    for method in ("good", "bad"):
        keep(compare_all(with_control, method, "controls"), with_control, [the_table(with_control)])
    assert first_line(with_control, kept_verdicts(with_control, the_table(with_control))) == said


def test_a_kept_comparison_that_does_not_hold_any_more_says_nothing(with_control, add):
    keep(compare_all(with_control, "clock"), with_control, [the_table(with_control)])
    add("good", 3, gain=4)
    add("clock", 3, gain=1, supervision="control")
    said = first_line(with_control, kept_verdicts(with_control, the_table(with_control)))
    assert "Cannot be told apart from it: bad. Not tested yet: good." in said
    (path,) = (with_control.root / "comparisons").iterdir()
    path.write_text("damaged")
    said = first_line(with_control, kept_verdicts(with_control, the_table(with_control)))
    assert said.startswith("Not tested yet whether a method beats")


def test_where_nothing_is_kept_a_quick_comparison_says_the_same_and_keeps_nothing(with_control, monkeypatch):
    table = the_table(with_control)
    quick = with_quick(table, Verdicts(), with_control)
    assert not (with_control.root / "comparisons").exists()
    keep(compare_all(with_control, "clock"), with_control, [table])
    assert first_line(with_control, quick) == first_line(with_control, kept_verdicts(with_control, table))
    monkeypatch.setattr("bench.reporting.comparisons.quick.MOST", 100)
    assert with_quick(table, Verdicts(), with_control) == Verdicts()


def test_a_quick_comparison_leaves_out_what_has_no_scores_here(with_control):
    good = next(record for record in with_control.records() if record["method"] == "good")
    (with_control.scores / f"{good['run_id']}.npz").unlink()
    said = first_line(with_control, with_quick(the_table(with_control), Verdicts(), with_control))
    assert said.endswith("Cannot be told apart from it: bad. Not tested yet: good.")


def test_written_tables_say_what_is_kept_and_are_outdated_by_it(with_control):
    table = the_table(with_control)
    for record in with_control.records():
        with_control.write(record | {"counts": record["counts"] | {"split": {"bgl@raw12k": {"cut": [0.6, 0.8]}}}})
    (path,) = write_tables(with_control, {table.key})
    before = path.read_text()
    assert "Not tested yet whether a method beats the best control, clock" in before
    keep(compare_all(with_control, "clock"), with_control, [table])
    assert list(outdated_tables(with_control)) == [path]
    assert renew_tables(with_control, {table.key}) == [path]
    assert "Better than the best control, clock" in path.read_text()
    assert path.read_text().partition("**Reading**")[0] == before.partition("**Reading**")[0]
    path.unlink()
    assert renew_tables(with_control, {table.key}) == []
