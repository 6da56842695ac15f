"""`bench audit data` as a user types it."""

import json

import pytest


def test_what_a_card_says_without_its_files(call):
    code, out, err = call("audit", "data", "bgl@stream-a")
    assert (code, err) == (0, "")
    assert (
        "origin: https://github.com/vanhoanglepsa/logdeep @ 53068dc89ebadc0d0bced24146855fe1c9dfc261 data/bgl/bgl.zip"
        in out
    )
    assert "recipe: The files bgl_test_normal" in out
    assert "counts: nothing was counted" in out


def test_no_licence_is_said(call):
    assert "(licence: none stated)" in call("audit", "data", "spirit@lines-a")[1]


def test_a_bare_name_and_a_simulated_edition(call):
    assert call("audit", "data", "liberty")[1].startswith("edition: liberty@full\n")
    code, out, _ = call("audit", "data", "hdfs", "--json")
    facts = json.loads(out)
    assert (code, facts["edition"], facts["good for"]) == (0, "hdfs@simulated", "simulated")
    assert facts["files"] == ["made by the simulator"]
    assert 0 < float(facts["ceiling (best F1 of any function of the event sequence)"]) <= 1
    assert facts["split"] == "chronological"


@pytest.mark.parametrize("name", ["bgk", "bgl@nothing", "bgl@", ""])
def test_what_is_no_edition(call, name):
    code, _, err = call("audit", "data", name)
    assert code == 2
    assert err.count("\n") == 1


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    (folder / "a.md").write_text("It has .5.\n\n<!-- claims\n.5 = quoted: elsewhere\n-->\n")
    return folder.parent


def test_claims_that_hold(call, docs, tmp_path):
    code, out, err = call("audit", "claims", "--docs", docs, "--out", tmp_path / "none")
    assert (code, out, err) == (0, "1 quoted\n", "")


def test_claims_that_do_not_hold(call, docs, tmp_path):
    page = docs / "results" / "b.md"
    page.write_text("F1 .5 and .6.\n\n<!-- claims\n.5 = f1 mlad bgl paper\n-->\n")
    code, out, err = call("audit", "claims", "--docs", docs, "--out", tmp_path / "none")
    assert code == 1
    assert [line.split(": ")[0] for line in out.splitlines()] == [f"{page}:1", f"{page}:1"]
    assert err == "1 quoted, 1 unmarked, 1 wrong\n"
    code, out, _ = call("audit", "claims", "--docs", docs, "--out", tmp_path / "none", "--json")
    found = json.loads(out)
    assert (code, found["totals"]) == (1, {"quoted": 1, "unmarked": 1, "wrong": 1})
    assert {row["verdict"] for row in found["claims"]} == {"quoted", "unmarked", "wrong"}


def test_pages_that_are_not_there(call, tmp_path):
    code, _, err = call("audit", "claims", "--docs", tmp_path / "nowhere")
    assert code == 2
    assert "there is no folder" in err
