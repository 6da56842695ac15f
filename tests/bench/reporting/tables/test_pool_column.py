"""`F1 @pool` of a transfer: shown where the pool is large enough for the rule, else a note says why and what to do."""

import pytest

from bench.reporting.tables.layout import view_of
from bench.reporting.tables.table import make_tables

RULE = "conformal:0.01"
BESIDE = f"{RULE}@target-unlabelled"
SHORT = "needs at least 99 target validation sequences, has 40"


@pytest.fixture
def view(make_record):
    """The view of a transfer with these methods: name -> why the pool gives no threshold, or None."""

    def of(reasons, told=None):
        records = []
        for name, reason in reasons.items():
            record = make_record(name, f1=0.5, split="transfer", rules=(RULE, BESIDE))
            roles = {"source": "labels", "target": "unlabelled"} if told is None else told
            record["detector"] = {"told": roles, "is_control": False, "teacher": False, "config": {}}
            record["counts"]["split"] = {"bgl@raw12k": {"cut": [0.4, 0.5]}}
            if reason:
                record["thresholds"][BESIDE] |= {"value": None, "reason": reason}
                del record["metrics"]["all"]["rules"][BESIDE]
            records.append(record)
        (table,) = make_tables(records)
        return view_of(table, RULE)

    return of


def headings(view):
    return view.blocks[0].grids[0].headers


def notes(view):
    return [note for note in view.notes if "@pool" in note]


def test_a_large_pool_has_a_column_and_no_note(view):
    found = view({"zerolog": None})
    assert "F1 @pool" in headings(found)
    assert notes(found) == []


def test_a_pool_too_small_for_the_rule_has_no_column_but_a_reason_and_a_way_out(view):
    found = view({"zerolog": SHORT, "fusionlog": SHORT})
    assert "F1 @pool" not in headings(found)
    assert notes(found) == [
        f"- F1 @pool, n/e: {SHORT} (run with `--threshold quantile:0.99@target-unlabelled`, which needs one): "
        "fusionlog, zerolog"
    ]
    assert not any("@pool" in fact for fact in found.facts)


def test_where_some_have_it_the_others_are_told_why_not(view):
    found = view({"zerolog": None, "fusionlog": SHORT})
    assert "F1 @pool" in headings(found)
    assert notes(found) == [
        f"- F1 @pool, n/e: {SHORT} (run with `--threshold quantile:0.99@target-unlabelled`, which needs one): fusionlog"
    ]


def test_methods_that_are_told_nothing_of_the_target_have_neither(view):
    found = view({"pca": SHORT}, told={"source": "normals"})
    assert "F1 @pool" not in headings(found)
    assert notes(found) == []
