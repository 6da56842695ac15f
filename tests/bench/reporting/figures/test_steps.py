"""Curves of AP against optimiser steps, and what they say of a budget."""

import re
from types import SimpleNamespace

import pytest
from PIL import Image

from bench.errors import BenchError
from bench.experiment.planning import Plan
from bench.experiment.suites import Suite
from bench.records.store import Store
from bench.reporting.figures.budget import below_untrained, mean_curve, nearest, rule_of, spread
from bench.reporting.figures.figure import FigureRequest
from bench.reporting.figures.steps import curve_name, panel_of
from bench.reporting.figures.write import gather, write
from bench.reporting.tables.table import make_tables

STEPS = (0, 10, 150, 600, 2400)
CURVES = {
    "rising": (0.1, 0.3, 0.8, 0.9, 0.905),
    "falling": (0.95, 0.9, 0.7, 0.5, 0.2),
    "flat": (0.6, 0.6, 0.6, 0.6, 0.6),
    "slow": (0.0, 0.1, 0.2, 0.3, 0.4),
}


def validation_of(ap):
    return {"validation": {"n": 30, "n_abnormal": 3, "ranking": {"ap": ap, "auroc": ap}}}


def cell_of(record, steps):
    default = SimpleNamespace(fields={"steps": SimpleNamespace(default=600)} if steps is not None else {})
    method = SimpleNamespace(label=record["method"], config={"steps": steps}, description=default)
    scenario = SimpleNamespace(key=record["scenario"])
    return SimpleNamespace(run_id=record["run_id"], scenario=scenario, split=record["spec"]["split"], method=method)


@pytest.fixture
def requested(tmp_path, make_record):
    """A request for the curves on these editions, two seeds, validation AP .02 above that of the test part."""

    def make(editions=("bgl@a",), curves=CURVES, options=None, simulated=True, **told):
        store, cells = Store(tmp_path), []
        for edition in editions:
            facts = {"simulated": [edition] if simulated else []}
            for name, values in curves.items():
                for steps, value in zip(STEPS, values, strict=True):
                    for seed in (0, 1):
                        label = name if steps == 600 else f"{name}[steps={steps}]"
                        more = {"config": {"steps": steps}, "edition": edition, **told.get(name, {})}
                        made = make_record(label, seed, value, **more, **facts, **validation_of(value + 0.02))
                        store.write(made)
                        cells.append(cell_of(made, steps))
            made = make_record("ecvc", 0, 0.65, supervision="control", edition=edition, **facts, **validation_of(0.67))
            store.write(made)
            cells.append(cell_of(made, None))
        suite = Suite("fig", "", figure={"kind": "steps"} | (options or {}))
        return FigureRequest(suite, Plan(tuple(cells), ()), store, None, "conformal:0.01")

    return make


def test_the_points_of_a_curve_are_means_over_the_same_seeds(make_record):
    made = [make_record("a", seed, f1, config={"steps": 600}) for seed, f1 in enumerate((0.7, 0.1))]
    made.append(make_record("a[steps=0]", 0, 0.5, config={"steps": 0}))
    (table,) = make_tables(made)
    place = ("bgl@raw12k", "chronological")
    panel = panel_of(place, {(*place, row.method): row for row in table.rows}, {"a": 600, "a[steps=0]": 0}, "test")
    assert [(p["x"], p["mean"], p["n_seeds"]) for p in panel["curves"][0]["points"]] == [(0, 0.5, 1), (600, 0.7, 1)]


def test_a_figure_of_each_part_holds_every_point_of_every_network(requested):
    of_validation, of_test = gather(requested())
    assert (of_validation.name, of_test.name) == ("fig-validation", "fig-test")
    (panel,) = of_test.content["panels"]
    points = {c["method"]: [(p["x"], p["mean"], p["n_seeds"]) for p in c["points"]] for c in panel["curves"]}
    assert points == {name: [(x, y, 2) for x, y in zip(STEPS, CURVES[name], strict=True)] for name in CURVES}
    assert panel["control"] == {"method": "ecvc", "ap": 0.65}
    (panel,) = of_validation.content["panels"]
    assert panel["curves"][0]["points"][0]["mean"] == 0.97
    assert (panel["n_test"], panel["n_test_abnormal"]) == (30, 3)
    assert of_test.content["budget"] == 600


def test_the_rule_counts_networks_near_the_best_of_their_own_curve():
    curves = {name: dict(zip(STEPS, values, strict=True)) for name, values in CURVES.items()}
    found = rule_of(curves)
    assert found.n_done == {0: 2, 10: 1, 150: 1, 600: 2, 2400: 3}
    assert (found.steps, found.n_networks, found.n_needed) == (None, 4, 4)
    assert found.first_done == {"falling": 0, "flat": 0, "rising": 600, "slow": 2400}
    ten = {f"n{i}": {1: 0.5, 3: 0.9 if i < 8 else 0.1, 10: 0.91} for i in range(10)}
    assert (rule_of(ten).steps, rule_of(ten).n_needed) == (3, 8)
    ten["n7"] = {1: 0.5, 3: 0.1, 10: 0.9}
    assert rule_of(ten).steps == 10
    assert rule_of({}).steps is None


def test_just_the_margin_counts_as_near():
    assert rule_of({"a": {1: 0.89, 2: 0.9}}).steps == 1
    assert rule_of({"a": {1: 0.8899, 2: 0.9}}).steps == 2


def test_only_systems_for_tuning_fix_the_budget(requested):
    (of_validation, _) = gather(requested(simulated=False))
    assert of_validation.content["rule"]["n_networks"] == 0
    assert "the budget is fixed by no other" in of_validation.page
    (of_validation, of_test) = gather(requested(("bgl@a", "hdfs@b")))
    assert of_validation.content["rule"]["n_networks"] == 4
    assert "rule" not in of_test.content
    assert "At no number of steps are 4 of 4 networks within 0.01" in of_validation.page


def test_several_systems_are_one_curve_at_the_steps_that_all_have():
    assert mean_curve([{0: 0.2, 10: 0.4, 30: 0.9}, {0: 0.4, 10: 0.8}]) == {
        0: pytest.approx(0.3),
        10: pytest.approx(0.6),
    }


def test_networks_below_their_untrained_self_are_named(requested):
    _, of_test = gather(requested())
    (fall,) = of_test.content["below_untrained"]
    assert (fall["method"], fall["untrained"], fall["trained"], fall["steps"]) == ("falling", 0.95, 0.5, 600)
    assert re.search(r"\| bgl@a +\| chronological +\| falling +\| 0.950 +\| 0.500 +\| 600 ", of_test.page)
    assert below_untrained({"a": {0: 0.5, 500: 0.4}}, 600)[0]["steps"] == 500
    assert below_untrained({"a": {10: 0.5, 600: 0.4}}, 600) == []


def test_order_holds_or_not_by_kendalls_tau(requested):
    _, of_test = gather(requested())
    taus = {tuple(t["steps"]): t["tau"] for t in of_test.content["agreement"]}
    # At 150: rising, falling, flat, slow; at 600: rising, flat, falling, slow; at 2400: rising, flat, slow, falling.
    assert taus == {
        (150, 600): pytest.approx(2 / 3),
        (600, 2400): pytest.approx(2 / 3),
        (150, 2400): pytest.approx(1 / 3),
    }


def test_networks_that_are_told_other_things_share_no_ranking(requested):
    _, of_test = gather(requested(rising={"supervision": "supervised"}))
    assert {(t["told"], t["n"]) for t in of_test.content["agreement"]} == {("source normals", 3)}


def test_nearest_in_ratio():
    assert nearest([0, 1, 100, 300], 150) == 100
    assert nearest([0, 100, 300], 200) == 300
    assert nearest([0], 150) is None


def test_an_interval_of_seeds_is_students():
    found = spread([0.4, 0.6])
    assert (found["mean"], found["low"], found["high"]) == (0.5, 0.0, 1.0)
    found = spread([0.5, 0.5, 0.53])
    assert (found["low"], found["high"]) == (pytest.approx(0.4670, abs=1e-4), pytest.approx(0.5530, abs=1e-4))
    assert spread([0.7]) == {"mean": 0.7, "low": 0.7, "high": 0.7, "n_seeds": 1}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("mlad", "mlad"),
        ("mlad[steps=3]", "mlad"),
        ("mlad[k=2,steps=3]", "mlad[k=2]"),
        ("a+nearest[steps=0]", "a+nearest"),
    ],
)
def test_a_curve_is_called_by_all_but_its_steps(label, name):
    assert curve_name(label) == name


def test_what_cannot_be_drawn_is_a_sentence(requested):
    with pytest.raises(BenchError, match="no part 'train': choose one of validation, test"):
        gather(requested(options={"parts": ["train"]}))
    with pytest.raises(BenchError, match="needs its budget, a whole number of steps, not 0"):
        gather(requested(options={"budget": 0}))
    with pytest.raises(BenchError, match="no network of the suite 'fig' has finished runs with two numbers of steps"):
        gather(requested(curves={}, options={"budget": 600}))


def test_a_picture_and_a_page_are_written(requested):
    request = requested(("bgl@a", "hdfs@b"))
    for figure in gather(request):
        paths = write(figure, request)
        assert [path.suffix for path in paths] == [".md", ".png", ".svg", ".pdf", ".json"]
        with Image.open(paths[1]) as picture:
            assert picture.width > 1000
