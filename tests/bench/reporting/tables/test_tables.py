"""Tables from hand-made records: what stands in a row, which rows stand together, and what a reader is told."""

import hashlib
import json
import re

import pytest

from bench.errors import BenchError
from bench.evaluation.measures import columns
from bench.evaluation.stats import LEVELS, combine
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import SCHEMA_VERSION, Store
from bench.reporting.files import outdated_tables, write_tables
from bench.reporting.gate import rows_by_name
from bench.reporting.tables.answers import answered_by
from bench.reporting.tables.rows import times_of
from bench.reporting.tables.table import make_tables, render, require_rule, summary

OLDER = PROTOCOL_VERSION - 1
RULE = "conformal:0.01"


def block(f1, rules, n=40):
    """Metrics that are all f1, and a bootstrap without any spread."""
    flat = [f1] * len(LEVELS)
    values = dict.fromkeys(("precision", "recall", "f1", "fpr"), f1)
    names = ("auroc", "ap", "recall_at_fpr_0.01", "recall_at_fpr_0.001", "oracle_f1")
    return {
        "n": n,
        "n_abnormal": n // 4,
        "ranking": dict.fromkeys(names, f1) | {"prevalence": 0.25, "all_positive_f1": 0.4},
        "rules": {rule: dict(values) for rule in rules},
        "bootstrap": {
            "levels": list(LEVELS),
            "auroc": flat,
            "ap": flat,
            "rules": {rule: dict.fromkeys(values, flat) for rule in rules},
        },
    }


def record(
    method="toy",
    seed=0,
    f1=0.8,
    *,
    supervision="normal-only",
    config=None,
    edition="bgl@raw12k",
    tier="evaluation",
    split="chronological",
    protocol=PROTOCOL_VERSION,
    window=(20, 20),
    native=None,
    reasons=None,
    systems=(),
    digest="00",
    **changes,
):
    thresholds = {
        RULE: {"value": 2.0, "fitted_on": "validation normals", "n": 200, "reason": None},
        "native": {"value": native, "fitted_on": "the method", "n": 0, "reason": None if native else "no native rule"},
    }
    for rule, reason in (reasons or {}).items():
        thresholds[rule] = {"value": None, "fitted_on": "validation normals", "n": 3, "reason": reason}
    rules = [rule for rule, threshold in thresholds.items() if threshold["value"] is not None]
    made = {
        "schema_version": SCHEMA_VERSION,
        "run_id": hashlib.sha256(
            repr((method, seed, config, edition, split, protocol, window, digest)).encode()
        ).hexdigest()[:16],
        "spec": {
            "protocol_version": protocol,
            "train": [{"edition": edition, "sha256": digest}],
            "test": [{"edition": edition, "sha256": digest}],
            "split": split,
            "seed": seed,
            "grouping": {"window_size": window[0], "window_step": window[1]} if window else None,
            "detector": {"name": method.partition("[")[0], "config": config or {}},
        },
        "scenario": edition,
        "simulated": [edition] if tier == "simulated" else [],
        "tiers": {edition: "development" if tier == "simulated" else tier},
        "method": method,
        "status": "ok",
        "reason": None,
        "systems": list(systems) or [edition],
        "detector": {"supervision": supervision, "is_control": supervision == "control", "config": config or {}},
        "threads": 1,
        "device": "cpu",
        "environment": {},
        "counts": {
            "n_train": 100,
            "n_train_abnormal": 9,
            "n_validation": 30,
            "n_validation_abnormal": 3,
            "n_test": 40,
            "n_test_abnormal": 10,
            "n_log_keys": 17,
            "known_keys_share": 0.975,
            "seen_in_training_share": 0.5,
            "split": {edition: {"cut": [0.6, 0.8]} if split == "chronological" else {"m": 21}},
        },
        "seconds": {"fit": 1.5, "score": 0.25},
        "memory_mib": {"peak_rss": 300.0, "added": 12.0},
        "thresholds": thresholds,
        "metrics": {name: block(f1, rules) for name in ("all", *systems)},
        "started_at": "2026-01-01T00:00:00+00:00",
    }
    if made["spec"]["grouping"] is None:
        del made["spec"]["grouping"]
    return made | changes


def failed(method="toy", seed=0, status="error", reason="ValueError: no", **options):
    made = record(method, seed, **options)
    del made["thresholds"], made["metrics"]
    return made | {"status": status, "reason": reason, "seconds": {"prepare": 0.1}}


def rendered(*records, rule=RULE):
    (table,) = make_tables(records)
    return render(table, rule)


def row_of(text, method):
    """The cells of a method's row, by column."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("|") and line.split("|")[1].strip() == method)
    top = max(i for i in range(at) if lines[i].startswith("|:")) - 1
    cells = ([cell.strip() for cell in lines[i].strip("|").split("|")] for i in (top, at))
    return dict(zip(*cells, strict=True))


def test_a_row_holds_the_mean_over_seeds_and_its_interval():
    """Student's interval of two seeds, 12.7 standard errors, says nearly nothing."""
    row = row_of(rendered(record(seed=0, f1=0.8), record(seed=1, f1=0.6)), "toy")
    assert row == {
        "source normals": "toy",
        "P": "0.700",
        "R": "0.700",
        "F1 [95 %]": "0.700 [.005,.999]",
        "FPR": "0.700",
        "AP [95 %]": "0.700 [.005,.999]",
        "AUROC [95 %]": "0.700 [.005,.999]",
        "R@1%": "0.700",
        "R@.1%": "0.700",
        "oracle": "0.700",
        "fit s": "1.50",
        "score": "0.25",
        "+MiB": "12",
        "seeds": "2",
    }


def times_in(*records):
    text = rendered(*records)
    row = row_of(text, "toy")
    (legend,) = [line for line in text.splitlines() if line.startswith("- fit s")]
    return row["fit s"], row["score"], legend.partition(": ")[2].partition(";")[0]


def test_times_are_cpu_seconds_or_wall_seconds_of_runs_that_were_alone():
    cpu = {"cpu_seconds": {"prepare": 0.1, "fit": 0.5, "score": 0.25}}
    assert times_in(record(beside=0)) == ("1.50", "0.25", "seconds")
    assert times_in(record(**cpu), record(seed=1, beside=1, **cpu)) == ("0.50", "0.25", "CPU seconds")
    mixed = times_in(record(**cpu), record(seed=1))
    assert mixed == ("1.00", "0.25", "CPU seconds, of older runs wall seconds")
    shared = record(seed=1, beside=1, seconds={"fit": 9.0, "score": 9.0})
    assert times_in(record(), shared) == ("1.50", "0.25", "seconds, without runs that shared the machine")
    taken_over = record(seed=2, cpu_seconds={"fit": 0.0, "score": 0.0}, fitted_as="0123456789abcdef")
    assert times_in(record(**cpu), taken_over) == ("0.50", "0.25", "CPU seconds")
    assert times_in(shared) == ("-", "-", "seconds, without runs that shared the machine")


def test_what_a_run_took_is_told_with_its_company():
    assert times_of(record()) == "seconds: fit 1.5, score 0.25"
    told = times_of(record(cpu_seconds={"fit": 0.5}, beside=1, fitted_as="0123456789abcdef"))
    assert told == "seconds: fit 1.5, score 0.25; CPU seconds: fit 0.5; 1 run beside it; fitted as 0123456789abcdef"


def test_every_column_shows_its_own_metric():
    made = record()
    made["metrics"]["all"]["rules"][RULE] = {"precision": 0.11, "recall": 0.12, "f1": 0.13, "fpr": 0.14}
    made["metrics"]["all"]["ranking"] |= {
        "ap": 0.15,
        "auroc": 0.16,
        "recall_at_fpr_0.01": 0.17,
        "recall_at_fpr_0.001": 0.18,
        "oracle_f1": 0.19,
    }
    cells = [cell[:5] for cell in list(row_of(rendered(made), "toy").values())[1:10]]
    assert cells == ["0.110", "0.120", "0.130", "0.140", "0.150", "0.160", "0.170", "0.180", "0.190"]


def test_methods_that_are_told_different_things_stand_in_groups_of_their_own_and_controls_last():
    text = rendered(
        record("random", supervision="control"),
        record("svm", supervision="supervised"),
        record("b"),
        record("a"),
    )
    heads = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert heads == ["source normals", "a", "b", "source labels", "svm", "control", "random"]
    assert len([line for line in text.splitlines() if line.startswith("|:")]) == 3


def test_a_reader_is_told_protocol_editions_sizes_and_what_makes_it_easy():
    text = rendered(record())
    assert text.startswith(f"### bgl@raw12k, chronological, protocol {PROTOCOL_VERSION}\n")
    assert "chronological, cut at 60 % and 80 % of the lines" in text
    assert "windows of 20 lines, step 20; threshold rule conformal:0.01\n" in text
    assert "100 train (9 abnormal), 30 validation (3), 40 test (10); 17 log keys" in text
    assert "known from training: 97.5 %; test sequences seen in training: 50.0 %" in text
    assert "prevalence in test: 0.250; F1 of flagging everything: 0.400" in text
    assert "bgl@raw12k (evaluation, data " in text
    assert "simulated" not in text
    assert "pieces" not in text


def test_the_paper_split_names_its_draw():
    text = rendered(record(split="paper", window=None))
    assert "paper, balanced draw, m = 21 of bgl@raw12k" in text
    assert "validation normals are exchangeable" in text
    assert "- sessions; threshold rule" in text
    assert "cut at" not in text


def test_methods_that_flag_far_more_normals_than_promised_are_named():
    def realised(name, fpr, low):
        found = block(0.8, (RULE,))
        found["rules"][RULE]["fpr"] = fpr
        found["bootstrap"]["rules"][RULE]["fpr"] = [low + (fpr - low) * level for level in LEVELS]
        return record(name, metrics={"all": found})

    text = rendered(realised("kept", 0.03, 0.02), realised("few", 0.05, 0.0), realised("far", 0.26, 0.25))
    assert text.splitlines()[-1] == (
        "- FPR more than 3 times what conformal:0.01 promises, so test normals are unlike validation normals: far 0.260"
    )
    assert "promises" not in rendered(realised("kept", 0.03, 0.02), realised("clock", 1.0, 1.0))
    assert "promises" not in render(make_tables([realised("far", 0.26, 0.25)])[0], "native")


def test_sessions_that_a_cut_by_lines_tears_are_named():
    words = "- cut by lines, so sessions at its ends are not whole: hdfs@full.lines-0-9"
    assert words in rendered(record(edition="hdfs@full.lines-0-9", window=None)).splitlines()
    assert "not whole" not in rendered(record(edition="hdfs@full.lines-0-9"))
    assert "not whole" not in rendered(record(edition="hdfs@full.sessions-0-9", window=None))


def test_smoke_and_simulated_are_marked():
    assert "put together from pieces (tier smoke): never part of a finding" in rendered(record(tier="smoke"))
    text = rendered(record(tier="simulated"))
    assert text.startswith(f"### bgl@raw12k, chronological (simulated), protocol {PROTOCOL_VERSION}\n")
    assert "bgl@raw12k (simulated, data " in text


def test_repaired_lines_are_reported():
    made = record()
    made["counts"] |= {"n_replaced_lines": {"bgl@raw12k": 3}, "n_headerless_lines": {}}
    text = rendered(made)
    assert "no UTF-8, replaced: 3 of bgl@raw12k" in text
    assert "header" not in text


def test_sizes_that_differ_between_seeds_are_a_range():
    made = record(seed=1)
    made["counts"] |= {"n_train": 120, "known_keys_share": 1.0}
    text = rendered(record(seed=0), made)
    assert "100 to 120 train" in text
    assert "97.5 % to 100.0 %" in text


def test_a_failure_is_a_row_with_a_footnote():
    text = rendered(record("good"), failed("bad", 0), failed("bad", 1), failed("bad", 2, "timeout", "took too long"))
    assert row_of(text, "bad")["F1 [95 %]"] == "-"
    assert row_of(text, "bad")["seeds"] == "0/3"
    assert "- bad: error, ValueError: no (seed 0, 1); timeout, took too long (seed 2)" in text


def test_a_seed_that_failed_is_left_out_of_the_mean_and_counted():
    text = rendered(record(seed=0, f1=0.8), failed(seed=1))
    assert row_of(text, "toy")["F1 [95 %]"].startswith("0.800")
    assert row_of(text, "toy")["seeds"] == "1/2"
    assert "(seed 1)" in text


def test_a_table_of_failures_alone_can_be_read():
    text = rendered(failed("bad"), failed("skips", status="skipped", reason="too short"))
    assert "- skips: skipped, too short (seed 0)" in text
    assert "prevalence" not in text


def test_what_is_not_estimable_is_said_once_for_all_rows():
    reason = "needs at least 99 validation normals, has 3"
    text = rendered(*(record(name, reasons={RULE: reason}) for name in ("a", "b")))
    row = row_of(text, "a")
    assert [row[name] for name in ("P", "R", "F1 [95 %]", "FPR")] == ["n/e"] * 4
    assert row["AP [95 %]"].startswith("0.800")
    assert text.count(reason) == 1
    assert f"- n/e: {reason}: a, b" in text


def test_a_threshold_missing_for_some_seeds_is_said():
    text = rendered(record(seed=0, f1=0.8), record(seed=1, f1=0.2, reasons={RULE: "too few"}))
    assert row_of(text, "toy")["F1 [95 %]"].startswith("0.800")
    assert "too few: toy (left out of the mean: 1 of 2 seeds)" in text


def test_a_rule_that_was_not_asked_for_is_said():
    text = rendered(record("a"), rule="quantile:0.9")
    assert row_of(text, "a")["F1 [95 %]"] == "n/e"
    assert "rule quantile:0.9 was not asked for: a" in text


def test_what_flags_everything_is_reported_by_its_native_rule():
    made = record("all-positive", native="-inf", reasons={RULE: "too few"}, supervision="control")
    text = rendered(made, record("toy", native=3.0, reasons={RULE: "too few"}))
    assert row_of(text, "all-positive")["F1 [95 %]"].startswith("0.800")
    assert row_of(text, "toy")["F1 [95 %]"] == "n/e"
    assert "- all-positive: reported by its native rule, which flags everything" in text
    assert "too few: toy\n" in text


def test_each_system_of_a_combined_run_has_its_block():
    text = rendered(record(systems=("tbird@b", "bgl@a")))
    assert text.index("**bgl@a by itself, at the shared threshold** (40 test sequences, 10 abnormal)") < text.index(
        "**tbird@b by itself"
    )
    assert text.count("| toy") == 3


def test_target_normals_put_a_row_into_a_group_of_its_own():
    rule = f"{RULE}@target-normals"
    text = rendered(record(), rule=rule)
    assert "| source normals + threshold from target normals |" in text


def test_two_configs_of_a_method_are_two_rows():
    text = rendered(record("toy[alpha=1]", config={"alpha": 1}), record("toy[alpha=2]", config={"alpha": 2}))
    assert row_of(text, "toy[alpha=1]")["seeds"] == row_of(text, "toy[alpha=2]")["seeds"] == "1"


def test_one_config_is_one_row_however_it_was_typed():
    text = rendered(
        record("toy", 0, config={"alpha": 1.5}),
        record("toy[alpha=1.5]", 1, config={"alpha": 1.5}),
        record("toy[alpha=1.50]", 2, config={"alpha": 1.5}),
    )
    assert row_of(text, "toy[alpha=1.50]")["seeds"] == "3"
    assert text.count("| toy") == 1


def test_two_versions_of_a_method_under_one_name_can_be_told_apart():
    (table,) = make_tables([record(config={"alpha": 1}), record(config={"alpha": 2})])
    names = [row.method for row in table.rows]
    assert len(set(names)) == 2
    assert all(name.startswith("toy #") for name in names)


@pytest.mark.parametrize(
    "other",
    [
        {"edition": "bgl@stream-a"},
        {"protocol": OLDER},
        {"split": "paper"},
        {"window": (10, 10)},
        {"window": (20, 10)},
        {"window": None},
        {"digest": "01"},
    ],
)
def test_what_never_shares_a_table(other):
    tables = make_tables([record("a"), record("b"), record("a", **other)])
    assert sorted(len(table.rows) for table in tables) == [1, 2]


def test_tables_fit_a_wide_terminal():
    text = rendered(*(record(name, seed=seed, f1=0.1234) for name in ("deeplog+nearest", "mlad") for seed in range(5)))
    assert max(map(len, text.splitlines())) <= 160


def test_reasons_cannot_break_the_markdown():
    text = rendered(failed(reason="ValueError: a | b"))
    assert all(line.count("|") == 15 for line in text.splitlines() if line.startswith("|"))


def test_only_columns_that_print_an_interval_cost_one(monkeypatch):
    combined = []

    def counted(points, quantiles):
        combined.append(points)
        return combine(points, quantiles)

    monkeypatch.setattr("bench.reporting.tables.rows.combine", counted)
    rendered(record(seed=0, f1=0.02), record(seed=1, f1=0.02), record("other", f1=0.02))
    assert len(combined) == 2 * sum(measure.has_interval for measure in columns())


def test_summary_is_json_with_run_ids_and_intervals():
    made = [record(seed=0, f1=0.8), record(seed=1, f1=0.6), failed("bad")]
    (table,) = make_tables(made)
    rows = {row["method"]: row for row in json.loads(json.dumps(summary(table, "conformal:0.010")))}
    assert rows["toy"]["rule"] == RULE
    assert rows["toy"]["seeds"] == [0, 1]
    assert rows["toy"]["run_ids"] == [made[0]["run_id"], made[1]["run_id"]]
    assert rows["toy"]["metrics"]["f1"]["mean"] == pytest.approx(0.7)
    assert rows["toy"]["failure"] is None
    assert rows["bad"]["metrics"]["f1"] is None
    assert rows["bad"]["failure"] == "error, ValueError: no (seed 0)"


def test_a_rule_that_no_record_holds_lists_those_there_are():
    tables = make_tables([record()])
    require_rule(tables, "conformal:0.010")
    with pytest.raises(BenchError, match=r"'quantile:0.9': choose one of conformal:0.01, native"):
        require_rule(tables, "quantile:0.9")


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    for one in (record("a"), record("b", seed=1), record("a", split="paper"), record("a", protocol=OLDER)):
        made.write(one)
    return made


def test_written_tables_equal_the_records_until_one_is_changed(store):
    assert set(outdated_tables(store).values()) == {"is not written: run `bench table --write`"}
    keys = {table.key for table in make_tables(store.records())}
    paths = write_tables(store, keys)
    assert sorted(path.name for path in paths) == [
        f"bgl@raw12k--chronological--protocol{OLDER}.md",
        "bgl@raw12k--chronological.md",
        "bgl@raw12k--paper.md",
    ]
    assert outdated_tables(store) == {}
    paths[0].write_text(paths[0].read_text().replace("0.800", "0.900"))
    assert outdated_tables(store) == {paths[0]: "differs from the records: run `bench table --write`"}


def test_a_new_record_outdates_its_table(store):
    write_tables(store, {table.key for table in make_tables(store.records())})
    store.write(record("c"))
    assert [path.name for path in outdated_tables(store)] == ["bgl@raw12k--chronological.md"]


def test_a_table_without_records_is_found(store):
    write_tables(store, {table.key for table in make_tables(store.records())})
    stray = store.root / "tables" / "old.md"
    stray.write_bytes(b"\xff")
    assert outdated_tables(store) == {stray: "has no record: delete it"}


def test_only_the_tables_asked_for_are_written(store):
    keys = {table.key for table in make_tables(store.records()) if table.key.split == "paper"}
    assert [path.name for path in write_tables(store, keys)] == ["bgl@raw12k--paper.md"]


def test_tables_that_are_not_asked_for_are_not_laid_out(store, monkeypatch):
    laid_out = []

    def watched(table, *rest):
        laid_out.append(table.key)
        return render(table, *rest)

    store.write(record("a", digest="01"))
    name = "bgl@raw12k--chronological.md"
    keys = {table.key for table in make_tables(store.records()) if table.key.file_name == name}
    write_tables(store, keys)
    monkeypatch.setattr("bench.reporting.files.render", watched)
    # One of the two tables of that file is enough to write it, and both stand in it as before.
    (path,) = write_tables(store, {max(keys)})
    assert set(laid_out) == keys
    assert len(laid_out) == 2
    assert path not in outdated_tables(store)


def test_data_that_changed_under_one_name_give_two_tables_in_one_file(store):
    store.write(record("a", digest="01"))
    paths = write_tables(store, {table.key for table in make_tables(store.records())})
    assert len(paths) == 3
    page = (store.root / "tables" / "bgl@raw12k--chronological.md").read_text()
    assert page.count("### bgl@raw12k") == 2
    assert outdated_tables(store) == {}


# --------------------------------------------------------------------------------------- samples and chat models


def sampled(method="toy", seed=0, drawn=24, **options):
    made = record(method, seed, **options)
    strata = [{"system": "bgl@raw12k", "label": label, "size": s, "drawn": 12} for label, s in ((0, 30), (1, 14))]
    made["spec"]["sample"] = drawn
    return made | {"sample": {"drawn": drawn, "of": 44, "strata": strata}, "validation": {"n": 30}}


def asked(model="SmolLM2", *, f1=0.8, n_validation=0, method="chatgpt[k=1,model=local]", **monitor):
    facts = {"models": {model: 20} if model else {}, "unparsable_share": 0.25, "asked": 20, "calls": 15, "replayed": 5}
    facts |= {"tokens_in": 900, "tokens_out": 30, "replayed_tokens_in": 300, "replayed_tokens_out": 10}
    facts |= {"latency_s": 30.0, "replayed_latency_s": 10.0} | monitor
    made = sampled(method, supervision="training-free", native=0.0, reasons={RULE: "no validation normals"}, f1=f1)
    made["detector"] |= {"config": {"unparsable": "as-normal"}}
    return made | {"monitor": facts, "validation": {"n": n_validation}}


def test_a_sample_is_named_in_heading_facts_and_file_and_shares_no_table_with_whole_runs():
    tables = make_tables([sampled(), record(), sampled(drawn=40)])
    assert [table.key.sample for table in tables] == [0, 24, 40]
    text = render(tables[1], RULE)
    assert text.startswith(
        f"### bgl@raw12k, chronological, sample of 24 of 44 test sequences, weighted, protocol {PROTOCOL_VERSION}\n"
    )
    assert "- sample: 12 of 30 normal of bgl@raw12k, 12 of 14 abnormal of bgl@raw12k; metrics weight" in text
    assert "sample" not in render(tables[0], RULE)
    names = [table.key.file_name for table in tables]
    assert names[1] == "bgl@raw12k--chronological--sample24.md"
    assert len(set(names)) == 3
    assert [summary(table, RULE)[0]["sample"] for table in tables] == [None, 24, 40]


def test_rows_of_different_samples_keep_names_of_their_own_in_the_gate():
    assert sorted(rows_by_name([sampled(), record()])) == [
        f"bgl@raw12k | chronological | 20/20 | protocol {PROTOCOL_VERSION} | toy",
        f"bgl@raw12k | chronological | 20/20 | sample 24 | protocol {PROTOCOL_VERSION} | toy",
    ]


def test_a_row_is_named_by_the_model_that_answered_and_shows_what_it_took():
    text = rendered(asked(cost=0.002, replayed_cost=0.001), sampled())
    row = row_of(text, "chatgpt[k=1] (SmolLM2)")
    assert (row["calls"], row["tokens"], row["cost"], row["s/seq"]) == ("20", "1240", "0.0030", "2.00")
    assert "- chatgpt[k=1] (SmolLM2): 25.0 % of the answers could not be read and count as-normal" in text
    assert "(SmolLM2): reported by its native rule, since a sampled run asks it about no validation sequence" in text
    assert "calls" not in row_of(text, "toy")
    assert "in brackets the model that answered" in text
    (table,) = make_tables([asked(), sampled()])
    rows = {row["method"]: row for row in summary(table, RULE)}
    assert rows["toy"]["calls"] is None
    assert rows["chatgpt[k=1] (SmolLM2)"]["calls"] == {
        "calls": 20.0,
        "tokens": 1240.0,
        "cost": None,
        "seconds_per_sequence": 2.0,
    }
    assert rows["chatgpt[k=1] (SmolLM2)"]["rule"] == "native"


def test_a_sampled_chat_row_is_reported_by_a_rule_that_has_a_threshold():
    made = asked()
    made["thresholds"]["fixed:1"] = {"value": 1.0, "fitted_on": "nothing", "n": 0, "reason": None}
    made["metrics"]["all"]["rules"]["fixed:1"] = made["metrics"]["all"]["rules"]["native"]
    made["metrics"]["all"]["bootstrap"]["rules"]["fixed:1"] = made["metrics"]["all"]["bootstrap"]["rules"]["native"]
    (table,) = make_tables([made])
    assert summary(table, "fixed:1")[0]["rule"] == "fixed:1"


def test_without_chat_models_a_table_has_no_column_of_calls():
    assert "calls" not in rendered(record(), record(seed=1))


def test_only_the_setting_of_the_model_gives_way_to_the_model_that_answered():
    label = "chatgpt[model=local,mode.model=x,question=model]"
    assert answered_by(label, [asked("a"), asked("b")]) == "chatgpt[mode.model=x,question=model] (a and b)"
    assert answered_by("chatgpt[model=local]", [asked("a")]) == "chatgpt (a)"
    assert answered_by("chatgpt[k=1,model=local]", [asked("a")]) == "chatgpt[k=1] (a)"
    assert answered_by("chatgpt[model=local]", [asked("")]) == "chatgpt[model=local]"
    assert answered_by("mlad", [record()]) == "mlad"


def test_a_model_that_saw_headers_is_said_to_have_seen_them():
    made = asked()
    made["detector"]["config"] = {"lines": "line"}
    assert "(SmolLM2): its model saw whole lines, header included" in rendered(made)
    assert "header included" not in rendered(asked())


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((0.01, 0.03), "2.0 % of the target's training sequences general: next to all were left to the teacher\n"),
        ((1.0,), "100.0 % of the target's training sequences general: next to none were left to the teacher\n"),
        ((0.4, 0.6), "50.0 % of the target's training sequences general\n"),
    ],
)
def test_what_a_router_left_to_each_side_is_said(shares, told):
    made = [record(seed=seed) | {"monitor": {"pool_general_share": share}} for seed, share in enumerate(shares)]
    assert f"- toy: its router calls {told}" in rendered(*made) + "\n"
    assert "router" not in rendered(record())


@pytest.mark.parametrize(("prefix", "what"), [("teacher", "sequences left to its teacher"), ("line", "lines scored")])
def test_how_often_a_verdict_served_again_is_said_and_what_had_none(prefix, what):
    def told(**counts):
        facts = {f"{prefix}_{name}": value for name, value in ({"unasked": 0, "unread": 0} | counts).items()}
        return rendered(record() | {"monitor": facts})

    assert f"- toy: 75.0 % of the {what} took over a verdict that there was\n" in told(reused_share=0.75) + "\n"
    text = told(reused_share=0.5, unasked=12, unread=3)
    assert "there was; beyond its limit of questions 12 distinct ones a run had none; 3 answers a run were no" in text
    assert "verdict" not in told()
    assert "verdict" not in told(reused_share="many")


def test_a_model_that_is_not_shown_to_beat_chance_is_said_to_be_so():
    assert "(SmolLM2): not shown to be better than chance" in rendered(at_chance(0.5))
    assert "better than chance" not in rendered(asked())
    assert "better than chance" not in rendered(sampled(f1=0.4))


def at_chance(value):
    made = asked()
    made["metrics"]["all"]["ranking"]["auroc"] = value
    made["metrics"]["all"]["bootstrap"]["auroc"] = [value] * len(LEVELS)
    return made


def test_sequences_that_a_row_leaves_out_are_counted_beside_it():
    left_out = asked() | {"excluded": {"n": 5, "n_abnormal": 3, "of": 24}}
    left_out["detector"]["config"]["unparsable"] = "exclude"
    text = rendered(left_out)
    assert "25.0 % of the answers could not be read and leave their sequences out" in text
    assert "its metrics leave out 5 of 24 test sequences (3 abnormal, seed 0): not to be compared" in text


ODD = "m[text=a|b\n`c`\x1b[2J]"


@pytest.mark.parametrize("status", ["ok", "error"])
def test_a_name_from_elsewhere_stays_in_its_cell(status):
    """Of a method or of the model that answered: no `|`, backtick, line break or ESC ends a row, code or line."""
    odd = record(ODD) if status == "ok" else failed(ODD, reason=f"ValueError: {ODD}")
    text = rendered(odd, record("plain"))
    (row,) = [line for line in text.splitlines() if line.startswith("| m[")]
    (other,) = [line for line in text.splitlines() if line.startswith("| plain")]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"\|", other))
    assert r"m[text=a\|b" in row
    assert not re.search(r"(?<!\\)`", row)
    assert all(line.isprintable() for line in text.splitlines())


def test_rows_beside_an_auxiliary_system_stand_with_the_controls_and_are_named_by_it(make_record):
    def of_sessions(record, auxiliary=()):
        part = {"edition": "hdfs@a", "sha256": "00", "format": {"session": "blk"}}
        helpers = [{"edition": name, "sha256": "00", "format": {}} for name in auxiliary]
        spec = record["spec"] | {"train": [part], "test": [part]}
        if helpers:
            spec |= {"auxiliary": helpers}
        else:
            del spec["grouping"]  # windows are the auxiliary system's alone
        return record | {"spec": spec, "scenario": "hdfs@a"}

    control = of_sessions(make_record("ecvc", supervision="control"))
    helped = [of_sessions(make_record("logsy"), [name]) for name in ("spirit@a", "bgl@a")]
    (table,) = make_tables([control, of_sessions(make_record("logsy")), *helped])
    assert table.key.window == "sessions"
    assert sorted(row.method for row in table.rows) == ["ecvc", "logsy", "logsy+bgl@a", "logsy+spirit@a"]
    windows = [
        helped[0] | {"spec": helped[0]["spec"] | {side: [{"edition": "x", "format": {}}] for side in ("train", "test")}}
    ]
    assert make_tables(windows)[0].key.window == "20/20"
