"""Names of splits: what they stand for, and what is said of wrong ones."""

import pytest

from bench.data.sequences.protocols import canonical, expanded, family_of, separated
from bench.errors import BenchError
from bench.records.record import split_in_file, split_of_file


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("chronological", ["chronological"]),
        ("chronological,paper", ["chronological", "paper"]),
        ("chronological:50,70", ["chronological:50,70"]),
        ("chronological:50,70,paper", ["chronological:50,70", "paper"]),
        ("paper, chronological: 50, 70 ,rolling:4", ["paper", "chronological: 50, 70", "rolling:4"]),
        ("blind,,paper,", ["blind", "paper"]),
        (" , ", []),
    ],
)
def test_commas_between_numbers_separate_nothing(typed, names):
    assert separated(typed) == names


def test_a_split_has_one_name():
    assert canonical("chronological:60,80") == "chronological"
    assert canonical("chronological: 050, 70") == "chronological:50,70"
    assert canonical("prequential:5,2") == "prequential:5,2"


@pytest.mark.parametrize(
    ("count", "ends"), [(2, [40, 70]), (3, [40, 55, 70]), (4, [40, 50, 60, 70]), (31, list(range(40, 71)))]
)
def test_origins_stand_evenly_from_40_to_70(count, ends):
    names = expanded([f"rolling:{count}"])
    cuts = [f"chronological:{end},{end + 20}" for end in ends]
    assert list(names) == ["chronological" if cut == "chronological:60,80" else cut for cut in cuts]


def test_what_is_named_twice_runs_once():
    assert expanded(["rolling:4", "chronological", "rolling:2"]).count("chronological") == 1
    assert len(expanded(["rolling:4", "rolling:2"])) == 4


def test_prequential_is_its_blocks():
    assert expanded(["prequential:3"]) == ("prequential:3,1", "prequential:3,2", "prequential:3,3")
    assert family_of("prequential:3,2") == "prequential:3"
    assert family_of("chronological:50,70") == "chronological:50,70"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo", "unknown split 'foo': choose one of chronological, paper"),
        ("chronologcal", "did you mean chronological"),
        ("roling:4", "did you mean rolling"),
        ("rolling", "write e.g. rolling:4"),
        ("rolling:0", "a whole number of origins from 2 to 31"),
        ("rolling:1", "from 2 to 31"),
        ("rolling:32", "from 2 to 31"),
        ("rolling:-4", "from 2 to 31"),
        ("rolling:4,5", "from 2 to 31"),
        ("prequential:1", "a whole number of blocks from 2 to 1000"),
        ("prequential:5,6", "no block from 1 to 5"),
        ("prequential:5,0", "no block from 1 to 5"),
        ("prequential:5,1,2", "no block from 1 to 5"),
        ("chronological:80,60", "write chronological:60,80"),
        ("chronological:", "two whole percentages"),
        ("chronological:60", "two whole percentages"),
        ("chronological:60,60", "two whole percentages"),
        ("chronological:0,60", "two whole percentages"),
        ("chronological:60,100", "two whole percentages"),
        ("chronological:50.5,70", "two whole percentages"),
        ("chronological:50,70,90", "two whole percentages"),
        ("chronological:\u0665\u0660,70", "two whole percentages"),
        ("paper:3", "takes no number"),
        ("", "unknown split ''"),
    ],
)
def test_wrong_names(text, said):
    with pytest.raises(BenchError) as error:
        expanded([text])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_where_one_split_is_needed():
    with pytest.raises(BenchError, match=r"'rolling:4' stands for 4 splits.*choose one, e\.g\. chronological:40,60"):
        canonical("rolling:4")


@pytest.mark.parametrize("split", ["chronological", "paper", *expanded(["rolling:4", "prequential:12"])])
def test_names_of_files_hold_nothing_that_a_system_refuses(split):
    text = split_in_file(split)
    assert text.replace("-", "").isalnum()
    assert split_of_file(text) == split
