"""Certificates: what the paired difference between a method and other code for it says, and what tables make of it."""

import pytest

from bench.records.record import SCORES_ONLY
from bench.reporting.certificates import certificates, certified_names
from bench.reporting.comparisons.differences import VERSION
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.reading import reading
from bench.reporting.tables.certified import certified_pairs
from bench.reporting.tables.formats import view_html
from bench.reporting.tables.layout import view_of
from bench.reporting.tables.table import make_tables

RULE = "conformal:0.01"
CODE = "deeplog 0.0.3, PyPI"


@pytest.fixture
def table(make_record):
    """A table with `deeplog`, the scores of other code for it, and a control."""
    records = [make_record("deeplog", f1=0.61), make_record("gaussian", f1=0.3, supervision="control")]
    theirs = make_record("theirs", f1=0.6)
    theirs["detector"] = {"told": {"source": "normals"}, "is_control": False, "config": {}, "division": SCORES_ONLY}
    theirs["detector"]["certifies"] = {"method": "deeplog", "code": CODE}
    for record in (*records, theirs):
        record["counts"] |= {"n_test": 4000, "n_test_abnormal": 1000, "split": {"bgl@raw12k": {"cut": [0.6, 0.8]}}}
    (made,) = make_tables([*records, theirs])
    return made


def verdicts(table, low, high, verdict="not separable", method="deeplog", other="theirs"):
    """A kept comparison of one row with the other."""
    values = {"verdict": verdict, "p": 0.3, "difference": (low + high) / 2, "low": low, "high": high}
    rows = [{"method": other, "metrics": {"ap": values}}]
    return Verdicts.of([table.key._asdict() | {"version": VERSION, "method": method, "rows": rows}])


def test_a_pair_is_a_method_and_the_scores_of_code_for_it(table):
    (pair,) = certified_pairs(table)
    assert (pair.ours.method, pair.theirs.method, pair.code) == ("deeplog", "theirs", CODE)


@pytest.mark.parametrize(
    ("low", "high", "test", "verdict", "words"),
    [
        (-0.01, 0.03, "not separable", "the same", "certified, the same within .05, AP +.010 (-.010 to +.030)."),
        (0.01, 0.03, "better", "the same", "certified, the same within .05, AP +.020 (+.010 to +.030)."),
        (-0.04, 0.2, "not separable", "undecided", "undecided, too few sequences, AP +.080 (-.040 to +.200)."),
        (0.1, 0.2, "better", "better", "not the same, ours ranks better, AP +.150 (+.100 to +.200)."),
        (-0.2, -0.1, "worse", "worse", "not the same, ours ranks worse, AP -.150 (-.200 to -.100)."),
    ],
)
def test_the_interval_of_the_difference_decides(table, low, high, test, verdict, words):
    found = certificates(table, verdicts(table, low, high, test))
    assert [each.verdict for each in found] == [verdict]
    assert certified_names(found) == ({"deeplog"} if verdict == "the same" else set())
    line = reading(table, RULE, verdicts(table, low, high, test))[-1]
    assert line == f"deeplog beside other code for it, {CODE} (row theirs): {words}"


def test_a_comparison_from_the_other_side_is_turned_round(table):
    turned = verdicts(table, 0.1, 0.2, "better", method="theirs", other="deeplog")
    (found,) = certificates(table, turned)
    assert found.verdict == "worse"
    assert (found.paired.low, found.paired.high) == (-0.2, -0.1)


def test_without_a_comparison_the_command_is_named(table):
    assert reading(table, RULE, Verdicts())[-1].endswith("not compared, `bench compare deeplog --against theirs` does.")


def test_a_comparison_without_an_interval_certifies_nothing(table):
    rows = [{"method": "theirs", "metrics": {"ap": {"verdict": "not separable", "p": 0.5}}}]
    kept = table.key._asdict() | {"version": VERSION, "method": "deeplog", "rows": rows}
    assert [each.verdict for each in certificates(table, Verdicts.of([kept]))] == ["not compared"]


def test_a_table_marks_what_is_certified(table):
    text = view_html(view_of(table, RULE, certified={"deeplog"}))
    assert "deeplog \u2020<" in text
    assert "theirs \u2020" not in text
    assert "\u2020" not in view_html(view_of(table, RULE))


def test_a_table_without_other_code_says_nothing_of_it(table):
    alone = make_tables([record for record in table.records if record["method"] != "theirs"])[0]
    assert certificates(alone, Verdicts()) == []
    assert len(reading(alone, RULE, Verdicts())) == 3
