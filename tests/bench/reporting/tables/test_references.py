"""Which control a method is held against, where some controls are told labels: the best of those told no more."""

import pytest

from bench.experiment.groups import is_control
from bench.reporting.comparisons.differences import VERSION
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.reading import reading
from bench.reporting.tables.choice import Choice
from bench.reporting.tables.formats import BEST, view_html
from bench.reporting.tables.headroom import headroom_of
from bench.reporting.tables.layout import view_of
from bench.reporting.tables.ranking import best_controls, references_of
from bench.reporting.tables.table import make_tables

RULE = "conformal:0.01"
NORMALS, LABELS = {"source": "normals"}, {"source": "labels"}
WITH_POOL = LABELS | {"target": "unlabelled"}


@pytest.fixture
def table(make_record):
    """A table of rows (name, what is told, AP, whether a control)."""

    def of(*rows):
        records = []
        for name, told, ap, control in rows:
            record = make_record(name, f1=ap)
            record["detector"] = {"told": told, "is_control": control, "teacher": False, "config": {}}
            record["counts"] |= {"split": {"bgl@raw12k": {"cut": [0.6, 0.8]}}, "ceiling_f1": 1.0}
            records.append(record)
        (made,) = make_tables(records)
        return made

    return of


CLOCK, GAUSSIAN = ("clock", NORMALS, 0.3, True), ("gaussian", NORMALS, 0.2, True)
NEAREST, MEAN = ("knn-labelled", LABELS, 0.6, True), ("mean-difference", LABELS, 0.5, True)
PCA, FOREST, ZEROLOG = ("pca", NORMALS, 0.4, False), ("forest", LABELS, 0.7, False), ("zerolog", WITH_POOL, 0.5, False)
ALL = (CLOCK, GAUSSIAN, NEAREST, MEAN, PCA, FOREST, ZEROLOG)


def held(table):
    return {each.control.method: [row.method for row in each.methods] for each in references_of(table)}


def marked(table):
    return {grid.rows[grid.best][0] for grid in view_of(table, RULE).blocks[0].grids if grid.best is not None}


def test_methods_told_labels_are_held_against_controls_told_labels(table):
    assert held(table(*ALL)) == {"clock": ["pca"], "knn-labelled": ["forest", "zerolog"]}


def test_a_control_told_nothing_is_their_best_one_where_it_ranks_better(table):
    early = ("clock", NORMALS, 0.9, True)
    assert held(table(early, NEAREST, FOREST, PCA)) == {"clock": ["pca", "forest"]}


def test_a_weak_control_is_not_called_best_beside_methods_told_labels_alone(table):
    assert marked(table(CLOCK, NEAREST, FOREST)) == {"knn-labelled"}
    assert marked(table(CLOCK, NEAREST, PCA)) == {"clock"}
    assert marked(table(*ALL)) == {"clock", "knn-labelled"}


def test_without_a_method_the_best_is_one_that_every_table_has(table):
    assert [row.method for row in best_controls(table(CLOCK, GAUSSIAN, NEAREST))] == ["clock"]


def test_the_top_of_each_group_keeps_every_best_control(table):
    (found,) = Choice.of(top=1, sort="fpr").apply([table(*ALL)], RULE)
    kept = {row.method for row in found.rows if is_control(row.group)}
    assert {"clock", "knn-labelled"} <= kept


def test_headroom_is_that_above_the_controls_of_every_table(table):
    assert headroom_of(table(*ALL), RULE).control == "clock"


def test_the_reading_says_of_each_group_what_it_is_held_against(table):
    made = table(*ALL)
    kept = [
        comparison(made, "clock", {"pca": "not separable"}),
        comparison(made, "knn-labelled", {"forest": "worse", "zerolog": "better"}),
    ]
    first, *_, last = reading(made, RULE, Verdicts.of(kept))
    assert first == (
        "Told source normals: no method is shown to be better than the best control, clock (AP .300). "
        "Cannot be told apart from it: pca. "
        "Told source labels or source labels + target unlabelled: better than the best control, knn-labelled "
        "(AP .600): forest. Worse than it: zerolog."
    )
    assert "The best controls leave .700 (clock) and .400 (knn-labelled) of AP to gain." in last


def comparison(table, control, verdicts):
    rows = [{"method": name, "metrics": {"ap": {"verdict": said, "p": 0.001}}} for name, said in verdicts.items()]
    return table.key._asdict() | {"version": VERSION, "method": control, "rows": rows}


def test_one_group_is_told_without_its_name(table):
    made = table(CLOCK, NEAREST, FOREST)
    first = reading(made, RULE, Verdicts.of([comparison(made, "knn-labelled", {"forest": "worse"})]))[0]
    assert first == "Better than the best control, knn-labelled (AP .600): forest."


def test_a_page_marks_the_best_of_each_group(table):
    text = view_html(view_of(table(*ALL), RULE))
    assert [name for name in ("clock", "gaussian", "knn-labelled", "mean-difference") if f"{name}{BEST}<" in text] == [
        "clock",
        "knn-labelled",
    ]
