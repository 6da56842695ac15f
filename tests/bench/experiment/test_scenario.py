"""The grammar of scenarios; `2` separates only in front of a known data-set name."""

import pytest

from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue, catalogue
from bench.errors import BenchError
from bench.experiment.scenario import make_scenario, parse_scenario


def card(key, rank, *aliases):
    name, _, edition = key.partition("@")
    return Card(name, edition, "t", "smoke", rank, "simulated", "MIT", "nobody", aliases=aliases)


KNOWN = Catalogue(
    (
        card("bgl@raw12k", 50),
        card("bgl@stream-a", 25),
        card("hdfs@blocks-a", 50),
        card("hdfs@sessions-345k", 25),
        card("spirit@lines-a", 50),
        card("tbird@raw29k", 50, "thunderbird"),
        card("app2@v2.2", 10),
    ),
    None,
)


def keys(scenario):
    return [card.key for card in scenario.train], [card.key for card in scenario.test]


@pytest.mark.parametrize(
    ("text", "train", "test"),
    [
        ("bgl", ["bgl@raw12k"], None),
        ("bgl@stream-a", ["bgl@stream-a"], None),
        ("bgl@raw12k", ["bgl@raw12k"], None),
        ("thunderbird", ["tbird@raw29k"], None),
        ("thunderbird@raw29k", ["tbird@raw29k"], None),
        ("app2", ["app2@v2.2"], None),
        ("bgl2tbird", ["bgl@raw12k"], ["tbird@raw29k"]),
        ("bgl2thunderbird", ["bgl@raw12k"], ["tbird@raw29k"]),
        ("bgl@stream-a2tbird", ["bgl@stream-a"], ["tbird@raw29k"]),
        ("bgl@raw12k2tbird@raw29k", ["bgl@raw12k"], ["tbird@raw29k"]),
        ("tbird@raw29k2bgl@raw12k", ["tbird@raw29k"], ["bgl@raw12k"]),
        ("hdfs@sessions-345k2bgl", ["hdfs@sessions-345k"], ["bgl@raw12k"]),
        ("app22bgl", ["app2@v2.2"], ["bgl@raw12k"]),
        ("bgl2app2", ["bgl@raw12k"], ["app2@v2.2"]),
        ("app2@v2.22bgl", ["app2@v2.2"], ["bgl@raw12k"]),
        ("bgl+tbird", ["bgl@raw12k", "tbird@raw29k"], None),
        ("tbird+bgl", ["tbird@raw29k", "bgl@raw12k"], None),
        ("bgl@stream-a+hdfs", ["bgl@stream-a", "hdfs@blocks-a"], None),
        ("bgl+tbird2spirit", ["bgl@raw12k", "tbird@raw29k"], ["spirit@lines-a"]),
        ("bgl2tbird+spirit", ["bgl@raw12k"], ["tbird@raw29k", "spirit@lines-a"]),
        ("bgl@raw12k+tbird@raw29k2spirit@lines-a", ["bgl@raw12k", "tbird@raw29k"], ["spirit@lines-a"]),
    ],
)
def test_grammar(text, train, test):
    scenario = parse_scenario(text, KNOWN)
    assert keys(scenario) == (train, test or train)
    assert scenario.is_transfer == (test is not None)
    assert [card.key for card in scenario.cards] == train + (test or [])


@pytest.mark.parametrize("text", ["bgl", "bgl2tbird", "bgl@stream-a+tbird2spirit", "app22bgl", "hdfs+bgl"])
def test_the_key_of_a_scenario_reads_as_the_same_scenario(text):
    scenario = parse_scenario(text, KNOWN)
    assert parse_scenario(scenario.key, KNOWN) == scenario


def test_keys():
    assert parse_scenario("bgl", KNOWN).key == "bgl@raw12k"
    assert parse_scenario("bgl+tbird2spirit", KNOWN).key == "bgl@raw12k+tbird@raw29k2spirit@lines-a"


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "2", "+", "bgl2", "2bgl", "bgl+", "+bgl", "bgl++tbird", "bgl2tbird2spirit", "bgl2bgk", "bgk2bgl"],
        *["BGL", "bgl tbird", "bgl,tbird", "bgltbird", "bgl-tbird", "bgl22tbird", " bgl", "bgl\n", "x@raw12k", "bgk"],
    ],
)
def test_what_is_no_scenario(text):
    with pytest.raises(BenchError) as caught:
        parse_scenario(text, KNOWN)
    assert f"unknown scenario '{text}'" in str(caught.value)
    for part in ("bgl, hdfs, spirit, tbird, thunderbird", "A2B", "A+B2C"):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["bgl@raw13k", "bgl@nope", "bgl@raw12k2bgk", "tbird2bgl@nope", "bgl@nope2tbird"])
def test_unknown_editions_list_the_known(text):
    with pytest.raises(BenchError, match=r"unknown edition 'bgl@.*bgl@raw12k, bgl@stream-a"):
        parse_scenario(text, KNOWN)


@pytest.mark.parametrize("text", ["bgl@", "bgl@RAW12K", "bgl@raw/12k"])
def test_what_is_no_edition(text):
    with pytest.raises(BenchError, match=f"'{text}'"):
        parse_scenario(text, KNOWN)


@pytest.mark.parametrize(
    "text", ["bgl+bgl", "bgl+bgl@raw12k", "tbird+thunderbird", "bgl+tbird+bgl", "spirit2bgl+bgl", "bgl+bgl2tbird"]
)
def test_an_edition_twice_on_one_side(text):
    with pytest.raises(BenchError, match="twice"):
        parse_scenario(text, KNOWN)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hdfs@sessions-345k2hdfs", "hdfs"),
        ("hdfs@sessions-345k2hdfs@blocks-a", "hdfs"),
        ("bgl@stream-a2bgl", "bgl"),
        ("bgl+tbird2tbird", "tbird"),
        ("bgl2tbird+bgl", "bgl"),
        ("tbird2bgl+thunderbird", "tbird"),
    ],
)
def test_one_data_set_on_both_sides(text, name):
    with pytest.raises(BenchError, match=f"train and test on '{name}'"):
        parse_scenario(text, KNOWN)


def test_train_and_test_without_the_grammar():
    assert make_scenario(["bgl"], ["tbird"], KNOWN) == parse_scenario("bgl2tbird", KNOWN)
    assert make_scenario(["bgl", "tbird"], [], KNOWN) == parse_scenario("bgl+tbird", KNOWN)
    same = make_scenario(["bgl"], ["bgl"], KNOWN)
    assert not same.is_transfer
    assert same.key == "bgl@raw12k"
    with pytest.raises(BenchError, match="unknown data set 'bgk'"):
        make_scenario(["bgl"], ["bgk"], KNOWN)


def test_unavailable_editions_say_what_is_missing():
    with pytest.raises(BenchError, match=r"bgl/first10k\.log\.gz"):
        parse_scenario("bgl@raw12k2tbird", catalogue())
    assert parse_scenario("bgl2tbird", catalogue()).key == "bgl@simulated2tbird@simulated"
    with pytest.raises(BenchError, match="no edition of 'spirit'"):
        parse_scenario("spirit2tbird", catalogue())
