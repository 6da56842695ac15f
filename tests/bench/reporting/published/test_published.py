"""What papers report, and the page that sets it beside our records."""

import functools
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.experiment.spec import PROTOCOL_VERSION
from bench.reporting.published.page import render_published, scenario_name, with_stored_rows
from bench.reporting.published.papers import load_published, published_file
from bench.reporting.tables.table import make_tables

ROOT = Path(__file__).parents[4]
RULE = "conformal:0.01"

TOY = """
[paper.toy]
title = "A toy paper"
test_is_balanced = true
[paper.toy.protocol]
data = "a full log"
luck = "much"
[paper.toy.sizes]
bgl = { sequences = 100, abnormal = 10, train = 80, test = 20 }
[[paper.toy.row]]
table = "1"
method = "ECVC of the paper"
detector = "ecvc"
bgl = { precision = 0.90, recall = 0.90, f1 = 0.9000 }
[[paper.toy.row]]
table = "1"
method = "Never built here"
detector = "nowhere"
bgl = { precision = 0.50, recall = 0.50, f1 = 0.60 }
"""
"""A published ECVC is what the control of that name is: no heavy method needs to be imported for these tests."""


@pytest.fixture
def papers(tmp_path):
    path = tmp_path / "published.toml"
    path.write_text(TOY)
    return load_published(path)


@pytest.fixture
def ecvc(make_record):
    return functools.partial(make_record, "ecvc", supervision="control")


CHAT = (
    TOY.replace("luck =", 'model = "unnamed"\nluck =')
    + """
[[paper.toy.row]]
table = "4"
method = "A chat model"
detector = "chatgpt"
bgl = { f1 = 0.70 }
"""
)


def page(papers, tmp_path, *records):
    return render_published(make_tables(records), RULE, tmp_path, papers)


def test_printed_digits_are_kept(papers):
    first, second = papers[0].values
    assert (first.precision, str(first.f1)) == (Decimal("0.90"), "0.9000")
    assert (second.method, second.scenario, second.settings) == ("Never built here", "bgl", ())


def test_the_shipped_file_holds_three_tables_of_the_mlad_paper():
    (mlad,) = [paper for paper in load_published() if paper.key == "mlad"]
    sizes = {table: sum(value.table == table for value in mlad.values) for table in "234"}
    assert sizes == {"2": 36, "3": 18, "4": 6}
    assert mlad.sizes["bgl"]["test"] == 2 * mlad.sizes["bgl"]["abnormal"]
    for value in mlad.values:
        assert all(number is None or 0 < number <= 1 for number in (value.precision, value.recall, value.f1))


def test_the_wheel_holds_the_file_too():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setup["package-dir"]["bench._published"] == "results"
    assert "bench._published" in setup["packages"]
    assert setup["package-data"]["bench._published"] == [published_file().name, "llm/*.jsonl"]


def test_ours_stand_in_columns_of_their_own(papers, tmp_path, ecvc):
    text = page(papers, tmp_path, ecvc(f1=0.8), ecvc(f1=0.6, seed=1))
    row = next(line for line in text.splitlines() if "ECVC of the paper" in line)
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:6] == ["1", "ECVC of the paper", "0.90", "0.90", "0.9000", "consistent"]
    assert cells[6:9] == ["ecvc", "0.700", "0.700"]
    assert cells[9].startswith("0.700 [")
    assert cells[-1] == "2"


def test_what_has_no_record_here_is_a_row_all_the_same(papers, tmp_path, make_record):
    text = page(papers, tmp_path, make_record("random", supervision="control"))
    row = next(line for line in text.splitlines() if "Never built here" in line)
    assert [cell.strip() for cell in row.split("|")[1:-1]][5:] == ["impossible", *["-"] * 6]


def test_what_no_paper_reports_stands_below(papers, tmp_path, ecvc, make_record):
    text = page(papers, tmp_path, ecvc(), make_record("random", supervision="control"), make_record("mine"))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|  ")]
    assert [(cells[1], cells[6]) for cells in lines] == [
        ("not published", "mine (source normals)"),
        ("control", "random"),
    ]


def test_other_settings_are_another_method(papers, tmp_path, make_record):
    changed = make_record("ecvc[n=3]", supervision="control", config={"no_such_setting": 3})
    row = next(line for line in page(papers, tmp_path, changed).splitlines() if "ECVC of the paper" in line)
    assert "[" not in row


def test_every_difference_of_protocol_is_named(papers, tmp_path, ecvc):
    text = page(papers, tmp_path, ecvc(split="paper"))
    points = {line.split("|")[1].strip(): line for line in text.splitlines() if line.count("|") == 4}
    assert {"data", "test", "luck"} <= points.keys()
    assert "a full log" in points["data"]
    assert "bgl@raw12k" in points["data"]
    assert "20, 10 of them abnormal" in points["test"]
    assert "40 sequences, 10 of them abnormal" in points["test"]


def test_scenarios_are_matched_without_their_editions(papers, tmp_path, ecvc):
    (table,) = make_tables([ecvc(edition="bgl@stream-a")])
    assert scenario_name(table) == "bgl"
    with pytest.raises(BenchError, match="no paper reports a scenario of these records: reported are bgl"):
        page(papers, tmp_path, ecvc(edition="spirit@lines-a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[paper", "cannot be read"),
        ("x = 1", "lacks 'paper'"),
        ('[paper.a]\ntitle = "x"', "lacks 'protocol'"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, text, message):
    path = tmp_path / "published.toml"
    path.write_text(text)
    with pytest.raises(BenchError, match=message):
        load_published(path)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(BenchError, match="comes with the package"):
        load_published(tmp_path / "published.toml")


def test_a_chat_model_stands_beside_by_the_name_of_the_model_that_answered(tmp_path, make_record, ecvc):
    (tmp_path / "chat.toml").write_text(CHAT)
    chat = make_record("chatgpt[k=2,model=local]", supervision="training-free", config={"model": "local", "k": 2})
    chat["monitor"] = {"models": {"Small-1": 3}, "unparsable_share": 0.0, "asked": 3}
    chat["metrics"]["all"]["bootstrap"]["auroc"] = [0.4] * 15
    text = page(load_published(tmp_path / "chat.toml"), tmp_path, chat)
    (line,) = [line for line in text.splitlines() if "A chat model" in line]
    assert "chatgpt[k=2] (Small-1) (untrained, asks a model)" in line
    assert "|model|unnamed|Small-1|" in text.replace(" ", "")
    assert "(Small-1): not shown to be better than chance" in text
    assert "unnamed" not in page(load_published(tmp_path / "chat.toml"), tmp_path, ecvc())


def test_a_sample_is_named_beside_published_values(papers, tmp_path, ecvc):
    sampled = ecvc()
    sampled["spec"]["sample"] = 24
    strata = [{"system": "bgl@raw12k", "label": 0, "size": 30, "drawn": 12}]
    sampled["sample"] = {"drawn": 24, "of": 40, "strata": strata}
    text = page(papers, tmp_path, sampled)
    assert f"sample of 24 of 40 test sequences, weighted, protocol {PROTOCOL_VERSION}: beside A toy paper" in text
    assert "sample: 12 of 30 normal of bgl@raw12k" in text


def test_chat_rows_of_the_paper_have_a_detector():
    (paper,) = [one for one in load_published() if one.key == "mlad"]
    found = {(value.table, value.detector) for value in paper.values if "ChatGPT" in value.method}
    assert found == {("2", "chatgpt-cot"), ("4", "chatgpt-cot"), ("4", "chatgpt")}


def test_a_published_method_that_only_others_ran_has_its_row_from_there(papers, tmp_path, ecvc, make_record):
    ours = [make_record("random", supervision="control"), make_record("random", supervision="control", split="paper")]
    others = [ecvc(f1=0.5), make_record("mine"), ecvc(f1=0.9, protocol=PROTOCOL_VERSION - 1)]
    stored = make_tables([*ours, *others])
    wide = with_stored_rows(make_tables(ours), stored, tmp_path, papers)
    assert [(table.key.split, [row.method for row in table.rows]) for table in wide] == [
        ("chronological", ["random", "ecvc"]),
        ("paper", ["random"]),
    ]
    assert wide[0].rows[1].records == (others[0],)
    # Neither a row of its own is doubled, nor are tables asked for that hold no value.
    assert with_stored_rows(stored, stored, tmp_path, papers) == stored
    assert with_stored_rows(make_tables(ours), stored, tmp_path, papers, only=["7"]) == make_tables(ours)
