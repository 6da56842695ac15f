"""Every ordered pair of editions, and where controls keep company that are told more than normals."""

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.errors import BenchError
from bench.experiment.groups import is_control, may_stand_beside, row_group
from bench.experiment.planning import plan_parts
from bench.experiment.scenario import every_pair, parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.experiment.suites import load_suite
from bench.reporting.tables.ranking import controls_of
from bench.reporting.tables.table import make_tables

LABELLED = {"knn-labelled", "mean-difference"}
FEW = "knn-few"
NAMES = ["hdfs@simulated", "bgl@simulated", "tbird@simulated"]


def test_every_pair_both_ways_and_none_with_itself():
    pairs = every_pair(NAMES, catalogue(None))
    assert pairs == [f"{a}2{b}" for a in NAMES for b in NAMES if a != b]
    assert all(parse_scenario(text, catalogue(None)).is_transfer for text in pairs)


@pytest.mark.parametrize(("names", "words"), [(["bgl"], "needs two editions"), (["bgl", "bgl"], "names bgl twice")])
def test_what_makes_no_pair_is_one_sentence(names, words):
    with pytest.raises(BenchError, match=words):
        every_pair(names, catalogue(None))


def company(names, split, folder, scenario="bgl@simulated2tbird@simulated"):
    methods = resolve_methods(names, [], folder)
    scenarios = [parse_scenario(scenario, catalogue(None))]
    cells = plan(scenarios, methods, splits=[split], seeds=[0], grouping=Grouping())
    return {*LABELLED, FEW} & {cell.method.label for cell in cells}


def test_controls_told_labels_stand_beside_methods_told_as_much_under_transfer(tmp_path):
    assert company(["logistic-regression"], "transfer", tmp_path) == LABELLED
    assert company(["logistic-regression", "pca"], "chronological", tmp_path) == set()
    assert company(["pca"], "transfer", tmp_path) == set()
    assert company(["metalog"], "transfer", tmp_path) == {*LABELLED, FEW}
    assert company(["zerolog"], "transfer", tmp_path) == LABELLED
    assert company(["mean-difference"], "chronological", tmp_path) == {"mean-difference"}


def record(name, told, *, control=False):
    return {
        "method": name,
        "scenario": "bgl2tbird",
        "status": "ok",
        "spec": {
            "train": [{"edition": "bgl@a"}],
            "test": [{"edition": "tbird@a"}],
            "split": "transfer",
            "seed": 0,
            "protocol_version": 2,
            "detector": {"name": name, "config": {}},
        },
        "detector": {"told": told, "is_control": control, "config": {}},
        "counts": {},
    }


LABELS, NORMALS = {"source": "labels"}, {"source": "normals"}
CONTROL = record("ecvc", NORMALS, control=True)
NEAREST = record("knn-labelled", LABELS, control=True)


def test_a_control_that_is_told_labels_has_a_group_of_its_own():
    assert row_group(CONTROL) == "control"
    assert row_group(NEAREST) == "control told source labels"
    assert row_group(record("zerolog", LABELS | {"target": "unlabelled"})) == "source labels + target unlabelled"
    assert [is_control(row_group(r)) for r in (CONTROL, NEAREST, record("pca", NORMALS))] == [True, True, False]


def test_who_is_measured_against_whom():
    (table,) = make_tables([CONTROL, NEAREST, record("pca", NORMALS), record("zerolog", LABELS)])
    rows = {row.method: row for row in table.rows}
    assert [row.method for row in table.rows] == ["pca", "zerolog", "knn-labelled", "ecvc"]
    assert [row.method for row in controls_of(table, rows["pca"])] == ["ecvc"]
    assert [row.method for row in controls_of(table, rows["zerolog"])] == ["knn-labelled", "ecvc"]
    assert may_stand_beside(NEAREST, record("zerolog", LABELS | {"target": "unlabelled"}))


def test_the_suite_names_every_pair_of_six_systems_and_the_eight_beforehand():
    first, second, *ablations = load_suite("zero-label").parts
    sides = {tuple(text.split("2", 1)) for text in second.optional_scenarios}
    left_out = {scenario for scenario, _ in first.left_out}
    assert (len(first.optional_scenarios), len(left_out), len(sides)) == (26, 10, 8)
    assert len({*first.optional_scenarios, *left_out}) == 36
    assert set(second.optional_scenarios) <= set(first.optional_scenarios)
    assert {part.splits for part in (first, second, *ablations)} == {("transfer",)}
    assert {part.optional_scenarios for part in ablations} == {second.optional_scenarios}
    assert {part.seeds for part in (first, second)} == {"3"}
    assert plan_parts([second], catalogue(None), None).cells == ()
    notes = plan_parts([first], catalogue(None), None).notes
    assert len([note for note in notes if note.startswith("left out ")]) == 36
    assert any("2trainticket_deeptralog@dev: under transfer the later half" in note for note in notes)


@pytest.mark.parametrize("pair", ["openstack_kalaki@sample2tbird@raw29k", "tbird@raw29k2trainticket_deeptralog@dev"])
def test_what_the_suite_leaves_out_cannot_be_run(pair, real_data, real_loader, tmp_path):
    """A source whose last fifth holds failures only, a target whose failures all lie in its first half."""
    (cell, *_) = plan(
        [parse_scenario(pair, catalogue(real_data))], resolve_methods(["length"], [], tmp_path),
        splits=["transfer"], seeds=[0], grouping=Grouping(),
    )  # fmt: skip
    with pytest.raises(BenchError, match=r"no normal sequence for validation|no abnormal sequence in the test part"):
        real_loader.prepare(cell.data)
