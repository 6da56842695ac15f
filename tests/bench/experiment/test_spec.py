"""What a user typed becomes cells; the run_id depends on everything that can change a number and on nothing else."""

import dataclasses
import json
import math

import pytest

from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.errors import BenchError
from bench.experiment.scenario import parse_scenario
from bench.experiment.settings import parse_seeds, parse_settings, quoted
from bench.experiment.spec import plan, resolve_methods, run_id

TOY = '''
"""A detector with a setting of every kind."""
from dataclasses import dataclass, field
from typing import Literal
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    alpha: float = 1
    limit: float = float("inf")
    depth: int = 2
    deep: bool = False
    kind: Literal["a", "b"] = "a"
    most: int | None = 5
    shape: tuple[int, ...] = (1, 2)
    word: str = "x"
    url: str = field(default="here", metadata={"identity": False})
    later: float = field(default=1, metadata={"identity": "where used"})

class Toy(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return np.zeros(len(sequences))
'''

CONTROLS = ["all-positive", "clock", "ecvc", "gaussian", "length", "new-event", "random"]


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    return f"{tmp_path / 'toy.py'}:Toy"


@pytest.fixture
def cells(tmp_path):
    def make(
        methods, settings=(), scenario="bgl@simulated", splits=("chronological",), seeds=(0,), grouping=None, known=None
    ):
        known = known or catalogue()
        resolved = resolve_methods(methods, settings, tmp_path / "cache")
        scenarios = [parse_scenario(text, known) for text in scenario.split(",")]
        return plan(scenarios, resolved, splits=splits, seeds=seeds, grouping=grouping or Grouping())

    return make


def ids(cells):
    return {cell.run_id for cell in cells}


def first_id(cells):
    return cells[0].run_id


def test_the_run_id_of_a_given_spec_never_changes():
    spec = {"seed": 3, "detector": {"name": "toy", "config": {"b": 1.5, "a": None}}, "texts": ["é", True]}
    assert run_id(spec) == "10463afea2ab56b5"


def test_the_run_id_does_not_depend_on_the_order_of_keys():
    assert run_id({"a": 1, "b": {"c": 2, "d": 3}}) == run_id({"b": {"d": 3, "c": 2}, "a": 1})


def test_a_whole_and_a_decimal_number_are_different_values():
    assert run_id({"a": 1}) != run_id({"a": "1"})
    assert run_id({"a": 1.5}) != run_id({"a": 1.25})


def test_a_config_that_is_infinite_has_a_run_id_that_reads_back():
    assert run_id({"limit": math.inf}) == run_id(json.loads('{"limit": "inf"}'))


def test_the_spec_reads_back_as_the_same_run(cells, toy):
    cell = cells([toy])[0]
    assert run_id(json.loads(json.dumps(cell.spec()))) == cell.run_id


def test_the_order_of_methods_plays_no_part(cells, toy):
    assert ids(cells([toy, "random"])) == ids(cells(["random", toy]))


def test_the_order_of_settings_plays_no_part(cells, toy):
    one, two = f"{toy}.alpha=2", f"{toy}.depth=3"
    assert first_id(cells([toy], [one, two])) == first_id(cells([toy], [two, one]))


def test_the_spelling_of_a_setting_plays_no_part(cells, toy):
    assert len({first_id(cells([toy], [f"{toy}.alpha={text}"])) for text in ("1.3", "1.30", "13e-1")}) == 1


def test_a_default_that_is_given_is_the_default(cells, toy):
    assert first_id(cells([toy], [f"{toy}.alpha=1.0"])) == first_id(cells([toy]))


def test_the_folder_of_a_local_detector_plays_no_part(cells, tmp_path):
    found = []
    for folder in ("one", "two+three"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "toy.py").write_text(TOY)
        found.append(cells([f"{tmp_path / folder / 'toy.py'}:Toy"])[0])
    assert found[0].run_id == found[1].run_id
    assert {cell.method.label for cell in found} == {"toy.py:Toy"}
    assert str(tmp_path) not in json.dumps([cell.spec() for cell in found])


def test_the_source_of_a_local_detector_belongs_to_the_identity(cells, tmp_path, toy):
    before = first_id(cells([toy]))
    (tmp_path / "toy.py").write_text(TOY + "\n# changed\n")
    assert first_id(cells([toy])) != before


def test_everything_that_changes_a_number_changes_the_run_id(cells, toy):
    base = cells([toy])[0]
    others = [
        *cells([toy], seeds=[1])[:1],
        *cells([toy], splits=["paper"])[:1],
        *cells([toy], grouping=Grouping(10, 10))[:1],
        *cells([toy], grouping=Grouping(20, 10))[:1],
        *cells([toy], [f"{toy}.alpha=1.3"])[:1],
        *cells([toy], [f"{toy}.most=none"])[:1],
        *cells([toy], scenario="tbird@simulated")[:1],
        *cells([toy], scenario="bgl@simulated2tbird@simulated")[:1],
        *cells([toy], scenario="tbird@simulated2bgl@simulated")[:1],
        *cells([toy], scenario="bgl@simulated+tbird@simulated")[:1],
        *cells([f"{toy}+nearest"])[:1],
    ]
    found = [base.run_id, *(cell.run_id for cell in others)]
    assert len(set(found)) == len(found)


def test_a_mask_and_the_data_belong_to_the_identity(cells, toy):
    known = catalogue()
    card = known.resolve("bgl@simulated")
    changed = [
        dataclasses.replace(card, parser=dataclasses.replace(card.parser, masks=card.parser.masks[:-1])),
        dataclasses.replace(card, sha256={"lines": "0" * 64}),
        dataclasses.replace(card, drop_events=1),
    ]
    found = {first_id(cells([toy]))}
    for other in changed:
        cards = tuple(other if known_card.key == card.key else known_card for known_card in known.cards)
        found.add(first_id(cells([toy], known=dataclasses.replace(known, cards=cards))))
    assert len(found) == 4


def test_a_field_outside_the_identity_stays_out_and_is_kept_in_the_config(cells, toy):
    cell = cells([toy], [f"{toy}.url=there"])[0]
    assert cell.run_id == first_id(cells([toy]))
    assert cell.method.config["url"] == "there"
    assert "url" not in cell.spec()["detector"]["config"]


def test_sessions_ignore_the_window(cells, toy):
    one = cells([toy], scenario="hdfs@simulated")
    other = cells([toy], scenario="hdfs@simulated", grouping=Grouping(7, 7))
    assert first_id(one) == first_id(other)


def test_the_encoder_belongs_to_methods_that_read_texts(cells, toy):
    assert "encoder" not in cells([toy])[0].spec()
    assert "encoder" in cells([f"{toy}+nearest"])[0].spec()


def test_all_controls_stand_behind_the_methods_once(cells, toy):
    assert [c.method.label for c in cells([toy, toy])] == ["toy.py:Toy", *CONTROLS]
    assert sorted(c.method.label for c in cells(["random"])) == sorted(CONTROLS)


def test_a_variant_of_a_control_does_not_replace_it(cells):
    labels = [cell.method.label for cell in cells(["ecvc+nearest"])]
    assert labels == ["ecvc+nearest", *CONTROLS]


def test_cells_that_share_their_data_stand_together(cells):
    made = cells(["random"], scenario="bgl@simulated,tbird@simulated", splits=["chronological", "paper"], seeds=[0, 1])
    keys = [(cell.scenario.key, cell.split, cell.seed) for cell in made]
    assert len(made) == 2 * 2 * 2 * len(CONTROLS)
    assert keys == sorted(keys)


def keys_by_method(cells, key):
    found = {}
    for cell in cells:
        found.setdefault(cell.method.label, set()).add(getattr(cell, key))
    return {label: len(keys) for label, keys in found.items()}


def test_seeds_share_the_fit_of_a_method_that_draws_nothing_where_the_data_are_the_same(cells):
    made = cells(["pca", "isolation-forest"], splits=["chronological"], seeds=[0, 1, 2])
    fits = keys_by_method(made, "fit_key")
    assert (fits["pca"], fits["ecvc"], fits["isolation-forest"], fits["random"]) == (1, 1, 3, 3)
    assert keys_by_method(made, "scores_key") == fits
    assert len(ids(made)) == len(made)
    assert keys_by_method(cells(["pca"], splits=["given"], seeds=[0, 1]), "fit_key")["pca"] == 1
    drawn = cells(["pca"], splits=["paper"], seeds=[0, 1, 2])
    assert set(keys_by_method(drawn, "fit_key").values()) == {3}


def test_a_variant_shares_the_fit_and_a_drawn_sample_does_not_share_scores(cells):
    plain, nearest = cells(["ecvc", "ecvc+nearest"])[:2]
    assert plain.fit_key == nearest.fit_key
    assert plain.scores_key != nearest.scores_key
    sampled = [dataclasses.replace(plain, sample=10, seed=seed) for seed in (0, 1)]
    assert sampled[0].fit_key == sampled[1].fit_key
    assert sampled[0].scores_key != sampled[1].scores_key


def test_an_unknown_split_lists_the_known_ones(cells):
    with pytest.raises(BenchError, match="chronological, paper"):
        cells(["random"], splits=["sideways"])


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("1", [0]), ("3,7", [3, 7]), ("7,", [7]), ("0,", [0]), (" 2 , 1 ", [2, 1])]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


BEYOND = "9" * 20


@pytest.mark.parametrize(
    "text", ["0", "-1", "x", "", ",", "1.5", "3,3", "3,-1", "3,x", BEYOND, f"{BEYOND},", "5000000000", "0,4294967296"]
)
def test_seeds_that_are_none(text):
    with pytest.raises(BenchError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1.0:1.6:0.1", ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]),
        ("1:3:1", ["1", "2", "3"]),
        ("0:1:0.4", ["0.0", "0.4", "0.8"]),
        ("2:2:1", ["2"]),
        ("a,b", ["a", "b"]),
        ("1.3", ["1.3"]),
        ("[1, 2]", ["[1, 2]"]),
        ("http://host:80/x", ["http://host:80/x"]),
    ],
)
def test_a_range_holds_its_end_and_a_list_its_items(text, values):
    assert parse_settings([f"mlad.alpha={text}"]) == {"mlad": {"alpha": values}}


@pytest.mark.parametrize("text", ["1:0:1", "0:1:0", "0:1:-1", "nan:1:1", "0:inf:1", "0:1:nan", "0:1000000:0.001"])
def test_a_range_without_end_or_without_values(text):
    with pytest.raises(BenchError, match=r"--set mlad\.alpha="):
        parse_settings([f"mlad.alpha={text}"])


@pytest.mark.parametrize("text", ["nonsense", "mlad=1", "mlad.alpha", ".alpha=1", "mlad.=1", "=1", ""])
def test_a_setting_that_is_none(text):
    with pytest.raises(BenchError, match=r"method\.key=value"):
        parse_settings([text])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("alpha=2", 2.0),
        ("depth=3", 3),
        ("deep=yes", True),
        ("deep=0", False),
        ("kind=b", "b"),
        ("most=none", None),
        ("most=7", 7),
        ("shape=[3]", [3]),
        ("word=a b=c", "a b=c"),
        ('word="a, b: c"', "a, b: c"),
        ('word="', '"'),
        ('word="a" and "b"', '"a" and "b"'),
    ],
)
def test_values_get_the_type_of_their_field(tmp_path, toy, setting, value):
    found = resolve_methods([toy], [f"{toy}.{setting}"], tmp_path)[0].config[setting.partition("=")[0]]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("alpha=abc", "finite number"),
        ("alpha=nan", "finite number"),
        ("alpha=", "finite number"),
        ("depth=1.5", "whole number"),
        ("deep=maybe", "true or false"),
        ("kind=c", "choose one of a, b"),
        ("shape=[1", "JSON"),
        ("alpha=none", "finite number"),
        ("nope=1", "choose one of alpha, limit, depth, deep, kind, most, shape, word, url"),
    ],
)
def test_values_of_the_wrong_type_and_unknown_keys(tmp_path, toy, setting, words):
    with pytest.raises(BenchError, match=words):
        resolve_methods([toy], [f"{toy}.{setting}"], tmp_path)


def test_a_setting_of_a_method_that_does_not_run(tmp_path, toy):
    with pytest.raises(BenchError, match="'mlad', which is not among the methods of this run"):
        resolve_methods([toy], ["mlad.alpha=1"], tmp_path)


@pytest.mark.parametrize("text", ["a", "a, b", "1:0:1", '"a"', "is it, or not?", "http://host:80/x", "[1", ""])
def test_any_text_can_be_written_so_that_it_is_one_value(tmp_path, toy, text):
    found = resolve_methods([toy], [f"{toy}.word={quoted(text)}"], tmp_path)[0]
    assert found.config["word"] == text


def test_a_sweep_gives_a_method_for_each_combination(tmp_path, toy):
    made = resolve_methods([toy], [f"{toy}.alpha=2,3", f"{toy}.depth=3:5:1"], tmp_path)
    labels = [method.label for method in made if not method.ref.is_control]
    assert labels == [f"toy.py:Toy[alpha={a},depth={d}]" for a in (2, 3) for d in (3, 4, 5)]
    assert {(m.config["alpha"], m.config["depth"]) for m in made[:6]} == {(a, d) for a in (2.0, 3.0) for d in (3, 4, 5)}


def test_a_setting_reaches_a_variant_too(tmp_path, toy):
    made = resolve_methods([toy, f"{toy}+nearest"], [f"{toy}.alpha=2"], tmp_path)
    assert [m.label for m in made[:2]] == ["toy.py:Toy[alpha=2]", "toy.py:Toy+nearest[alpha=2]"]
    assert {method.config["alpha"] for method in made[:2]} == {2.0}


def test_unknown_methods_and_variants(tmp_path):
    with pytest.raises(BenchError, match=r"unknown method 'nope': choose one of adlilog, .*`bench list methods`"):
        resolve_methods(["nope"], [], tmp_path)
    with pytest.raises(BenchError, match=r"unknown variant '\+furthest'.*nearest"):
        resolve_methods(["random+furthest"], [], tmp_path)


def test_what_is_remembered_of_a_detector_gives_the_same_run(cells, toy, tmp_path):
    fresh = first_id(cells([toy]))
    assert list((tmp_path / "cache").rglob("*.json"))
    assert first_id(cells([toy])) == fresh
    assert registry.describe(registry.find(toy), tmp_path / "cache").told == {"source": "normals"}


def with_profile(tmp_path):
    body = '    profiles = {"original": {"alpha": 0.5, "depth": 9}}\n'
    (tmp_path / "tuned.py").write_text(TOY.replace("class Toy(Detector):\n", f"class Toy(Detector):\n{body}"))
    return f"{tmp_path / 'tuned.py'}:Toy"


def test_a_profile_replaces_defaults_and_is_overruled_by_settings(tmp_path, toy):
    tuned = with_profile(tmp_path)
    made = resolve_methods([tuned], [f"{tuned}.depth=4"], tmp_path, "original")
    assert made[0].label == "tuned.py:Toy[depth=4,profile=original]"
    assert (made[0].config["alpha"], made[0].config["depth"]) == (0.5, 4)
    assert made[0].profile == "original"
    plain = resolve_methods([tuned], [], tmp_path)[0]
    assert (plain.label, plain.config["depth"]) == (
        "tuned.py:Toy",
        resolve_methods([toy], [], tmp_path)[0].config["depth"],
    )


def test_controls_have_no_profile_and_run_beside_it_as_they_are(tmp_path):
    made = resolve_methods([with_profile(tmp_path), "new-event"], [], tmp_path, "original")
    assert [m.profile for m in made] == ["original", *["paper"] * (len(made) - 1)]
    assert "new-event" in [m.label for m in made]


def test_a_method_without_the_profile_is_refused_and_not_run_under_another(tmp_path, toy):
    tuned = with_profile(tmp_path)
    with pytest.raises(
        BenchError, match=r"'.*toy.py:Toy' has no profile 'original': choose one of paper, or leave it out of this run$"
    ):
        resolve_methods([tuned, toy], [], tmp_path, "original")
    with pytest.raises(
        BenchError, match=r"tuned.py:Toy' has no profile 'best': choose one of paper, original, or leave"
    ):
        resolve_methods([tuned], [], tmp_path, "best")
    assert resolve_methods([tuned, toy], [], tmp_path, "paper")


def test_a_setting_that_came_later_belongs_to_the_identity_only_where_it_is_not_the_default(cells, toy):
    plain = cells([toy])[0]
    as_default, other = (cells([toy], [f"{toy}.later={value}"])[0] for value in ("1.0", "2"))
    assert "later" not in plain.spec()["detector"]["config"]
    assert plain.method.config["later"] == 1.0
    assert as_default.run_id == plain.run_id
    assert other.spec()["detector"]["config"]["later"] == 2.0
    assert other.run_id != plain.run_id


def test_what_is_no_part_of_the_identity_is_not_in_a_label(tmp_path):
    settings = ["chatgpt.base_url=https://host/v1", "chatgpt.k=2", "chatgpt.concurrency=3"]
    method = resolve_methods(["chatgpt"], settings, tmp_path)[0]
    assert method.label == "chatgpt[k=2]"
    assert method.config["base_url"] == "https://host/v1"


def test_a_setting_with_its_default_value_does_not_change_a_label(tmp_path):
    def label(*settings, profile="paper"):
        return resolve_methods(["deeplog"], list(settings), tmp_path, profile)[0].label

    assert label("deeplog.hidden=64", "deeplog.layers=2") == label() == "deeplog"
    assert label("deeplog.hidden=32", "deeplog.layers=2") == "deeplog[hidden=32]"
    assert label("deeplog.dropout=0.5", profile="original") == "deeplog[dropout=0.5,profile=original]"
