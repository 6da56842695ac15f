"""What a method is told, in words: old and new records of one method stand in one group."""

import pytest

from bench.experiment.grades import CONTROL, Told, asks_a_model, covers, group_of, group_rank, told_of, told_under


def new(told, **detector):
    return {"spec": {}, "detector": {"told": told, "is_control": False, "teacher": False} | detector}


@pytest.mark.parametrize(
    ("supervision", "record", "sentence"),
    [
        ("normal-only", new({"source": "normals"}), "source normals"),
        ("contaminated", new({"source": "unlabelled"}), "source unlabelled"),
        ("supervised", new({"source": "labels"}), "source labels"),
        ("positive-unlabelled", new({"source": "first-normals"}), "source first normals"),
        ("training-free", new({}, teacher=True), "untrained, asks a model"),
        ("control", new({"source": "normals"}, is_control=True), CONTROL),
        (
            "normal-only + 200 target normals",
            new({"source": "normals", "target": "first-normals:200"}),
            "source normals + target first 200 normals",
        ),
    ],
)
def test_records_of_before_stand_in_the_group_of_new_ones(supervision, record, sentence):
    old = {"spec": {}, "detector": {"supervision": supervision}}
    assert group_of(old) == group_of(record) == sentence
    assert told_of(old).roles == record["detector"]["told"]
    assert asks_a_model(old) == asks_a_model(record)


def test_a_sentence_names_all_that_is_told():
    told = Told({"source": "labels", "target": "unlabelled", "auxiliary": "few:0.1"}, True, True, ("spirit@a",))
    sentence = "source labels + target unlabelled + auxiliary labels of 10 % of spirit@a + incidents, asks a model"
    assert told.sentence == sentence
    assert group_of(new(None)) == "source unknown"


def test_groups_stand_from_little_told_of_the_source_to_much_and_controls_last():
    groups = (
        "source unlabelled",
        "source normals",
        "source normals + target first 200 normals",
        "source first normals",
        "source labels",
        "untrained, asks a model",
        CONTROL,
    )
    shuffled = [groups[i] for i in (6, 2, 0, 5, 4, 1, 3)]
    assert tuple(sorted(shuffled, key=group_rank)) == groups


@pytest.mark.parametrize(
    ("told", "other", "as_much"),
    [
        ({"source": "labels"}, {"source": "normals"}, True),
        ({"source": "normals"}, {"source": "labels"}, False),
        ({"source": "unlabelled"}, {"source": "normals"}, False),
        ({"source": "labels"}, {"source": "normals", "target": "normals"}, False),
        ({"source": "normals", "target": "few:0.1"}, {"target": "unlabelled"}, True),
        ({}, {}, True),
    ],
)
def test_one_is_told_as_much_as_another_role_by_role(told, other, as_much):
    assert covers(told, other) == as_much


def test_what_is_told_depends_on_the_config_and_the_roles_that_take_part():
    told = {"source": "normals", "target": "first-normals"}
    both = ("source", "target")
    assert told_under(told, {}, {"target_normals": 7}, both) == told | {"target": "first-normals:7"}
    assert told_under(told, {}, {"target_normals": 7}, ("source",)) == {"source": "normals"}
    assert told_under(told, {}, {"target_normals": 0}, both) == {"source": "normals"}
    assert told_under({}, {"k": {"source": "normals"}}, {"k": 2}, both) == {"source": "normals"}
    assert told_under({}, {"k": {"source": "normals"}}, {"k": 0}, both) == {}
