"""The lines below a table: one constructed table for each sentence that they can say."""

import pytest

from bench.reporting.comparisons.differences import VERSION
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.reading import reading
from bench.reporting.tables.table import make_tables

RULE = "conformal:0.01"
HOLDS = "Thresholds hold: none gives more than 3 % false alarms (1 % promised)."


@pytest.fixture
def row(make_record):
    """A record with metrics of its own; what is not given is that of a method whose threshold holds."""

    def make(method, ap=0.6, *, control=False, counts=None, **values):
        record = make_record(method, values.pop("seed", 0), 0.5, supervision="control" if control else "normal-only")
        block = record["metrics"]["all"]
        block["ranking"] |= {"ap": ap, "auroc": values.pop("auroc", 0.6), "oracle_f1": values.pop("oracle_f1", 0.6)}
        block["rules"][RULE] |= {"fpr": 0.01} | values
        record["counts"] |= {"n_test": 4000, "n_test_abnormal": 1000} | (counts or {})
        return record

    return make


@pytest.fixture
def say(row):
    """The reading of a table of these records, with `gaussian` (AP .5) as its best control, unless others are given."""

    def of(*records, verdicts=(), controls=None, counts=None, **changes):
        found = [*records, *([row("gaussian", 0.5, control=True)] if controls is None else controls)]
        for record in found:
            record["counts"] |= counts or {}
        (table,) = make_tables(found)
        rows = [{"method": other, "metrics": {"ap": {"verdict": verdict, "p": p}}} for other, verdict, p in verdicts]
        kept = table.key._asdict() | {"version": VERSION, "method": "gaussian", "rows": rows}
        return reading(table, RULE, Verdicts.of([kept]))

    return of


def test_the_first_line_sorts_methods_by_the_paired_test_the_best_first(say, row):
    """A comparison is kept of the control against methods: `worse` there is better here."""
    verdicts = [("a", "worse", 0.0), ("b", "worse", 0.0), ("c", "not separable", 0.5), ("d", "better", 0.0)]
    lines = say(row("a", 0.8), row("b", 0.9), row("c", 0.55), row("d", 0.1), row("e", 0.2), verdicts=verdicts)
    assert lines[0] == (
        "Better than the best control, gaussian (AP .500): b, a. Cannot be told apart from it: c. Worse than it: d. "
        "Not tested yet: e."
    )


def test_where_no_method_is_better_it_says_so(say, row):
    lines = say(row("a", 0.8), verdicts=[("a", "not separable", 0.3)])
    assert lines[0] == (
        "No method is shown to be better than the best control, gaussian (AP .500). Cannot be told apart from it: a."
    )


def test_what_is_better_by_chance_alone_is_told(say, row):
    """p of .04 is one of twenty: with Holm's correction over three tests only the p of .001 holds."""
    verdicts = [("a", "worse", 0.001), ("b", "worse", 0.04), ("c", "not separable", 0.5)]
    lines = say(row("a", 0.9), row("b", 0.8), row("c", 0.6), verdicts=verdicts)
    assert lines[0].endswith(
        "Among so many tests some are better by chance: 1 of 2 still is better when all count together."
    )
    sure = [("a", "worse", 0.001), ("b", "worse", 0.002), ("c", "not separable", 0.5)]
    assert "by chance" not in say(row("a", 0.9), row("b", 0.8), row("c", 0.6), verdicts=sure)[0]


def test_without_a_kept_comparison_it_names_the_command_and_what_the_means_suggest(say, row):
    assert say(row("a", 0.8), row("b", 0.4))[0] == (
        "Not tested yet whether a method beats the best control, gaussian (AP .500): `bench compare gaussian --against "
        "all --scenario bgl@raw12k --split chronological` does. In the mean these are above it: a."
    )
    assert say(row("b", 0.4))[0].endswith("In the mean none is above it.")


def test_of_many_methods_six_are_named(say, row):
    records = [row(f"m{place}", 0.9 - place / 100) for place in range(9)]
    verdicts = [(f"m{place}", "worse", 0.0) for place in range(9)]
    assert say(*records, verdicts=verdicts)[0].endswith(": m0, m1, m2, m3, m4, m5 and 3 more.")


def test_on_a_sample_nothing_is_tested(say, row):
    records = [row("a", 0.8), row("gaussian", 0.5, control=True)]
    for record in records:
        record["spec"]["sample"] = 24
        record["sample"] = {"drawn": 24, "of": 44, "strata": []}
    assert say(*records, controls=[])[0] == (
        "The best control is gaussian (AP .500); on samples no paired test says whether a method is better."
    )


def test_a_table_without_controls_methods_or_anything_to_rank(say, row, make_record):
    nothing = "No control finished, so nothing here says what a method adds to doing next to nothing."
    assert say(row("a"), controls=[])[0] == nothing
    assert say()[0] == "Only controls were run; the best control is gaussian (AP .500)."
    failed = make_record("a", status="error", reason="no")
    del failed["metrics"], failed["thresholds"]
    assert say(failed)[0] == "No method finished; the best control is gaussian (AP .500)."
    alone = say(row("a"), counts={"n_test_abnormal": 0})
    assert alone[0] == "The test part holds one kind of sequence alone, so nothing can be ranked."


def test_a_threshold_that_fails_although_the_ranking_is_good_is_named(say, row):
    silent = row("silent", 0.95, oracle_f1=0.9, f1=0.02, recall=0.01, fpr=0.001)
    noisy = row("noisy", 0.5, auroc=0.97, oracle_f1=0.8, f1=0.4, recall=1.0, fpr=0.02)
    fine = row("fine", 0.95, oracle_f1=0.9, f1=0.85, recall=0.9)
    poor = row("poor", 0.3, oracle_f1=0.6, f1=0.0, recall=0.0)
    lines = say(silent, noisy, fine, poor)
    assert lines[1] == (
        "Ranked well, but the threshold fails: silent (F1 .020 where .900 is possible: misses 99 % of the abnormal), "
        f"noisy (F1 .400 where .800 is possible: flags 2 % of the normal). {HOLDS}"
    )


def test_false_alarms_beyond_the_promise_are_counted(say, row):
    assert say(row("a"), row("b", fpr=0.03))[1] == HOLDS
    unlike = "normal sequences of the test are unlike those that the threshold was set on."
    assert say(row("a"), row("b", fpr=0.5), row("c", fpr=0.905))[1] == (
        f"1 % false alarms are promised, and 2 of 3 methods give far more (up to 90 %): {unlike}"
    )
    assert say(row("a"), row("b", fpr=0.5))[1].startswith("1 % false alarms are promised, and 1 of 2 methods gives far")
    both = say(row("a", fpr=1.0), row("b", fpr=0.5))[1]
    assert both == f"1 % false alarms are promised, and both methods give far more (up to 100 %): {unlike}"
    assert (
        say(row("a", fpr=1.0))[1]
        == f"1 % false alarms are promised, and the only method gives far more (100 %): {unlike}"
    )


def test_a_rule_that_promises_nothing_is_not_held_to_it(row, make_record):
    record = row("a")
    record["metrics"]["all"]["rules"]["fixed:2"] = record["metrics"]["all"]["rules"][RULE] | {"fpr": 0.9}
    record["thresholds"]["fixed:2"] = record["thresholds"][RULE]
    (table,) = make_tables([record, row("gaussian", 0.5, control=True)])
    assert not any("promised" in line for line in reading(table, "fixed:2", Verdicts()))


def test_how_much_of_the_test_is_unlike_training(say, row):
    counts = {"known_keys_share": 0.588, "seen_in_training_share": 0.1}
    assert say(row("a"), counts=counts)[2].startswith(
        "41 % of the test's messages are of a kind that training had not; 10 % of its sequences occurred there exactly "
        "so. "
    )
    counts = {"known_keys_share": 1.0, "seen_in_training_share": 0.996}
    assert say(row("a"), counts=counts)[2].startswith(
        "Every message of the test is of a kind known from training; 99.6 % of its sequences occurred"
    )
    counts = {"known_keys_share": 0.0, "seen_in_training_share": 0.0}
    assert say(row("a"), counts=counts)[2].startswith(
        "Every message of the test is of a kind that training had not, so kinds alone tell nothing apart; 0 % of its "
    )
    counts = {"known_keys_share": 0.9999, "seen_in_training_share": 0.9999}
    assert say(row("a"), counts=counts)[2].startswith(
        "Under 0.1 % of the test's messages are of a kind that training had not; over 99.9 % of its sequences"
    )


def test_how_much_room_the_best_control_leaves(say, row):
    assert say(row("a"))[2].endswith(" The best control leaves .500 of AP to gain.")
    strong = [row("gaussian", 0.98, control=True)]
    assert say(row("a"), controls=strong)[2].endswith(
        " The best control leaves .020 of AP to gain, too little to tell good methods apart."
    )


def test_a_ceiling_that_no_function_of_events_exceeds_is_told_where_it_is_low(say, row):
    assert say(row("a"), counts={"ceiling_f1": 0.183})[2].endswith(
        " The best control leaves .500 of AP to gain; no method that sees the order of events alone can exceed F1 .183."
    )
    assert "exceed" not in say(row("a"), counts={"ceiling_f1": 0.96})[2]


def test_few_abnormal_sequences_are_told(say, row):
    assert say(row("a"), counts={"n_test_abnormal": 7})[2].endswith(
        " Only 7 abnormal sequences are tested, so differences mean little."
    )
    assert say(row("a"), counts={"n_test_abnormal": 1})[2].endswith(
        " Only 1 abnormal sequence is tested, so differences mean little."
    )
    assert "Only" not in say(row("a"), counts={"n_test_abnormal": 20})[2]


def test_it_has_three_lines_at_most_and_none_is_empty(say, row):
    lines = say(row("a", f1=0.0, ap=0.9, oracle_f1=0.9, fpr=0.9), counts={"n_test_abnormal": 7, "ceiling_f1": 0.1})
    assert len(lines) == 3
    assert all(line.endswith(".") for line in lines)


def test_a_name_from_elsewhere_stays_harmless(say, row):
    (first, *_) = say(row("m[text=a|b\n`c`\x1b[2J]", 0.9), verdicts=[("m[text=a|b\n`c`\x1b[2J]", "worse", 0.0)])
    assert first.isprintable()
    assert r"a\|b" in first
