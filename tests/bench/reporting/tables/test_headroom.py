"""What a table says of its data: headroom, incidents, licences, and the columns that only some records fill."""

import pytest

from bench.experiment.measure import ALL
from bench.reporting.tables.headroom import headroom_of
from bench.reporting.tables.series import render_all
from bench.reporting.tables.table import make_tables, render, summary

RULE = "conformal:0.01"
NEW = {
    "ceiling_f1": 0.9,
    "n_test_incidents": 4,
    "n_alert_types": {"bgl@raw12k": 7, "hdfs@other": 1},
    "licences": {"bgl@raw12k": "none stated"},
}


@pytest.fixture
def rendered(make_record):
    """The table of a method with F1 .8 and two controls with .3 and .5, whose counts hold these too."""

    def make(new=NEW, *, monitors=(None, None), **options):
        of_split = {"split": {"bgl@raw12k": {"cut": [0.6, 0.8]}}}
        rows = [("toy", 0.8, "normal-only"), ("low", 0.3, "control"), ("high", 0.5, "control")]
        records = [make_record(name, seed, f1, supervision=told) for name, f1, told in rows for seed in (0, 1)]
        for record in records:
            record["counts"] |= of_split | new
            if record["method"] == "toy":
                record["monitor"] = monitors[record["spec"]["seed"]]
                for metrics in record["metrics"][ALL]["rules"].values():
                    metrics.update(options)
        (table,) = make_tables(records)
        return table

    return make


def header_of(text, group):
    return next(line for line in text.splitlines() if line.startswith(f"| {group}"))


def test_room_is_between_the_best_control_and_the_ceiling(rendered):
    text = render(rendered(), RULE)
    assert (
        "- headroom: best control high, F1 0.500; no function of the event sequence exceeds 0.900; room 0.400\n" in text
    )
    assert "- behind the abnormal: 4 incidents in the test part; 7 types of alert in all of bgl@raw12k\n" in text
    assert "hdfs@other" not in text
    assert text.endswith("\n- licence of bgl@raw12k: none stated\n")


def test_a_control_above_the_ceiling_leaves_no_room(rendered):
    assert headroom_of(rendered(NEW | {"ceiling_f1": 0.4}), RULE).room == 0


def test_what_older_records_do_not_hold_is_left_out(rendered):
    text = render(rendered({}), RULE)
    for word in ("headroom", "behind the abnormal", "licence", "steps", "R inc"):
        assert word not in text


def test_an_undefined_ceiling_leaves_the_line_out(rendered):
    assert "headroom" not in render(rendered(NEW | {"ceiling_f1": None}), RULE)


def test_only_groups_with_networks_have_a_column_of_steps(rendered):
    table = rendered(monitors=({"steps_run": 600}, {"steps_run": 600}))
    text = render(table, RULE)
    cells = dict(
        zip(*(line.split("|") for line in text.splitlines() if line.startswith(("| source", "| toy"))), strict=True)
    )
    assert cells[" steps "].strip() == "600"
    assert "steps" not in header_of(text, "control")
    assert "- steps: optimiser steps of a network's training" in text
    assert [row["steps_run"] for row in summary(table, RULE)] == ["600", None, None]
    differing = rendered(monitors=({"steps_run": 410}, {"steps_run": 600}))
    assert "| 410-600 |" in render(differing, RULE)


def test_recall_by_incident_is_a_column_where_a_record_holds_it(rendered, monkeypatch):
    from bench.evaluation import measures

    row = measures.Measure("recall_incident", "rules", "recall by incident")
    without = tuple(m for m in measures.MEASURES if m.key != row.key)
    monkeypatch.setattr(measures, "MEASURES", (*without, row))
    assert "R inc" not in render(rendered(), RULE)
    text = render(rendered(recall_incident=0.25), RULE)
    cells = dict(
        zip(*(line.split("|") for line in text.splitlines() if line.startswith(("| source", "| toy"))), strict=True)
    )
    assert cells[" R inc "].strip() == "0.250"
    headings = [cell.strip() for cell in header_of(text, "source").split("|")]
    assert headings.index("FPR") + 1 == headings.index("R inc") == headings.index("AP [95 %]") - 1
    assert "R inc: share of incidents with a flagged sequence" in text


def test_licences_stand_below_a_series_too(make_record):
    records = [make_record(split=split) for split in ("chronological:50,70", "chronological")]
    for record in records:
        record["counts"] |= {"split": {"bgl@raw12k": {"cut": [0.6, 0.8]}}, "licences": {"bgl@raw12k": "MIT"}}
    assert render_all(make_tables(records), RULE).endswith("\n- licence of bgl@raw12k: MIT\n")
