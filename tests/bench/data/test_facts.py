"""Facts of an edition: counted on lines that can be counted by hand."""

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.facts import edition_facts, timeline
from bench.data.sequences.protocols import CUTS

FORM = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}


@pytest.fixture
def system(own_system):
    """Four windows: two equal ones, one with an alert, and the alert's twin that is labelled normal."""
    steady = [f"- {i} walk far out" for i in range(20)]
    alert = [f"{'BAD' if i == 3 else '-'} {100 + i} swim back in" for i in range(20)]
    twin = [f"- {200 + i} swim back in" for i in range(20)]
    lines = [
        *steady,
        *alert,
        *twin,
        *(line.replace("- ", "- 3", 1) for line in steady),
        "WORSE odd",
        "BAD 500 swim back in",
    ]
    found = own_system({"a.log": "\n".join(lines).encode()}, format=FORM, licence="CC0-1.0")
    return found.resolve("app"), found


def test_facts_of_lines(system):
    facts = edition_facts(*system)
    assert facts["lines"] == 82
    assert facts["distinct masked messages"] == 3
    assert facts["sequences"] == 4
    assert facts["abnormal sequences"] == "1 (25.00%)"
    assert facts["abnormal lines"] == "3 (3.66%)"
    assert facts["alert types"] == {"BAD": 2, "WORSE": 1}
    assert facts["distinct sequences with both labels"] == 1
    assert facts["duplicates (sequences that equal an earlier one)"] == "50.0%"
    assert facts["sequence length"] == "20 to 20, median 20"
    assert facts["licence"] == "CC0-1.0"
    assert facts["defects"] == ["1 lines without the card's header (kept whole as message), the first is line 81"]
    assert facts["time range (UTC)"] == "1970-01-01T00:00:00+00:00 to 1970-01-01T00:08:20+00:00"


def test_templates_are_what_the_parser_makes_of_all_lines(own_system):
    lines = [f"open file of user {name}" for name in ("ann", "bob", "cid")] * 10 + ["shut down"] * 10
    found = own_system({"a.log": "\n".join(lines).encode()})
    facts = edition_facts(found.resolve("app"), found)
    assert (facts["distinct masked messages"], facts["templates"]) == (4, 2)
    assert facts["abnormal lines"] == "lines carry no labels"
    assert facts["abnormal sequences"] == "no labels"
    assert facts["time range (UTC)"] == "no time"


def test_timeline_of_lines(system):
    line = timeline(*system, CUTS)
    assert (line.unit, line.is_time) == ("lines", True)
    # The line without a header has no time and no place on the axis.
    assert len(line.position) == 81
    assert np.flatnonzero(line.is_abnormal).tolist() == [23, 80]
    assert line.cuts == (209.0, 35.0)


def test_timeline_of_sessions():
    found = catalogue()
    line = timeline(found.resolve("hdfs@simulated"), found, CUTS)
    assert line.unit == "sessions"
    assert line.is_abnormal.sum() == found.resolve("hdfs@simulated").counts["abnormal_sessions"]
    assert line.position[0] <= line.cuts[0] < line.cuts[1]
