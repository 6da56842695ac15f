"""What a CI is told of a gate: every value is a test case, every wrong row is said once, and nothing breaks out."""

from xml.etree import ElementTree

import pytest

from bench.errors import BenchError
from bench.evaluation.paired import Difference
from bench.reporting.gate import Finding
from bench.reporting.gate_part import Part
from bench.reporting.gate_report import MAX_ANNOTATIONS, Verdict, annotation_lines, junit, step_summary

ROW = "bgl@a | chronological | 20/20 | protocol 2 | {}"
FELL = Difference(-0.1, -0.15, -0.05, 0.001, 3)


def fine(name, metric="ap"):
    return Finding(ROW.format(name), metric, 0.9, 0.9, 0.02, Difference(0, -0.01, 0.01, 1, 3))


def worse(name, metric="ap"):
    return Finding(ROW.format(name), metric, 0.9, 0.8, 0.02, FELL)


def missing(name, metric="ap"):
    return Finding(ROW.format(name), metric, 0.9, None, 0.02, None, "no record")


def test_every_value_is_a_test_case_and_every_fault_a_failure():
    verdict = Verdict([fine("a"), worse("a", "f1"), missing("b"), missing("b", "f1")], {ROW.format("c"): "its code"})
    root = ElementTree.fromstring(junit(verdict))
    (suite,) = root
    assert (root.tag, suite.attrib["tests"], suite.attrib["failures"]) == ("testsuites", "5", "4")
    cases = {(case.attrib["classname"].rpartition(", ")[2], case.attrib["name"]): case for case in suite}
    assert cases["a", "ap"].find("failure") is None
    assert cases["a", "f1"].find("failure").attrib["message"] == (
        "f1 0.8000, baseline 0.9000: worse by 0.1000, 95 % interval 0.0500 to 0.1500"
    )
    assert cases["b", "ap"].find("failure").attrib["message"] == "missing: no record"
    assert cases["c", "made by the installed code"].find("failure").attrib["message"] == "stale: its code"
    assert ROW.format("a") in cases["a", "f1"].find("failure").text


def test_a_row_is_annotated_once_and_many_are_counted():
    few = annotation_lines(Verdict([worse("a"), worse("a", "f1"), missing("b")], {ROW.format("c"): "its code changed"}))
    assert few == [
        "::error title=c is stale::bgl@a, chronological, 20/20, protocol 2, c: its code changed",
        "::error title=a is worse::bgl@a, chronological, 20/20, protocol 2, a: "
        "ap 0.8000, baseline 0.9000: worse by 0.1000, 95 %25 interval 0.0500 to 0.1500; "
        "f1 0.8000, baseline 0.9000: worse by 0.1000, 95 %25 interval 0.0500 to 0.1500",
        "::error title=b is missing::bgl@a, chronological, 20/20, protocol 2, b: no record",
    ]
    many = annotation_lines(Verdict([worse(f"m{i}") for i in range(MAX_ANNOTATIONS + 3)], {}))
    assert len(many) == MAX_ANNOTATIONS
    assert many[-1] == "::error title=bench gate::4 more rows are worse, missing or stale"
    assert annotation_lines(Verdict([fine("a")], {})) == []


def test_names_and_reasons_of_others_break_out_of_nothing():
    name = "mine.py:X[a=1,b=<b>&|]\x1b\n::error::boo"
    verdict = Verdict([worse(name)], {})
    (line,) = annotation_lines(verdict)
    assert "\n" not in line
    assert line.startswith("::error title=mine.py%3AX[a=1%2Cb=<b>&|]")
    case = next(ElementTree.fromstring(junit(verdict)).iter("testcase"))
    assert "<b>&" in case.attrib["classname"]
    page = step_summary(verdict)
    assert len(page.splitlines()) == 5
    assert "\\|]" in page
    assert "<b>" not in page


def test_the_page_says_how_many_hold_and_lists_what_does_not():
    assert step_summary(Verdict([fine("a")], {})) == "### Passed: gate: 1 of 1 values hold\n"
    page = step_summary(Verdict([fine("a"), missing("b")], {}))
    assert page.startswith("### Failed: gate: 1 of 2 values hold\n\n| row")
    assert page.count("| missing | no record") == 1


@pytest.mark.parametrize(
    ("methods", "held"),
    [
        ({"mlad"}, {"mlad", "mlad[alpha=1.3]"}),
        ({"mlad[alpha=1.3]"}, {"mlad[alpha=1.3]"}),
        ({"mine.py:Mine"}, {"mine.py:Mine #3497"}),
        ({"mlad", "mladder"}, {"mlad", "mlad[alpha=1.3]", "mladder"}),
        (None, {"mlad", "mlad[alpha=1.3]", "mine.py:Mine #3497", "mladder"}),
    ],
)
def test_a_plain_name_stands_for_its_rows_with_settings(methods, held):
    names = ("mlad", "mlad[alpha=1.3]", "mine.py:Mine #3497", "mladder")
    part = Part(methods=None if methods is None else frozenset(methods))
    assert {name for name in names if part.holds(ROW.format(name))} == held
    part.require_known(map(ROW.format, names))


def test_a_method_that_no_row_is_of_is_refused():
    with pytest.raises(BenchError, match="is of the method 'mald': did you mean mlad\\? else choose one of mlad, pca"):
        Part(methods=frozenset({"mald", "pca"})).require_known([ROW.format("mlad[a=1]"), ROW.format("pca")])


def test_scenario_and_method_are_both_asked():
    part = Part(frozenset({"bgl@a"}), frozenset({"mlad"}))
    assert part.holds(ROW.format("mlad"))
    assert not part.holds(ROW.format("pca"))
    assert not part.holds(ROW.format("mlad").replace("bgl", "hdfs"))
